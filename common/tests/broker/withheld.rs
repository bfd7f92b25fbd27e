//! A secret that was revoked, replaced or restored is not released, however far the release had come.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use keybroker_common::{
    audit::{AuditRecord, Decision, Operation},
    broker::Error,
    clock::Clock as _,
    ids::{RegistrationDigest, SessionId, WorkloadId},
    secret::{EncryptionContext, KeyError, Secret, Unwrap, WrappedSecret},
    store::{Build, OperatorStore, ReleaseStore, StoreError, WorkloadStore},
    workload::{Standing, Workload},
};
use keybroker_testing::{
    faulty::{FaultyStore, Method, When},
    guest::KEY,
    world::{Broker, PASSPHRASE, World, workload_id},
};
use tokio::{sync::Semaphore, task::JoinSet};
use uuid::Uuid;

use super::faults::Home;

/// A test that waits for so long has failed.
const LONG: Duration = Duration::from_secs(60);

/// Lets nobody through until it is opened, and tells who has come.
#[derive(Debug)]
struct Gate {
    come: Semaphore,
    open: Semaphore,
}

impl Gate {
    fn shut() -> Self {
        Self { come: Semaphore::new(0), open: Semaphore::new(0) }
    }

    async fn pass(&self) {
        self.come.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }

    /// Until so many stand before it, or did.
    async fn come(&self, many: u32) {
        let come = tokio::time::timeout(LONG, self.come.acquire_many(many)).await;
        come.expect("they come").unwrap().forget();
    }

    fn open(&self) {
        self.open.add_permits(Semaphore::MAX_PERMITS / 2);
    }
}

/// A gate before the secret is unwrapped.
#[derive(Debug)]
struct GatedKey {
    key: Arc<dyn Unwrap>,
    gate: Arc<Gate>,
}

#[async_trait]
impl Unwrap for GatedKey {
    async fn unwrap_secret(
        &self,
        context: &EncryptionContext,
        wrapped: &WrappedSecret,
    ) -> Result<Secret, KeyError> {
        self.gate.pass().await;
        self.key.unwrap_secret(context, wrapped).await
    }
}

/// A gate before the record of a release is written, or behind it.
#[derive(Debug)]
struct GatedStore {
    store: Arc<dyn ReleaseStore>,
    before: Option<Arc<Gate>>,
    written: Semaphore,
}

#[async_trait]
impl WorkloadStore for GatedStore {
    async fn workload(&self, id: &WorkloadId) -> Result<Option<Workload>, StoreError> {
        self.store.workload(id).await
    }

    async fn selected(&self, host_data: &[u8; 32]) -> Result<Option<WorkloadId>, StoreError> {
        self.store.selected(host_data).await
    }
}

#[async_trait]
impl ReleaseStore for GatedStore {
    async fn mark_released(
        &self,
        id: &WorkloadId,
        registration: RegistrationDigest,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.store.mark_released(id, registration, at).await
    }

    async fn record_release(
        &self,
        id: &WorkloadId,
        standing: &Standing,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        if let Some(gate) = &self.before {
            gate.pass().await;
        }
        let outcome = self.store.record_release(id, standing, audit).await;
        self.written.add_permits(1);
        outcome
    }
}

/// A broker over a store of its own kind, and a guest that has attested as `a`.
struct Scene<S> {
    world: World,
    store: Arc<S>,
    broker: Broker,
    session: SessionId,
}

impl<S: Home + OperatorStore> Scene<S> {
    async fn new() -> Self {
        let world = World::new().await;
        let store = Arc::new(S::empty(&world).await);
        let broker = world.broker_over(Arc::clone(&store));
        broker.registered("a").await;
        let session = broker.attested(&world.hardware, "a").await;
        Self { world, store, broker, session }
    }

    fn act(&self, decision: Decision) -> AuditRecord {
        AuditRecord::new(self.world.hardware.clock.now(), Operation::Operate, decision)
    }

    async fn row(&self) -> Workload {
        self.store.workload(&workload_id("a")).await.unwrap().unwrap()
    }

    async fn revoke(&self) {
        self.store.revoke(&workload_id("a"), &self.act(Decision::Revoked)).await.unwrap();
    }

