//! A move to another key: the promises of [`RewrapStore`], and guests that boot before, meanwhile and after.

use std::{collections::BTreeMap, sync::Arc};

use keybroker_aws::{
    dynamodb::{DynamoStore, OperatorTables},
    kms::{KmsMove, key_behind},
};
use keybroker_common::{
    ids::WorkloadId,
    keyring::Purpose,
    revocation::Revocation,
    rewrap::KeyMove,
    secret::{KeyError, WrappedSecret},
    store::{
        Build, KeyringStore as _, OperatorStore as _, RegistrationStore as _, ReleaseStore as _,
        RevocationStore as _, RewrapStore, StoreError, WorkloadStore as _,
    },
    workload::Workload,
};
use keybroker_testing::{
    guest::KEY,
    moto::{self, Store},
    rounds::Counted,
    sample,
    world::{PASSPHRASE, World},
};

use crate::release::broker_over;

const CONFLICT: Result<(), StoreError> = Err(StoreError::Conflict);

/// Secrets as another key wraps them, in the place of those of `workload`.
fn others(workload: &Workload) -> BTreeMap<String, WrappedSecret> {
    let moved = WrappedSecret { key_id: "local:1111111111111111".to_owned(), ciphertext: b"moved".to_vec() };
    workload.secrets.keys().map(|name| (name.clone(), moved.clone())).collect()
}

async fn registered(store: &Store) -> Workload {
    let workload = sample::workload();
    store.create(&workload, &sample::registered(), None).await.unwrap();
    workload
}

async fn row(store: &Store, workload: &Workload) -> Option<Workload> {
    store.workload(&workload.id).await.unwrap()
}

/// Whatever the caller believes of the rest of the row.
#[tokio::test]
async fn a_rewrap_changes_the_secrets_alone() {
    let store = moto::store().await;
    let released = registered(&store).await;
    store.mark_released(&released.id, released.digest(), sample::at(1)).await.unwrap();
    let released = Workload { released_at: Some(sample::at(1)), ..released };
    let revoked = registered(&store).await;
    let revocation = sample::revoked(1);
    store.revoke(&revoked.id, &revocation).await.unwrap();
    let revocation = Some(Revocation::of(&revocation));
    let revoked = Workload { revoked_at: Some(sample::at(1)), revocation, ..revoked };
    for seen in [registered(&store).await, released, revoked] {
        let believed = Workload { first_registered_at: sample::at(9), revoked_at: None, ..seen.clone() };
        let (secrets, audit) = (others(&seen), sample::rewrapped(2));
        assert_eq!(store.rewrap(&believed, &secrets, &audit).await, Ok(()));
        assert_eq!(row(&store, &seen).await, Some(Workload { secrets, ..seen }));
        assert_eq!(store.audit_record(audit.id).await, Ok(Some(audit)));
    }
}

#[tokio::test]
async fn a_row_that_changed_meanwhile_is_not_rewrapped() {
    let store = moto::store().await;
    let replaced = registered(&store).await;
    let by = sample::registered_anew(&replaced);
    store.replace(&replaced, Build::Same, &by, &sample::registered(), None).await.unwrap();
    let rewrapped = registered(&store).await;
    let secrets = others(&rewrapped);
    store.rewrap(&rewrapped, &secrets, &sample::rewrapped(1)).await.unwrap();
    let amended = registered(&store).await;
    let anew = sample::registered_anew(&amended);
    store.amend(&amended, &anew, &sample::amended(1)).await.unwrap();
    for seen in [replaced, rewrapped, amended, sample::workload()] {
        let (before, audit) = (row(&store, &seen).await, sample::rewrapped(2));
        assert_eq!(store.rewrap(&seen, &BTreeMap::new(), &audit).await, CONFLICT);
        assert_eq!(row(&store, &seen).await, before);
        assert_eq!(store.audit_record(audit.id).await, Ok(None));
    }
}

#[tokio::test]
async fn a_taken_audit_id_undoes_a_rewrap() {
    let store = moto::store().await;
    let (seen, audit) = (registered(&store).await, sample::rewrapped(1));
    keybroker_common::store::AuditStore::append(&store, &audit).await.unwrap();
    assert_eq!(store.rewrap(&seen, &others(&seen), &audit).await, CONFLICT);
    assert_eq!(row(&store, &seen).await, Some(seen));
}

/// Moves the secrets of a row from the key that it names to a new one.
pub(crate) async fn moved_to_another_key(store: &Store, id: &WorkloadId) {
    let seen = store.workload(id).await.unwrap().unwrap();
    let (key, _) = moto::key().await;
    let to = key_behind(&moto::kms(), &key).await.unwrap();
    let from = seen.secrets.values().map(|wrapped| wrapped.key_id.clone()).collect();
    let keys = KeyMove { from, to: to.to_string() };
    let secrets = keys.moved_secrets(&seen, &KmsMove::new(moto::kms(), to)).await.unwrap();
    assert_eq!(store.rewrap(&seen, &secrets, &sample::rewrapped(1)).await, Ok(()));
}

