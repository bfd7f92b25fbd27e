//! An attacker who can write the store's file, but not use the wrapping key.

use data_encoding::BASE64;
use keybroker_common::{
    audit::{AuditRecord, Decision, Operation},
    broker::Error,
    clock::Clock as _,
    dialect::Dialect,
    ids::{Claim, KbsVersion, SessionId, TrusteeClaim},
    requirements::{BoundBy, InitDataRequirement},
    secret::Secret,
    store::{RevocationStore, WorkloadStore},
};
use keybroker_initdata::{Algorithm, InitDataDigest};
use keybroker_testing::{
    announced,
    guest::{KEY, evidence_with},
    world::{PASSPHRASE, SECRET, World, WriteTransaction, edit, request, workload_id},
};
use serde_json::{Value, json};

const MISMATCH: &str = "the wrapped secret does not belong to this registration";
const ALTERED: &str = "the registration was replaced or altered since the guest attested";

/// The bytes of a registration in which its one measurement is another.
fn with_another_measurement(row: &Value) -> Value {
    let bytes = BASE64.decode(row["registration"].as_str().unwrap().as_bytes()).unwrap();
    let text = String::from_utf8(bytes).unwrap().replace(&"4d".repeat(48), &"66".repeat(48));
    json!(BASE64.encode(text.as_bytes()))
}

fn edit_workload(transaction: &WriteTransaction, id: &str, change: impl FnOnce(&mut Value)) {
    edit(transaction, "workloads", id, |row| {
        let mut row = row.unwrap();
        change(&mut row);
        Some(row)
    });
}

async fn registered(ids: &[&str]) -> World {
    let world = World::new().await;
    for id in ids {
        world.broker().register.register(request(id, id)).await.unwrap();
    }
    world
}

/// A guest whose launch measurement is 66…, which nobody registered, attests as `a`.
async fn attested_as_other(world: &World) -> SessionId {
    let broker = world.broker();
    let challenge = broker.challenge("a").await;
    let evidence =
        evidence_with(&world.hardware.chip, &KEY, &challenge, |fields| fields.measurement = [0x66; 48]);
    broker.attest.attest(&challenge.session_id, evidence).await.unwrap();
    challenge.session_id.clone()
}

async fn assert_not_released(world: &World, session: &SessionId, id: &str, check: &str, cause: &str) {
    let error = world.broker().fetch(session, id, &KEY).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    world.assert_recorded(&error, check, cause);
}

/// Attestation is held to what the row says; the secret is not.
#[tokio::test]
async fn an_altered_measurement_opens_nothing() {
    let world = registered(&["a"]).await;
    let world = world.altered(|transaction| {
        edit_workload(transaction, "a", |row| row["registration"] = with_another_measurement(row));
    });
    let session = attested_as_other(&world).await;
    assert_not_released(&world, &session, "a", "wrapped-secret", MISMATCH).await;
}

/// A selection is an item of its own, bound to nothing. Were it believed, the guests of one workload would
/// take the secrets of another for their own.
#[tokio::test]
async fn an_altered_selection_leads_to_nobody() {
    const HOST_DATA: [u8; 32] = [b'M'; 32];
    let world = World::new().await;
    let digest = InitDataDigest::new(Algorithm::Sha256, HOST_DATA.to_vec()).unwrap();
    let required = InitDataRequirement { digest, bound_by: BoundBy::HostData, broker_keys: None };
    for (id, init_data) in [("hers", Some(required)), ("his", None)] {
        let mut request = request(id, PASSPHRASE);
        request.dialects = Dialect::Trustee.into();
        request.policy.init_data = init_data;
        world.broker().register.register(request).await.unwrap();
    }
    let attested = async |world: &World| {
        let broker = world.broker();
        let claim = Claim::Trustee(TrusteeClaim { version: KbsVersion::V0_2_0, workload: None });
        let challenge = broker.auth.challenge(claim).await.unwrap();
        let launched = |fields: &mut keybroker_simulator::report::ReportFields| fields.host_data = HOST_DATA;
        let evidence = evidence_with(&world.hardware.chip, &KEY, &challenge, launched);
        broker.attest.attest(&challenge.session_id, evidence).await
    };
    assert!(attested(&world).await.is_ok());
    let world = world.altered(|transaction| {
        edit(transaction, "selections", &"M".repeat(32), |row| {
            assert_eq!(row, Some(json!({"workload_id": "hers"})));
            Some(json!({"workload_id": "his"}))
        });
    });
    let error = attested(&world).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    world.assert_recorded(&error, "host-data", "HOST_DATA does not select the registration that is there");
}

