//! An operator changes one secret of a workload: on both stores, with guests under way.

use std::sync::Arc;

use data_encoding::BASE64;
use jiff::Timestamp;
use keybroker_common::{
    amend::{AmendError, Change, amended},
    audit::{AuditRecord, Decision, Operation},
    broker::Error,
    clock::Clock as _,
    ids::{HostData, SessionId},
    secret::{KeyError, Secret},
    store::{OperatorStore, StoreError, WorkloadStore as _},
    workload::{Registration, Workload},
};
use keybroker_testing::{
    moto, rvp,
    world::{Broker, PASSPHRASE, World, edit, request, workload_id},
};
use serde_json::json;

use super::faults::Home;

const RESOURCES: [(&str, &str); 2] = [("tls.key", "first"), ("token", "other")];

fn set(secret: &str) -> Change {
    Change::Set(Secret::new(secret.as_bytes().to_vec()))
}

/// A broker over a store of its own kind, and a workload by reference values.
struct Scene<S> {
    world: World,
    store: Arc<S>,
    broker: Broker,
    guest: HostData,
}

impl<S: Home + OperatorStore> Scene<S> {
    async fn new() -> Self {
        let world = World::new().await;
        let store = Arc::new(S::empty(&world).await);
        let broker = world.broker_over(Arc::clone(&store));
        let guest = rvp::registered(&broker, &RESOURCES).await;
        Self { world, store, broker, guest }
    }

    async fn row(&self) -> Workload {
        self.store.workload(&self.guest.workload_id()).await.unwrap().unwrap()
    }

    fn act(&self, decision: Decision) -> AuditRecord {
        AuditRecord::new(self.world.hardware.clock.now(), Operation::Operate, decision)
    }

    /// The operator's act on the row as it was seen.
    async fn amend(&self, seen: &Workload, name: &str, change: Change) -> Result<Workload, StoreError> {
        let changed = amended(seen, name, change, self.world.key.as_ref()).await.unwrap();
        self.store.amend(seen, &changed, &self.act(Decision::ResourceSet)).await?;
        Ok(changed)
    }

    async fn attested(&self) -> SessionId {
        rvp::attested(&self.world, &self.broker, self.guest).await
    }

    async fn assert_released(&self, session: &SessionId, name: &str, secret: &str) {
        assert_eq!(rvp::resource(&self.broker, session, name).await.unwrap(), secret);
    }

    async fn assert_nothing_new(&self, broker: &Broker, session: &SessionId) {
        for (name, _) in RESOURCES {
            let error = rvp::resource(broker, session, name).await.unwrap_err();
            let Error::Refused { id } = error else { panic!("{error:?}") };
            let log = self.store.audit_log().await;
            let failed = log.into_iter().find(|record| record.id == id).unwrap().failed.unwrap();
            assert_eq!(failed.check, "workload");
        }
    }
}

async fn a_session_from_before_a_change_gets_nothing_new<S: Home + OperatorStore>() {
    let scene = Scene::<S>::new().await;
    let before = scene.attested().await;
    scene.assert_released(&before, "tls.key", "first").await;
    scene.amend(&scene.row().await, "tls.key", set("second")).await.unwrap();
    scene.assert_nothing_new(&scene.broker, &before).await;
    let after = scene.attested().await;
    scene.assert_released(&after, "tls.key", "second").await;
    scene.assert_released(&after, "token", "other").await;
    // A second process has no other view.
    let broker = scene.world.broker_over(Arc::clone(&scene.store));
    assert_eq!(rvp::resource(&broker, &after, "tls.key").await.unwrap(), "second");
    scene.assert_nothing_new(&broker, &before).await;
}

async fn a_change_adds_and_deletes_one_secret_alone<S: Home + OperatorStore>() {
    let scene = Scene::<S>::new().await;
    let added = scene.amend(&scene.row().await, "new", set("third")).await.unwrap();
    let deleted = scene.amend(&added, "tls.key", Change::Delete).await.unwrap();
    assert_eq!(deleted.secrets.keys().collect::<Vec<_>>(), ["new", "token"]);
    let session = scene.attested().await;
    scene.assert_released(&session, "new", "third").await;
    scene.assert_released(&session, "token", "other").await;
    let error = rvp::resource(&scene.broker, &session, "tls.key").await.unwrap_err();
    assert!(matches!(error, Error::NoSecret { .. }), "{error:?}");
}

async fn a_change_leaves_requirements_owner_and_times_as_they_were<S: Home + OperatorStore>() {
    let scene = Scene::<S>::new().await;
    scene.attested().await;
    let id = scene.guest.workload_id();
    scene.store.revoke(&id, &scene.act(Decision::Revoked)).await.unwrap();
    let before = scene.row().await;
    assert!(before.released_at.is_some() && before.revoked_at.is_some());
    scene.world.hardware.clock.advance(jiff::SignedDuration::from_hours(1));
    scene.amend(&before, "tls.key", set("second")).await.unwrap();
    let after = scene.row().await;
    let (old, new) = (read(&before), read(&after));
    assert_ne!(old.serial, new.serial);
    assert_eq!(Registration { serial: old.serial, ..new }, old);
    let rest = |row: &Workload| -> [Option<Timestamp>; 3] {
        [Some(row.first_registered_at), row.released_at, row.revoked_at]
    };
    assert_eq!((rest(&before), before.restored_by), (rest(&after), after.restored_by));
    // Revoked, it releases nothing under its new registration either.
    let challenge = rvp::challenge(&scene.broker).await;
    let attest = rvp::attest(&scene.world, &scene.broker, &challenge, scene.guest.to_bytes());
    assert!(matches!(attest.await, Err(Error::Refused { .. })));
}

