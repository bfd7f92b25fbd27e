//! Keys for keyed hashes: challenges and sessions are made under them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use super::{KeysError, Ring, RingKey};
use crate::{
    clock::Clock,
    keyring::{Key, Keyring, KeyringWrap, Purpose, WrappedKey},
    random::{RandomnessError, random},
    secret::{KeyError, Secret},
    store::KeyringStore,
};

/// A ring that turns by itself, as one process has it.
pub type Keys = Ring<Key>;

#[async_trait]
impl RingKey for Key {
    const ALONE: bool = false;

    fn open(_: &WrappedKey, key: &Secret) -> Result<Self, KeyError> {
        Self::new(key)
    }

    fn counting(ring: &Keyring, now: Timestamp, after: SignedDuration) -> Vec<&WrappedKey> {
        ring.honoured(now, after).collect()
    }

    fn is_due(ring: &Keyring, now: Timestamp) -> bool {
        ring.is_due(now)
    }

    async fn added(ring: &Keyring, wrap: &dyn KeyringWrap, now: Timestamp) -> Result<Keyring, KeysError> {
        Ok(ring.with(wrap.wrap_key(&drawn()?).await?, now))
    }
}

impl Keys {
    /// The ring of `purpose` in `store`, whose keys `wrap` opens. A challenge or session made
    /// under a key lasts for `lasts` at most.
    pub fn new(
        purpose: Purpose,
        store: Arc<dyn KeyringStore>,
        wrap: Arc<dyn KeyringWrap>,
        clock: Arc<dyn Clock>,
        lasts: Duration,
    ) -> Self {
        let honoured_for = SignedDuration::try_from(lasts).unwrap_or(SignedDuration::MAX);
        Self::over(purpose, store, wrap, clock, honoured_for)
    }

    /// The key that is used now, with its number.
    pub async fn current(&self) -> Result<(u8, Arc<Key>), KeysError> {
        self.used().await
    }

    /// The key with this number, if what was made under it may still count.
    pub async fn numbered(&self, number: u8) -> Result<Option<Arc<Key>>, KeysError> {
        let now = self.clock.now();
        let held = self.with(now, |held| held.key(number).is_some()).await?;
        let honoured = held.ring.honoured(now, self.honoured_for).any(|key| key.number == number);
        Ok(if honoured { held.key(number) } else { None })
    }
}

fn drawn() -> Result<Secret, RandomnessError> {
    let bytes = Zeroizing::new(random::<{ Keyring::KEY_LEN }>()?);
    Ok(Secret::new(bytes.to_vec()))
}
