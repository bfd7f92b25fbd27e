//! Sessions and challenges that somebody else made: with write access to the table, or with a stolen key.

use std::sync::Arc;

use keybroker_common::{
    audit::{AuditRecord, Decision, Operation},
    broker::Error,
    clock::Clock as _,
    decision::{AttestDecision, SealedSession},
    encoding::Base64,
    ids::{AuditId, RegistrationDigest},
    keyring::Purpose,
    session::Session,
    store::{DecisionStore, WorkloadStore},
};
use keybroker_embedded::store::EmbeddedStore;
use keybroker_testing::{
    clock::seconds,
    forged,
    guest::{KEY, OTHER_KEY, evidence},
    sample,
    world::{Broker, PASSPHRASE, TTL, World, workload_id},
};

/// A broker over a store of its own, whose rings the test knows if it planted them.
struct Scene {
    world: World,
    store: Arc<EmbeddedStore>,
    broker: Broker,
}

impl Scene {
    async fn new(known: &[Purpose]) -> Self {
        let world = World::new().await;
        let clock = world.hardware.clock.clone();
        let store = Arc::new(EmbeddedStore::open(&world.dir().join("forged"), clock.clone()).unwrap());
        for purpose in known {
            forged::plant(store.as_ref(), *purpose, &world.key.keyring(*purpose), clock.now()).await;
        }
        let broker = world.broker_over(Arc::clone(&store));
        broker.registered("a").await;
        Self { world, store, broker }
    }

    /// The row that a person with write access puts under the id of a challenge that he was given: a session
    /// of a key of his own.
    async fn made_up(&self) -> (keybroker_common::ids::SessionId, SealedSession, AttestDecision) {
        let challenge = self.broker.challenge("a").await;
        let row = self.store.workload(&workload_id("a")).await.unwrap().unwrap();
        let now = self.world.hardware.clock.now();
        let record = AuditRecord {
            id: AuditId::of(&challenge.session_id),
            ..AuditRecord::new(now, Operation::Attest, Decision::Attested)
        };
        let guest_key = evidence(&self.world.hardware.chip, &KEY, &challenge).guest_key;
        let session = SealedSession { guest_key, expires_at: now + TTL, ..sample::session_as(&row, &record) };
        let decision = AttestDecision {
            record,
            evidence: session.evidence,
            session: Some(session.clone()),
            keep_until: now + TTL,
        };
        (challenge.session_id.clone(), session, decision)
    }
}

/// The table alone makes no session: not under a MAC that is none, nor under one of another.
#[tokio::test]
async fn a_session_that_was_written_to_the_table_does_not_count() {
    let scene = Scene::new(&[]).await;
    for key in [0, 1, 2, 7, 255] {
        let (id, session, decision) = scene.made_up().await;
        let session = Some(SealedSession { key, ..session });
        assert_eq!(scene.store.decide(&AttestDecision { session, ..decision }).await, Ok(None));
        let error = scene.broker.fetch(&id, "a", &KEY).await.unwrap_err();
        assert!(matches!(error, Error::NoSession { id: Some(_) }), "{error:?}");
    }
}

