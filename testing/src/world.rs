//! A broker on the embedded store, with everything around it, and an attacker who can write the store's file.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use keybroker_common::policy::PolicyEngine;
use keybroker_common::{
    admission::Admission,
    appraisal::Fleet,
    audit::{AuditRecord, Decision, FailedCheck, Operation},
    broker::{
        self, Attest, AttestKeys, Auth, Credential, Error, Evidence, Origin, Register, RegisterRequest,
        Registered,
    },
    challenge::{Challenge, Claim},
    clock::Clock,
    decision::{AttestDecision, SealedSession},
    dialect::Dialect,
    ids::{AuditId, CarriedId, SessionId, WorkloadId},
    keyring::Purpose,
    requirements::{AppraisalPolicy, Measurement, ReferenceValues},
    secret::{Secret, Unwrap, Wrap},
    store::{DecisionStore as _, EndorsementStore},
};
use keybroker_embedded::{key::LocalKey, store::EmbeddedStore};
use keybroker_rego::RegoEngine;
use keybroker_simulator::pki::CSP_ID;
use redb::{Database, ReadableTable as _, TableDefinition};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    announced,
    clock::BEGIN,
    guest::{KEY, KeyPair, evidence},
    hardware::Hardware,
    signer::OneSigner,
};

pub use redb::WriteTransaction;

/// How long challenges and sessions last.
pub const TTL: Duration = Duration::from_secs(300);
/// The passphrase that the guest is after.
pub const PASSPHRASE: &str = "open sesame";
/// Its name.
pub const SECRET: &str = "passphrase";

/// All that stays when a broker is started anew.
pub struct World {
    pub hardware: Hardware,
    pub store: Arc<EmbeddedStore>,
    pub key: Arc<LocalKey>,
    /// The key that the broker signs with.
    pub signer: Arc<OneSigner>,
    dir: TempDir,
}

/// The three services of one process.
#[derive(Clone)]
pub struct Broker {
    pub register: Register,
    pub auth: Auth,
    pub attest: Attest,
}

/// All that a broker keeps things in.
pub trait Stores: broker::Stores + EndorsementStore {}
impl<S: broker::Stores + EndorsementStore> Stores for S {}

impl World {
    pub async fn new() -> Self {
        announced::listen();
        let hardware = Hardware::new().await;
        let dir = tempfile::tempdir().unwrap();
        let key = LocalKey::create(&dir.path().join("key")).unwrap();
        let store = EmbeddedStore::open(&dir.path().join("data"), hardware.clock.clone()).unwrap();
        let signer = Arc::new(OneSigner::generate());
        Self { hardware, store: Arc::new(store), key: Arc::new(key), signer, dir }
    }

    /// A directory that goes when the world does.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A process that has seen nothing yet.
    pub fn broker(&self) -> Broker {
        self.broker_over(Arc::clone(&self.store))
    }

    /// The same, asking for new chips at the pace that holds towards AMD.
    pub fn paced_broker(&self) -> Broker {
        let mut broker = self.broker();
        let endorsements = self.hardware.source_with(self.store.clone(), &self.hardware.paced());
        broker.attest.endorsements = Arc::new(endorsements.source);
        broker
    }

