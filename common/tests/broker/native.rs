//! Release over the broker's own protocol: one request, all secrets or none.

use std::sync::Arc;

use async_trait::async_trait;
use keybroker_common::{
    audit::{AuditRecord, Decision, Operation},
    broker::Error,
    ids::AuditId,
    requirements::BoundBy,
    secret::{EncryptionContext, KeyError, Secret, Unwrap, WrappedSecret},
    store::RevocationStore as _,
    wire::native,
};
use keybroker_embedded::store::EmbeddedStore;
use keybroker_initdata::{Algorithm, KeyId};
use keybroker_native::{AnswerError, Ask, Evidence, Suite, client};
use keybroker_simulator::{kds::Kind, report::ReportFields};
use keybroker_testing::{
    clock::{BEGIN, seconds},
    faulty::{FaultyStore, Method, When},
    native::{Guest, challenge, opened, read, with_init_data},
    world::{Broker, TTL, World, workload_id},
};
use tokio::task::JoinSet;

const SECRETS: [(&str, &str); 2] = [("passphrase", "of the disk"), ("tls.key", "of the server")];

async fn registered(broker: &Broker, bound_by: BoundBy) {
    broker.register.register(with_init_data("web", bound_by, &SECRETS)).await.unwrap();
}

async fn refused(world: &World, broker: &Broker, guest: &Guest, check: &str, cause: &str) {
    refused_with(world, broker, guest, |_| {}, check, cause).await;
}

async fn refused_with(
    world: &World,
    broker: &Broker,
    guest: &Guest,
    alter: impl FnOnce(&mut ReportFields),
    check: &str,
    cause: &str,
) {
    let challenge = challenge(broker).await;
    let (_, body) = guest.asks(world, &challenge, alter);
    let (session_id, request) = read(&body);
    let error = broker.attest.release_secrets(&session_id, request.clone()).await.unwrap_err();
    assert_eq!(error, Error::Refused { id: AuditId::of(&session_id) });
    let decision = world.decision(&session_id).await.unwrap();
    assert_eq!(
        (decision.record.operation, decision.record.decision),
        (Operation::Release, Decision::Refused)
    );
    assert!(decision.session.is_none());
    let failed = decision.record.failed.unwrap();
    assert_eq!(failed.check, check, "{}", failed.cause);
    assert!(failed.cause.contains(cause), "{}", failed.cause);
    // A refusal is the decision: nothing is answered by that challenge again.
    let (_, sound) = guest.asks(world, &challenge, |_| {});
    let again = broker.attest.release_secrets(&session_id, read(&sound).1).await.unwrap_err();
    assert!(matches!(again, Error::NoSession { id: Some(_) }), "{again:?}");
}

#[tokio::test]
async fn a_guest_gets_all_that_it_asks_for_in_its_order() {
    let world = World::new().await;
    let broker = world.broker();
    registered(&broker, BoundBy::HostData).await;
    for suite in Suite::ALL {
        let guest = Guest { suite, ..Guest::new(&world, "web", &["tls.key", "passphrase"]) };
        let opened = guest.boots(&world, &broker).await.unwrap();
        let clear: Vec<_> = opened.secrets.iter().map(|secret| secret.as_slice()).collect();
        assert_eq!(clear, [b"of the server".as_slice(), b"of the disk"]);
        let record =
            world.audit().into_iter().find(|record| record.id.to_string() == opened.decision).unwrap();
        assert_eq!((record.operation, record.decision), (Operation::Release, Decision::Released));
        assert_eq!(record.secrets, ["tls.key", "passphrase"]);
        assert!(record.basis.is_some() && record.evidence.unwrap().verified);
    }
    let one = Guest::new(&world, "web", &["passphrase"]).boots(&world, &broker).await.unwrap();
    assert_eq!(one.secrets.len(), 1);
}

/// The workload's row says that a guest attested.
#[tokio::test]
async fn the_first_release_is_noted() {
    let world = World::new().await;
    let broker = world.broker();
    registered(&broker, BoundBy::HostData).await;
    Guest::new(&world, "web", &["passphrase"]).boots(&world, &broker).await.unwrap();
    let row = broker.attest.workloads.workload(&workload_id("web")).await.unwrap().unwrap();
    assert!(row.released_at.is_some());
}