/// Altered for the attestation, and put right before the secret is fetched.
#[tokio::test]
async fn an_alteration_taken_back_opens_nothing() {
    let world = registered(&["a"]).await;
    let sound = world.store.workload(&workload_id("a")).await.unwrap().unwrap();
    let world = world.altered(|transaction| {
        edit_workload(transaction, "a", |row| row["registration"] = with_another_measurement(row));
    });
    let session = attested_as_other(&world).await;
    let world = world.altered(|transaction| {
        edit_workload(transaction, "a", |row| {
            row["registration"] = json!(BASE64.encode(&sound.registration))
        });
    });
    assert_not_released(&world, &session, "a", "workload", ALTERED).await;
}

#[tokio::test]
async fn an_alteration_after_the_attestation_is_noticed() {
    let world = registered(&["a"]).await;
    let session = world.broker().attested(&world.hardware, "a").await;
    let world = world.altered(|transaction| {
        edit_workload(transaction, "a", |row| row["registration"] = with_another_measurement(row));
    });
    assert_not_released(&world, &session, "a", "workload", ALTERED).await;
}

#[tokio::test]
async fn a_replacement_after_the_attestation_is_noticed() {
    let world = registered(&["a", "b"]).await;
    let session = world.broker().attested(&world.hardware, "a").await;
    // All of another row but its id.
    let other = world.store.workload(&workload_id("b")).await.unwrap().unwrap();
    let world = world.altered(|transaction| {
        edit_workload(transaction, "a", |row| {
            *row = serde_json::to_value(&other).unwrap();
            row["id"] = json!("a");
        });
    });
    assert_not_released(&world, &session, "a", "workload", ALTERED).await;
    // Nor can the row be attested against: the secret is another workload's.
    let session = world.broker().attested(&world.hardware, "a").await;
    assert_not_released(&world, &session, "a", "wrapped-secret", MISMATCH).await;
}

/// `a`'s guest asks for `a`'s secret, where `b`'s stands.
#[tokio::test]
async fn a_ciphertext_of_another_workload_opens_nothing() {
    let world = registered(&["a", "b"]).await;
    let (a, b) =
        (world.store.workload(&workload_id("a")).await, world.store.workload(&workload_id("b")).await);
    let (a, b) = (a.unwrap().unwrap(), b.unwrap().unwrap());
    let world = world.altered(|transaction| {
        edit_workload(transaction, "a", |row| row["secrets"] = serde_json::to_value(&b.secrets).unwrap());
        edit_workload(transaction, "b", |row| row["secrets"] = serde_json::to_value(&a.secrets).unwrap());
    });
    for id in ["a", "b"] {
        let session = world.broker().attested(&world.hardware, id).await;
        assert_not_released(&world, &session, id, "wrapped-secret", MISMATCH).await;
    }
}

#[tokio::test]
async fn a_secret_under_another_name_opens_nothing() {
    let world = World::new().await;
    let mut two = request("a", PASSPHRASE);
    two.secrets.insert("other".to_owned(), Secret::new(b"s".to_vec()));
    world.broker().register.register(two).await.unwrap();
    let world = world.altered(|transaction| {
        edit_workload(transaction, "a", |row| row["secrets"][SECRET] = row["secrets"]["other"].clone());
    });
    let session = world.broker().attested(&world.hardware, "a").await;
    assert_not_released(&world, &session, "a", "wrapped-secret", MISMATCH).await;
}

#[tokio::test]
async fn an_altered_ciphertext_opens_nothing() {
    let world = registered(&["a"]).await;
    let world = world.altered(|transaction| {
        edit_workload(transaction, "a", |row| {
            let ciphertext = &mut row["secrets"][SECRET]["ciphertext"];
            let mut bytes = BASE64.decode(ciphertext.as_str().unwrap().as_bytes()).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            *ciphertext = json!(BASE64.encode(&bytes));
        });
    });
    let session = world.broker().attested(&world.hardware, "a").await;
    assert_not_released(&world, &session, "a", "wrapped-secret", MISMATCH).await;
}