    /// The same over another store.
    pub fn broker_over<S: Stores + 'static>(&self, store: Arc<S>) -> Broker {
        self.broker_of(store, Arc::new(RegoEngine::default()), Arc::new(RegoEngine::default()))
    }

    /// The same, with these engines for registrations and for guests.
    pub fn broker_with(&self, trials: Arc<dyn PolicyEngine>, policies: Arc<dyn PolicyEngine>) -> Broker {
        self.broker_of(Arc::clone(&self.store), trials, policies)
    }

    /// Where the challenges of this world's store come from.
    pub fn origin(&self) -> Origin {
        let keys = Arc::new(self.key.keyring(Purpose::Challenge));
        Origin { deployment: self.store.deployment().unwrap(), keys, ttl: TTL }
    }

    fn broker_of<S: Stores + 'static>(
        &self,
        store: Arc<S>,
        trials: Arc<dyn PolicyEngine>,
        policies: Arc<dyn PolicyEngine>,
    ) -> Broker {
        let clock: Arc<dyn Clock> = self.hardware.clock.clone();
        let endorsements = self.hardware.source_with(store.clone(), &self.hardware.settings());
        let broker::Broker { register, auth, attest } = broker::Broker::new(broker::Parts {
            store,
            wrap: self.key.clone(),
            keys: AttestKeys {
                sessions: Arc::new(self.key.keyring(Purpose::Session)),
                results: Arc::new(self.key.keyring(Purpose::Result)),
                unwrap: self.key.clone(),
                signers: self.signer.clone(),
            },
            endorsements: Arc::new(endorsements.source),
            trials,
            policies,
            fleet: Arc::new(Fleet { accepted_csp_ids: vec![CSP_ID.to_owned()], ..Fleet::default() }),
            admission: Admission::OPEN,
            clock,
            origin: self.origin(),
        });
        Broker { register, auth, attest }
    }

    /// Stops the store, lets `alter` write to its file, and opens it again. No broker may be left.
    pub fn altered(self, alter: impl FnOnce(&WriteTransaction)) -> Self {
        let Self { hardware, store, key, signer, dir } = self;
        drop(Arc::into_inner(store).expect("nobody else has the store"));
        let data = dir.path().join("data");
        let database = Database::open(data.join("keybroker.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        alter(&transaction);
        transaction.commit().unwrap();
        drop(database);
        let store = Arc::new(EmbeddedStore::open(&data, hardware.clock.clone()).unwrap());
        Self { hardware, store, key, signer, dir }
    }

    /// The decision about the challenge under `session`.
    pub async fn decision(&self, session: &SessionId) -> Option<AttestDecision> {
        self.store.decision(AuditId::of(session)).await.unwrap()
    }

    /// The session under this id, as it is stored.
    pub async fn session(&self, session: &SessionId) -> Option<SealedSession> {
        self.decision(session).await?.session
    }

    /// Every record, oldest first, and those of one time as they were announced.
    pub fn audit(&self) -> Vec<AuditRecord> {
        let mut records: Vec<_> = self.store.audit_records().unwrap().map(Result::unwrap).collect();
        records.sort_by_key(|record| (record.time, announced::nth(record.id)));
        records
    }

    /// The records as what was asked, what was decided, and the check that failed.
    pub fn decisions(&self) -> Vec<(Operation, Decision, Option<String>)> {
        let decision =
            |one: AuditRecord| (one.operation, one.decision, one.failed.map(|failed| failed.check));
        self.audit().into_iter().map(decision).collect()
    }

    /// Asserts that nothing was written about `error`, and that the log tells this reason.
    pub fn assert_announced(&self, error: &Error, check: &str, cause: &str) {
        let Error::Unavailable { id: Some(id), .. } = error else { panic!("{error:?}") };
        assert_eq!(self.store.audit_record(*id).unwrap(), None);
        let record = announced::record(*id).expect("a line in the log");
        assert_eq!(record.decision, Decision::Unavailable);
        let failed = FailedCheck { check: check.to_owned(), cause: cause.to_owned() };
        assert_eq!(record.failed, Some(failed));
    }

    /// Asserts that `error` is on record, for this reason, or in the log if nothing could be decided.
    pub fn assert_recorded(&self, error: &Error, check: &str, cause: &str) {
        let (id, decision) = match error {
            Error::NoSession { id: Some(id) }
            | Error::Refused { id }
            | Error::NoSecret { id }
            | Error::Unauthenticated { id }
            | Error::AlreadyRegistered { id } => (*id, Decision::Refused),
            Error::Unavailable { id: Some(id), .. } => (*id, Decision::Unavailable),
            other => panic!("{other:?}"),
        };
        let announced = || announced::record(id).filter(|_| decision == Decision::Unavailable);
        let record = self.store.audit_record(id).unwrap().or_else(announced).expect("a record");
        assert_eq!(record.decision, decision);
        let failed = FailedCheck { check: check.to_owned(), cause: cause.to_owned() };
        assert_eq!(record.failed, Some(failed));
    }
}

/// A row of the store's file, as JSON; `None` deletes it.
pub fn edit(
    transaction: &WriteTransaction,
    table: &str,
    key: &str,
    edit: impl FnOnce(Option<Value>) -> Option<Value>,
) {
    let table: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table);
    let mut table = transaction.open_table(table).unwrap();
    let row = table.get(key.as_bytes()).unwrap().map(|row| serde_json::from_slice(row.value()).unwrap());
    match edit(row) {
        Some(row) => {
            drop(table.insert(key.as_bytes(), serde_json::to_vec(&row).unwrap().as_slice()).unwrap())
        }
        None => drop(table.remove(key.as_bytes()).unwrap()),
    }
}

