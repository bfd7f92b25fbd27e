//! The promises of [`AuditStore`](keybroker_common::store::AuditStore).

use keybroker_common::audit::{AuditRecord, FailedCheck};

use super::{CONFLICT, Subject, sample};

pub async fn an_audit_record_is_read_back(store: &impl Subject) {
    let failed = FailedCheck { check: "measurement".to_owned(), cause: "expected ä, found ö".to_owned() };
    let workload_id = Some(sample::workload().id);
    let audit = AuditRecord { workload_id, failed: Some(failed), ..sample::refused() };
    assert_eq!(store.audit_record(audit.id).await, Ok(None));
    assert_eq!(store.append(&audit).await, Ok(()));
    assert_eq!(store.audit_record(audit.id).await, Ok(Some(audit)));
}

pub async fn an_audit_record_is_never_replaced(store: &impl Subject) {
    let audit = sample::refused();
    store.append(&audit).await.expect("a new record");
    let other = AuditRecord { id: audit.id, ..sample::attested(5) };
    assert_eq!(store.append(&other).await, CONFLICT);
    assert_eq!(store.append(&audit).await, CONFLICT);
    assert_eq!(store.audit_record(audit.id).await, Ok(Some(audit)));
}
