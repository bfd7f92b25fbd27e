//! One fault of the store at a time, before and after it persisted, at every step of the protocol.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use keybroker_common::{
    audit::{AuditRecord, Decision},
    broker::{Error, RegisterRequest},
    challenge::{Challenge, Claim},
    ids::{AuditId, HostData, SessionId, WorkloadId},
    policy::PolicyText,
    store::{AuditQuery, OperatorStore},
    workload::Registration,
};
use keybroker_embedded::store::EmbeddedStore;
use keybroker_simulator::report::ReportFields;
use keybroker_testing::{
    clock::seconds,
    faulty::{FaultyStore, Method, PANIC, When},
    guest::{KEY, KeyPair, OTHER_KEY, evidence, evidence_with},
    moto, rvp,
    world::{Broker, PASSPHRASE, Stores, World, named, request, workload_id},
};

const METHODS: [Method; 14] = [
    Method::Workload,
    Method::Create,
    Method::Replace,
    Method::MarkReleased,
    Method::RecordRelease,
    Method::Keyring,
    Method::PutKeyring,
    Method::Decide,
    Method::Decision,
    Method::Record,
    Method::Endorsement,
    Method::PutEndorsement,
    Method::Lease,
    Method::EndLease,
];

/// The store under the protocol, with the parts of it that no broker sees.
#[async_trait]
pub(super) trait Home: Stores + OperatorStore + Sized + 'static {
    /// Whether the record of a release is written only if that stands.
    const CONDITIONAL_RECORDS: bool;

    /// An empty one.
    async fn empty(world: &World) -> Self;

    /// Every audit record, in no order.
    async fn audit_log(&self) -> Vec<AuditRecord>;
}

#[async_trait]
impl Home for EmbeddedStore {
    const CONDITIONAL_RECORDS: bool = true;

    async fn empty(world: &World) -> Self {
        Self::open(&world.dir().join("faulty"), world.hardware.clock.clone()).unwrap()
    }

    async fn audit_log(&self) -> Vec<AuditRecord> {
        self.audit_records().unwrap().map(Result::unwrap).collect()
    }
}

#[async_trait]
impl Home for moto::Store {
    const CONDITIONAL_RECORDS: bool = false;

    async fn empty(_: &World) -> Self {
        moto::store().await
    }

    async fn audit_log(&self) -> Vec<AuditRecord> {
        let (mut records, mut next) = (Vec::new(), None);
        loop {
            let page = self.audit_records(&AuditQuery::default(), next.as_ref()).await.unwrap();
            assert!(page.unreadable.is_empty(), "{:?}", page.unreadable);
            records.extend(page.rows);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        records
    }
}

/// A store as many brokers share it, failing on demand.
pub(super) type Faulty<S> = FaultyStore<S>;

/// A world whose store is in the hands of the test.
pub(super) async fn world<S: Home>() -> (World, Arc<Faulty<S>>) {
    let world = World::new().await;
    let store = S::empty(&world).await;
    (world, Arc::new(FaultyStore::new(store)))
}

async fn audit<S: Home>(store: &Faulty<S>) -> Vec<AuditRecord> {
    store.inner().audit_log().await
}

async fn on_record<S: Home>(store: &Faulty<S>, decision: Decision) -> usize {
    audit(store).await.iter().filter(|record| record.decision == decision).count()
}

/// The outcome of a whole run: a build that posts twice, a guest that is refused, and one that is not.
#[derive(Default)]
struct Run {
    registered: usize,
    attested: Vec<SessionId>,
    released: usize,
    errors: Vec<Error>,
}

impl Run {
    fn note<T>(&mut self, outcome: Result<T, Error>) -> Option<T> {
        outcome.map_err(|error| self.errors.push(error)).ok()
    }

    async fn attest(
        &mut self,
        broker: &Broker,
        world: &World,
        challenge: &Challenge,
        key: &KeyPair,
        alter: impl FnOnce(&mut ReportFields),
    ) {
        let evidence = evidence_with(&world.hardware.chip, key, challenge, alter);
        let outcome = broker.attest.attest(&challenge.session_id, evidence).await;
        if self.note(outcome).is_some() {
            self.attested.push(challenge.session_id.clone());
        }
    }

    async fn challenge(&mut self, broker: &Broker, claim: Claim) -> Option<Challenge> {
        self.note(broker.auth.challenge(claim).await)
    }

    async fn release(&mut self, broker: &Broker, session: &SessionId) {
        if let Some(secret) = self.note(broker.fetch(session, "a", &KEY).await) {
            assert_eq!(secret, PASSPHRASE);
            self.released += 1;
        }
    }

