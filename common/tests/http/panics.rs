//! A part of the broker panics: 500, a record, and the next request is answered. That it is counted once
//! shows `common/tests/broker/metrics.rs`.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keybroker_common::{
    audit::{AuditRecord, Decision, Operation},
    decision::AttestDecision,
    ids::{AuditId, WorkloadId},
    store::{AuditStore, DecisionStore, StoreError},
};
use keybroker_testing::faulty::{Method as Call, PANIC, When};

use super::{logs::Lines, *};

/// Keeps the records.
#[derive(Debug, Default)]
struct Records(Mutex<Vec<AuditRecord>>);

#[async_trait]
impl AuditStore for Records {
    async fn append(&self, record: &AuditRecord) -> Result<(), StoreError> {
        self.0.lock().unwrap().push(record.clone());
        Ok(())
    }
}

#[async_trait]
impl DecisionStore for Panicking {
    async fn decide(&self, decision: &AttestDecision) -> Result<Option<AttestDecision>, StoreError> {
        self.store.decide(decision).await
    }

    async fn decision(&self, id: AuditId) -> Result<Option<AttestDecision>, StoreError> {
        self.store.decision(id).await
    }

    async fn record(&self, record: &AuditRecord) -> Result<(), StoreError> {
        self.records.append(record).await
    }
}

/// Decides as `store` does, and keeps the records beside the decisions.
#[derive(Debug)]
struct Panicking {
    store: Arc<doubles::Store>,
    records: Arc<Records>,
}

/// Services of which the first of these calls panics, and where their records go.
async fn panicking(call: &[Call]) -> (Router, Arc<Records>) {
    let records = Arc::new(Records::default());
    let (mut broker, store) = doubles::with_store().await;
    call.iter().for_each(|call| store.fail(*call, 1, When::Panicking));
    broker.register.audit = records.clone();
    broker.attest.decisions = Arc::new(Panicking { store, records: records.clone() });
    (checked(router(broker)), records)
}

fn attest() -> Request<Body> {
    with_session(post(ATTEST, attest_body(&[0xc3; 256], &[1, 0, 1], "00")))
}

fn key() -> Request<Body> {
    with_session(bare(Method::GET, "/kbs/v0/key/open"))
}

/// The answer and the record of a request that met a panic; neither has anything of what was said, nor has
/// the log.
async fn met(router: &Router, request: Request<Body>, records: &Records) -> (String, AuditRecord) {
    let (lines, guard) = Lines::gather();
    let (status, body) = answer(router.clone(), request).await;
    drop(guard);
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{body}");
    let text = lines.text();
    assert!(!text.contains(PANIC) && !body.contains(PANIC), "{text}");
    let record = records.0.lock().unwrap().pop().expect("a record");
    assert_eq!(body, format!(r#"{{"error":"internal error","id":"{}"}}"#, record.id));
    let failed = record.failed.as_ref().unwrap();
    assert_eq!((record.decision, failed.check.as_str()), (Decision::Unavailable, "internal"));
    assert!(!failed.cause.contains(PANIC), "{failed:?}");
    (body, record)
}

#[tokio::test]
async fn a_panic_is_500_with_a_record_and_the_broker_goes_on() {
    type Ask = fn() -> Request<Body>;
    let register: Ask = || post(REGISTER, registration("web", "open sesame"));
    let rows: [(Call, Ask, Operation, Option<&str>, StatusCode); 4] = [
        (Call::Keyring, attest, Operation::Attest, None, StatusCode::UNAUTHORIZED),
        (Call::Decision, key, Operation::Key, Some("open"), StatusCode::OK),
        (Call::Workload, key, Operation::Key, Some("open"), StatusCode::OK),
        (Call::Create, register, Operation::Register, Some("web"), StatusCode::OK),
    ];
    for (call, ask, operation, workload, next) in rows {
        let (router, records) = panicking(&[call]).await;
        let (_, record) = met(&router, ask(), &records).await;
        let named = record.workload_id.as_ref().map(WorkloadId::as_str);
        assert_eq!((record.operation, named), (operation, workload), "{call:?}");
        assert_eq!(answer(router, ask()).await.0, next, "{call:?}");
    }
}

/// Where there is no store for records, or it is what panics.
#[tokio::test]
async fn a_panic_without_a_record_is_500_without_an_id() {
    let told = (StatusCode::INTERNAL_SERVER_ERROR, r#"{"error":"internal error"}"#.to_owned());
    let challenge = || post(AUTH, auth_body("snp", "0.0.0"));
    let (router, _) = panicking(&[Call::Keyring]).await;
    assert_eq!(answer(router.clone(), challenge()).await, told);
    assert_eq!(answer(router, challenge()).await.0, StatusCode::OK);

    let router =
        checked(super::router(doubles::failing(&[Call::Decide, Call::Record], When::Panicking).await));
    assert_eq!(answer(router.clone(), attest()).await, told);
    assert_eq!(answer(router, attest()).await.0, StatusCode::UNAUTHORIZED);
}
