//! Why a guest gets nothing: what the audit record says, and what little the guest is told.

use keybroker_snp::report::ParseError;

use super::{Attest, Error, RETRY_AFTER, announce, endorser::NotVerified};
use crate::{
    appraisal::{self, AppraisalError},
    audit::{AuditRecord, Check, Decision, FailedCheck},
    ids::{AuditId, SessionId},
    metrics::{self, Count},
    panics::{Panicked, caught},
    policy::NotEvaluated,
    secret::KeyError,
    store::StoreError,
};

/// Why a guest gets nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no challenge, or no session, under this id: there is nothing that could be spent.
    NoSession(FailedCheck),
    /// There was one, and its time is over.
    Late(FailedCheck),
    /// A check failed. The challenge is spent.
    Refused(FailedCheck),
    /// What is on record as released must not leave: its workload was revoked or replaced meanwhile.
    Withheld(FailedCheck),
    /// It could not be decided. The challenge stays.
    Unavailable { retry_after: u64, failed: FailedCheck },
    /// A part of the broker panicked. The challenge stays, unless it was spent before.
    Panicked(Panicked),
}

impl Failure {
    /// The same of a release that is on record.
    pub(super) fn withheld(self) -> Self {
        match self {
            Self::Refused(failed) => Self::Withheld(failed),
            other => other,
        }
    }
}

pub(super) fn failed(check: impl Into<Check>, cause: impl ToString) -> FailedCheck {
    FailedCheck { check: check.into().name().to_owned(), cause: cause.to_string() }
}

pub(super) fn refused(check: impl Into<Check>, cause: impl ToString) -> Failure {
    Failure::Refused(failed(check, cause))
}

impl From<ParseError> for Failure {
    fn from(error: ParseError) -> Self {
        refused(Check::Report, error)
    }
}

impl From<NotVerified> for Failure {
    fn from(error: NotVerified) -> Self {
        match error {
            NotVerified::Refused { check, cause } => refused(check, cause),
            NotVerified::Unavailable { check, cause, retry_after } => {
                Self::Unavailable { retry_after, failed: failed(check, cause) }
            }
        }
    }
}

impl From<(appraisal::AppraisalCheck, AppraisalError)> for Failure {
    fn from((check, error): (appraisal::AppraisalCheck, AppraisalError)) -> Self {
        refused(check, error)
    }
}

impl From<Panicked> for Failure {
    fn from(panicked: Panicked) -> Self {
        Self::Panicked(panicked)
    }
}

impl From<NotEvaluated> for Failure {
    fn from(error: NotEvaluated) -> Self {
        match error {
            NotEvaluated::Panicked(panicked) => panicked.into(),
            NotEvaluated::Busy => {
                Self::Unavailable { retry_after: RETRY_AFTER, failed: failed(Check::Policy, error) }
            }
            refusal => refused(Check::Policy, refusal),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Unavailable { retry_after: RETRY_AFTER, failed: failed(Check::Store, error) }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Unavailable(_) => {
                Self::Unavailable { retry_after: RETRY_AFTER, failed: failed(Check::WrappingKey, error) }
            }
            refusal => refused(Check::WrappedSecret, refusal),
        }
    }
}

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
            // What it was about to record may be on record: that it came to nothing is a decision of its own.
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
