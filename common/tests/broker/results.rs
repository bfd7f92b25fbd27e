//! Attestation results: what they claim, how they are read back, and everything that is no result.

mod claims;
mod foreign;
mod keys;
mod repeated;

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use keybroker_common::{
    appraisal::Fleet,
    audit::AuditRecord,
    broker::RegisterRequest,
    challenge::{Challenges, Deployment},
    clock::Clock as _,
    dialect::Dialect,
    ear::{Claims, Results},
    ids::{CarriedId, Claim, KbsVersion, TrusteeClaim},
    keyring::{Keyring, KeyringWrap as _, Purpose, ResultKey},
    keys::ResultKeys,
    session::Session,
    store::{KeyringStore as _, WorkloadStore as _},
    workload::Registration,
};
use keybroker_testing::{
    guest::{KEY, evidence},
    world::{Broker, PASSPHRASE, TTL, World, request, workload_id},
};
use serde_json::Value;

/// A guest that attested as "a", and a ring whose key the test knows.
struct Scene {
    world: World,
    broker: Broker,
    key: ResultKey,
    /// The guest's decision, as the broker made it.
    record: AuditRecord,
    session: Session,
    registration: Registration,
}

impl Scene {
    async fn new() -> Self {
        Self::of(|_| {}).await
    }

    /// The same of a guest whose evidence is altered.
    async fn of(alter: impl FnOnce(&mut keybroker_common::broker::Evidence)) -> Self {
        let world = World::new().await;
        let key = ResultKey::generate().unwrap();
        put(&world, &with(&world, &Keyring::default(), &key).await).await;
        let broker = world.broker();
        registered(&broker).await;
        let challenge = broker.auth.challenge(claim()).await.unwrap();
        let mut evidence = evidence(&world.hardware.chip, &KEY, &challenge);
        alter(&mut evidence);
        broker.attest.attest(&challenge.session_id, evidence).await.unwrap();
        let decision = world.decision(&challenge.session_id).await.unwrap();
        let keys = &broker.attest.session_keys;
        let (sealed, record) = (decision.session.unwrap(), decision.record);
        let session = Session::unseal(sealed, &record, &challenge.session_id, keys).await.unwrap();
        let workload = world.store.workload(&workload_id("a")).await.unwrap().unwrap();
        let registration = workload.read().unwrap().registration().clone();
        Self { world, broker, key, record, session: session.unwrap(), registration }
    }

    /// The results of a process that starts now.
    fn process(&self) -> Results {
        self.process_of(self.deployment())
    }

    fn process_of(&self, deployment: Deployment) -> Results {
        let wrap = Arc::new(self.world.key.keyring(Purpose::Result));
        let (store, clock) = (self.world.store.clone(), self.world.hardware.clock.clone());
        let keys = ResultKeys::new(store, wrap, clock, Challenges::keys_last(TTL));
        Results::new(Arc::new(keys), deployment, TTL)
    }

    fn deployment(&self) -> Deployment {
        self.world.store.deployment().unwrap()
    }

    fn claims(&self) -> Claims {
        self.claims_by(&self.record, &self.registration, &self.broker.attest.fleet)
    }

    fn claims_by(&self, record: &AuditRecord, registration: &Registration, fleet: &Fleet) -> Claims {
        Claims::of(record, &self.session, registration, fleet, &self.deployment())
    }

    async fn signed(&self) -> String {
        self.broker.attest.results.sign(&self.claims()).await.unwrap().expose().to_owned()
    }

    fn now(&self) -> jiff::Timestamp {
        self.world.hardware.clock.now()
    }

    fn pass(&self, duration: jiff::SignedDuration) {
        self.world.hardware.clock.advance(duration);
    }
}

/// "a", for Trustee's guests.
async fn registered(broker: &Broker) {
    let request = RegisterRequest { dialects: Dialect::Trustee.into(), ..request("a", PASSPHRASE) };
    broker.register.register(request).await.unwrap();
}

/// The claim of a Trustee guest whose URL names its workload.
fn claim() -> Claim {
    let workload = CarriedId::new(workload_id("a"));
    Claim::Trustee(TrusteeClaim { version: KbsVersion::V0_1_0, workload })
}

/// `ring` with `key` as the newest.
async fn with(world: &World, ring: &Keyring, key: &ResultKey) -> Keyring {
    let wrapped = world.key.keyring(Purpose::Result).wrap_key(&key.private().unwrap()).await.unwrap();
    ring.with_result(wrapped, key.public().clone(), world.hardware.clock.now())
}

async fn put(world: &World, ring: &Keyring) {
    let stored = world.store.keyring(Purpose::Result).await.unwrap();
    let edition = stored.map(|stored| stored.edition);
    world.store.put_keyring(Purpose::Result, edition, ring).await.unwrap();
}

async fn ring(world: &World) -> Keyring {
    world.store.keyring(Purpose::Result).await.unwrap().unwrap().ring
}

/// One of the parts of a result, decoded.
fn part(text: &str, nth: usize) -> Vec<u8> {
    BASE64URL_NOPAD.decode(text.split('.').nth(nth).unwrap().as_bytes()).unwrap()
}

fn payload(text: &str) -> Value {
    serde_json::from_slice(&part(text, 1)).unwrap()
}

/// A result with these parts, signed by `key`.
fn signed(header: &[u8], payload: &[u8], key: &ResultKey) -> String {
    let signed = [header, payload].map(|part| BASE64URL_NOPAD.encode(part)).join(".");
    let signature = BASE64URL_NOPAD.encode(&key.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}
