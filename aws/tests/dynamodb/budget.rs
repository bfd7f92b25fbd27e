//! The budget: how many calls of AWS a request on a warm instance waits for, one after the other.

use std::sync::Arc;

use keybroker_aws::dynamodb::DynamoStore;
use keybroker_common::{
    admission::Admission,
    broker::{Credential, Error, RegisterRequest},
    dialect::Dialect,
    ids::HostData,
    policy::PolicyText,
    requirements::BoundBy,
    store::{Build, OperatorStore as _, RegistrationStore as _, TokenStore as _, WorkloadStore as _},
};
use keybroker_simulator::pki::Chip;
use keybroker_testing::{
    guest::{KEY, evidence},
    moto, native,
    rounds::{Counted, Round},
    rvp, sample,
    world::{Broker, PASSPHRASE, World, request, stranger, workload_id},
};

use super::release::broker_over;

/// Instances of the functions over the same tables and key.
struct Aws {
    world: World,
    counted: Counted,
    store: Arc<moto::Store>,
    alias: String,
}

impl Aws {
    async fn new() -> Self {
        let counted = Counted::new();
        let tables = moto::tables(&counted.dynamodb()).await;
        let store = Arc::new(DynamoStore::new(counted.dynamodb(), tables));
        let (_, alias) = moto::key().await;
        Self { world: World::new().await, counted, store, alias }
    }

    fn instance(&self) -> Broker {
        broker_over(&self.world, &self.store, &self.counted, &self.alias)
    }

    /// One that has attested a guest as the workload `warm` on this chip.
    async fn warm(&self, chip: &Chip) -> Broker {
        let instance = self.instance();
        if self.store.workload(&workload_id("warm")).await.unwrap().is_none() {
            instance.registered("warm").await;
        }
        let challenge = instance.challenge("warm").await;
        let evidence = evidence(chip, &KEY, &challenge);
        instance.attest.attest(&challenge.session_id, evidence).await.unwrap();
        instance
    }

    /// The rounds in which `instance` attests a guest as `id` on this chip.
    async fn attest(&self, instance: &Broker, id: &str, chip: &Chip) -> Vec<Round> {
        let challenge = instance.challenge(id).await;
        let evidence = evidence(chip, &KEY, &challenge);
        let (attested, rounds) =
            self.counted.rounds(instance.attest.attest(&challenge.session_id, evidence)).await;
        attested.unwrap();
        rounds
    }
}

pub(crate) fn rounds<const N: usize>(rounds: [&[&str]; N]) -> Vec<Round> {
    rounds.map(|calls| calls.iter().map(ToString::to_string).collect()).to_vec()
}

#[tokio::test]
async fn registering_waits_twice() {
    let aws = Aws::new().await;
    let instance = aws.instance();
    instance.registered("first").await;
    let (registered, taken) = aws.counted.rounds(instance.registered("w")).await;
    assert!(!registered.replaced);
    assert_eq!(taken, rounds([&["Encrypt"], &["TransactWriteItems workloads audit"]]));
}

/// Its token is read first, and looked at again by the transaction that uses it.
#[tokio::test]
async fn registering_with_a_token_waits_three_times() {
    let aws = Aws::new().await;
    let mut instance = aws.instance();
    instance.registered("first").await;
    instance.register.admission = Admission { token: true, ..Admission::NONE };
    let token = sample::token();
    aws.store.put_token(&token, &sample::token_made()).await.unwrap();
    let request = || RegisterRequest { credential: Credential::Token(token.id), ..request("w", PASSPHRASE) };
    let (registered, taken) = aws.counted.rounds(instance.register.register(request())).await;
    assert!(!registered.unwrap().replaced);
    let transaction = "TransactWriteItems workloads audit tokens";
    assert_eq!(taken, rounds([&["GetItem tokens"], &["Encrypt"], &[transaction]]));
    // As buildah --layers does: the row that it replaces is read as well.
    let (registered, taken) = aws.counted.rounds(instance.register.register(request())).await;
    assert!(registered.unwrap().replaced);
    let expected = rounds([&["GetItem tokens"], &["GetItem workloads"], &["Encrypt"], &[transaction]]);
    assert_eq!(taken, expected);
}

#[tokio::test]
async fn a_challenge_waits_for_nothing() {
    let aws = Aws::new().await;
    let instance = aws.instance();
    instance.challenge("first").await;
    let (_, taken) = aws.counted.rounds(instance.challenge("w")).await;
    assert_eq!(taken, rounds([]));
}