    async fn restore(&self) {
        let digest = self.row().await.digest();
        self.store.restore(&workload_id("a"), digest, &self.act(Decision::Restored)).await.unwrap();
    }

    /// As somebody who has the authority does.
    async fn replace(&self) {
        let row = self.row().await;
        let text = String::from_utf8(row.registration.clone()).unwrap();
        let serial = serde_json::from_str::<serde_json::Value>(&text).unwrap()["serial"].clone();
        let other = text.replace(serial.as_str().unwrap(), &Uuid::new_v4().to_string());
        let by = Workload { registration: other.into_bytes(), ..row.clone() };
        let audit = self.act(Decision::Replaced);
        self.store.replace(&row, Build::New, &by, &audit, None).await.unwrap();
    }

    async fn delete(&self) {
        self.store.delete(&self.row().await, &self.act(Decision::Deleted)).await.unwrap();
    }

    async fn on_record(&self, decision: Decision) -> Vec<AuditRecord> {
        let mut log = self.store.audit_log().await;
        log.retain(|record| record.decision == decision);
        log
    }
}

/// How many releases are under way together.
const MANY: u32 = 8;

/// The outcomes of [`MANY`] releases under `broker`.
fn released(broker: &Broker, session: &SessionId) -> JoinSet<Result<String, Error>> {
    let mut releases = JoinSet::new();
    for _ in 0..MANY {
        let (broker, session) = (broker.clone(), session.clone());
        releases.spawn(async move { broker.fetch(&session, "a", &KEY).await });
    }
    releases
}

/// All are on record and at the wrapping key while `meanwhile` happens.
async fn withheld<S: Home + OperatorStore>(meanwhile: impl AsyncFn(&Scene<S>), cause: &str) {
    let scene = Scene::<S>::new().await;
    let gate = Arc::new(Gate::shut());
    let store = GatedStore { store: scene.store.clone(), before: None, written: Semaphore::new(0) };
    let store = Arc::new(store);
    let mut broker = scene.broker.clone();
    broker.attest.unwrap = Arc::new(GatedKey { key: broker.attest.unwrap, gate: Arc::clone(&gate) });
    broker.attest.workloads = store.clone();
    let releases = released(&broker, &scene.session);
    gate.come(MANY).await;
    let written = tokio::time::timeout(LONG, store.written.acquire_many(MANY)).await;
    written.expect("they are recorded").unwrap().forget();
    meanwhile(&scene).await;
    gate.open();
    let outcomes = releases.join_all().await;
    assert_eq!(scene.on_record(Decision::Released).await.len(), MANY as usize);
    let records = scene.on_record(Decision::Withheld).await;
    assert_eq!(records.len(), MANY as usize);
    for outcome in outcomes {
        let Err(Error::Refused { id }) = outcome else { panic!("{outcome:?}") };
        let record = records.iter().find(|record| record.id == id).expect("a record of its own");
        let failed = record.failed.as_ref().unwrap();
        assert_eq!(failed.check, "workload");
        assert!(failed.cause.starts_with(cause), "{}", failed.cause);
        assert_eq!((record.secret.as_deref(), record.operation), (Some("passphrase"), Operation::Key));
    }
}

async fn what_was_revoked_while_it_was_unwrapped_is_withheld<S: Home + OperatorStore>() {
    withheld::<S>(async |scene| scene.revoke().await, "the workload is revoked since ").await;
}

async fn what_was_replaced_while_it_was_unwrapped_is_withheld<S: Home + OperatorStore>() {
    withheld::<S>(async |scene| scene.replace().await, "the registration was replaced").await;
}

async fn what_was_deleted_while_it_was_unwrapped_is_withheld<S: Home + OperatorStore>() {
    withheld::<S>(async |scene| scene.delete().await, "the workload is no longer registered").await;
}

async fn what_was_revoked_and_restored_while_it_was_unwrapped_is_withheld<S: Home + OperatorStore>() {
    let meanwhile = async |scene: &Scene<S>| {
        scene.revoke().await;
        scene.restore().await;
    };
    withheld::<S>(meanwhile, "the workload was revoked and restored").await;
}

