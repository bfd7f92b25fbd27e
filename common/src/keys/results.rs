//! Keys that sign attestation results: third parties look their public halves up.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::{Held, KeysError, Ring, RingKey};
use crate::{
    clock::Clock,
    keyring::{Keyring, KeyringWrap, Purpose, ResultKey, WrappedKey},
    secret::{KeyError, Secret},
    store::KeyringStore,
};

/// The ring of keys for attestation results, as one process has it. It turns by itself.
pub type ResultKeys = Ring<ResultKey>;

#[async_trait]
impl RingKey for ResultKey {
    const ALONE: bool = false;

    fn open(kept: &WrappedKey, key: &Secret) -> Result<Self, KeyError> {
        Self::opened(kept, key)
    }

    fn counting(ring: &Keyring, now: Timestamp, after: SignedDuration) -> Vec<&WrappedKey> {
        ring.honoured(now, after).collect()
    }

    fn is_due(ring: &Keyring, now: Timestamp) -> bool {
        ring.is_due(now)
    }

    async fn added(ring: &Keyring, wrap: &dyn KeyringWrap, now: Timestamp) -> Result<Keyring, KeysError> {
        let key = Self::generate()?;
        let wrapped = wrap.wrap_key(&key.private()?).await?;
        Ok(ring.with_result(wrapped, key.public().clone(), now))
    }
}

impl ResultKeys {
    /// The ring in `store`, whose keys `wrap` opens. A result that was signed with a key lasts for `lasts` at
    /// most.
    pub fn new(
        store: Arc<dyn KeyringStore>,
        wrap: Arc<dyn KeyringWrap>,
        clock: Arc<dyn Clock>,
        lasts: Duration,
    ) -> Self {
        let honoured_for = SignedDuration::try_from(lasts).unwrap_or(SignedDuration::MAX);
        Self::over(Purpose::Result, store, wrap, clock, honoured_for)
    }

    /// The key that signs now.
    pub async fn current(&self) -> Result<Arc<ResultKey>, KeysError> {
        Ok(self.used().await?.1)
    }

    /// The key that `is` means, if what was signed with it may still count.
    pub async fn honoured(
        &self,
        is: impl Fn(&ResultKey) -> bool + Send + Sync,
    ) -> Result<Option<Arc<ResultKey>>, KeysError> {
        let now = self.clock.now();
        let held = self.with(now, |held| held.keys.iter().any(|(_, key)| is(key))).await?;
        Ok(held.honoured(now, self.honoured_for).into_iter().find(|key| is(key)))
    }

    /// The keys whose signatures count now, and the next one if it is made: the newest last.
    pub async fn published(&self) -> Result<Vec<Arc<ResultKey>>, KeysError> {
        let now = self.clock.now();
        Ok(self.fresh(now).await?.honoured(now, self.honoured_for))
    }
}

impl Held<ResultKey> {
    fn honoured(&self, now: Timestamp, after: SignedDuration) -> Vec<Arc<ResultKey>> {
        self.ring.honoured(now, after).filter_map(|key| self.key(key.number)).collect()
    }
}