    async fn play(broker: &Broker, world: &World) -> Self {
        let mut run = Self::default();
        let named = || named("a");
        for _ in 0..2 {
            let registered = broker.register.register(request("a", PASSPHRASE)).await;
            run.registered += usize::from(run.note(registered).is_some());
        }
        if let Some(challenge) = run.challenge(broker, named()).await {
            run.attest(broker, world, &challenge, &OTHER_KEY, |fields| fields.vmpl = 1).await;
            run.release(broker, &challenge.session_id).await;
        }
        if let Some(challenge) = run.challenge(broker, named()).await {
            // Tries until it is told yes, twice with the same key, and then once more with another.
            run.attest(broker, world, &challenge, &KEY, |_| {}).await;
            run.attest(broker, world, &challenge, &KEY, |_| {}).await;
            run.attest(broker, world, &challenge, &OTHER_KEY, |_| {}).await;
            run.release(broker, &challenge.session_id).await;
            run.release(broker, &challenge.session_id).await;
        }
        run
    }

    /// The same by reference values, with two resources and a policy, and nothing that could be posted twice.
    async fn play_by_reference_values(broker: &Broker, world: &World, host_data: HostData) -> Self {
        let mut run = Self::default();
        let rego = PolicyText {
            module: None,
            queries: vec!["input.snp.vmpl == 0".to_owned()],
            reference_values: "{}".to_owned(),
        };
        let resources = rvp::by_reference_values(host_data, &[("a", "1"), ("b", "2")]);
        let request = RegisterRequest { rego: Some(rego), ..resources };
        let registered = broker.register.register(request).await;
        run.registered += usize::from(run.note(registered).is_some());
        if let Some(challenge) = run.challenge(broker, Claim::HostData).await {
            let launched = |fields: &mut ReportFields| fields.host_data = host_data.to_bytes();
            let unlike = |fields: &mut ReportFields| {
                launched(fields);
                fields.vmpl = 1;
            };
            run.attest(broker, world, &challenge, &OTHER_KEY, unlike).await;
            run.release_resources(broker, &challenge.session_id).await;
        }
        if let Some(challenge) = run.challenge(broker, Claim::HostData).await {
            for key in [&KEY, &KEY, &OTHER_KEY] {
                let launched = |fields: &mut ReportFields| fields.host_data = host_data.to_bytes();
                run.attest(broker, world, &challenge, key, launched).await;
            }
            run.release_resources(broker, &challenge.session_id).await;
        }
        run
    }