/// Neither is a secret then given, nor, where the store can help it, a release put on record.
async fn what_was_revoked_before_it_was_recorded_is_not_released<S: Home + OperatorStore>() {
    let scene = Scene::<S>::new().await;
    let gate = Arc::new(Gate::shut());
    let before = Some(Arc::clone(&gate));
    let mut broker = scene.broker.clone();
    broker.attest.workloads =
        Arc::new(GatedStore { store: scene.store.clone(), before, written: Semaphore::new(0) });
    let releases = released(&broker, &scene.session);
    gate.come(MANY).await;
    scene.revoke().await;
    gate.open();
    for outcome in releases.join_all().await {
        assert!(matches!(outcome, Err(Error::Refused { .. })), "{outcome:?}");
    }
    let (released, withheld, refused) = (
        scene.on_record(Decision::Released).await.len(),
        scene.on_record(Decision::Withheld).await.len(),
        scene.on_record(Decision::Refused).await.len(),
    );
    let many = MANY as usize;
    let expected = if S::CONDITIONAL_RECORDS { (0, 0, many) } else { (many, many, 0) };
    assert_eq!((released, withheld, refused), expected);
}

/// Nor any that was opened while it was revoked, should there be one.
async fn no_restoration_revives_a_session<S: Home + OperatorStore>() {
    let scene = Scene::<S>::new().await;
    assert_eq!(scene.broker.fetch(&scene.session, "a", &KEY).await.unwrap(), PASSPHRASE);
    scene.revoke().await;
    scene.restore().await;
    let fetched = scene.broker.fetch(&scene.session, "a", &KEY).await;
    let Err(Error::Refused { id }) = fetched else { panic!("{fetched:?}") };
    let log = scene.store.audit_log().await;
    let failed = log.iter().find(|record| record.id == id).unwrap().failed.clone().unwrap();
    assert_eq!(failed.check, "workload");
    assert_eq!(failed.cause, "the workload was revoked and restored since the guest attested");
    // A guest that attests again is let in.
    let session = scene.broker.attested(&scene.world.hardware, "a").await;
    assert_eq!(scene.broker.fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE);
    // And stays in when a restoration finds nothing to take back.
    scene.restore().await;
    assert_eq!(scene.broker.fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE);
}

/// The secret is unwrapped and the release on record; whether it may leave cannot be found out.
async fn without_the_last_look_nothing_is_released<S: Home + OperatorStore>() {
    for when in [When::Before, When::After] {
        let Scene { world, store, session, .. } = Scene::<S>::new().await;
        let store = Arc::into_inner(store).map_or_else(|| panic!("shared"), FaultyStore::new);
        let store = Arc::new(store);
        let broker = world.broker_over(store.clone());
        store.fail(Method::Workload, 2, when);
        let error = broker.fetch(&session, "a", &KEY).await.unwrap_err();
        let Error::Unavailable { id: Some(id), .. } = error else { panic!("{error:?}") };
        let log = store.inner().audit_log().await;
        let decided = |decision| log.iter().filter(move |record| record.decision == decision);
        assert_eq!(decided(Decision::Released).count(), 1);
        assert_eq!(decided(Decision::Unavailable).map(|record| record.id).collect::<Vec<_>>(), [id]);
        assert_eq!(broker.fetch(&session, "a", &KEY).await.unwrap(), PASSPHRASE);
    }
}

/// The order of what happens, as everybody sees it.
#[derive(Debug, Default)]
struct Order(AtomicU64);

impl Order {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// Notes when one guest's secret was last unwrapped, and when its row was last looked at.
#[derive(Debug)]
struct Noted {
    store: Arc<dyn ReleaseStore>,
    key: Arc<dyn Unwrap>,
    order: Arc<Order>,
    unwrapped: Mutex<u64>,
    looked: Mutex<u64>,
}

#[async_trait]
impl Unwrap for Noted {
    async fn unwrap_secret(
        &self,
        context: &EncryptionContext,
        wrapped: &WrappedSecret,
    ) -> Result<Secret, KeyError> {
        let secret = self.key.unwrap_secret(context, wrapped).await;
        *self.unwrapped.lock().unwrap() = self.order.next();
        secret
    }
}

#[async_trait]
impl WorkloadStore for Noted {
    async fn workload(&self, id: &WorkloadId) -> Result<Option<Workload>, StoreError> {
        *self.looked.lock().unwrap() = self.order.next();
        self.store.workload(id).await
    }

