//! Keys that sign answers: guests know their public halves.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use keybroker_initdata::KeyId;
use keybroker_native::SigningKey;

use super::{Held, KeysError, Ring, RingKey};
use crate::{
    clock::Clock,
    keyring::{Keyring, KeyringWrap, Purpose, WrappedKey, signing},
    secret::{KeyError, Secret},
    signing::Signers,
    store::KeyringStore,
};

/// The ring of signing keys, as one process has it. It makes the first key, and turns on an operator's word.
pub type SigningKeys = Ring<SigningKey>;

#[async_trait]
impl RingKey for SigningKey {
    const ALONE: bool = true;

    fn open(kept: &WrappedKey, key: &Secret) -> Result<Self, KeyError> {
        signing::opened(kept, key)
    }

    /// All of them. The prepared key signs nothing, but if it cannot be opened, the log says so before the
    /// rotation.
    fn counting(ring: &Keyring, _: Timestamp, _: SignedDuration) -> Vec<&WrappedKey> {
        ring.keys.iter().collect()
    }

    fn is_due(ring: &Keyring, _: Timestamp) -> bool {
        ring.keys.is_empty()
    }

    async fn added(ring: &Keyring, wrap: &dyn KeyringWrap, now: Timestamp) -> Result<Keyring, KeysError> {
        let (private, public) = signing::drawn()?;
        let wrapped = wrap.wrap_key(&private).await?;
        ring.with_signing(wrapped, public, now).map_err(|_| KeysError::Contended)
    }
}

impl SigningKeys {
    /// The ring in `store`, whose keys `wrap` opens.
    pub fn new(store: Arc<dyn KeyringStore>, wrap: Arc<dyn KeyringWrap>, clock: Arc<dyn Clock>) -> Self {
        Self::over(Purpose::Signature, store, wrap, clock, SignedDuration::MAX)
    }
}

#[async_trait]
impl Signers for SigningKeys {
    async fn signer(&self, accepted: &[KeyId]) -> Result<Option<Arc<SigningKey>>, KeysError> {
        let held = self.with(self.clock.now(), |held| held.signer(accepted).is_some()).await?;
        match (held.signer(accepted), held.shut_signer()) {
            // Perhaps the guest accepts that one: it may ask again later.
            (None, Some(cause)) => Err(cause.clone().into()),
            (signer, _) => Ok(signer),
        }
    }
}

impl Held<SigningKey> {
    fn signer(&self, accepted: &[KeyId]) -> Option<Arc<SigningKey>> {
        let mut newest_first = self.ring.signing().rev().filter_map(|kept| self.key(kept.number));
        newest_first.find(|key| accepted.contains(&key.broker_key().id()))
    }

    /// Why a key that signs could not be opened, if there is one.
    fn shut_signer(&self) -> Option<&KeyError> {
        let mut shut = self.shut.iter();
        shut.find(|(number, _)| self.ring.signing().any(|kept| kept.number == *number))
            .map(|(_, cause)| cause)
    }
}