/// The ring is made once in a deployment's life; every instance reads it when it starts.
#[tokio::test]
async fn a_first_challenge_waits_for_the_ring() {
    let aws = Aws::new().await;
    let (_, taken) = aws.counted.rounds(aws.instance().challenge("w")).await;
    let made = rounds([&["GetItem keys"], &["Encrypt"], &["PutItem keys"], &["Decrypt"]]);
    assert_eq!(taken, made);
    let (_, taken) = aws.counted.rounds(aws.instance().challenge("w")).await;
    assert_eq!(taken, rounds([&["GetItem keys"], &["Decrypt"]]));
}

/// A session id that the broker did not make costs arithmetic.
#[tokio::test]
async fn a_stranger_waits_for_nothing() {
    let aws = Aws::new().await;
    let instance = aws.warm(&aws.world.hardware.chip).await;
    let challenge = instance.challenge("warm").await;
    let evidence = evidence(&aws.world.hardware.chip, &KEY, &challenge);
    let (attested, taken) = aws.counted.rounds(instance.attest.attest(&stranger(), evidence)).await;
    assert_eq!((attested, taken), (Err(Error::NoSession { id: None }), rounds([])));
    let (fetched, taken) = aws.counted.rounds(instance.fetch(&stranger(), "warm", &KEY)).await;
    assert_eq!((fetched, taken), (Err(Error::NoSession { id: None }), rounds([])));
}

#[tokio::test]
async fn attesting_waits_twice() {
    let aws = Aws::new().await;
    let instance = aws.warm(&aws.world.hardware.chip).await;
    let expected = rounds([&["GetItem workloads"], &["PutItem decisions"]]);
    assert_eq!(aws.attest(&instance, "warm", &aws.world.hardware.chip).await, expected);
}

/// Its certificate is read while the workload is.
#[tokio::test]
async fn a_guest_on_a_chip_seen_by_another_instance_waits_no_longer() {
    let aws = Aws::new().await;
    let hardware = &aws.world.hardware;
    let other = Chip::new(hardware.chip.product(), 2);
    hardware.kds.add(&other);
    aws.warm(&hardware.chip).await;
    let instance = aws.warm(&other).await;
    let expected = rounds([&["GetItem endorsements", "GetItem workloads"], &["PutItem decisions"]]);
    assert_eq!(aws.attest(&instance, "warm", &hardware.chip).await, expected);
}

/// Once in a registration's life: it ends the build window, and only the first answer to a challenge may.
#[tokio::test]
async fn the_first_to_attest_as_a_workload_waits_twice_more() {
    let aws = Aws::new().await;
    let chip = &aws.world.hardware.chip;
    let instance = aws.warm(chip).await;
    instance.registered("w").await;
    let expected = rounds([
        &["GetItem workloads"],
        &["GetItem decisions"],
        &["UpdateItem workloads"],
        &["PutItem decisions"],
    ]);
    assert_eq!(aws.attest(&instance, "w", chip).await, expected);
}

/// The row is read again when the secret is unwrapped and the release on record.
#[tokio::test]
async fn a_release_waits_three_times() {
    let aws = Aws::new().await;
    let instance = aws.warm(&aws.world.hardware.chip).await;
    let session = instance.attested(&aws.world.hardware, "warm").await;
    let (fetched, taken) = aws.counted.rounds(instance.fetch(&session, "warm", &KEY)).await;
    assert_eq!(fetched, Ok(PASSPHRASE.to_owned()));
    let expected = rounds([
        &["GetItem decisions", "GetItem workloads"],
        &["Decrypt", "PutItem decisions"],
        &["GetItem workloads"],
    ]);
    assert_eq!(taken, expected);
}

/// The answer was lost: the put meets the decision that is there, and gives it.
#[tokio::test]
async fn the_same_evidence_again_waits_three_times() {
    let aws = Aws::new().await;
    let instance = aws.warm(&aws.world.hardware.chip).await;
    let challenge = instance.challenge("warm").await;
    let evidence = evidence(&aws.world.hardware.chip, &KEY, &challenge);
    let first = instance.attest.attest(&challenge.session_id, evidence.clone()).await;
    let again = instance.attest.attest(&challenge.session_id, evidence);
    let (second, taken) = aws.counted.rounds(again).await;
    assert_eq!(second, first);
    let expected = rounds([&["GetItem workloads"], &["PutItem decisions"], &["GetItem workloads"]]);
    assert_eq!(taken, expected);
}

