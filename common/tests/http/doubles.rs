//! A broker over a store in memory that holds what the tests ask for.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use keybroker_common::{
    admission::Admission,
    audit::{AuditRecord, Decision, Operation},
    broker::{Broker, Parts, Register},
    clock::SystemClock,
    config::KdsSettings,
    ids::{SessionId, WorkloadId},
    session::{Challenge, Claim},
    store::{
        ChallengeStore as _, Health, RevocationStore as _, SessionStore as _, StoreError, WorkloadStore as _,
    },
};
use keybroker_embedded::{key::LocalKey, store::EmbeddedStore};
use keybroker_kds::EndorsementSource;
use keybroker_rego::RegoEngine;
use keybroker_snp::anchors::TrustAnchors;
use keybroker_testing::{
    faulty::{FaultyStore, Method, When},
    sample,
    world::{PASSPHRASE, request},
};

use super::{CHALLENGE, SESSION, logs};

const TTL: Duration = Duration::from_secs(300);

/// The store of [`services`].
pub(super) type Store = FaultyStore<EmbeddedStore>;

/// A broker that knows two workloads: `taken`, which is revoked, and `open`, as which the guest under
/// [`SESSION`] has attested and the one under [`CHALLENGE`] may.
pub(super) async fn services() -> Broker {
    with_store().await.0
}

/// The calls of each kind that an answer waits for.
pub(super) const AWAITED: [Method; 4] =
    [Method::Create, Method::PutChallenge, Method::Challenge, Method::Session];

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
    logs::listen();
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
        unwrap: key,
        endorsements: Arc::new(endorsements),
        trials: Arc::new(RegoEngine::default()),
        policies: Arc::new(RegoEngine::default()),
        fleet: Arc::default(),
        admission: Admission::OPEN,
        clock,
        ttl: TTL,
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
    let given = |session: &str| Challenge {
        session_id: SessionId::parse(session).unwrap(),
        claim: Claim::Named { workload_id: open.id.clone() },
        expires_at: now + TTL,
        ..sample::challenge()
    };
    for challenge in [given(SESSION), given(CHALLENGE)] {
        store.put_challenge(&challenge).await.unwrap();
    }
    let attested = AuditRecord::new(now, Operation::Attest, Decision::Attested);
    let session = sample::session_as(&open, &given(SESSION), &attested);
    store.attest(&session, &attested).await.unwrap();
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
