//! A boot over the broker's own protocol: the calls that it waits for, and the units that it writes.

use std::sync::Arc;

use jiff::SignedDuration;
use keybroker_aws::{dynamodb::DynamoStore, kms::KmsKeyring};
use keybroker_common::{
    broker::Error,
    ids::AuditId,
    keyring::Purpose,
    keys::SigningKeys,
    requirements::BoundBy,
    store::{KeyringStore as _, OperatorStore as _, RevocationStore as _, WorkloadStore as _},
};
use keybroker_initdata::BrokerKey;
use keybroker_native::client::Opened;
use keybroker_simulator::pki::Chip;
use keybroker_testing::{
    moto,
    native::{Guest, challenge, read, with_init_data},
    rounds::{Counted, Round},
    sample,
    world::{Broker, PASSPHRASE, World, workload_id},
};

use super::{
    budget::rounds,
    release::broker_over,
    units::{CostTable, units_sent},
};

/// Instances of the functions over the same tables and key, which sign with the keys of the store's ring.
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
        let store = DynamoStore::new(counted.dynamodb(), tables);
        let store = Arc::new(store.keep_audit_for(SignedDuration::from_hours(24 * 365)));
        let (_, alias) = moto::key().await;
        Self { world: World::new().await, counted, store, alias }
    }

    fn instance(&self) -> Broker {
        let mut broker = broker_over(&self.world, &self.store, &self.counted, &self.alias);
        let wrap = Arc::new(KmsKeyring::new(self.counted.kms(), self.alias.as_str(), Purpose::Signature));
        let clock = self.world.hardware.clock.clone();
        broker.attest.signers = Arc::new(SigningKeys::new(self.store.clone(), wrap, clock));
        broker
    }

    /// The public half of the key that signs. The first guest has it made.
    async fn broker_key(&self, instance: &Broker) -> BrokerKey {
        instance.attest.signers.signer(&[]).await.unwrap();
        let ring = self.store.keyring(Purpose::Signature).await.unwrap().unwrap().ring;
        ring.keys[0].signing_key().cloned().unwrap()
    }

    /// The secrets that a guest of `id` gets of `instance`, and the rounds that its two requests take.
    async fn boot(&self, instance: &Broker, id: &str, secrets: &[&str]) -> (Opened, [Vec<Round>; 2]) {
        let key = self.broker_key(instance).await;
        let guest = Guest { broker_keys: vec![key.id()], ..Guest::new(&self.world, id, secrets) };
        let (given, challenged) = self.counted.rounds(challenge(instance)).await;
        let (pending, body) = guest.asks(&self.world, &given, |_| {});
        let (session_id, request) = read(&body);
        let release = instance.attest.release_secrets(&session_id, request);
        let (answer, released) = self.counted.rounds(release).await;
        let opened = pending.open(&answer.unwrap().to_json(), &[&key]).unwrap();
        (opened, [challenged, released])
    }

    async fn registered(&self, instance: &Broker, id: &str, secrets: &[(&str, &str)]) {
        instance.register.register(with_init_data(id, BoundBy::HostData, secrets)).await.unwrap();
    }

    /// An instance that has released to a guest of the workload `warm`.
    async fn warm(&self) -> Broker {
        let instance = self.instance();
        if self.store.workload(&workload_id("warm")).await.unwrap().is_none() {
            self.registered(&instance, "warm", &[("disk", PASSPHRASE), ("other", "two")]).await;
        }
        self.boot(&instance, "warm", &["disk"]).await;
        instance
    }
}

#[tokio::test]
async fn a_boot_waits_three_times() {
    let aws = Aws::new().await;
    let instance = aws.warm().await;
    let (opened, taken) = aws.boot(&instance, "warm", &["disk"]).await;
    assert_eq!(opened.secrets.len(), 1);
    let release = rounds([&["GetItem workloads"], &["Decrypt", "PutItem decisions"], &["GetItem workloads"]]);
    assert_eq!(taken, [rounds([]), release]);
}

/// One decision, one item, and a Decrypt for each secret, all in the same three rounds.
#[tokio::test]
async fn a_boot_with_two_secrets_waits_no_longer() {
    let aws = Aws::new().await;
    let instance = aws.warm().await;
    let (opened, [_, released]) = aws.boot(&instance, "warm", &["other", "disk"]).await;
    assert_eq!(opened.secrets.len(), 2);
    let expected = rounds([
        &["GetItem workloads"],
        &["Decrypt", "Decrypt", "PutItem decisions"],
        &["GetItem workloads"],
    ]);
    assert_eq!(released, expected);
}

