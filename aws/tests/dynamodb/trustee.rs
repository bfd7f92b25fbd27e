//! The reads and writes of a boot of Trustee's guests: as much as any other's, and one look-up more where
//! HOST_DATA selects the registration.

use std::sync::Arc;

use keybroker_aws::dynamodb::DynamoStore;
use keybroker_common::{
    broker::SessionProof,
    challenge::{Challenge, Claim},
    dialect::Dialect,
    ids::{CarriedId, KbsVersion, TrusteeClaim},
    requirements::BoundBy,
    store::WorkloadStore as _,
};
use keybroker_testing::{
    guest::{KEY, evidence_with},
    moto, native,
    rounds::{Counted, Round},
    world::{Broker, PASSPHRASE, World, workload_id},
};

use super::{
    budget::rounds,
    release::broker_over,
    units::{CostTable, units_sent},
};

const NAME: &str = "default/key/tls";

/// The functions, warm, and a workload with one resource.
struct Aws {
    world: World,
    counted: Counted,
    instance: Broker,
    id: String,
    host_data: [u8; 32],
}

impl Aws {
    /// A workload of this id, under which a guest has attested before.
    async fn with(id: &str) -> Self {
        let (world, counted) = (World::new().await, Counted::new());
        let tables = moto::tables(&counted.dynamodb()).await;
        let store = Arc::new(DynamoStore::new(counted.dynamodb(), tables));
        let instance = broker_over(&world, &store, &counted, &moto::key().await.1);
        let mut registration = native::with_init_data(id, BoundBy::HostData, &[(NAME, PASSPHRASE)]);
        registration.dialects = Dialect::Trustee.into();
        instance.register.register(registration).await.unwrap();
        let workload = store.workload(&workload_id(id)).await.unwrap().unwrap();
        let host_data = workload.selected_by().unwrap();
        let aws = Self { world, counted, instance, id: id.to_owned(), host_data };
        aws.attest(true).await;
        aws
    }

    /// Attests a guest that names its workload, or one that HOST_DATA selects it for.
    async fn attest(&self, named: bool) -> (Challenge, Vec<Round>) {
        let workload = named.then(|| CarriedId::new(workload_id(&self.id)).unwrap());
        let claim = Claim::Trustee(TrusteeClaim { version: KbsVersion::V0_2_0, workload });
        let challenge = self.instance.auth.challenge(claim).await.unwrap();
        let launched =
            |fields: &mut keybroker_simulator::report::ReportFields| fields.host_data = self.host_data;
        let evidence = evidence_with(&self.world.hardware.chip, &KEY, &challenge, launched);
        let attest = self.instance.attest.attest(&challenge.session_id, evidence);
        let (attested, taken) = self.counted.rounds(attest).await;
        assert!(attested.unwrap().result.is_some());
        (challenge, taken)
    }

    async fn fetch(&self, challenge: &Challenge) -> Vec<Round> {
        let proof = SessionProof::Id(challenge.session_id.clone());
        let fetch = self.instance.attest.named_resource(&proof, NAME);
        let (fetched, taken) = self.counted.rounds(fetch).await;
        assert!(!fetched.unwrap().sealed().ciphertext.is_empty());
        taken
    }
}

#[tokio::test]
async fn a_guest_that_names_its_workload_waits_twice() {
    let aws = Aws::with("w").await;
    let (_, taken) = aws.attest(true).await;
    assert_eq!(taken, rounds([&["GetItem workloads"], &["PutItem decisions"]]));
}

#[tokio::test]
async fn a_guest_that_host_data_selects_waits_three_times() {
    let aws = Aws::with("w").await;
    let (_, taken) = aws.attest(false).await;
    let expected = rounds([&["GetItem workloads"], &["GetItem workloads"], &["PutItem decisions"]]);
    assert_eq!(taken, expected);
}

#[tokio::test]
async fn its_resource_waits_four_times() {
    let aws = Aws::with("w").await;
    let (challenge, _) = aws.attest(true).await;
    let expected = rounds([
        &["GetItem decisions"],
        &["GetItem workloads"],
        &["Decrypt", "PutItem decisions"],
        &["GetItem workloads"],
    ]);
    assert_eq!(aws.fetch(&challenge).await, expected);
}

/// Third parties look the keys up as often as they like.
#[tokio::test]
async fn the_keys_of_results_wait_for_nothing() {
    let aws = Aws::with("w").await;
    let (keys, taken) = aws.counted.rounds(aws.instance.attest.results.jwks()).await;
    assert!(!keys.unwrap().is_empty());
    assert_eq!(taken, rounds([]));
}

/// The longest id that a session id carries, and the largest session: of an RSA key.
#[tokio::test]
async fn a_boot_writes_four_units() {
    let aws = Aws::with(&"0123456789abcdef".repeat(4)).await;
    for named in [true, false] {
        let units = units_sent(&aws.counted, async {
            let (challenge, _) = aws.attest(named).await;
            aws.fetch(&challenge).await;
        });
        let units = units.await;
        assert_eq!(units, CostTable::of("A boot in libkrun's dialect").units("writes"), "docs/aws.md");
    }
}
