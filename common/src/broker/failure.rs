//! Why a guest gets nothing: what the audit record says, and what little the guest is told.

use keybroker_snp::verify::VerificationCheck;

use super::{RETRY_AFTER, endorser::NotVerified};
use crate::{
    appraisal::{self, AppraisalError},
    audit::{Check, FailedCheck},
    binding::{NotBound, Unread},
    ids::AuditId,
    keys::KeysError,
    panics::Panicked,
    policy::NotEvaluated,
    secret::KeyError,
    store::StoreError,
};

/// Why a guest gets nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// The broker did not make the id: there is nothing that a record could be about.
    Foreign,
    /// No guest has attested under this id.
    NoSession(FailedCheck),
    /// A challenge was answered before, or a challenge or session is over.
    Late(FailedCheck),
    /// A check failed. That is the decision about the challenge.
    Refused(FailedCheck),
    /// The workload has no secret of the name that was asked for.
    NoSecret(FailedCheck),
    /// The same was decided before about the same evidence, on this record.
    RefusedBefore(AuditId),
    /// A challenge was answered so before, and that answer's session does not stand any more.
    Stale(FailedCheck),
    /// The release is on record and must not leave: its workload was revoked or replaced meanwhile.
    Withheld(FailedCheck),
    /// It could not be decided. The challenge stays open.
    Unavailable { retry_after: u64, failed: FailedCheck },
    /// A part of the broker panicked. The challenge stays open, unless it was decided about before.
    Panicked(Panicked),
}

impl Failure {
    /// The same of an answer that was decided about before.
    pub(super) fn stale(self) -> Self {
        match self {
            Self::Refused(failed) => Self::Stale(failed),
            other => other,
        }
    }

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

impl From<Unread> for Failure {
    fn from(error: Unread) -> Self {
        refused(Check::Report, error)
    }
}

impl From<NotBound> for Failure {
    fn from(error: NotBound) -> Self {
        refused(VerificationCheck::Challenge, error)
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

impl From<KeysError> for Failure {
    fn from(error: KeysError) -> Self {
        Self::Unavailable { retry_after: RETRY_AFTER, failed: failed(Check::BrokerKeys, error) }
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
