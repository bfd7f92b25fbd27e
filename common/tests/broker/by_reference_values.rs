//! Registrations by reference values: the registration that HOST_DATA selects, and the guests that it never
//! admits.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use data_encoding::BASE64;
use keybroker_common::{
    audit::{Decision, Operation},
    broker::{Error, RegisterRequest},
    challenge::Claim,
    dialect::Dialect,
    encoding::Hex,
    ids::{CarriedId, HostData},
    policy::PolicyText,
    secret::{EncryptionContext, KeyError, Secret, Wrap, WrappedSecret, seal::Sealed},
    store::WorkloadStore as _,
    workload::Registration,
};
use keybroker_embedded::key::LocalKey;
use keybroker_simulator::report::ReportFields;
use keybroker_testing::{
    guest::{KEY, evidence_with},
    rvp::{attest, attested, by_reference_values, challenge, registered, resource},
    world::{PASSPHRASE, World, edit, request, workload_id},
};
use serde_json::json;

#[tokio::test]
async fn host_data_selects_the_registration_of_a_guest() {
    let world = World::new().await;
    let broker = world.broker();
    let one = registered(&broker, &[("disk", "first"), ("token", "second")]).await;
    let other = registered(&broker, &[("disk", "third")]).await;
    assert_ne!(one, other, "the same measurement, twice");

    let session = attested(&world, &broker, one).await;
    let attested_as = world.audit().pop().unwrap().evidence.unwrap();
    assert_eq!((attested_as.host_data, attested_as.id_key_digest), (Some(Hex(one.to_bytes())), None));
    assert_eq!(resource(&broker, &session, "disk").await.unwrap(), "first");
    assert_eq!(resource(&broker, &session, "token").await.unwrap(), "second");
    let session = attested(&world, &broker, other).await;
    assert_eq!(resource(&broker, &session, "disk").await.unwrap(), "third");
    let error = resource(&broker, &session, "token").await.unwrap_err();
    assert!(matches!(error, Error::NoSecret { .. }));
    world.assert_recorded(&error, "secret", "the workload has no secret of this name");
    assert_eq!(world.audit().pop().unwrap().workload_id, Some(other.workload_id()));
}

#[tokio::test]
async fn host_data_of_no_registration_selects_nothing() {
    let world = World::new().await;
    let broker = world.broker();
    let registered = registered(&broker, &[]).await;
    let mut beyond = registered.to_bytes();
    beyond[31] = 1;
    let unknown = HostData::random().to_bytes();
    for (host_data, check, cause) in [
        ([0; 32], "workload", "no workload is registered under this id"),
        (unknown, "workload", "no workload is registered under this id"),
        (beyond, "host-data", "HOST_DATA is not one that a registration was given"),
    ] {
        let error = attest(&world, &broker, &challenge(&broker).await, host_data).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }));
        world.assert_recorded(&error, check, cause);
    }
    assert!(world.hardware.kds.requests().is_empty(), "AMD is not asked for any of them");
}

/// The host gives any guest any HOST_DATA: the measurement is what is checked.
#[tokio::test]
async fn host_data_satisfies_no_check() {
    let world = World::new().await;
    let broker = world.broker();
    let host_data = registered(&broker, &[("disk", "secret")]).await;
    let challenge = challenge(&broker).await;
    let impostor = evidence_with(&world.hardware.chip, &KEY, &challenge, |fields| {
        fields.host_data = host_data.to_bytes();
        fields.measurement = [0x66; 48];
    });
    let error = broker.refused(&challenge, impostor).await;
    assert!(matches!(error, Error::Refused { .. }));
    world.assert_recorded(
        &error,
        "measurement",
        &format!("the launch measurement is {}, registered is {}", "66".repeat(48), "4d".repeat(48)),
    );
}

