//! A broker over a store in memory that holds what the tests ask for.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use keybroker_common::{
    admission::Admission,
    audit::{AuditRecord, Decision, Operation},
    broker::{AttestKeys, Broker, Origin, Parts, Register},
    challenge::Deployment,
    clock::SystemClock,
    config::KdsSettings,
    decision::{AttestDecision, SealedSession},
    ids::{AuditId, CarriedId, Claim, KbsVersion, ReportHash, SessionId, TrusteeClaim, WorkloadId},
    keyring::Purpose,
    store::{DecisionStore as _, Health, RevocationStore as _, StoreError, WorkloadStore as _},
};
use keybroker_embedded::{key::LocalKey, store::EmbeddedStore};
use keybroker_initdata::{Algorithm, KeyId};
use keybroker_kds::EndorsementSource;
use keybroker_native::{
    Evidence, Suite,
    client::{self, Pending},
};
use keybroker_rego::RegoEngine;
use keybroker_snp::anchors::TrustAnchors;
use keybroker_testing::{
    announced,
    faulty::{FaultyStore, Method, When},
    forged, sample,
    world::{PASSPHRASE, request},
};

/// Longer than the suite takes.
const TTL: Duration = Duration::from_secs(3600);

/// The store of [`services`].
pub(super) type Store = FaultyStore<EmbeddedStore>;

/// A broker that knows two workloads: `taken`, which is revoked, and `open`, as which the guest under
/// [`SESSION`] has attested and the one under [`CHALLENGE`] may.
pub(super) async fn services() -> Broker {
    with_store().await.0
}

/// The calls of each kind that an answer waits for.
pub(super) const AWAITED: [Method; 4] = [Method::Create, Method::Keyring, Method::Workload, Method::Decision];

/// The same, with a store that fails at the first of each of these calls.
pub(super) async fn failing(calls: &[Method], when: When) -> Broker {
    let (broker, store) = with_store().await;
    for call in calls {
        store.fail(*call, 1, when);
    }
    broker
}

/// The same, and its store.
pub(super) async fn with_store() -> (Broker, Arc<Store>) {
    announced::listen();
    let clock = Arc::new(SystemClock);
    let store = Arc::new(EmbeddedStore::in_memory(clock.clone()).unwrap());
    let key = Arc::new(LocalKey::in_memory().unwrap());
    fill(&store, &key).await;
    let store = Arc::new(FaultyStore::new(Arc::into_inner(store).expect("nobody else has the store")));
    let anchors = TrustAnchors::default();
    let endorsements = EndorsementSource::new(anchors, store.clone(), clock.clone(), &KdsSettings::default());
    let broker = Broker::new(Parts {
        store: store.clone(),
        wrap: key.clone(),
        keys: AttestKeys {
            sessions: Arc::new(key.keyring(Purpose::Session)),
            results: Arc::new(key.keyring(Purpose::Result)),
            unwrap: key.clone(),
            signers: Arc::new(keybroker_testing::signer::NoSigners),
        },
        endorsements: Arc::new(endorsements),
        trials: Arc::new(RegoEngine::default()),
        policies: Arc::new(RegoEngine::default()),
        fleet: Arc::default(),
        admission: Admission::OPEN,
        clock,
        origin: Origin {
            deployment: Deployment::new(DEPLOYMENT),
            keys: Arc::new(key.keyring(Purpose::Challenge)),
            ttl: TTL,
        },
    });
    (broker, store)
}

async fn fill(store: &Arc<EmbeddedStore>, key: &Arc<LocalKey>) {
    let now = Timestamp::now();
    let clock = Arc::new(SystemClock);
    let register =
        Register::new(store.clone(), key.clone(), Arc::new(RegoEngine::default()), Admission::OPEN, clock);
    for id in ["taken", "open"] {
        register.register(request(id, PASSPHRASE)).await.unwrap();
    }
    let revoked = AuditRecord::new(now, Operation::Operate, Decision::Revoked);
    store.revoke(&WorkloadId::new("taken").unwrap(), &revoked).await.unwrap();

    let open = store.workload(&WorkloadId::new("open").unwrap()).await.unwrap().unwrap();
    for purpose in [Purpose::Challenge, Purpose::Session] {
        forged::plant(store.as_ref(), purpose, &key.keyring(purpose), *BEGIN).await;
    }
    let id = id(1);
    let attested =
        AuditRecord { id: AuditId::of(&id), ..AuditRecord::new(now, Operation::Attest, Decision::Attested) };
    let session = SealedSession { expires_at: now + TTL, ..sample::session_as(&open, &attested) };
    let session = forged::sealed(&id, session);
    let decision = AttestDecision {
        record: attested,
        evidence: session.evidence,
        session: Some(session),
        keep_until: now + TTL,
    };
    assert_eq!(store.decide(&decision).await, Ok(None));
}

const DEPLOYMENT: &str = "doubles";
/// When the keys were made that every broker here uses.
static BEGIN: LazyLock<Timestamp> = LazyLock::new(Timestamp::now);
/// The cookie of the guest that has attested as `open`.
pub(super) static SESSION: LazyLock<String> = LazyLock::new(|| id(1).expose());
/// The cookie of the guest that may.
pub(super) static CHALLENGE: LazyLock<String> = LazyLock::new(|| id(2).expose());

/// The cookie of a guest of Trustee's whose URL names the workload `web`.
pub(super) static NAMED_CHALLENGE: LazyLock<String> = LazyLock::new(|| {
    let workload = CarriedId::new(WorkloadId::new("web").unwrap());
    let version = KbsVersion::V0_4_0(ReportHash::Sha384);
    let claim = Claim::Trustee(TrusteeClaim { version, workload });
    forged::session_id_of(DEPLOYMENT, *BEGIN, [4; 12], claim).expose()
});

/// A request for the secret of `open`, in answer to a challenge that nobody answered before. This broker has
/// no signing key, so the evidence is not looked at.
pub(super) fn release() -> String {
    let id = forged::session_id_of(DEPLOYMENT, *BEGIN, [3; 12], Claim::Later);
    let challenge = client::Challenge { challenge: id.expose() + &"A".repeat(43), expires_in: 300 };
    let (secrets, keys) = (vec!["passphrase".to_owned()], vec![KeyId::from_bytes([7; 32])]);
    let said = Algorithm::Sha256.digest("a document");
    let pending = Pending::new(Suite::X25519, &challenge, "open", secrets, said, keys).unwrap();
    let evidence = Evidence::of_report(vec![0; 1184], Vec::new());
    String::from_utf8(pending.request(&evidence)).unwrap()
}

fn id(random: u8) -> SessionId {
    forged::session_id(DEPLOYMENT, *BEGIN, [random; 12], &WorkloadId::new("open").unwrap())
}

/// A store that is not well.
#[derive(Debug)]
pub(super) struct Sick(pub(super) When);

#[async_trait]
impl Health for Sick {
    async fn check(&self) -> Result<(), StoreError> {
        assert!(self.0 != When::Panicking, "made to");
        Err(StoreError::Full("made to".to_owned()))
    }
}