/// Each field of a genuine session, moved to another row or altered: the MAC is over all of them.
#[tokio::test]
async fn a_session_with_any_field_altered_does_not_count() {
    type Alter = fn(&mut SealedSession);
    let rows: [(&str, Alter); 10] = [
        ("workload_id", |session| session.workload_id = workload_id("b")),
        ("registration", |session| session.standing.registration = RegistrationDigest::of(b"other")),
        ("restored_by", |session| session.standing.restored_by = Some(AuditId::new())),
        ("dialect", |session| session.dialect = keybroker_common::dialect::Dialect::Keybroker),
        ("guest_key", |session| session.guest_key = sample::attest_decision(1).session.unwrap().guest_key),
        ("evidence", |session| session.evidence.0.0[0] ^= 1),
        ("attestation", |session| session.attestation = AuditId::new()),
        ("expires_at", |session| session.expires_at += seconds(1)),
        ("key", |session| session.key = session.key.wrapping_add(1)),
        ("mac", |session| session.mac = Base64([0; 32])),
    ];
    let scene = Scene::new(&[]).await;
    let session = scene.broker.attested(&scene.world.hardware, "a").await;
    let genuine = scene.store.decision(AuditId::of(&session)).await.unwrap().unwrap();
    assert_eq!(scene.broker.fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE);
    let keys = &scene.broker.attest.session_keys;
    let sealed = genuine.session.clone().unwrap();
    assert!(Session::unseal(sealed.clone(), &genuine.record, &session, keys).await.unwrap().is_some());
    for (field, alter) in rows {
        let mut altered = sealed.clone();
        alter(&mut altered);
        assert_ne!(altered, sealed, "{field}");
        assert_eq!(Session::unseal(altered, &genuine.record, &session, keys).await.unwrap(), None, "{field}");
    }
    // Nor under the id of another challenge.
    let (other, _, decision) = scene.made_up().await;
    assert_eq!(Session::unseal(sealed.clone(), &genuine.record, &other, keys).await.unwrap(), None);
    scene.store.decide(&AttestDecision { session: Some(sealed), ..decision }).await.unwrap();
    let error = scene.broker.fetch(&other, "a", &KEY).await.unwrap_err();
    assert!(matches!(error, Error::NoSession { id: Some(_) }), "{error:?}");
}

/// The documented limit: with the key of sessions, and write access to the table, a session is made without
/// a guest. The bytes of the MAC are those that a second implementation computes.
#[tokio::test]
async fn a_thief_of_the_sessions_key_needs_the_table_as_well() {
    let scene = Scene::new(&[Purpose::Session]).await;
    let (id, session, decision) = scene.made_up().await;
    let error = scene.broker.fetch(&id, "a", &KEY).await.unwrap_err();
    assert!(matches!(error, Error::NoSession { .. }), "{error:?}");
    let session = Some(forged::sealed(&id, session));
    scene.store.decide(&AttestDecision { session, ..decision }).await.unwrap();
    assert_eq!(scene.broker.fetch(&id, "a", &KEY).await.unwrap(), PASSPHRASE);
}

/// The MAC tells keys of every kind apart, also where their numbers are the same.
#[tokio::test]
async fn the_mac_is_over_the_kind_of_the_guests_key() {
    let scene = Scene::new(&[Purpose::Session]).await;
    let (id, session, decision) = scene.made_up().await;
    let keys = &scene.broker.attest.session_keys;
    let sessions = sample::guest_keys().map(|guest_key| SealedSession { guest_key, ..session.clone() });
    for genuine in sessions.each_ref().map(|session| forged::sealed(&id, session.clone())) {
        for other in &sessions {
            let session = SealedSession { guest_key: other.guest_key.clone(), ..genuine.clone() };
            let unsealed = Session::unseal(session, &decision.record, &id, keys).await.unwrap();
            assert_eq!(unsealed.is_some(), other.guest_key == genuine.guest_key);
        }
    }
}

/// A thief of the challenges' key chooses ids and so knows nonces ahead. It opens nothing without genuine
/// evidence, and then it is a boot like any other: sealed to the guest's key, and decided about once.
#[tokio::test]
async fn a_thief_of_the_challenges_key_gains_no_session() {
    let scene = Scene::new(&[Purpose::Challenge]).await;
    let given = scene.broker.challenge("a").await;
    let deployment = scene.world.store.deployment().unwrap();
    let now = scene.world.hardware.clock.now();
    let made = forged::session_id(deployment.as_str(), now, [9; 12], &workload_id("a"));
    let error = scene.broker.fetch(&made, "a", &KEY).await.unwrap_err();
    assert!(matches!(error, Error::NoSession { id: Some(_) }), "{error:?}");
    // Evidence for one challenge answers no other, whoever made its id.
    let stale = evidence(&scene.world.hardware.chip, &OTHER_KEY, &given);
    let error = scene.broker.attest.attest(&made, stale).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    let decision = scene.store.decision(AuditId::of(&made)).await.unwrap().unwrap();
    assert_eq!(decision.record.failed.unwrap().check, "challenge");
}