/// Its certificate is read while the workload is.
#[tokio::test]
async fn a_guest_on_a_chip_seen_by_another_instance_waits_no_longer() {
    let mut aws = Aws::new().await;
    aws.warm().await;
    let other = Chip::new(aws.world.hardware.chip.product(), 2);
    aws.world.hardware.kds.add(&other);
    let first = std::mem::replace(&mut aws.world.hardware.chip, other);
    let instance = aws.warm().await;
    aws.world.hardware.chip = first;
    let (_, [_, released]) = aws.boot(&instance, "warm", &["disk"]).await;
    let expected = rounds([
        &["GetItem endorsements", "GetItem workloads"],
        &["Decrypt", "PutItem decisions"],
        &["GetItem workloads"],
    ]);
    assert_eq!(released, expected);
}

/// The note that a guest attested is written beside the decision.
#[tokio::test]
async fn the_first_boot_under_a_registration_waits_no_longer() {
    let aws = Aws::new().await;
    let instance = aws.warm().await;
    aws.registered(&instance, "w", &[("disk", PASSPHRASE)]).await;
    let (_, [_, released]) = aws.boot(&instance, "w", &["disk"]).await;
    let expected = rounds([
        &["GetItem workloads"],
        &["Decrypt", "PutItem decisions", "UpdateItem workloads"],
        &["GetItem workloads"],
    ]);
    assert_eq!(released, expected);
}

/// A refusal releases nothing, so nothing is unwrapped for it.
#[tokio::test]
async fn a_refusal_waits_twice_and_unwraps_nothing() {
    let aws = Aws::new().await;
    let instance = aws.warm().await;
    let key = aws.broker_key(&instance).await;
    let guest = Guest { broker_keys: vec![key.id()], ..Guest::new(&aws.world, "warm", &["disk"]) };
    let given = challenge(&instance).await;
    let (_, body) = guest.asks(&aws.world, &given, |fields| fields.measurement = [1; 48]);
    let (session_id, request) = read(&body);
    let (answer, taken) = aws.counted.rounds(instance.attest.release_secrets(&session_id, request)).await;
    assert_eq!(answer.unwrap_err(), Error::Refused { id: AuditId::of(&session_id) });
    assert_eq!(taken, rounds([&["GetItem workloads"], &["PutItem decisions"]]));
}

/// The ring is made once in a deployment's life, and each instance reads it when it starts.
#[tokio::test]
async fn a_first_signature_waits_for_the_ring() {
    let aws = Aws::new().await;
    let (_, taken) = aws.counted.rounds(aws.instance().attest.signers.signer(&[])).await;
    assert_eq!(taken, rounds([&["GetItem keys"], &["Encrypt"], &["PutItem keys"], &["Decrypt"]]));
    let (_, taken) = aws.counted.rounds(aws.instance().attest.signers.signer(&[])).await;
    assert_eq!(taken, rounds([&["GetItem keys"], &["Decrypt"]]));
}

/// The longest id; a registration that was revoked and restored; a retention of the audit log; a root that is
/// not AMD's: all that makes the items larger.
#[tokio::test]
async fn a_boot_writes_two_units() {
    let aws = Aws::new().await;
    let instance = aws.instance();
    let id = "0123456789abcdef".repeat(4);
    aws.registered(&instance, &id, &[("disk", PASSPHRASE)]).await;
    let workload = aws.store.workload(&workload_id(&id)).await.unwrap().unwrap();
    aws.store.revoke(&workload.id, &sample::revoked(0)).await.unwrap();
    aws.store.restore(&workload.id, workload.digest(), &sample::restored(0)).await.unwrap();
    // The first boot notes that a guest attested, which costs a unit more.
    aws.boot(&instance, &id, &["disk"]).await;
    let units = units_sent(&aws.counted, aws.boot(&instance, &id, &["disk"])).await;
    assert_eq!(units, 2);
    assert_eq!(CostTable::of("A boot over /v1").units("writes"), units, "docs/aws.md");
}

#[test]
fn the_cost_table_adds_up_to_less_than_9_usd() {
    let cents = CostTable::of("A boot over /v1").checked_cents();
    assert!(cents <= 900, "{cents}");
}
