//! The ring of the keys that sign answers to guests.
//!
//! Guests are built with the public keys that they accept, so no key of this ring comes or goes by itself.
//! The first key is used at once, for there is no document yet that names another. Every other is prepared
//! first, and used once an operator says so, when the documents name it. Earlier keys go on signing for
//! guests that do not know the newest, until an operator retires them.
//!
//! | key | signs |
//! |---|---|
//! | prepared: the last one, not used yet | nothing |
//! | current: the newest that is used | for every guest that accepts it |
//! | earlier | for guests that accept it, and none that is newer |

use jiff::Timestamp;
use keybroker_initdata::{BrokerKey, KeyId};
use keybroker_native::SigningKey;

use super::{Keyring, WrappedKey};
use crate::{
    clock::CLOCKS_DIFFER,
    random::RandomnessError,
    secret::{KeyError, Secret, WrappedSecret},
};

/// The most keys that the ring holds: a cold process opens each before it signs, and a document names four at
/// most.
pub const MOST: usize = 8;

/// Why a ring of signing keys is not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigningRingError {
    /// There is a next key already.
    #[error("a next key is prepared already")]
    Prepared,
    /// There is no next key.
    #[error("no next key is prepared")]
    NotPrepared,
    /// The key is in the ring already.
    #[error("the key is in the ring already")]
    Known,
    /// The key is not in the ring.
    #[error("the key is not in the ring")]
    Unknown,
    /// It is the key that signs.
    #[error("the key is the current one: rotate the ring first")]
    Current,
    /// The ring holds [`MOST`] keys.
    #[error("the ring holds {MOST} keys, which is the most: retire one first")]
    Full,
}

impl Keyring {
    /// The signing key that waits for an operator's word, if there is one.
    pub fn prepared(&self) -> Option<&WrappedKey> {
        self.keys.last().filter(|key| key.from.is_none())
    }

    /// The signing keys that are used, the newest last. No clock decides about them.
    pub fn signing(&self) -> impl DoubleEndedIterator<Item = &WrappedKey> {
        self.keys.iter().filter(|key| key.from.is_some())
    }

    /// The ring with one more signing key: prepared, or used at once if there is none.
    pub fn with_signing(
        &self,
        wrapped: WrappedSecret,
        public: BrokerKey,
        now: Timestamp,
    ) -> Result<Self, SigningRingError> {
        if self.keys.iter().any(|key| key.signing_key() == Some(&public)) {
            return Err(SigningRingError::Known);
        }
        if self.prepared().is_some() {
            return Err(SigningRingError::Prepared);
        }
        if self.keys.len() >= MOST {
            return Err(SigningRingError::Full);
        }
        let free = |number: &u8| self.keys.iter().all(|key| key.number != *number);
        let number = (0..=u8::MAX).map(|ahead| self.next_number().wrapping_add(ahead)).find(free);
        let number = number.ok_or(SigningRingError::Full)?;
        let from = self.keys.is_empty().then(|| now - CLOCKS_DIFFER);
        let mut keys = self.keys.clone();
        keys.push(WrappedKey { number, wrapped, public: Some(public.into()), made_at: now, from });
        Ok(Self { keys, last: number, due: false })
    }

    /// The ring with its prepared key as the current one.
    pub fn with_prepared_used(&self, now: Timestamp) -> Result<Self, SigningRingError> {
        let mut ring = self.clone();
        let prepared = ring.keys.last_mut().filter(|key| key.from.is_none());
        prepared.ok_or(SigningRingError::NotPrepared)?.from = Some(now);
        Ok(ring)
    }

    /// The ring without the signing key `id`, which must not be the current one.
    pub fn without(&self, id: &KeyId) -> Result<Self, SigningRingError> {
        let is_named = |key: &WrappedKey| key.signing_key().is_some_and(|public| public.id() == *id);
        if !self.keys.iter().any(is_named) {
            return Err(SigningRingError::Unknown);
        }
        if self.signing().next_back().is_some_and(is_named) {
            return Err(SigningRingError::Current);
        }
        let keys = self.keys.iter().filter(|key| !is_named(key)).cloned().collect();
        Ok(Self { keys, ..self.clone() })
    }
}

/// A fresh signing key: its private half, to be wrapped, and its public half.
pub fn drawn() -> Result<(Secret, BrokerKey), RandomnessError> {
    parts(&SigningKey::generate().map_err(|_| RandomnessError)?).map_err(|_| RandomnessError)
}

/// The halves of `key`: what is wrapped, and what is kept beside it.
pub fn parts(key: &SigningKey) -> Result<(Secret, BrokerKey), KeyError> {
    let mut private = key.to_bytes().map_err(|_| KeyError::Mismatch)?;
    Ok((Secret::new(std::mem::take(&mut *private)), key.broker_key().clone()))
}

/// The signing key that `kept` was unwrapped to. [`KeyError::Mismatch`] if the public half beside it is not
/// its own: somebody altered the row, and what operators read in it is not the broker's key.
pub fn opened(kept: &WrappedKey, private: &Secret) -> Result<SigningKey, KeyError> {
    let key = SigningKey::from_bytes(private.expose()).map_err(|_| KeyError::Mismatch)?;
    if kept.signing_key() == Some(key.broker_key()) { Ok(key) } else { Err(KeyError::Mismatch) }
}

#[cfg(test)]
mod tests;
