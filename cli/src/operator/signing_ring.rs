//! The ring of the broker's signing keys, as operators' commands read and change it.

use std::path::Path;

use jiff::Timestamp;
use keybroker_common::{
    audit::{Act, AuditRecord, Decision},
    encoding::Hex,
    keyring::{
        Keyring, KeyringWrap, Purpose, WrappedKey,
        signing::{self, SigningRingError},
    },
    store::StoreError,
};
use keybroker_initdata::{BrokerKey, KeyId};
use keybroker_native::SigningKey;

use super::{OperatorHandle, wrapping::local_key, wrapping_failure};
use crate::{
    exit::{Exit, Failure},
    paths,
    suggest::StorePlace,
};

/// Attempts at a ring that others write at the same time.
const ATTEMPTS: usize = 4;

/// The ring in the store; an empty one if there is none.
pub(crate) async fn read(operator: &OperatorHandle) -> Result<Keyring, Failure> {
    let stored = operator.store.keyring(Purpose::Signature).await.map_err(|error| operator.failure(error))?;
    Ok(stored.map(|stored| stored.ring).unwrap_or_default())
}

/// The same, for a command that uses the public halves in it. A writer of the store can put others into the
/// row. On this machine the wrapping key in `key_file` opens the keys to compare them; a key that is not the
/// store's is refused, and without any the command warns. On AWS only the broker
/// can, and it warns of a key that it cannot open.
pub(crate) async fn checked(operator: &OperatorHandle, key_file: Option<&Path>) -> Result<Keyring, Failure> {
    let ring = read(operator).await?;
    let Some(store) = operator.local.as_ref().filter(|_| !ring.keys.is_empty()) else { return Ok(ring) };
    let wrapping = match local_key(operator, store.as_ref(), key_file).await {
        Ok(key) => key.keyring(Purpose::Signature),
        // A key that is not the store's shows that the operator means another store, or another key.
        Err(failure) if paths::key_file(key_file)?.exists() => return Err(failure),
        Err(failure) => {
            let (cause, _) = failure.told();
            say!("warning: the signing keys in the store were not compared with their own: {cause}");
            return Ok(ring);
        }
    };
    for kept in ring.signing().next_back().into_iter().chain(ring.prepared()) {
        let private = wrapping.unwrap_key(&kept.wrapped).await;
        if let Err(error) = private.and_then(|private| signing::opened(kept, &private)) {
            return Err(Failure::new(Exit::Failure, error)
                .context(format!("the signing key {} is not what the store says", kept.number))
                .hint(operator.place.advice("`keybroker doctor` says what to do")));
        }
    }
    Ok(ring)
}

/// Changes the ring and records that this was done to `key`. Returns the ring as it became.
pub(crate) async fn change(
    operator: &OperatorHandle,
    decision: Decision,
    key: &KeyId,
    change: impl Fn(&Keyring) -> Result<Keyring, SigningRingError>,
) -> Result<Keyring, Failure> {
    for _ in 0..ATTEMPTS {
        let stored = operator.store.keyring(Purpose::Signature).await;
        let stored = stored.map_err(|error| operator.failure(error))?;
        let (edition, ring) = stored.map(|stored| (stored.edition, stored.ring)).unzip();
        let changed =
            change(&ring.unwrap_or_default()).map_err(|error| Failure::new(Exit::Failure, error))?;
        let act = Some(Act::SigningKey { key: Hex(*key.as_bytes()) });
        let audit = AuditRecord { act, ..operator.act(decision) };
        match operator.store.turn_keyring(Purpose::Signature, edition, &changed, &audit).await {
            Ok(()) => return Ok(changed),
            // A broker or another command wrote it meanwhile.
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(operator.failure(error)),
        }
    }
    Err(operator.failure(StoreError::Conflict).context("the ring signature changes too often"))
}

/// Adds `key` to the ring: as the next key, or, if it is the first, as the one that signs.
pub(crate) async fn add(
    operator: &OperatorHandle,
    wrap: &dyn KeyringWrap,
    key: &SigningKey,
    decision: Decision,
) -> Result<Keyring, Failure> {
    let (private, public) = signing::parts(key).map_err(|error| Failure::new(Exit::Failure, error))?;
    let wrapped = wrap.wrap_key(&private).await.map_err(wrapping_failure)?;
    change(operator, decision, &public.id(), |ring| {
        ring.with_signing(wrapped.clone(), public.clone(), Timestamp::now())
    })
    .await
}

/// Tells an operator how the broker at `place` uses a key that was added.
pub(crate) fn told(key: &WrappedKey, place: &StorePlace) -> String {
    match key.from {
        Some(_) => "the broker has no other signing key, so it signs with this one at once".to_owned(),
        None => {
            place.advice("the broker signs nothing with this key before `keybroker keys rotate signature`")
        }
    }
}

/// The keys that a new document names: the current one, and the next if it is prepared.
pub(crate) fn for_documents(ring: &Keyring) -> impl Iterator<Item = &BrokerKey> {
    let current = ring.signing().next_back();
    current.into_iter().chain(ring.prepared()).filter_map(WrappedKey::signing_key)
}
