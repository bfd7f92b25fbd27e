//! A ring in use by one process: looked up, opened, kept for a while and turned.
//!
//! [`Keys`] are a ring of keys for keyed hashes, [`ResultKeys`] the ring of keys for attestation results,
//! [`SigningKeys`] the ring of signing keys.

mod hashing;
mod results;
mod signing;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync;

pub use self::{hashing::Keys, results::ResultKeys, signing::SigningKeys};
use crate::{
    clock::{Clock, has_been},
    keyring::{Keyring, KeyringWrap, Purpose, WrappedKey},
    random::RandomnessError,
    secret::{KeyError, Secret},
    store::{KeyringStore, StoreError},
};

/// Why a process has no key of a ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The ring cannot be read or written.
    #[error("the ring of keys: {0}")]
    Store(#[from] StoreError),
    /// The ring's keys cannot be wrapped or unwrapped.
    #[error("the ring of keys: {0}")]
    Key(#[from] KeyError),
    /// No key could be drawn.
    #[error(transparent)]
    Randomness(#[from] RandomnessError),
    /// Others wrote the ring each time that this process tried to.
    #[error("the ring of keys changes too often")]
    Contended,
}

/// The kind of a ring's keys once they are opened, and when the ring gets one more.
#[async_trait]
pub trait RingKey: fmt::Debug + Send + Sync + Sized + 'static {
    /// Whether the other keys of the ring are of use without one that cannot be opened.
    const ALONE: bool;

    /// Takes over what was unwrapped. [`KeyError::Mismatch`] if that is not the key that the ring keeps.
    fn open(kept: &WrappedKey, key: &Secret) -> Result<Self, KeyError>;

    /// The keys of `ring` that are opened: those that count at `now` where a key counts for `after` after its
    /// successor came.
    fn counting(ring: &Keyring, now: Timestamp, after: SignedDuration) -> Vec<&WrappedKey>;

    /// Whether `ring` lacks a next key at `now`.
    fn is_due(ring: &Keyring, now: Timestamp) -> bool;

    /// `ring` with a key that is drawn for it, wrapped by `wrap`.
    async fn added(ring: &Keyring, wrap: &dyn KeyringWrap, now: Timestamp) -> Result<Keyring, KeysError>;
}

/// The keys of one purpose, as one process has them.
#[derive(Debug)]
pub struct Ring<K> {
    purpose: Purpose,
    store: Arc<dyn KeyringStore>,
    wrap: Arc<dyn KeyringWrap>,
    clock: Arc<dyn Clock>,
    /// The time for which a key counts after its successor came, for what was made under it.
    honoured_for: SignedDuration,
    held: Mutex<Option<Arc<Held<K>>>>,
    /// Held while one request looks for all: when the last look failed, and why.
    looking: sync::Mutex<Option<(Timestamp, KeysError)>>,
}

/// A ring as this process saw it last, opened.
#[derive(Debug)]
struct Held<K> {
    ring: Keyring,
    /// In the order of the ring.
    keys: Vec<(u8, Arc<K>)>,
    /// The keys that could not be opened, and why.
    shut: Vec<(u8, KeyError)>,
    looked_at: Timestamp,
}

impl<K> Held<K> {
    fn key(&self, number: u8) -> Option<Arc<K>> {
        self.keys.iter().find(|(held, _)| *held == number).map(|(_, key)| Arc::clone(key))
    }
}

impl<K: RingKey> Ring<K> {
    /// The time for which a process goes on with what it saw, before it looks again.
    pub const LOOKS_EVERY: SignedDuration = SignedDuration::from_secs(60);
    /// The time for which it goes on if it cannot look.
    pub const GOES_ON_FOR: SignedDuration = SignedDuration::from_mins(5);
    /// The least time between two looks for keys of unknown numbers: anybody can name one.
    const LOOKS_FOR_UNKNOWN_EVERY: SignedDuration = SignedDuration::from_secs(2);
    /// The time after a failed look for which nobody looks again: requests must not wait in line for a store
    /// that does not answer.
    const LOOKS_AFTER_FAILURE: SignedDuration = SignedDuration::from_secs(1);
    /// Attempts at writing a ring that others write at the same time.
    const ATTEMPTS: usize = 4;

    fn over(
        purpose: Purpose,
        store: Arc<dyn KeyringStore>,
        wrap: Arc<dyn KeyringWrap>,
        clock: Arc<dyn Clock>,
        honoured_for: SignedDuration,
    ) -> Self {
        let (held, looking) = (Mutex::default(), sync::Mutex::default());
        Self { purpose, store, wrap, clock, honoured_for, held, looking }
    }

    /// The key that is used now, with its number.
    async fn used(&self) -> Result<(u8, Arc<K>), KeysError> {
        let now = self.clock.now();
        let held = self.fresh(now).await?;
        let number = held.ring.current(now).map(|key| key.number);
        number.and_then(|number| Some((number, held.key(number)?))).ok_or(KeysError::Contended)
    }

    /// The ring as it is known at `now`, looked up anew if there is nothing in it that `known` finds: another
    /// process may have added a key.
    async fn with(
        &self,
        now: Timestamp,
        known: impl Fn(&Held<K>) -> bool + Send,
    ) -> Result<Arc<Held<K>>, KeysError> {
        let held = self.fresh(now).await?;
        if known(&held) || has_been(held.looked_at, now, Self::LOOKS_FOR_UNKNOWN_EVERY) {
            return Ok(held);
        }
        self.look(Self::LOOKS_FOR_UNKNOWN_EVERY).await
    }

    /// The ring, looked up anew if the last look was too long ago.
    async fn fresh(&self, now: Timestamp) -> Result<Arc<Held<K>>, KeysError> {
        let held = self.held();
        if let Some(held) = held.as_ref().filter(|held| has_been(held.looked_at, now, Self::LOOKS_EVERY)) {
            return Ok(Arc::clone(held));
        }
        match (self.look(Self::LOOKS_EVERY).await, held) {
            (Err(_), Some(held)) if has_been(held.looked_at, now, Self::GOES_ON_FOR) => Ok(held),
            (looked, _) => looked,
        }
    }

    /// Looks into the store, unless another request did so less than `recent` ago, and turns the ring if it
    /// is due.
    async fn look(&self, recent: SignedDuration) -> Result<Arc<Held<K>>, KeysError> {
        let mut failed = self.looking.lock().await;
        let (now, held) = (self.clock.now(), self.held());
        if let Some(held) = held.as_ref().filter(|held| has_been(held.looked_at, now, recent)) {
            return Ok(Arc::clone(held));
        }
        if let Some((at, cause)) = failed.as_ref()
            && has_been(*at, now, Self::LOOKS_AFTER_FAILURE)
        {
            return Err(cause.clone());
        }
        let looked = self.looked(now, held).await;
        *failed = looked.as_ref().err().map(|cause| (self.clock.now(), cause.clone()));
        if let Err(cause) = &looked {
            tracing::warn!(%cause, purpose = %self.purpose, "the ring of keys cannot be looked up");
        }
        looked
    }

    async fn looked(&self, now: Timestamp, held: Option<Arc<Held<K>>>) -> Result<Arc<Held<K>>, KeysError> {
        let ring = self.turned().await?;
        let (mut keys, mut shut) = (Vec::new(), Vec::new());
        // A key that counts for nothing any more need not be opened: its wrapping key may be gone.
        for key in K::counting(&ring, now, self.honoured_for) {
            let known = held.as_ref().filter(|held| held.ring.keys.contains(key));
            let opened = match known.and_then(|held| held.key(key.number)) {
                Some(known) => Ok(known),
                None => self.opened(key).await.map(Arc::new),
            };
            match opened {
                Ok(opened) => keys.push((key.number, opened)),
                Err(cause) if K::ALONE => {
                    let (purpose, number) = (self.purpose, key.number);
                    tracing::warn!(%cause, %purpose, number, "a key of the ring cannot be opened");
                    shut.push((number, cause));
                }
                Err(cause) => return Err(cause.into()),
            }
        }
        // The wrapping key itself may be out of reach.
        if let ([], [(_, cause), ..]) = (keys.as_slice(), shut.as_slice()) {
            return Err(cause.clone().into());
        }
        let looked = Arc::new(Held { ring, keys, shut, looked_at: now });
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&looked));
        Ok(looked)
    }

    async fn opened(&self, key: &WrappedKey) -> Result<K, KeyError> {
        K::open(key, &self.wrap.unwrap_key(&key.wrapped).await?)
    }

    /// The ring in the store, with a next key if it was due. A key counts once it is stored, so that all
    /// instances have the same.
    async fn turned(&self) -> Result<Keyring, KeysError> {
        for _ in 0..Self::ATTEMPTS {
            let now = self.clock.now();
            let stored = self.store.keyring(self.purpose).await?;
            let ring = stored.as_ref().map(|stored| stored.ring.clone()).unwrap_or_default();
            if !K::is_due(&ring, now) {
                return Ok(ring);
            }
            match self.turn(stored.map(|stored| stored.edition), &ring, now).await {
                Ok(next) => {
                    tracing::info!(purpose = %self.purpose, number = next.last, "made the ring's next key");
                    return Ok(next);
                }
                // Another instance made it.
                Err(KeysError::Store(StoreError::Conflict)) => {}
                // A ring that can be used is not given up because it cannot be turned.
                Err(cause) if ring.current(now).is_some() => {
                    tracing::warn!(%cause, purpose = %self.purpose, "the ring's next key cannot be made");
                    return Ok(ring);
                }
                Err(cause) => return Err(cause),
            }
        }
        Err(KeysError::Contended)
    }

    async fn turn(&self, edition: Option<u64>, ring: &Keyring, now: Timestamp) -> Result<Keyring, KeysError> {
        let next = K::added(ring, self.wrap.as_ref(), now).await?;
        self.store.put_keyring(self.purpose, edition, &next).await?;
        Ok(next)
    }

    fn held(&self) -> Option<Arc<Held<K>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
