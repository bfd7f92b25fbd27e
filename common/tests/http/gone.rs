//! Clients that do not wait for their answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use keybroker_common::{
    audit::AuditRecord,
    decision::AttestDecision,
    ids::{AuditId, RegistrationDigest, WorkloadId},
    store::{AuditStore, DecisionStore, ReleaseStore, StoreError, WorkloadStore},
    workload::{Standing, Workload},
};
use tokio::time::{sleep, timeout};

use super::*;

/// Takes five seconds for each record, and counts them.
#[derive(Debug)]
struct Slow {
    store: Arc<doubles::Store>,
    records: AtomicUsize,
}

#[async_trait]
impl AuditStore for Slow {
    async fn append(&self, _: &AuditRecord) -> Result<(), StoreError> {
        sleep(Duration::from_secs(5)).await;
        self.records.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[async_trait]
impl WorkloadStore for Slow {
    async fn workload(&self, id: &WorkloadId) -> Result<Option<Workload>, StoreError> {
        self.store.workload(id).await
    }
}

#[async_trait]
impl ReleaseStore for Slow {
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
        _: &WorkloadId,
        _: &Standing,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        self.append(audit).await
    }
}

#[async_trait]
impl DecisionStore for Slow {
    async fn decide(&self, decision: &AttestDecision) -> Result<Option<AttestDecision>, StoreError> {
        self.append(&decision.record).await.map(|()| None)
    }

    async fn decision(&self, id: AuditId) -> Result<Option<AttestDecision>, StoreError> {
        self.store.decision(id).await
    }

    async fn record(&self, audit: &AuditRecord) -> Result<(), StoreError> {
        self.append(audit).await
    }
}

/// How many records are written of a request whose client goes away after a second.
async fn recorded(request: Request<Body>) -> usize {
    let (mut broker, store) = doubles::with_store().await;
    let slow = Arc::new(Slow { store, records: AtomicUsize::new(0) });
    broker.register.audit = slow.clone();
    broker.attest.decisions = slow.clone();
    broker.attest.workloads = slow.clone();
    let router = router(broker);
    let asked = timeout(Duration::from_secs(1), router.oneshot(request)).await;
    assert!(asked.is_err(), "the client was answered before it went away");
    assert_eq!(slow.records.load(Ordering::Relaxed), 0);
    sleep(Duration::from_secs(10)).await;
    slow.records.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_decision_is_recorded_although_nobody_waits() {
    let attest = attest_body(&[0xc3; 256], &[1, 0, 1], "00");
    assert_eq!(recorded(post(REGISTER, registration("taken", "p"))).await, 1);
    assert_eq!(recorded(with_session(post(ATTEST, attest))).await, 1);
    assert_eq!(recorded(with_session(bare(Method::GET, "/kbs/v0/key/open"))).await, 1);
}