#[tokio::test]
async fn init_data_must_be_what_was_registered() {
    let world = World::new().await;
    let broker = world.broker();
    registered(&broker, BoundBy::HostData).await;
    let sound = Guest::new(&world, "web", &["passphrase"]);
    let other = Algorithm::Sha256.digest("another document");
    // The guest of another document, launched as such.
    let foreign = Guest { init_data: other.clone(), host_data: other.host_data(), ..sound.clone() };
    refused(&world, &broker, &foreign, "init-data", "HOST_DATA is").await;
    // The host copied HOST_DATA: the guest says which document it has.
    let copied = Guest { init_data: other.clone(), ..sound.clone() };
    refused(&world, &broker, &copied, "init-data", "the guest's init data is sha256:").await;
    // The guest says the right document, and was launched for another.
    let launched = Guest { host_data: other.host_data(), ..sound.clone() };
    refused(&world, &broker, &launched, "init-data", "HOST_DATA is").await;
    let unbound = Guest { host_data: [0; 32], ..sound.clone() };
    refused(&world, &broker, &unbound, "init-data", "HOST_DATA is").await;
    sound.boots(&world, &broker).await.unwrap();
}

#[tokio::test]
async fn init_data_that_is_measured_or_unbound_is_still_named() {
    let world = World::new().await;
    for bound_by in [BoundBy::Measurement, BoundBy::Nothing] {
        let broker = world.broker();
        let id = format!("{bound_by:?}");
        broker.register.register(with_init_data(&id, bound_by, &SECRETS)).await.unwrap();
        let sound = Guest { host_data: [7; 32], ..Guest::new(&world, &id, &["passphrase"]) };
        sound.boots(&world, &broker).await.unwrap();
        let other = Algorithm::Sha384.digest("the guest's document");
        let foreign = Guest { init_data: other, ..sound };
        refused(&world, &broker, &foreign, "init-data", "the guest's init data is sha384:").await;
    }
}

#[tokio::test]
async fn everything_that_refuses_other_guests_refuses_these() {
    let world = World::new().await;
    let broker = world.broker();
    registered(&broker, BoundBy::HostData).await;
    let guest = Guest::new(&world, "web", &["passphrase"]);
    type Alter = fn(&mut ReportFields);
    let rows: [(&str, Alter); 5] = [
        ("measurement", |fields| fields.measurement = [1; 48]),
        ("guest-policy-debug", |fields| fields.policy |= 1 << 19),
        ("guest-policy-migrate-ma", |fields| fields.policy |= 1 << 18),
        ("vmpl", |fields| fields.vmpl = 1),
        ("challenge", |fields| fields.report_data[63] ^= 1),
    ];
    for (check, alter) in rows {
        refused_with(&world, &broker, &guest, alter, check, "").await;
    }
    guest.boots(&world, &broker).await.unwrap();
}

/// The report is bound to the request: no field of it can be another when it arrives.
#[tokio::test]
async fn a_request_that_was_altered_on_its_way_is_refused() {
    let world = World::new().await;
    let broker = world.broker();
    registered(&broker, BoundBy::HostData).await;
    broker.register.register(with_init_data("other", BoundBy::HostData, &SECRETS)).await.unwrap();
    let guest = Guest::new(&world, "web", &["passphrase"]);
    let key = KeyId::from_bytes([9; 32]).to_string();
    let theirs = Suite::P384.generate().unwrap().0;
    let edits: [(&str, serde_json::Value); 5] = [
        ("workload", "other".into()),
        ("secrets", vec!["passphrase", "tls.key"].into()),
        ("public_key", data_encoding::BASE64URL_NOPAD.encode(&theirs).into()),
        ("broker_keys", vec![guest.broker_keys[0].to_string(), key].into()),
        ("init_data", serde_json::json!({"algorithm": "sha256", "digest": "00".repeat(32)})),
    ];
    for (field, value) in edits {
        let challenge = challenge(&broker).await;
        let (_, body) = guest.asks(&world, &challenge, |_| {});
        let mut body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        body[field] = value;
        let (session_id, request) = read(&serde_json::to_vec(&body).unwrap());
        let error = broker.attest.release_secrets(&session_id, request).await.unwrap_err();
        let Error::Refused { id } = error else { panic!("{field}: {error:?}") };
        let record = world.store.audit_record(id).unwrap().unwrap();
        assert_eq!(record.failed.unwrap().check, "challenge", "{field}");
    }
}

