//! Refusing a guest: the record of it, and what little the guest is told.

use super::{
    Error, announce,
    failure::{Failure, failed},
    service::Attest,
};
use crate::{
    audit::{AuditRecord, Check, Decision},
    ids::AuditId,
    metrics::{self, Count},
    panics::caught,
};

/// Where the record of a failure goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recorded {
    /// It is written already, as the decision about a challenge.
    Decided,
    /// Into the log of the process alone: nothing was decided, and the challenge is open.
    Announced,
    /// Among the records of its own.
    Appended,
}

impl Attest {
    /// Writes the record of a failure, unless it is written or there are too many of its kind.
    pub(super) async fn fail(&self, mut record: AuditRecord, recorded: Recorded, failure: Failure) -> Error {
        if matches!(failure, Failure::Foreign | Failure::NoSession(_) | Failure::Late(_)) {
            metrics::count(Count::NoSession);
        }
        let failure = match self.patience.take(failure, record.time) {
            Ok(failure) => failure,
            Err(too_many) => return too_many,
        };
        let id = record.id;
        let (decision, failed, error) = match failure {
            Failure::Foreign => return Error::NoSession { id: None },
            Failure::RefusedBefore(id) => return Error::Refused { id },
            Failure::NoSession(failed) | Failure::Late(failed) => {
                (Decision::Refused, failed, Error::NoSession { id: Some(id) })
            }
            Failure::Refused(failed) | Failure::Stale(failed) => {
                (Decision::Refused, failed, Error::Refused { id })
            }
            Failure::NoSecret(failed) => (Decision::Refused, failed, Error::NoSecret { id }),
            Failure::Withheld(failed) => (Decision::Withheld, failed, Error::Refused { id }),
            Failure::Unavailable { retry_after, failed } => {
                (Decision::Unavailable, failed, Error::Unavailable { id: Some(id), retry_after })
            }
            Failure::Panicked(panicked) => {
                (Decision::Unavailable, failed(Check::Internal, panicked), Error::Internal { id: Some(id) })
            }
        };
        (record.decision, record.failed) = (decision, Some(failed));
        if recorded == Recorded::Appended {
            match caught(self.decisions.record(&record)).await {
                Ok(Ok(())) => {}
                Ok(Err(cause)) => return cause.into(),
                Err(panicked) => return panicked.into(),
            }
        }
        announce(&record);
        error
    }
}

impl AuditRecord {
    /// The same with an id of its own: for what is recorded beside the decision about a challenge.
    pub(super) fn beside(self) -> Self {
        Self { id: AuditId::new(), ..self }
    }
}
