//! Registering, and registering again.

use std::sync::Arc;

use jiff::Timestamp;
use keybroker_common::{
    admission::Admission,
    audit::{AuditRecord, Decision, Operation},
    broker::{Credential, Error, RegisterRequest},
    clock::Clock as _,
    requirements::{AppraisalPolicy, Measurement, ReferenceValues},
    store::{RevocationStore, WorkloadStore},
    workload::Registration,
};
use keybroker_testing::{
    clock::{BEGIN, days, minutes, seconds},
    guest::{KEY, evidence, evidence_with},
    world::{Broker, PASSPHRASE, World, request, workload_id},
};
use tokio::task::JoinSet;

const WINDOW_OVER: &str = "the build window of 30 minutes from the first registration is over";
const RELEASED: &str = "a guest has attested as this workload: its registration is final";
const OTHER: &str = "the registration asks for another measurement or policy than the one that is there";
const OTHER_OWNER: &str = "the registration that is there is another owner's";

async fn assert_taken(world: &World, broker: &Broker, request: RegisterRequest, cause: &str) {
    let before = world.store.workload(&request.workload_id).await.unwrap();
    let id = request.workload_id.clone();
    let error = broker.register.register(request).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyRegistered { .. }), "{error:?}");
    world.assert_recorded(&error, "replacement", cause);
    assert_eq!(world.store.workload(&id).await.unwrap(), before, "the row is as it was");
}

#[tokio::test]
async fn a_registration_is_stored_wrapped() {
    let world = World::new().await;
    let broker = world.broker();
    let registered = broker.registered("a").await;
    assert!(!registered.replaced);
    let row = world.store.workload(&workload_id("a")).await.unwrap().unwrap();
    let text = serde_json::to_string(&row).unwrap();
    assert!(
        !text.contains(PASSPHRASE) && !text.contains(&data_encoding::BASE64.encode(PASSPHRASE.as_bytes()))
    );
    assert_eq!((row.first_registered_at, row.released_at, row.revoked_at), (BEGIN, None, None));
    let registration = Registration::from_bytes(&row.registration).unwrap();
    assert_eq!(registration.reference_values, request("a", "").reference_values);
    let record = world.audit().pop().unwrap();
    assert_eq!((record.id, record.registration), (registered.id, Some(row.digest())));
}

/// As `buildah build --layers` does: the last one wins.
#[tokio::test]
async fn a_build_may_register_again() {
    let world = World::new().await;
    let broker = world.broker();
    broker.register.register(request("a", "first")).await.unwrap();
    world.hardware.clock.set(BEGIN + minutes(30) - seconds(1));
    assert!(broker.registered("a").await.replaced);
    let session = broker.attested(&world.hardware, "a").await;
    assert_eq!(broker.fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE);
}

#[tokio::test]
async fn the_window_ends_to_the_second_and_no_replacement_extends_it() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    for minute in [10, 20, 29] {
        world.hardware.clock.set(BEGIN + minutes(minute));
        assert!(broker.registered("a").await.replaced);
    }
    world.hardware.clock.set(BEGIN + minutes(30));
    assert_taken(&world, &broker, request("a", "late"), WINDOW_OVER).await;
}

/// Begun by a clock that ran ahead by a month and was put right: a window is not open for a month.
#[tokio::test]
async fn a_window_of_a_clock_that_ran_ahead_ends_once_it_is_put_right() {
    let world = World::new().await;
    let broker = world.broker();
    world.hardware.clock.set(BEGIN + days(30));
    broker.registered("a").await;
    world.hardware.clock.set(BEGIN + days(30) - minutes(5));
    assert!(broker.registered("a").await.replaced, "clocks differ by minutes");
    world.hardware.clock.set(BEGIN);
    assert_taken(&world, &broker, request("a", "early"), WINDOW_OVER).await;
}

