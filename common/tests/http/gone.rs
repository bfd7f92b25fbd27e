//! Clients that do not wait for their answer.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use keybroker_common::{
    audit::AuditRecord,
    decision::AttestDecision,
    ids::{AuditId, RegistrationDigest, WorkloadId},
    store::{AuditStore, DecisionStore, ReleaseStore, StoreError, WorkloadStore},
    workload::{Standing, Workload},
};
use tokio::{sync::Semaphore, time::timeout};

use super::*;

/// Writes no record before it is let, and tells of each that it is to write and of each that is written.
#[derive(Debug)]
struct Slow {
    store: Arc<doubles::Store>,
    asked: Semaphore,
    letting: Semaphore,
    written: Semaphore,
}

#[async_trait]
impl AuditStore for Slow {
    async fn append(&self, _: &AuditRecord) -> Result<(), StoreError> {
        self.asked.add_permits(1);
        self.letting.acquire().await.unwrap().forget();
        self.written.add_permits(1);
        Ok(())
    }
}

#[async_trait]
impl WorkloadStore for Slow {
    async fn workload(&self, id: &WorkloadId) -> Result<Option<Workload>, StoreError> {
        self.store.workload(id).await
    }

    async fn selected(&self, host_data: &[u8; 32]) -> Result<Option<WorkloadId>, StoreError> {
        self.store.selected(host_data).await
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

/// Asserts that a record is written of a request whose client goes away while it is to be written.
async fn assert_recorded(request: Request<Body>) {
    let (mut broker, store) = doubles::with_store().await;
    let none = || Semaphore::new(0);
    let slow = Arc::new(Slow { store, asked: none(), letting: none(), written: none() });
    broker.register.audit = slow.clone();
    broker.attest.decisions = slow.clone();
    broker.attest.workloads = slow.clone();
    let router = router(broker);
    let mut answered = Box::pin(router.oneshot(request));
    tokio::select! {
        _ = &mut answered => panic!("the client was answered before the record was written"),
        asked = slow.asked.acquire() => asked.unwrap().forget(),
    }
    drop(answered);
    slow.letting.add_permits(1);
    timeout(Duration::from_secs(60), slow.written.acquire()).await.expect("a record").unwrap().forget();
}

#[tokio::test]
async fn a_decision_is_recorded_although_nobody_waits() {
    let attest = attest_body(&[0xc3; 256], &[1, 0, 1], "00");
    assert_recorded(post(REGISTER, registration("taken", "p"))).await;
    assert_recorded(with_session(post(ATTEST, attest))).await;
    assert_recorded(with_session(bare(Method::GET, "/kbs/v0/key/open"))).await;
}