    async fn release_resources(&mut self, broker: &Broker, session: &SessionId) {
        for (name, expected) in [("a", "1"), ("b", "2")] {
            if let Some(resource) = self.note(rvp::resource(broker, session, name).await) {
                assert_eq!(resource, expected);
                self.released += 1;
            }
        }
    }
}

/// The invariants that must hold whatever failed.
async fn check<S: Home>(store: &Faulty<S>, run: &Run, id: &WorkloadId, at: &str) {
    let log = audit(store).await;
    let on_record = |decision| log.iter().filter(|record| record.decision == decision).count();
    let row = store.inner().workload(id).await.unwrap();
    assert!(run.attested.len() <= 1, "{at}: one nonce, one key");
    for session in &run.attested {
        let decision = store.inner().decision(AuditId::of(session)).await.unwrap().expect("a decision");
        let session = decision.session.expect("a session");
        let record = log.iter().find(|record| record.id == session.attestation);
        assert_eq!(record.expect("a record").decision, Decision::Attested, "{at}");
        let row = row.as_ref().expect("a registration");
        assert!(row.released_at.is_some(), "{at}: the build window is over");
    }
    assert!(on_record(Decision::Attested) <= 1, "{at}");
    assert!(run.released <= on_record(Decision::Released), "{at}: no release off the record");
    let written = on_record(Decision::Registered) + on_record(Decision::Replaced);
    assert!(run.registered <= written, "{at}: no registration off the record");
    if let Some(row) = row {
        Registration::from_bytes(&row.registration).unwrap();
        let recorded = log.iter().any(|record| {
            matches!(record.decision, Decision::Registered | Decision::Replaced)
                && record.registration == Some(row.digest())
        });
        assert!(recorded, "{at}: what stands is on record");
    }
    let ids: BTreeSet<_> = log.iter().map(|record| record.id).collect();
    assert_eq!(ids.len(), log.len(), "{at}: one record, one id");
}

async fn any_single_fault_leaves_nothing_half_done<S: Home>() {
    let (world, sound) = world::<S>().await;
    let run = Run::play(&world.broker_over(sound.clone()), &world).await;
    assert_eq!((run.registered, run.attested.len(), run.released), (2, 1, 2));
    check(&sound, &run, &workload_id("a"), "no fault").await;

    for method in METHODS {
        assert!(sound.calls(method) > 0, "{method:?} is part of the protocol");
        for nth in 1..=sound.calls(method) {
            for when in [When::Before, When::After, When::Panicking] {
                let (world, store) = self::world::<S>().await;
                store.fail(method, nth, when);
                let run = Run::play(&world.broker_over(store.clone()), &world).await;
                check(&store, &run, &workload_id("a"), &format!("{method:?} {nth} {when:?}")).await;
            }
        }
    }
}

async fn any_single_fault_leaves_no_resource_half_done<S: Home>() {
    let (world, sound) = world::<S>().await;
    let host_data = HostData::random();
    let run = Run::play_by_reference_values(&world.broker_over(sound.clone()), &world, host_data).await;
    assert_eq!((run.registered, run.attested.len(), run.released), (1, 1, 2));
    check(&sound, &run, &host_data.workload_id(), "no fault").await;

    for method in METHODS {
        for nth in 1..=sound.calls(method) {
            for when in [When::Before, When::After, When::Panicking] {
                let (world, store) = self::world::<S>().await;
                store.fail(method, nth, when);
                let host_data = HostData::random();
                let broker = world.broker_over(store.clone());
                let run = Run::play_by_reference_values(&broker, &world, host_data).await;
                let at = format!("{method:?} {nth} {when:?}");
                check(&store, &run, &host_data.workload_id(), &at).await;
            }
        }
    }
}

/// Everything up to the step under test, on a store that has not failed yet.
async fn registered<S: Home>() -> (World, Arc<Faulty<S>>, Broker) {
    let (world, store) = world::<S>().await;
    let broker = world.broker_over(store.clone());
    broker.registered("a").await;
    (world, store, broker)
}

async fn without_its_record_nothing_is_registered<S: Home>() {
    let (world, store) = world::<S>().await;
    let broker = world.broker_over(store.clone());
    store.fail(Method::Create, 1, When::Before);
    let error = broker.register.register(request("a", PASSPHRASE)).await.unwrap_err();
    assert_eq!(error, Error::Unavailable { id: None, retry_after: 5 });
    assert_eq!(store.inner().workload(&workload_id("a")).await.unwrap(), None);
    assert_eq!(audit(&store).await, []);
}

/// A panic is an error as any other, under a record of its own where one can be written.
async fn a_panic_is_an_error_with_its_record<S: Home>() {
    let (world, store, broker) = registered::<S>().await;
    let challenge = broker.challenge("a").await;
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    for method in [Method::Endorsement, Method::Workload, Method::Decide] {
        store.fail(method, 1, When::Panicking);
        let error = broker.refused(&challenge, evidence.clone()).await;
        let Error::Internal { id: Some(id) } = error else { panic!("{method:?}: {error:?}") };
        let record = audit(&store).await.into_iter().find(|record| record.id == id).expect("a record");
        let failed = record.failed.expect("a cause");
        assert_eq!((record.decision, failed.check.as_str()), (Decision::Unavailable, "internal"));
        assert!(!failed.cause.contains(PANIC), "{failed:?}");
    }
    broker.attest.attest(&challenge.session_id, evidence).await.unwrap();
    assert_eq!(on_record(&store, Decision::Attested).await, 1);
}

async fn without_its_record_nobody_attests<S: Home>() {
    let (world, store, broker) = registered::<S>().await;
    let challenge = broker.challenge("a").await;
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    store.fail(Method::Decide, 1, When::Before);
    let error = broker.refused(&challenge, evidence.clone()).await;
    assert!(matches!(error, Error::Unavailable { id: Some(_), retry_after: 5 }));
    assert_eq!(on_record(&store, Decision::Attested).await, 0);
    assert_eq!(on_record(&store, Decision::Unavailable).await, 0);
    // The same challenge still does.
    broker.attest.attest(&challenge.session_id, evidence).await.unwrap();
}

/// The answer was lost, the attestation was not: the guest is told to try again, and the nonce is spent.
async fn an_attestation_whose_answer_was_lost_is_on_record_once<S: Home>() {
    let (world, store, broker) = registered::<S>().await;
    let challenge = broker.challenge("a").await;
    let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
    store.fail(Method::Decide, 1, When::After);
    let error = broker.refused(&challenge, evidence.clone()).await;
    assert!(matches!(error, Error::Unavailable { id: Some(_), retry_after: 5 }), "{error:?}");
    assert_eq!(on_record(&store, Decision::Attested).await, 1);
    assert_eq!(on_record(&store, Decision::Unavailable).await, 0, "the record stands as it was written");
    // Its session is open: the guest is told so when it asks again, and nothing is decided anew.
    broker.attest.attest(&challenge.session_id, evidence).await.unwrap();
    assert_eq!(on_record(&store, Decision::Attested).await, 1);
    assert_eq!(broker.fetch(&challenge.session_id, "a", &KEY).await.unwrap(), PASSPHRASE);
}

/// While the build window cannot be ended there is no session, and the challenge survives.
async fn without_the_windows_end_nobody_attests<S: Home>() {
    for when in [When::Before, When::After] {
        let (world, store, broker) = registered::<S>().await;
        let challenge = broker.challenge("a").await;
        let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
        store.fail(Method::MarkReleased, 1, when);
        let error = broker.refused(&challenge, evidence.clone()).await;
        assert!(matches!(error, Error::Unavailable { id: Some(_), .. }), "{error:?}");
        assert_eq!(store.inner().decision(AuditId::of(&challenge.session_id)).await.unwrap(), None);
        broker.attest.attest(&challenge.session_id, evidence).await.unwrap();
    }
}

async fn without_its_record_nothing_is_released<S: Home>() {
    for when in [When::Before, When::After] {
        let (world, store, broker) = registered::<S>().await;
        let session = broker.attested(&world.hardware, "a").await;
        store.fail(Method::RecordRelease, 1, when);
        let error = broker.fetch(&session, "a", &KEY).await.unwrap_err();
        // A release that is on record, and did not leave, has a record of that as well.
        assert!(matches!(error, Error::Unavailable { id: Some(_), .. }), "{error:?}");
        assert_eq!(on_record(&store, Decision::Released).await, usize::from(when == When::After));
        assert_eq!(on_record(&store, Decision::Unavailable).await, 1);
        assert_eq!(broker.fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE);
    }
}

/// A refusal that could not be recorded is no refusal: the guest may try again, and is then refused. If the
/// put landed and its answer was lost, the guest is told of that very decision, and it is written once.
async fn a_refusal_that_is_not_on_record_is_no_answer<S: Home>() {
    for when in [When::Before, When::After] {
        let (world, store, broker) = registered::<S>().await;
        let challenge = broker.challenge("a").await;
        let id = AuditId::of(&challenge.session_id);
        let bad = evidence_with(&world.hardware.chip, &KEY, &challenge, |fields| fields.vmpl = 1);
        store.fail(Method::Decide, 1, when);
        let error = broker.refused(&challenge, bad.clone()).await;
        assert!(matches!(error, Error::Unavailable { id: Some(_), retry_after: 5 }), "{error:?}");
        let landed = store.inner().decision(id).await.unwrap().is_some();
        assert_eq!(landed, when == When::After);
        assert_eq!(broker.refused(&challenge, bad).await, Error::Refused { id });
        assert_eq!(on_record(&store, Decision::Refused).await, 1);
    }
}

/// Without the ring of its keys the broker gives and recognises nothing, and loses nothing either.
async fn without_its_keys_nobody_is_served<S: Home>() {
    for (method, when) in [
        (Method::Keyring, When::Before),
        (Method::PutKeyring, When::Before),
        (Method::PutKeyring, When::After),
    ] {
        let (world, store) = world::<S>().await;
        let broker = world.broker_over(store.clone());
        broker.registered("a").await;
        store.fail(method, 1, when);
        let error = broker.auth.challenge(named("a")).await.unwrap_err();
        assert_eq!(error, Error::Unavailable { id: None, retry_after: 5 });
        // Nobody looks again at once.
        world.hardware.clock.advance(seconds(1));
        let session = broker.attested(&world.hardware, "a").await;
        assert_eq!(broker.fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE);
    }
}

/// Two lost answers in a row: nothing comes of it but the truth in the log.
async fn a_log_that_takes_nothing_releases_nothing<S: Home>() {
    let (world, store, broker) = registered::<S>().await;
    let session = broker.attested(&world.hardware, "a").await;
    for nth in 1..=20 {
        store.fail(Method::Record, nth, When::Before);
        store.fail(Method::RecordRelease, nth, When::Before);
    }
    for _ in 0..10 {
        let error = broker.fetch(&session, "a", &KEY).await.unwrap_err();
        assert_eq!(error, Error::Unavailable { id: None, retry_after: 5 });
    }
    assert_eq!(on_record(&store, Decision::Released).await, 0);
}

/// Every test of this file over one kind of store.
macro_rules! over {
    ($store:ty => $($test:ident)*) => {$(
        #[tokio::test]
        async fn $test() {
            super::$test::<$store>().await;
        }
    )*};
    ($store:ty) => {
        over! { $store =>
            any_single_fault_leaves_nothing_half_done
            any_single_fault_leaves_no_resource_half_done
            without_its_record_nothing_is_registered
            a_panic_is_an_error_with_its_record
            without_its_record_nobody_attests
            an_attestation_whose_answer_was_lost_is_on_record_once
            without_the_windows_end_nobody_attests
            without_its_record_nothing_is_released
            a_refusal_that_is_not_on_record_is_no_answer
            without_its_keys_nobody_is_served
            a_log_that_takes_nothing_releases_nothing
        }
    };
}

mod embedded {
    over!(keybroker_embedded::store::EmbeddedStore);
}

mod dynamodb {
    over!(keybroker_testing::moto::Store);
}