#[tokio::test]
async fn an_answer_to_another_challenge_is_not_opened() {
    let world = World::new().await;
    let broker = world.broker();
    registered(&broker, BoundBy::HostData).await;
    let guest = Guest::new(&world, "web", &["passphrase"]);
    let (first, body) = guest.asks(&world, &challenge(&broker).await, |_| {});
    let (second, _) = guest.asks(&world, &challenge(&broker).await, |_| {});
    let (session_id, request) = read(&body);
    let answer = broker.attest.release_secrets(&session_id, request).await.unwrap().to_json();
    assert_eq!(opened(&world, second, &answer).unwrap_err(), AnswerError::Signature);
    opened(&world, first, &answer).unwrap();
}

#[tokio::test]
async fn a_challenge_is_answered_once() {
    let world = World::new().await;
    let broker = world.broker();
    registered(&broker, BoundBy::HostData).await;
    let guest = Guest::new(&world, "web", &["passphrase"]);
    let (_, body) = guest.asks(&world, &challenge(&broker).await, |_| {});
    let (session_id, request) = read(&body);
    broker.attest.release_secrets(&session_id, request.clone()).await.unwrap();
    let again = broker.attest.release_secrets(&session_id, request).await.unwrap_err();
    world.assert_recorded(&again, "session", "the challenge was answered before");
}

/// Nothing is decided about it, and AMD is not asked for it.
#[tokio::test]
async fn a_challenge_expires_to_the_second() {
    let world = World::new().await;
    let broker = world.broker();
    registered(&broker, BoundBy::HostData).await;
    let challenge = challenge(&broker).await;
    assert_eq!(challenge.expires_at, BEGIN + TTL);
    let guest = Guest::new(&world, "web", &["passphrase"]);
    let (pending, body) = guest.asks(&world, &challenge, |_| {});
    let (session_id, request) = read(&body);
    world.hardware.clock.set(challenge.expires_at);
    let late = broker.attest.release_secrets(&session_id, request.clone()).await.unwrap_err();
    assert!(matches!(late, Error::NoSession { .. }), "{late:?}");
    world.assert_recorded(&late, "session", &format!("the challenge expired at {}", challenge.expires_at));
    assert_eq!(world.decision(&session_id).await, None);
    assert_eq!(world.hardware.kds.requests(), []);

    world.hardware.clock.set(challenge.expires_at - seconds(1));
    let answer = broker.attest.release_secrets(&session_id, request).await.unwrap();
    assert_eq!(opened(&world, pending, &answer.to_json()).unwrap().secrets.len(), 1);
}

#[tokio::test]
async fn a_challenge_can_expire_while_kds_is_asked() {
    let world = World::new().await;
    let broker = Arc::new(world.broker());
    registered(&broker, BoundBy::HostData).await;
    let challenge = challenge(&broker).await;
    let guest = Guest::new(&world, "web", &["passphrase"]);
    let (session_id, request) = read(&guest.asks(&world, &challenge, |_| {}).1);
    world.hardware.kds.hold();
    let asking = {
        let (broker, session_id) = (Arc::clone(&broker), session_id.clone());
        tokio::spawn(async move { broker.attest.release_secrets(&session_id, request).await })
    };
    world.hardware.kds.arrived(Kind::Vcek, 1).await;
    world.hardware.clock.set(challenge.expires_at);
    world.hardware.kds.release();
    let late = asking.await.unwrap().unwrap_err();
    assert!(matches!(late, Error::NoSession { .. }), "{late:?}");
    world.assert_recorded(&late, "session", &format!("the challenge expired at {}", challenge.expires_at));
    assert_eq!(world.decision(&session_id).await, None);
}