#[tokio::test]
async fn a_replacement_may_change_the_secret_alone() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let measurements =
        |all: Vec<[u8; 48]>| ReferenceValues { measurements: all.into_iter().map(Measurement).collect() };
    for reference_values in
        [measurements(vec![[1; 48]]), measurements(vec![[0x4D; 48], [1; 48]]), measurements(vec![])]
    {
        let other = RegisterRequest { reference_values, ..request("a", PASSPHRASE) };
        assert_taken(&world, &broker, other, OTHER).await;
    }
    let policy = AppraisalPolicy { forbid_smt: true, ..AppraisalPolicy::default() };
    assert_taken(&world, &broker, RegisterRequest { policy, ..request("a", PASSPHRASE) }, OTHER).await;
}

#[tokio::test]
async fn the_first_guest_ends_the_window() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let session = broker.attested(&world.hardware, "a").await;
    assert_taken(&world, &broker, request("a", "mine"), RELEASED).await;
    assert_eq!(broker.fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE);
    let at = |world: &World| {
        let (store, id) = (world.store.clone(), workload_id("a"));
        async move { store.workload(&id).await.unwrap().unwrap().released_at }
    };
    assert_eq!(at(&world).await, Some(BEGIN));
    // Nor does a later guest move it.
    world.hardware.clock.advance(seconds(7));
    broker.attested(&world.hardware, "a").await;
    assert_eq!(at(&world).await, Some(BEGIN));
}

#[tokio::test]
async fn a_guest_that_was_refused_does_not_end_the_window() {
    let world = World::new().await;
    let broker = world.broker();
    broker.register.register(request("a", "first")).await.unwrap();
    let challenge = broker.challenge("a").await;
    let bad = evidence_with(&world.hardware.chip, &KEY, &challenge, |fields| fields.vmpl = 3);
    broker.refused(&challenge, bad).await;
    assert!(broker.registered("a").await.replaced);
}

#[tokio::test]
async fn a_revoked_id_is_taken_for_good() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let record = AuditRecord::new(world.hardware.clock.now(), Operation::Operate, Decision::Revoked);
    world.store.revoke(&workload_id("a"), &record).await.unwrap();
    assert_taken(&world, &broker, request("a", PASSPHRASE), "the workload is revoked").await;
}

/// One row, whole, from one of them; and each of them was told the truth.
#[tokio::test]
async fn registrations_at_once_leave_one_whole_row() {
    let world = World::new().await;
    let broker = Arc::new(world.broker());
    let mut builds = JoinSet::new();
    for number in 0..8 {
        let broker = Arc::clone(&broker);
        builds.spawn(async move {
            (number, broker.register.register(request("a", &format!("passphrase {number}"))).await)
        });
    }
    let outcomes = builds.join_all().await;
    assert_eq!(outcomes.iter().filter(|(_, one)| matches!(one, Ok(one) if !one.replaced)).count(), 1);
    let written: Vec<u8> =
        outcomes.iter().filter(|(_, one)| one.is_ok()).map(|(number, _)| *number).collect();
    for (_, outcome) in outcomes {
        assert!(matches!(outcome, Ok(_) | Err(Error::AlreadyRegistered { .. })), "{outcome:?}");
    }
    let records = world.audit();
    assert_eq!(records.len(), 8, "each has one record");
    let session = broker.attested(&world.hardware, "a").await;
    let passphrase = broker.fetch(&session, "a", &KEY).await.unwrap();
    assert!(written.iter().any(|number| passphrase == format!("passphrase {number}")), "{passphrase}");
}

/// Replaced while its guest was being verified: the guest was held to requirements that no longer have a
/// secret.
#[tokio::test]
async fn a_registration_replaced_during_attestation_attests_nobody() {
    let world = World::new().await;
    let broker = Arc::new(world.broker());
    broker.register.register(request("a", "first")).await.unwrap();
    let challenge = broker.challenge("a").await;
    world.hardware.kds.hold();
    let guest = {
        let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
        let (broker, session_id) = (Arc::clone(&broker), challenge.session_id.clone());
        tokio::spawn(async move { broker.attest.attest(&session_id, evidence).await })
    };
    world.hardware.kds.arrived(keybroker_simulator::kds::Kind::Vcek, 1).await;
    assert!(broker.registered("a").await.replaced);
    world.hardware.kds.release();
    let error = guest.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Refused { .. }));
    world.assert_recorded(&error, "workload", "the registration was replaced meanwhile");
    // The build goes on, and so do its guests.
    assert!(broker.registered("a").await.replaced);
    broker.attested(&world.hardware, "a").await;
}