/// Neither kind of guest gets at the other kind's registrations.
#[tokio::test]
async fn each_guest_selects_registrations_of_its_own_kind() {
    let world = World::new().await;
    let broker = world.broker();
    let cause = "the workload is registered for another dialect";

    // libkrun's guest names a registration by reference values.
    let host_data = registered(&broker, &[("passphrase", "secret")]).await;
    let id = host_data.workload_id();
    let named = broker.auth.challenge(Claim::Named(CarriedId::new(id.clone()).unwrap())).await.unwrap();
    let error = attest(&world, &broker, &named, host_data.to_bytes()).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }));
    world.assert_recorded(&error, "workload", cause);

    // keybroker's guest has the HOST_DATA that spells the id of a workload that buildah registered.
    let buildahs = HostData::random();
    broker.registered(buildahs.workload_id().as_str()).await;
    let error = attest(&world, &broker, &challenge(&broker).await, buildahs.to_bytes()).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }));
    world.assert_recorded(&error, "workload", cause);

    // A session of either kind asks as the other kind does.
    let cause = "the guest attested in another dialect";
    let session = attested(&world, &broker, host_data).await;
    let error = broker.attest.passphrase(&session, &id).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }));
    world.assert_recorded(&error, "session", cause);
    broker.registered("a").await;
    let session = broker.attested(&world.hardware, "a").await;
    let error = resource(&broker, &session, "passphrase").await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }));
    world.assert_recorded(&error, "session", cause);
}

/// A challenge is answered in the dialect in which it was given.
#[tokio::test]
async fn the_dialect_of_a_challenge_is_that_of_its_answer() {
    let world = World::new().await;
    let broker = world.broker();
    let host_data = registered(&broker, &[]).await;
    broker.registered("a").await;
    let cause = "the challenge was given in another dialect";
    for (challenge, answered) in
        [(challenge(&broker).await, Dialect::Libkrun), (broker.challenge("a").await, Dialect::Keybroker)]
    {
        let launched = |fields: &mut ReportFields| fields.host_data = host_data.to_bytes();
        let mut evidence = evidence_with(&world.hardware.chip, &KEY, &challenge, launched);
        evidence.dialects = vec![answered];
        let error = broker.refused(&challenge, evidence).await;
        assert!(matches!(error, Error::Refused { .. }));
        world.assert_recorded(&error, "session", cause);
        assert!(world.decision(&challenge.session_id).await.is_some(), "spent");
    }
}

#[tokio::test]
async fn buildah_takes_no_id_of_a_registration_by_reference_values() {
    let world = World::new().await;
    let broker = world.broker();
    let host_data = registered(&broker, &[("disk", "secret")]).await;
    let id = host_data.workload_id();
    let before = world.store.workload(&id).await.unwrap();
    let error = broker.register.register(request(id.as_str(), PASSPHRASE)).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyRegistered { .. }));
    world.assert_recorded(
        &error,
        "replacement",
        "the id is that of a registration by reference values, or would become one",
    );
    // Nor the other way round, should a UUID ever come twice.
    broker.registered("a").await;
    let over = RegisterRequest { workload_id: workload_id("a"), ..by_reference_values(host_data, &[]) };
    assert!(matches!(broker.register.register(over).await, Err(Error::AlreadyRegistered { .. })));
    let again = broker.register.register(by_reference_values(host_data, &[])).await;
    assert!(matches!(again, Err(Error::AlreadyRegistered { .. })));
    assert_eq!(world.store.workload(&id).await.unwrap(), before);
}

/// Each resource is wrapped under its own name.
#[tokio::test]
async fn a_resource_under_another_name_opens_nothing() {
    let world = World::new().await;
    let host_data = registered(&world.broker(), &[("a", "1"), ("b", "2")]).await;
    let id = host_data.workload_id();
    let world = world.altered(|transaction| {
        edit(transaction, "workloads", id.as_str(), |row| {
            let mut row = row.unwrap();
            let secrets: BTreeMap<String, serde_json::Value> =
                serde_json::from_value(row["secrets"].clone()).unwrap();
            row["secrets"]["a"] = secrets["b"].clone();
            row["secrets"]["b"] = secrets["a"].clone();
            Some(row)
        });
    });
    let broker = world.broker();
    let session = attested(&world, &broker, host_data).await;
    for name in ["a", "b"] {
        let error = resource(&broker, &session, name).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }));
        world.assert_recorded(
            &error,
            "wrapped-secret",
            "the wrapped secret does not belong to this registration",
        );
    }
}