#[tokio::test]
async fn secrets_that_are_not_there_and_keys_that_nobody_holds_are_refused() {
    let world = World::new().await;
    let broker = world.broker();
    registered(&broker, BoundBy::HostData).await;
    let sound = Guest::new(&world, "web", &["passphrase"]);
    let more = Guest::new(&world, "web", &["passphrase", "nothing"]);
    refused(&world, &broker, &more, "secret", "no secret of the name nothing").await;
    let elsewhere = Guest { broker_keys: vec![KeyId::from_bytes([9; 32])], ..sound.clone() };
    refused(&world, &broker, &elsewhere, "broker-signing-key", "none of the keys").await;
    let nobody = Guest { workload: "nobody".to_owned(), ..sound };
    refused(&world, &broker, &nobody, "workload", "no workload is registered").await;
}

#[tokio::test]
async fn a_revoked_workload_releases_nothing() {
    let world = World::new().await;
    let broker = world.broker();
    registered(&broker, BoundBy::HostData).await;
    let guest = Guest::new(&world, "web", &["passphrase"]);
    guest.boots(&world, &broker).await.unwrap();
    let id = workload_id("web");
    let record = AuditRecord::new(
        keybroker_common::clock::Clock::now(&*world.hardware.clock),
        Operation::Operate,
        Decision::Revoked,
    );
    world.store.revoke(&id, &record).await.unwrap();
    refused(&world, &broker, &guest, "workload", "is revoked since").await;
}

/// The put may have landed although its store failed: nothing left, and that is on record.
#[tokio::test]
async fn a_decision_whose_store_failed_releases_nothing() {
    for when in [When::Before, When::After] {
        let world = World::new().await;
        let store = EmbeddedStore::open(&world.dir().join("faulty"), world.hardware.clock.clone()).unwrap();
        let store = Arc::new(FaultyStore::new(store));
        let broker = world.broker_over(store.clone());
        registered(&broker, BoundBy::HostData).await;
        store.fail(Method::Decide, 1, when);
        let guest = Guest::new(&world, "web", &["passphrase"]);
        let error = guest.boots(&world, &broker).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { id: Some(_), .. }), "{error:?}");
        let Error::Unavailable { id: Some(id), .. } = error else { panic!("{error:?}") };
        // Beside the release that may be on record, there is one that says that nothing left.
        let record = store.inner().audit_record(id).unwrap().unwrap();
        assert_eq!(
            (record.decision, record.failed.unwrap().check.as_str()),
            (Decision::Unavailable, "store")
        );
        // The guest asks with another challenge.
        guest.boots(&world, &broker).await.unwrap();
    }
}

/// Nothing is unwrapped and nothing recorded as released for a key that nothing can be sealed to.
#[tokio::test]
async fn a_key_that_is_no_point_is_refused() {
    let world = World::new().await;
    let broker = world.broker();
    registered(&broker, BoundBy::HostData).await;
    let guest = Guest::new(&world, "web", &["passphrase"]);
    let challenge = challenge(&broker).await;
    let given = native::challenge(&challenge, world.origin().ttl);
    let ask = Ask {
        challenge: client::Challenge::from_json(&given).unwrap().challenge,
        workload: guest.workload,
        secrets: guest.secrets,
        suite: Suite::P384,
        public_key: vec![4; 97],
        init_data: guest.init_data,
        broker_keys: guest.broker_keys,
    };
    let chip = &world.hardware.chip;
    let fields =
        ReportFields { report_data: ask.hash().0, host_data: guest.host_data, ..ReportFields::new(chip) };
    let report = fields.sign(&chip.vcek_key(chip.tcb)).to_vec();
    let body = client::request(&ask, &Evidence::of_report(report, Vec::new()));
    let (session_id, request) = read(&body);
    let error = broker.attest.release_secrets(&session_id, request).await.unwrap_err();
    world.assert_recorded(&error, "guest-key", "nothing can be sealed to the public key");
}

/// Does something to the workload's row while its secrets are unwrapped, or does not unwrap them.
#[derive(Debug)]
struct Meanwhile {
    key: Arc<dyn Unwrap>,
    store: Arc<EmbeddedStore>,
    revoked: Option<AuditRecord>,
}