/// `None` where a clock would be needed: the window is counted from the row, not from the process.
#[tokio::test]
async fn the_window_outlives_a_restart() {
    let world = World::new().await;
    world.broker().registered("a").await;
    world.hardware.clock.set(BEGIN + minutes(29));
    assert!(world.broker().registered("a").await.replaced);
    world.hardware.clock.set(Timestamp::MAX);
    assert_taken(&world, &world.broker(), request("a", PASSPHRASE), WINDOW_OVER).await;
}

/// A broker that registers for authenticated principals alone.
fn closed(world: &World) -> Broker {
    let mut broker = world.broker();
    broker.register.admission = Admission { iam: true, ..Admission::NONE };
    broker
}

fn owned(id: &str, passphrase: &str, owner: &str) -> RegisterRequest {
    RegisterRequest { credential: Credential::Principal(owner.to_owned()), ..request(id, passphrase) }
}

#[tokio::test]
async fn nobody_registers_where_principals_alone_may() {
    let world = World::new().await;
    let error = closed(&world).register.register(request("a", "p")).await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error:?}");
    world.assert_recorded(&error, "principal", "nobody was authenticated");
    assert_eq!(world.store.workload(&workload_id("a")).await.unwrap(), None);
}

#[tokio::test]
async fn a_principal_owns_what_it_registers() {
    let world = World::new().await;
    closed(&world).register.register(owned("a", "p", "alice")).await.unwrap();
    let row = world.store.workload(&workload_id("a")).await.unwrap().unwrap();
    assert_eq!(Registration::from_bytes(&row.registration).unwrap().owner.as_deref(), Some("alice"));
    assert_eq!(world.audit().pop().unwrap().principal.as_deref(), Some("alice"));
}

#[tokio::test]
async fn an_owner_replaces_at_any_time_and_changes_what_it_likes() {
    let world = World::new().await;
    let broker = closed(&world);
    broker.register.register(owned("a", "first", "alice")).await.unwrap();
    world.hardware.clock.set(BEGIN + minutes(31));
    let session = broker.attested(&world.hardware, "a").await;
    let reference_values = ReferenceValues { measurements: vec![Measurement([1; 48])] };
    let second = RegisterRequest { reference_values, ..owned("a", "second", "alice") };
    assert!(broker.register.register(second).await.unwrap().replaced);
    // A guest that attested under the earlier registration gets nothing of the later, whose build begins
    // here.
    let error = broker.fetch(&session, "a", &KEY).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    let cause = "the registration was replaced or altered since the guest attested";
    world.assert_recorded(&error, "workload", cause);
    let row = world.store.workload(&workload_id("a")).await.unwrap().unwrap();
    assert_eq!((row.first_registered_at, row.released_at), (BEGIN + minutes(31), None));
}

#[tokio::test]
async fn nobody_else_replaces_what_is_owned() {
    let world = World::new().await;
    let broker = closed(&world);
    broker.register.register(owned("a", "first", "alice")).await.unwrap();
    assert_taken(&world, &broker, owned("a", "mine", "mallory"), OTHER_OWNER).await;
    assert_taken(&world, &world.broker(), request("a", "mine"), OTHER_OWNER).await;
    // Where anybody may register, a name that the request brings along counts for nothing.
    assert_taken(&world, &world.broker(), owned("a", "mine", "alice"), OTHER_OWNER).await;
}

#[tokio::test]
async fn not_even_its_owner_brings_a_revoked_workload_back() {
    let world = World::new().await;
    let broker = closed(&world);
    broker.register.register(owned("a", "first", "alice")).await.unwrap();
    let audit = AuditRecord::new(BEGIN, Operation::Operate, Decision::Revoked);
    world.store.revoke(&workload_id("a"), &audit).await.unwrap();
    assert_taken(&world, &broker, owned("a", "second", "alice"), "the workload is revoked").await;
}
