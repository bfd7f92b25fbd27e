//! Revocations: who revoked a workload or a token, when, and why.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{audit::AuditRecord, ids::AuditId};

/// A revocation as the revoked row tells operators of it. Nothing is decided by it: `revoked_at` beside
/// it is what revokes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When. A release that knows no such values takes a revocation back and leaves them: one that does not
    /// have the time of the row's `revoked_at` is about an earlier revocation.
    at: Timestamp,
    /// The principal who did it, as the record has it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<String>,
    /// Why, in the operator's words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The record of it.
    pub record: AuditId,
}

impl Revocation {
    /// The one that `audit` records.
    pub fn of(audit: &AuditRecord) -> Self {
        let AuditRecord { id, time, principal, reason, .. } = audit;
        Self { at: *time, by: principal.clone(), reason: reason.clone(), record: *id }
    }

    /// Whether it is the one by which a row is revoked since `revoked_at`.
    pub(crate) fn is_of(&self, revoked_at: Option<Timestamp>) -> bool {
        revoked_at == Some(self.at)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        audit::{Decision, Operation},
        token::Token,
        workload::Workload,
    };

    /// Two releases stand side by side while one is deployed: rows and records with members of a later one
    /// are read, and those of an earlier one, too.
    #[test]
    fn rows_and_records_of_the_releases_before_and_after_are_read() {
        let (id, at) = (AuditId::new(), Timestamp::UNIX_EPOCH);
        let workload = json!({"id": "w", "registration": "", "secrets": {}, "first_registered_at": at,
            "revoked_at": at, "released_at": null});
        let token = json!({"id": "00".repeat(16), "created_at": at, "expires_at": at, "note": null,
            "made_for": null, "bound": null, "revoked_at": at});
        let record = json!({"id": id, "time": at, "operation": "operate", "decision": "revoked"});
        let with = |row: &Value, name: &str, value: Value| {
            let mut row = row.clone();
            row[name] = value;
            row
        };
        let told = json!({"at": at, "by": "uid/0", "reason": "a leak", "record": id, "later": 1});
        for (row, by) in [(&workload, None), (&with(&workload, "revocation", told.clone()), Some("uid/0"))] {
            let row: Workload = serde_json::from_value(with(row, "later", json!(1))).unwrap();
            assert_eq!(row.revoked_by().and_then(|revocation| revocation.by.as_deref()), by);
        }
        for (row, by) in [(&token, None), (&with(&token, "revocation", told), Some("uid/0"))] {
            let row: Token = serde_json::from_value(with(row, "later", json!(1))).unwrap();
            assert_eq!(row.revoked_by().and_then(|revocation| revocation.by.as_deref()), by);
        }
        let read: AuditRecord = serde_json::from_value(with(&record, "later", json!(1))).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), record, "what is absent stays absent");
        let reason = AuditRecord { reason: Some("a leak".to_owned()), ..read };
        assert_eq!(serde_json::to_value(&reason).unwrap(), with(&record, "reason", json!("a leak")));
    }

    #[test]
    fn a_revocation_of_another_time_is_not_the_rows() {
        let audit = AuditRecord::new(Timestamp::UNIX_EPOCH, Operation::Operate, Decision::Revoked);
        let revocation = Revocation::of(&audit);
        assert!(revocation.is_of(Some(audit.time)));
        assert!(!revocation.is_of(Some(Timestamp::MAX)) && !revocation.is_of(None));
    }
}
