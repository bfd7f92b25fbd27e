//! The protocol, from top to bottom: [`register`](Register::register) → [`challenge`](Auth::challenge) →
//! [`attest`](Attest::attest) → [`passphrase`](Attest::passphrase), [`resource`](Attest::resource) or
//! [`named_resource`](Attest::named_resource); or, in the broker's own protocol,
//! [`challenge`](Auth::challenge) → [`release_secrets`](Attest::release_secrets).
//!
//! Three services, each with only what it may use: [`Register`] can wrap secrets and never unwrap them,
//! [`Auth`] can use the challenges' keys alone, only [`Attest`] can unwrap, make sessions and release.

mod attest;
mod auth;
mod authority;
mod endorser;
mod failure;
mod native;
mod refuse;
mod register;
mod release;
mod replacement;
mod service;
mod standing;
mod strangers;
mod wiring;

pub use auth::Auth;
pub use authority::{Credential, StrangerLimiter};
pub use endorser::{AtHand, Endorser, NotVerified, Plausible, Presented, Verified};
pub use native::{RecipientKey, ReleaseRequest};
pub use register::{Register, RegisterRequest, Registered};
pub use release::{Released, SessionProof};
pub use service::{Attest, Attested, Evidence, Thumbprint, Unreadable};
pub use strangers::NoSessionLimiter;
pub use wiring::{AttestKeys, Broker, Origin, Parts, Stores};

use tracing::Level;

use crate::{
    audit::AuditRecord,
    ids::AuditId,
    keys::KeysError,
    panics::Panicked,
    policy::PolicyRefused,
    sampled::{Line, Sampled},
    store::StoreError,
};

/// Why the broker did not do what it was asked. Causes are in the audit record under `id`; outsiders get the
/// id alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The session named by the request is unknown, spent or expired.
    #[error("no such session")]
    NoSession {
        /// The audit record. There is none of an id that the broker did not make.
        id: Option<AuditId>,
    },
    /// A check failed.
    #[error("refused")]
    Refused {
        /// The audit record.
        id: AuditId,
    },
    /// The workload has no secret of the name that its guest asks for.
    #[error("refused")]
    NoSecret {
        /// The audit record.
        id: AuditId,
    },
    /// Nothing that the request brings along lets it register.
    #[error("not authenticated")]
    Unauthenticated {
        /// The audit record.
        id: AuditId,
    },
    /// The same, for the last of too many.
    #[error("too many such requests")]
    TooMany {
        /// After how many seconds to try again.
        retry_after: u64,
    },
    /// The workload id is registered, and not to be replaced by this request.
    #[error("already registered")]
    AlreadyRegistered {
        /// The audit record.
        id: AuditId,
    },
    /// This broker does not accept the registration's policy in Rego. Nothing was decided yet.
    #[error(transparent)]
    Policy(#[from] PolicyRefused),
    /// A part of the broker panicked. Nothing was decided.
    #[error("internal error")]
    Internal {
        /// The audit record, where one could be written.
        id: Option<AuditId>,
    },
    /// The decision needs something that is out of reach; the same request may succeed later.
    #[error("unavailable")]
    Unavailable {
        /// The audit record, where one could be written.
        id: Option<AuditId>,
        /// After how many seconds to try again.
        retry_after: u64,
    },
}

/// Seconds after which to try again when nothing better is known.
const RETRY_AFTER: u64 = 5;

impl From<Panicked> for Error {
    /// For what leaves no way to write an audit record either.
    fn from(_: Panicked) -> Self {
        Self::Internal { id: None }
    }
}

impl From<StoreError> for Error {
    /// For failures that leave no way to write an audit record either.
    fn from(cause: StoreError) -> Self {
        tracing::error!(%cause, "store");
        Self::Unavailable { id: None, retry_after: RETRY_AFTER }
    }
}

impl From<KeysError> for Error {
    fn from(cause: KeysError) -> Self {
        tracing::error!(%cause, "the broker's own keys");
        Self::Unavailable { id: None, retry_after: RETRY_AFTER }
    }
}

/// Prints a record that its store has taken, as one JSON line under the target [`AUDIT_TARGET`]. A refusal is
/// in the log, too.
pub fn announce(record: &AuditRecord) {
    static LINES: Sampled = Sampled::new();
    if let Some(failed) = &record.failed
        && let Some(Line { left_out }) = LINES.line()
    {
        let workload_id = record.workload_id.as_ref().map(tracing::field::display);
        tracing::info!(id = %record.id, check = failed.check, workload_id, left_out, "request refused");
    }
    if !tracing::event_enabled!(target: AUDIT_TARGET, Level::INFO) {
        return;
    }
    match serde_json::to_string(record) {
        Ok(line) => tracing::info!(target: AUDIT_TARGET, record = line.as_str()),
        Err(cause) => tracing::error!(id = %record.id, %cause, "audit record without a JSON form"),
    }
}

/// Target of the tracing events whose field `record` is an audit record in JSON.
pub const AUDIT_TARGET: &str = "keybroker::audit";