pub fn workload_id(id: &str) -> WorkloadId {
    WorkloadId::new(id).unwrap()
}

/// A session id that no broker made.
pub fn stranger() -> SessionId {
    let made_at = u32::try_from(BEGIN.as_second()).unwrap();
    let random = *uuid::Uuid::new_v4().as_bytes().first_chunk().unwrap();
    SessionId::new(1, made_at, random, named("a"), |_| [0x5A; 8])
}

/// The claim of a guest that names its workload.
pub fn named(id: &str) -> Claim {
    Claim::Named(CarriedId::new(workload_id(id)).unwrap())
}

/// A registration of the measurement that guests have unless told otherwise.
pub fn request(id: &str, passphrase: &str) -> RegisterRequest {
    RegisterRequest {
        workload_id: workload_id(id),
        dialects: Dialect::Libkrun.into(),
        credential: Credential::None,
        reference_values: ReferenceValues { measurements: vec![Measurement([0x4D; 48])] },
        policy: AppraisalPolicy::default(),
        rego: None,
        secrets: BTreeMap::from([(SECRET.to_owned(), Secret::new(passphrase.as_bytes().to_vec()))]),
    }
}

impl Broker {
    pub async fn registered(&self, id: &str) -> Registered {
        self.register.register(request(id, PASSPHRASE)).await.unwrap()
    }

    pub async fn challenge(&self, id: &str) -> Challenge {
        self.auth.challenge(named(id)).await.unwrap()
    }

    /// A session of a guest that attested as `id`.
    pub async fn attested(&self, hardware: &Hardware, id: &str) -> SessionId {
        let challenge = self.challenge(id).await;
        let evidence = evidence(&hardware.chip, &KEY, &challenge);
        self.attest.attest(&challenge.session_id, evidence).await.unwrap();
        challenge.session_id.clone()
    }

    /// The error that `evidence` meets.
    pub async fn refused(&self, challenge: &Challenge, evidence: Evidence) -> Error {
        self.attest.attest(&challenge.session_id, evidence).await.unwrap_err()
    }

    /// The passphrase, if it is released to `session` and `key` opens it.
    pub async fn fetch(&self, session: &SessionId, id: &str, key: &KeyPair) -> Result<String, Error> {
        let released = self.attest.passphrase(session, &workload_id(id)).await?;
        let clear = key.open(released.sealed()).unwrap_or_default();
        Ok(String::from_utf8(clear).unwrap_or_default())
    }

    pub fn with_unwrap(mut self, unwrap: Arc<dyn Unwrap>) -> Self {
        self.attest.unwrap = unwrap;
        self
    }

    pub fn with_wrap(mut self, wrap: Arc<dyn Wrap>) -> Self {
        self.register.wrap = wrap;
        self
    }
}