/// A deployment between two keys: a broker, and an operator who moves what is wrapped.
struct Moving {
    world: World,
    store: Arc<Store>,
    broker: keybroker_testing::world::Broker,
    alias: String,
    keys: KeyMove,
}

impl Moving {
    async fn new() -> Self {
        let (world, store) = (World::new().await, Arc::new(moto::store().await));
        let ((old, alias), (new, _)) = (moto::key().await, moto::key().await);
        let arn = async |key: &str| key_behind(&moto::kms(), key).await.unwrap().to_string();
        let keys = KeyMove { from: [arn(&old).await].into(), to: arn(&new).await };
        let broker = broker_over(&world, &store, &Counted::new(), &alias);
        Self { world, store, broker, alias, keys }
    }

    async fn point_alias(&self) {
        let update = moto::kms().update_alias().alias_name(&self.alias).target_key_id(&self.keys.to);
        update.send().await.unwrap();
    }

    fn wrap(&self) -> KmsMove {
        KmsMove::new(moto::kms(), self.keys.to.parse().unwrap())
    }

    async fn moved(&self, id: &WorkloadId) -> Result<(), KeyError> {
        let seen = self.store.workload(id).await.unwrap().unwrap();
        let secrets = self.keys.moved_secrets(&seen, &self.wrap()).await?;
        self.store.rewrap(&seen, &secrets, &sample::rewrapped(1)).await.unwrap();
        Ok(())
    }

    async fn ring_moved(&self, ring: Purpose) {
        let stored = self.store.keyring(ring).await.unwrap().unwrap();
        let moved = self.keys.moved_ring(ring, &stored.ring, &self.wrap()).await.unwrap();
        assert_ne!(moved, stored.ring);
        let turned = self.store.turn_keyring(ring, Some(stored.edition), &moved, &sample::rewrapped(1)).await;
        assert_eq!(turned, Ok(()));
    }

    async fn boots(&self, id: &str) {
        let session = self.broker.attested(&self.world.hardware, id).await;
        assert_eq!(self.broker.fetch(&session, id, &KEY).await, Ok(PASSPHRASE.to_owned()), "{id}");
    }
}

/// A session from before goes on: its key is the same, however it is wrapped. Another process that starts
/// afterwards, with no key in memory, knows it too.
#[tokio::test]
async fn guests_boot_before_a_move_meanwhile_and_after() {
    let moving = Moving::new().await;
    for id in ["a", "b"] {
        moving.broker.registered(id).await;
        moving.boots(id).await;
    }
    let begun = moving.broker.attested(&moving.world.hardware, "a").await;
    moving.point_alias().await;
    moving.broker.registered("c").await;
    moving.moved(&WorkloadId::new("a").unwrap()).await.unwrap();
    for id in ["a", "b", "c"] {
        moving.boots(id).await;
    }
    for id in ["b", "c"] {
        moving.moved(&WorkloadId::new(id).unwrap()).await.unwrap();
    }
    for ring in [Purpose::Challenge, Purpose::Session] {
        moving.ring_moved(ring).await;
    }
    for id in ["a", "b", "c"] {
        moving.boots(id).await;
    }
    let restarted = broker_over(&moving.world, &moving.store, &Counted::new(), &moving.alias);
    assert_eq!(restarted.fetch(&begun, "a", &KEY).await, Ok(PASSPHRASE.to_owned()));
    for row in moving.store.workloads(None).await.unwrap().rows {
        assert_eq!(moving.keys.of_workload(&row), Ok([].into()), "{}", row.id);
    }
}

/// A row with what another key wrapped, of another workload, or under another registration.
#[tokio::test]
async fn what_was_not_wrapped_for_its_row_is_not_moved() {
    let moving = Moving::new().await;
    for id in ["a", "b"] {
        moving.broker.registered(id).await;
    }
    let seen = async |id: &str| moving.store.workload(&WorkloadId::new(id).unwrap()).await.unwrap().unwrap();
    let (a, b) = (seen("a").await, seen("b").await);
    let swapped = Workload { secrets: b.secrets.clone(), ..a.clone() };
    let mut altered = a.clone();
    altered.registration.push(b' ');
    for row in [swapped, altered] {
        let moved = moving.keys.moved_secrets(&row, &moving.wrap()).await;
        assert_eq!(moved, Err(KeyError::Mismatch));
    }
    let strange = KeyMove {
        from: ["arn:aws:kms:us-east-1:123456789012:key/other".to_owned()].into(),
        ..moving.keys.clone()
    };
    let moved = strange.moved_secrets(&a, &moving.wrap()).await;
    assert!(matches!(moved, Err(KeyError::UnknownKey(_))), "{moved:?}");
}

/// The operator's store is one of these.
#[test]
fn operators_can_rewrap() {
    fn can<S: RewrapStore>() {}
    can::<DynamoStore<OperatorTables>>();
}