#[async_trait]
impl Unwrap for Meanwhile {
    async fn unwrap_secret(
        &self,
        context: &EncryptionContext,
        wrapped: &WrappedSecret,
    ) -> Result<Secret, KeyError> {
        let secret = self.key.unwrap_secret(context, wrapped).await;
        match &self.revoked {
            Some(record) => self.store.revoke(&context.workload_id, record).await.map(|()| secret).unwrap(),
            None => Err(KeyError::Unavailable("it is switched off".to_owned())),
        }
    }
}

/// The release is on record when the secret is unwrapped. Nothing leaves, and a second record says so.
#[tokio::test]
async fn a_release_that_is_revoked_or_fails_meanwhile_does_not_leave() {
    let rows = [(true, Decision::Withheld, "workload"), (false, Decision::Unavailable, "wrapping-key")];
    for (revokes, decision, check) in rows {
        let world = World::new().await;
        let now = keybroker_common::clock::Clock::now(&*world.hardware.clock);
        let revoked = revokes.then(|| AuditRecord::new(now, Operation::Operate, Decision::Revoked));
        let key: Arc<dyn Unwrap> = world.key.clone();
        let meanwhile = Meanwhile { key, store: world.store.clone(), revoked };
        let broker = world.broker().with_unwrap(Arc::new(meanwhile));
        registered(&broker, BoundBy::HostData).await;
        let guest = Guest::new(&world, "web", &["passphrase"]);
        let challenge = challenge(&broker).await;
        let (session_id, request) = read(&guest.asks(&world, &challenge, |_| {}).1);
        let error = broker.attest.release_secrets(&session_id, request).await.unwrap_err();
        let (Error::Refused { id } | Error::Unavailable { id: Some(id), .. }) = error else {
            panic!("{error:?}")
        };
        let first = world.decision(&session_id).await.unwrap().record;
        assert_eq!(first.decision, Decision::Released);
        let second = world.store.audit_record(id).unwrap().unwrap();
        assert_eq!((second.decision, second.attestation), (decision, Some(first.id)));
        assert_eq!(second.failed.unwrap().check, check);
    }
}

/// buildah posts twice within one build; nobody builds these.
#[tokio::test]
async fn no_build_replaces_a_registration_with_init_data() {
    let world = World::new().await;
    let broker = world.broker();
    registered(&broker, BoundBy::HostData).await;
    let again =
        broker.register.register(with_init_data("web", BoundBy::HostData, &SECRETS)).await.unwrap_err();
    assert!(matches!(again, Error::AlreadyRegistered { .. }), "{again:?}");
    world.assert_recorded(
        &again,
        "replacement",
        "no build registers for this dialect: a caller must have the authority to replace it",
    );
}

/// Held at KDS, all of them have passed every look at the challenge when they come to spend it.
#[tokio::test]
async fn many_requests_at_once_have_one_winner() {
    let world = World::new().await;
    let broker = Arc::new(world.broker());
    registered(&broker, BoundBy::HostData).await;
    let guest = Guest::new(&world, "web", &["passphrase"]);
    let challenge = challenge(&broker).await;
    let (session_id, request) = read(&guest.asks(&world, &challenge, |_| {}).1);
    world.hardware.kds.hold();
    let mut guests = JoinSet::new();
    for _ in 0..8 {
        let (broker, session_id, request) = (Arc::clone(&broker), session_id.clone(), request.clone());
        guests.spawn(async move { broker.attest.release_secrets(&session_id, request).await });
    }
    world.hardware.kds.arrived(Kind::Vcek, 1).await;
    world.hardware.kds.release();
    let (won, lost): (Vec<_>, Vec<_>) = guests.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 7));
    assert!(
        lost.iter().all(|one| matches!(one, Err(Error::NoSession { .. } | Error::TooMany { .. }))),
        "{lost:?}"
    );
    let released = |record: &AuditRecord| record.decision == Decision::Released;
    assert_eq!(world.audit().iter().filter(|record| released(record)).count(), 1);
}
