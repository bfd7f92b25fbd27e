//! The guests that get a secret from a session, and those that do not.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use keybroker_common::{
    audit::{AuditRecord, Decision, Operation},
    broker::{Error, RegisterRequest},
    clock::Clock as _,
    ids::SessionId,
    secret::{EncryptionContext, KeyError, Secret, Unwrap, Wrap, WrappedSecret},
    store::{RevocationStore, WorkloadStore},
};
use keybroker_testing::{
    clock::seconds,
    guest::{KEY, OTHER_KEY, evidence_with},
    world::{Broker, PASSPHRASE, TTL, World, request, stranger, workload_id},
};

async fn attested() -> (World, Broker, SessionId) {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let session = broker.attested(&world.hardware, "a").await;
    (world, broker, session)
}

#[tokio::test]
async fn the_guest_that_attested_gets_its_secret_and_can_ask_again() {
    let (world, broker, session) = attested().await;
    for _ in 0..2 {
        assert_eq!(broker.fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE);
        // Sealed to its key: a thief of the session id has nothing to open it with.
        assert_ne!(broker.fetch(&session, "a", &OTHER_KEY).await.unwrap(), PASSPHRASE);
    }
    assert_eq!(world.broker().fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE, "another process");
}

#[tokio::test]
async fn a_challenge_is_no_session() {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered("a").await;
    let challenge = broker.challenge("a").await;
    let error = broker.fetch(&challenge.session_id, "a", &KEY).await.unwrap_err();
    assert!(matches!(error, Error::NoSession { id: Some(_) }));
    world.assert_recorded(&error, "session", "no guest has attested under this session");
    // Nor is a refusal.
    let bad = evidence_with(&world.hardware.chip, &KEY, &challenge, |fields| fields.vmpl = 1);
    broker.refused(&challenge, bad).await;
    let error = broker.fetch(&challenge.session_id, "a", &KEY).await.unwrap_err();
    assert!(matches!(error, Error::NoSession { id: Some(_) }));
    let error = broker.fetch(&stranger(), "a", &KEY).await.unwrap_err();
    assert_eq!(error, Error::NoSession { id: None });
}

#[tokio::test]
async fn a_session_expires_to_the_second() {
    let (world, broker, session) = attested().await;
    world.hardware.clock.set(world.hardware.clock.now() + TTL - seconds(1));
    assert_eq!(broker.fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE);
    world.hardware.clock.advance(seconds(1));
    let end = world.hardware.clock.now();
    let error = broker.fetch(&session, "a", &KEY).await.unwrap_err();
    assert!(matches!(error, Error::NoSession { .. }));
    world.assert_recorded(&error, "session", &format!("the session expired at {end}"));
}

/// Though both have the same measurement and policy, and would attest as either.
#[tokio::test]
async fn a_session_gets_no_other_workloads_secret() {
    let (world, broker, session) = attested().await;
    broker.register.register(request("b", "another")).await.unwrap();
    let error = broker.fetch(&session, "b", &KEY).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }));
    world.assert_recorded(&error, "session-workload", "the guest attested as a");
    let error = broker.fetch(&session, "nobody", &KEY).await.unwrap_err();
    world.assert_recorded(&error, "session-workload", "the guest attested as a");
    // A refusal takes nothing from the session.
    assert_eq!(broker.fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE);
}

#[tokio::test]
async fn a_secret_that_is_not_there() {
    let world = World::new().await;
    let broker = world.broker();
    let secrets = BTreeMap::from([("other".to_owned(), Secret::new(b"s".to_vec()))]);
    broker.register.register(RegisterRequest { secrets, ..request("a", PASSPHRASE) }).await.unwrap();
    let session = broker.attested(&world.hardware, "a").await;
    let error = broker.fetch(&session, "a", &KEY).await.unwrap_err();
    assert!(matches!(error, Error::NoSecret { .. }));
    world.assert_recorded(&error, "secret", "the workload has no secret of this name");
}

#[tokio::test]
async fn revocation_ends_sessions_too() {
    let (world, broker, session) = attested().await;
    let record = AuditRecord::new(world.hardware.clock.now(), Operation::Operate, Decision::Revoked);
    world.store.revoke(&workload_id("a"), &record).await.unwrap();
    let revoked = format!("the workload is revoked since {}", record.time);
    let error = broker.fetch(&session, "a", &KEY).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }));
    world.assert_recorded(&error, "workload", &revoked);

    let challenge = broker.challenge("a").await;
    let evidence = keybroker_testing::guest::evidence(&world.hardware.chip, &KEY, &challenge);
    let error = broker.refused(&challenge, evidence).await;
    assert!(matches!(error, Error::Refused { .. }));
    world.assert_recorded(&error, "workload", &revoked);
}

/// A wrapping key that can be out of reach, and counts nothing else.
#[derive(Debug)]
struct Flaky<K> {
    key: Arc<K>,
    down: AtomicBool,
}

impl<K> Flaky<K> {
    fn check(&self) -> Result<(), KeyError> {
        if self.down.load(Ordering::Relaxed) { Err(KeyError::Unavailable("HSM".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl<K: Wrap> Wrap for Flaky<K> {
    async fn wrap_secret(
        &self,
        context: &EncryptionContext,
        secret: &Secret,
    ) -> Result<WrappedSecret, KeyError> {
        self.check()?;
        self.key.wrap_secret(context, secret).await
    }
}

#[async_trait]
impl<K: Unwrap> Unwrap for Flaky<K> {
    async fn unwrap_secret(
        &self,
        context: &EncryptionContext,
        wrapped: &WrappedSecret,
    ) -> Result<Secret, KeyError> {
        self.check()?;
        self.key.unwrap_secret(context, wrapped).await
    }
}

#[tokio::test]
async fn an_unreachable_wrapping_key_loses_nothing() {
    let world = World::new().await;
    let key = Arc::new(Flaky { key: world.key.clone(), down: AtomicBool::new(true) });
    let broker = world.broker().with_unwrap(key.clone()).with_wrap(key.clone());
    let error = broker.register.register(request("a", PASSPHRASE)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { id: Some(_), retry_after: 5 }));
    world.assert_recorded(&error, "wrapping-key", "the wrapping key is unavailable: HSM");
    assert_eq!(world.store.workload(&workload_id("a")).await.unwrap(), None);

    key.down.store(false, Ordering::Relaxed);
    broker.registered("a").await;
    let session = broker.attested(&world.hardware, "a").await;
    key.down.store(true, Ordering::Relaxed);
    let error = broker.fetch(&session, "a", &KEY).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { id: Some(_), retry_after: 5 }));
    world.assert_recorded(&error, "wrapping-key", "the wrapping key is unavailable: HSM");

    key.down.store(false, Ordering::Relaxed);
    assert_eq!(broker.fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE);
}

#[tokio::test]
async fn a_secret_wrapped_with_another_key_is_refused() {
    let (world, broker, session) = attested().await;
    let other = World::new().await;
    let broker = broker.with_unwrap(other.key.clone());
    let error = broker.fetch(&session, "a", &KEY).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }));
    let cause = format!("the secret was wrapped with the key {}, which is not at hand", world.key.key_id());
    world.assert_recorded(&error, "wrapped-secret", &cause);
}