    async fn selected(&self, host_data: &[u8; 32]) -> Result<Option<WorkloadId>, StoreError> {
        self.store.selected(host_data).await
    }
}

#[async_trait]
impl ReleaseStore for Noted {
    async fn mark_released(
        &self,
        id: &WorkloadId,
        registration: RegistrationDigest,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.store.mark_released(id, registration, at).await
    }

    async fn record_release(
        &self,
        id: &WorkloadId,
        standing: &Standing,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        self.store.record_release(id, standing, audit).await
    }
}

/// Guests that ask again and again while the workload is revoked: no answer whose last look began after
/// `revoke` returned, and none without a look after its secret was unwrapped.
async fn no_answer_by_a_look_that_began_after_the_revocation<S: Home + OperatorStore>() {
    const GUESTS: usize = 8;
    let scene = Scene::<S>::new().await;
    let (order, over, answers) =
        (Arc::new(Order::default()), Arc::new(AtomicBool::new(false)), Arc::new(Semaphore::new(0)));
    let mut guests = JoinSet::new();
    for _ in 0..GUESTS {
        let noted = Arc::new(Noted {
            store: scene.store.clone(),
            key: scene.broker.attest.unwrap.clone(),
            order: Arc::clone(&order),
            unwrapped: Mutex::default(),
            looked: Mutex::default(),
        });
        let mut broker = scene.broker.clone();
        broker.attest.workloads = noted.clone();
        broker.attest.unwrap = noted.clone();
        let session = scene.session.clone();
        let (over, answers) = (Arc::clone(&over), Arc::clone(&answers));
        guests.spawn(async move {
            let mut looks = Vec::new();
            loop {
                let last = over.load(Ordering::SeqCst);
                match broker.fetch(&session, "a", &KEY).await {
                    Ok(_) => {
                        let (unwrapped, looked) =
                            (*noted.unwrapped.lock().unwrap(), *noted.looked.lock().unwrap());
                        assert!(unwrapped < looked, "an answer without a look");
                        looks.push(looked);
                        answers.add_permits(1);
                    }
                    Err(error) => assert!(matches!(error, Error::Refused { .. }), "{error:?}"),
                }
                if last {
                    return looks;
                }
            }
        });
    }
    let answered = tokio::time::timeout(LONG, answers.acquire_many(3 * GUESTS as u32)).await;
    answered.expect("guests that are answered").unwrap().forget();
    scene.revoke().await;
    let revoked = order.next();
    over.store(true, Ordering::SeqCst);
    let looks: Vec<_> = guests.join_all().await.into_iter().flatten().collect();
    assert!(looks.len() >= 3 * GUESTS);
    let late: Vec<_> = looks.iter().filter(|looked| **looked > revoked).collect();
    assert_eq!(late, Vec::<&u64>::new(), "revoked at {revoked}");
    // Every answer is on record, and every record that did not become an answer has a second one.
    let (released, withheld) =
        (scene.on_record(Decision::Released).await.len(), scene.on_record(Decision::Withheld).await.len());
    assert_eq!(released, looks.len() + withheld);
}

/// Every test of this file over one kind of store.
macro_rules! over {
    ($store:ty => $($test:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $test() {
            super::$test::<$store>().await;
        }
    )*};
    ($store:ty) => {
        over! { $store =>
            what_was_revoked_while_it_was_unwrapped_is_withheld
            what_was_replaced_while_it_was_unwrapped_is_withheld
            what_was_deleted_while_it_was_unwrapped_is_withheld
            what_was_revoked_and_restored_while_it_was_unwrapped_is_withheld
            what_was_revoked_before_it_was_recorded_is_not_released
            no_restoration_revives_a_session
            without_the_last_look_nothing_is_released
            no_answer_by_a_look_that_began_after_the_revocation
        }
    };
}

mod embedded {
    over!(keybroker_embedded::store::EmbeddedStore);
}

mod dynamodb {
    over!(keybroker_testing::moto::Store);
}
