//! Refusing a guest: the record of it, the challenge spent, and what little the guest is told.

use super::{
    Error, announce,
    failure::{Failure, failed},
    service::Attest,
};
use crate::{
    audit::{AuditRecord, Check, Decision},
    ids::{AuditId, SessionId},
    metrics::{self, Count},
    panics::caught,
};

impl Attest {
    /// Writes the record of a failure, unless there are too many of its kind, and spends the challenge if it
    /// was refused.
    pub(super) async fn fail(
        &self,
        mut record: AuditRecord,
        spend: Option<&SessionId>,
        failure: Failure,
    ) -> Error {
        if matches!(failure, Failure::Panicked(_)) {
            // The record that it was about to write may be written: that it failed is a decision of its own.
            record.id = AuditId::new();
        }
        if matches!(failure, Failure::NoSession(_) | Failure::Late(_)) {
            metrics::count(Count::NoSession);
        }
        let failure = match self.patience.take(failure, record.time) {
            Ok(failure) => failure,
            Err(too_many) => return too_many,
        };
        let id = record.id;
        let (decision, failed, error) = match failure {
            Failure::NoSession(failed) | Failure::Late(failed) => {
                (Decision::Refused, failed, Error::NoSession { id })
            }
            Failure::Refused(failed) => (Decision::Refused, failed, Error::Refused { id }),
            Failure::Withheld(failed) => (Decision::Withheld, failed, Error::Refused { id }),
            Failure::Unavailable { retry_after, failed } => {
                (Decision::Unavailable, failed, Error::Unavailable { id: Some(id), retry_after })
            }
            Failure::Panicked(panicked) => {
                (Decision::Unavailable, failed(Check::Internal, panicked), Error::Internal { id: Some(id) })
            }
        };
        record.decision = decision;
        record.failed = Some(failed);
        let written = caught(async {
            match (&error, spend) {
                (Error::Refused { .. }, Some(session_id)) => self.sessions.refuse(session_id, &record).await,
                _ => self.audit.append(&record).await,
            }
        });
        match written.await {
            Ok(Ok(())) => {
                announce(&record);
                error
            }
            Ok(Err(cause)) => cause.into(),
            Err(panicked) => panicked.into(),
        }
    }
}