fn read(workload: &Workload) -> Registration {
    workload.read().unwrap().registration().clone()
}

async fn a_change_lets_nobody_replace_the_registration<S: Home + OperatorStore>() {
    let scene = Scene::<S>::new().await;
    scene.amend(&scene.row().await, "tls.key", set("second")).await.unwrap();
    let row = scene.row().await;
    // In the very minute of the first registration, with the same requirements, and as another dialect's.
    let again = rvp::by_reference_values(scene.guest, &RESOURCES);
    let libkrun = request(scene.guest.workload_id().as_str(), PASSPHRASE);
    for request in [again, libkrun] {
        let error = scene.broker.register.register(request).await.unwrap_err();
        assert!(matches!(error, Error::AlreadyRegistered { .. }), "{error:?}");
    }
    assert_eq!(scene.row().await, row);
}

async fn of_two_changes_of_one_row_the_second_is_refused<S: Home + OperatorStore>() {
    let scene = Scene::<S>::new().await;
    let seen = scene.row().await;
    let first = scene.amend(&seen, "tls.key", set("second")).await.unwrap();
    assert_eq!(scene.amend(&seen, "token", set("third")).await, Err(StoreError::Conflict));
    assert_eq!(scene.row().await, first);
}

/// A guest that is revoked, and a first guest that attests, while the operator thinks.
async fn a_change_takes_back_nothing_that_happens_meanwhile<S: Home + OperatorStore>() {
    let scene = Scene::<S>::new().await;
    let seen = scene.row().await;
    scene.attested().await;
    scene.store.revoke(&seen.id, &scene.act(Decision::Revoked)).await.unwrap();
    let meanwhile = scene.row().await;
    assert!(seen.released_at.is_none() && meanwhile.released_at.is_some());
    scene.amend(&seen, "tls.key", set("second")).await.unwrap();
    let after = scene.row().await;
    assert_eq!((after.released_at, after.revoked_at), (meanwhile.released_at, meanwhile.revoked_at));
}

/// By somebody who can write the store, for a guest of theirs: with several secrets, and with one that the
/// operator replaces.
#[tokio::test]
async fn an_altered_registration_is_not_rewrapped() {
    for (resources, change) in
        [(&RESOURCES[..], set("second")), (&RESOURCES[..], Change::Delete), (&RESOURCES[..1], set("second"))]
    {
        let world = World::new().await;
        let guest = rvp::registered(&world.broker(), resources).await;
        let world = world.altered(|transaction| {
            edit(transaction, "workloads", guest.workload_id().as_str(), |row| {
                let mut row = row.unwrap();
                let bytes = BASE64.decode(row["registration"].as_str().unwrap().as_bytes()).unwrap();
                let text = String::from_utf8(bytes).unwrap().replace(&"4d".repeat(48), &"66".repeat(48));
                row["registration"] = json!(BASE64.encode(text.as_bytes()));
                Some(row)
            });
        });
        let altered = world.store.workloads(None).await.unwrap().rows.remove(0);
        let refused = amended(&altered, "tls.key", change, world.key.as_ref()).await;
        assert_eq!(refused, Err(AmendError::Key(KeyError::Mismatch)));
    }
}

#[tokio::test]
async fn a_change_that_no_guest_could_see_is_refused() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("image").await;
    let guest = rvp::registered(&broker, &RESOURCES).await;
    let alone = rvp::registered(&broker, &RESOURCES[..1]).await;
    let bare = rvp::registered(&broker, &[]).await;
    let many: Vec<_> = (0..16).map(|number| format!("r{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "x")).collect();
    let full = rvp::registered(&broker, &many).await;
    let long = Change::Set(Secret::new(vec![0; 4001]));
    for (id, name, change, error) in [
        (workload_id("image"), "passphrase", set("x"), AmendError::Passphrase),
        (guest.workload_id(), "a b", set("x"), AmendError::Name),
        (guest.workload_id(), "..", set("x"), AmendError::Name),
        (guest.workload_id(), "repository/type/tag", set("x"), AmendError::Name),
        (guest.workload_id(), "tls.key", set(""), AmendError::Length),
        (guest.workload_id(), "tls.key", long, AmendError::Length),
        (guest.workload_id(), "nothing", Change::Delete, AmendError::Absent),
        (alone.workload_id(), "tls.key", Change::Delete, AmendError::Last),
        (bare.workload_id(), "tls.key", set("x"), AmendError::Unproven),
        (full.workload_id(), "r16", set("x"), AmendError::Count),
    ] {
        let row = world.store.workload(&id).await.unwrap().unwrap();
        assert_eq!(amended(&row, name, change, world.key.as_ref()).await, Err(error), "{id} {name}");
    }
}

macro_rules! on_both_stores {
    ($($test:ident)*) => {
        mod embedded {
            $(#[tokio::test]
            async fn $test() {
                super::$test::<keybroker_embedded::store::EmbeddedStore>().await;
            })*
        }
        mod dynamodb {
            $(#[tokio::test]
            async fn $test() {
                super::$test::<super::moto::Store>().await;
            })*
        }
    };
}

on_both_stores! {
    a_session_from_before_a_change_gets_nothing_new
    a_change_adds_and_deletes_one_secret_alone
    a_change_leaves_requirements_owner_and_times_as_they_were
    a_change_lets_nobody_replace_the_registration
    of_two_changes_of_one_row_the_second_is_refused
    a_change_takes_back_nothing_that_happens_meanwhile
}