/// Registers three resources and a policy by reference values.
fn by_reference_values(host_data: HostData) -> RegisterRequest {
    let queries = vec!["input.measurement == data.measurement".to_owned()];
    let reference_values = format!(r#"{{"measurement":"{}"}}"#, "4d".repeat(48));
    let policy = PolicyText { module: None, queries, reference_values };
    let resources = [("a", PASSPHRASE), ("b", "two"), ("c", "three")];
    RegisterRequest { rego: Some(policy), ..rvp::by_reference_values(host_data, &resources) }
}

#[tokio::test]
async fn registering_many_resources_waits_twice() {
    let aws = Aws::new().await;
    let instance = aws.instance();
    instance.registered("first").await;
    let registration = by_reference_values(HostData::random());
    let (registered, taken) = aws.counted.rounds(instance.register.register(registration)).await;
    registered.unwrap();
    let expected = rounds([&["Encrypt", "Encrypt", "Encrypt"], &["TransactWriteItems workloads audit"]]);
    assert_eq!(taken, expected);
}

/// The item that selects it is a part of its one transaction, when it comes, moves and goes.
#[tokio::test]
async fn what_selects_a_workload_adds_no_round() {
    let aws = Aws::new().await;
    let instance = aws.instance();
    instance.registered("first").await;
    let mut registration = native::with_init_data("w", BoundBy::HostData, &[("a", PASSPHRASE)]);
    registration.dialects = Dialect::Trustee.into();
    let (registered, taken) = aws.counted.rounds(instance.register.register(registration)).await;
    registered.unwrap();
    assert_eq!(taken, rounds([&["Encrypt"], &["TransactWriteItems workloads audit workloads"]]));
    let held = aws.store.workload(&workload_id("w")).await.unwrap().unwrap();
    let (first, second) = (sample::init_data(), sample::init_data());
    let moved = sample::moved_to(&held, &first);
    aws.store.replace(&held, Build::New, &moved, &sample::registered(), None).await.unwrap();
    let again = sample::moved_to(&moved, &second);
    let audit = sample::registered();
    let replaced = aws.store.replace(&moved, Build::New, &again, &audit, None);
    let (replaced, taken) = aws.counted.rounds(replaced).await;
    replaced.unwrap();
    assert_eq!(taken, rounds([&["TransactWriteItems workloads audit workloads workloads"]]));
    let (deleted, taken) = aws.counted.rounds(aws.store.delete(&again, &sample::deleted(1))).await;
    deleted.unwrap();
    assert_eq!(taken, rounds([&["TransactWriteItems workloads audit workloads"]]));
    let (found, taken) = aws.counted.rounds(aws.store.selected(&first.host_data())).await;
    assert_eq!((found, taken), (Ok(None), rounds([&["GetItem workloads"]])));
}

/// The rounds do not depend on the registration's Rego.
#[tokio::test]
async fn attesting_by_reference_values_waits_twice() {
    let aws = Aws::new().await;
    let instance = aws.instance();
    let host_data = HostData::random();
    instance.register.register(by_reference_values(host_data)).await.unwrap();
    rvp::attested(&aws.world, &instance, host_data).await;
    let challenge = rvp::challenge(&instance).await;
    let attest = rvp::attest(&aws.world, &instance, &challenge, host_data.to_bytes());
    let (attested, taken) = aws.counted.rounds(attest).await;
    attested.unwrap();
    let expected = rounds([&["GetItem workloads"], &["PutItem decisions"]]);
    assert_eq!(taken, expected);
}

/// Once more than a passphrase: only the session says of which workload the resource is.
#[tokio::test]
async fn a_resource_waits_four_times() {
    let aws = Aws::new().await;
    let instance = aws.instance();
    let host_data = HostData::random();
    instance.register.register(by_reference_values(host_data)).await.unwrap();
    let session = rvp::attested(&aws.world, &instance, host_data).await;
    let (fetched, taken) = aws.counted.rounds(rvp::resource(&instance, &session, "a")).await;
    assert_eq!(fetched, Ok(PASSPHRASE.to_owned()));
    let expected = rounds([
        &["GetItem decisions"],
        &["GetItem workloads"],
        &["Decrypt", "PutItem decisions"],
        &["GetItem workloads"],
    ]);
    assert_eq!(taken, expected);
}