/// The guest attests under the policy that stands there; the resource was wrapped under another.
#[tokio::test]
async fn under_an_altered_policy_no_resource_opens() {
    let world = World::new().await;
    let demanded = |query: &str| {
        Some(PolicyText { module: None, queries: vec![query.to_owned()], reference_values: "{}".to_owned() })
    };
    let host_data = HostData::random();
    let registration = RegisterRequest {
        rego: demanded("input.snp.vmpl == 3"),
        ..by_reference_values(host_data, &[("disk", "secret")])
    };
    world.broker().register.register(registration).await.unwrap();
    let error = attest(&world, &world.broker(), &challenge(&world.broker()).await, host_data.to_bytes())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "as it was registered, it admits nobody");
    let id = host_data.workload_id();
    let world = world.altered(|transaction| {
        edit(transaction, "workloads", id.as_str(), |row| {
            let mut row = row.unwrap();
            let bytes = BASE64.decode(row["registration"].as_str().unwrap().as_bytes()).unwrap();
            let text = String::from_utf8(bytes).unwrap();
            let altered = text.replace("input.snp.vmpl == 3", "input.snp.vmpl == 0");
            assert_ne!(altered, text);
            row["registration"] = json!(BASE64.encode(altered.as_bytes()));
            Some(row)
        });
    });
    let broker = world.broker();
    let session = attested(&world, &broker, host_data).await;
    let error = resource(&broker, &session, "disk").await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }));
    world.assert_recorded(
        &error,
        "wrapped-secret",
        "the wrapped secret does not belong to this registration",
    );
}

/// A key that fails at the second secret.
#[derive(Debug)]
struct Failing {
    key: Arc<LocalKey>,
    asked: AtomicUsize,
}

#[async_trait]
impl Wrap for Failing {
    async fn wrap_secret(
        &self,
        context: &EncryptionContext,
        secret: &Secret,
    ) -> Result<WrappedSecret, KeyError> {
        match self.asked.fetch_add(1, Ordering::SeqCst) {
            1 => Err(KeyError::Unavailable("it failed".to_owned())),
            _ => self.key.wrap_secret(context, secret).await,
        }
    }
}

#[tokio::test]
async fn if_one_resource_is_not_wrapped_nothing_is_registered() {
    let world = World::new().await;
    let key = Failing { key: world.key.clone(), asked: AtomicUsize::new(0) };
    let broker = world.broker().with_wrap(Arc::new(key));
    let host_data = HostData::random();
    let resources = [("a", "1"), ("b", "2"), ("c", "3")];
    let error = broker.register.register(by_reference_values(host_data, &resources)).await.unwrap_err();
    world.assert_recorded(&error, "wrapping-key", "the wrapping key is unavailable: it failed");
    assert_eq!(world.store.workload(&host_data.workload_id()).await.unwrap(), None);
    let once = (Operation::Register, Decision::Unavailable, Some("wrapping-key".to_owned()));
    assert_eq!(world.decisions(), [once]);
}

#[tokio::test]
async fn a_long_resource_is_released_as_a_jwe() {
    let world = World::new().await;
    let broker = world.broker();
    let host_data = registered(&broker, &[("certificate", &"c".repeat(4000))]).await;
    let session = attested(&world, &broker, host_data).await;
    let released = broker.attest.resource(&session, "certificate").await.unwrap();
    assert!(matches!(released.sealed(), Sealed::Jwe(_)));
}

/// Earlier releases stored this form: no Rego, and floors that are null.
#[test]
fn a_registration_of_the_first_release_is_still_read() {
    let stored = r#"{"format":1,"serial":"00000000-0000-4000-8000-000000000000","dialect":"v0","owner":null,"reference_values":{"measurements":["4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d"]},"policy":{"forbid_smt":false,"require_single_socket":false,"require_ciphertext_hiding":false,"minimum_abi":null,"minimum_tcb":null,"minimum_committed_tcb":null,"minimum_launch_tcb":null,"host_data":null,"id_key_digest":null,"author_key_digest":null,"family_id":null,"image_id":null,"minimum_guest_svn":null}}"#;
    let read = Registration::from_bytes(stored.as_bytes()).unwrap();
    assert_eq!((read.dialects.clone(), read.rego.is_none()), (Dialect::Libkrun.into(), true));
    assert_eq!(read.to_bytes().unwrap(), stored.as_bytes(), "and is written the same");
}