/// A requirement that this release does not know is not passed over.
#[tokio::test]
async fn a_registration_that_is_not_understood_attests_nobody() {
    let world = registered(&["a"]).await;
    let world = world.altered(|transaction| {
        edit_workload(transaction, "a", |row| {
            let bytes = BASE64.decode(row["registration"].as_str().unwrap().as_bytes()).unwrap();
            let mut registration: Value = serde_json::from_slice(&bytes).unwrap();
            registration["policy"]["minimum_moon_phase"] = json!(3);
            row["registration"] = json!(BASE64.encode(registration.to_string().as_bytes()));
        });
    });
    let broker = world.broker();
    let challenge = broker.challenge("a").await;
    let evidence = evidence_with(&world.hardware.chip, &KEY, &challenge, |_| {});
    let error = broker.refused(&challenge, evidence).await;
    world.assert_recorded(&error, "workload", "the registration is not one that this release reads");
    let error = broker.register.register(request("a", "mine")).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyRegistered { .. }));
    world.assert_recorded(
        &error,
        "replacement",
        "the stored registration is not one that this release reads",
    );
}

#[tokio::test]
async fn a_row_that_cannot_be_read_decides_nothing() {
    let world = registered(&["a"]).await;
    let world = world.altered(|transaction| {
        edit_workload(transaction, "a", |row| row["registration"] = json!("not base64"));
    });
    let broker = world.broker();
    let challenge = broker.challenge("a").await;
    let evidence = evidence_with(&world.hardware.chip, &KEY, &challenge, |_| {});
    let error = broker.refused(&challenge, evidence).await;
    assert!(matches!(error, Error::Unavailable { id: Some(_), retry_after: 5 }));
    let Error::Unavailable { id: Some(id), .. } = error else { unreachable!() };
    assert_eq!(announced::record(id).unwrap().failed.unwrap().check, "store");
    assert_eq!(world.hardware.kds.requests(), []);
}

/// The documented limit: a whole row rolled back is a row, and its revocation is gone with it. The attacker
/// needs to write the table; the guest must still be the registered one.
#[tokio::test]
async fn a_row_rolled_back_whole_is_as_it_was() {
    let world = registered(&["a"]).await;
    let before = world.store.workload(&workload_id("a")).await.unwrap().unwrap();
    let record = AuditRecord::new(world.hardware.clock.now(), Operation::Operate, Decision::Revoked);
    world.store.revoke(&workload_id("a"), &record).await.unwrap();
    let world = world.altered(|transaction| {
        edit_workload(transaction, "a", |row| *row = serde_json::to_value(&before).unwrap());
    });
    let broker = world.broker();
    let challenge = broker.challenge("a").await;
    let other = evidence_with(&world.hardware.chip, &KEY, &challenge, |fields| fields.measurement = [1; 48]);
    assert!(matches!(broker.refused(&challenge, other).await, Error::Refused { .. }));
    let session = broker.attested(&world.hardware, "a").await;
    assert_eq!(broker.fetch(&session, "a", &KEY).await.unwrap(), "a");
}

/// A revoked row whose registration is taken from an earlier one opens nothing: the secret was wrapped for
/// another.
#[tokio::test]
async fn an_earlier_registration_restored_opens_nothing() {
    let world = World::new().await;
    let broker = world.broker();
    broker.register.register(request("a", "first")).await.unwrap();
    let first = world.store.workload(&workload_id("a")).await.unwrap().unwrap();
    broker.register.register(request("a", "second")).await.unwrap();
    drop(broker);
    let world = world.altered(|transaction| {
        edit_workload(transaction, "a", |row| {
            row["registration"] = json!(BASE64.encode(&first.registration))
        });
    });
    let session = world.broker().attested(&world.hardware, "a").await;
    assert_not_released(&world, &session, "a", "wrapped-secret", MISMATCH).await;
}

#[tokio::test]
async fn a_deleted_row_releases_nothing() {
    let world = registered(&["a"]).await;
    let session = world.broker().attested(&world.hardware, "a").await;
    let world = world.altered(|transaction| edit(transaction, "workloads", "a", |_| None));
    assert_not_released(&world, &session, "a", "workload", "the workload is no longer registered").await;
}
