//! Workloads: what was registered, byte for byte, and how it is told apart.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    clock::is_over,
    dialect::Dialect,
    ids::{AuditId, RegistrationDigest, WorkloadId},
    policy::PolicyText,
    requirements::{AppraisalPolicy, ReferenceValues},
    secret::WrappedSecret,
};

/// All that decides about a release, as one value: stored, hashed and bound to the secrets as one byte
/// string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Version of this form: [`Registration::FORMAT`].
    pub format: u8,
    /// Unique to each registration, so that one which replaces another never has its digest.
    pub serial: Uuid,
    /// The conventions that the guest follows.
    pub dialect: Dialect,
    /// The authenticated principal who registered, where there is one.
    pub owner: Option<String>,
    /// The values that the evidence must equal.
    pub reference_values: ReferenceValues,
    /// The other requirements on the evidence.
    pub policy: AppraisalPolicy,
    /// The policy in Rego that the evidence must satisfy beside all that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rego: Option<PolicyText>,
}

impl Registration {
    /// The form that this release writes.
    pub const FORMAT: u8 = 1;

    /// The bytes that are stored, hashed and bound to the secrets.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RegistrationError> {
        serde_json::to_vec(self).map_err(|_| RegistrationError)
    }

    /// Reads stored bytes. Unknown fields and other formats are errors: a requirement that is not understood
    /// must not be passed over.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RegistrationError> {
        let registration: Self = serde_json::from_slice(bytes).map_err(|_| RegistrationError)?;
        if registration.format == Self::FORMAT { Ok(registration) } else { Err(RegistrationError) }
    }

    /// Whether the two differ in nothing that a guest is held to: what a replacement without a credential
    /// must satisfy.
    pub fn same_requirements(&self, other: &Self) -> bool {
        self.dialect == other.dialect
            && self.reference_values == other.reference_values
            && self.policy == other.policy
            && self.rego == other.rego
    }
}

/// A workload's registration as it was read, with the digest of the very bytes that say so. Only
/// [`Workload::read`] makes one, so that what is appraised, what is recorded and what a session names cannot
/// be three things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRegistration {
    id: WorkloadId,
    standing: Standing,
    registration: Registration,
}

impl ReadRegistration {
    /// The workload that is registered.
    pub fn id(&self) -> &WorkloadId {
        &self.id
    }

    /// Digest of the registration's bytes.
    pub fn digest(&self) -> RegistrationDigest {
        self.standing.registration
    }

    /// The standing of a session whose guest is appraised by it.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The registration that the bytes encode.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }
}

/// The basis of a session, and of every release to it: a registration, in the time between two revocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The registration that the guest was appraised against.
    pub registration: RegistrationDigest,
    /// The record of the last restoration before that, if there was any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub restored_by: Option<AuditId>,
}

/// A stored registration that this release cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the registration is not one that this release reads")]
pub struct RegistrationError;

/// For how long after an id's first registration a build may register it again. `buildah build --layers`
/// posts twice, and the image opens only with the second passphrase. No replacement extends it.
pub const BUILD_WINDOW: Duration = Duration::from_secs(30 * 60);

/// Whether the build window of a registration first written at `begin` has ended at `now`.
pub fn build_window_is_over(begin: Timestamp, now: Timestamp) -> bool {
    // A time so late that the window has no end is nothing that this broker wrote: no window.
    begin.checked_add(BUILD_WINDOW).map_or(true, |end| is_over(end, now, BUILD_WINDOW))
}

/// A workload's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// The row's key.
    pub id: WorkloadId,
    /// The bytes of its [`Registration`], as first written: they are hashed as they stand, never re-encoded.
    #[serde(with = "crate::encoding::base64_bytes")]
    pub registration: Vec<u8>,
    /// Its wrapped secrets by name.
    pub secrets: BTreeMap<String, WrappedSecret>,
    /// When the build that wrote this registration first did: the build window starts here, and nothing that
    /// the build itself writes moves it.
    pub first_registered_at: Timestamp,
    /// Since when nothing is released for it.
    pub revoked_at: Option<Timestamp>,
    /// When the first guest attested as what this build registered: from then on its secrets count as
    /// released.
    pub released_at: Option<Timestamp>,
    /// The record by which a revocation was last taken back. Sessions from before it do not count: not by a
    /// time, for the operator's clock need not agree with the broker's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub restored_by: Option<AuditId>,
}

impl Workload {
    /// Digest of the registration as stored.
    pub fn digest(&self) -> RegistrationDigest {
        RegistrationDigest::of(&self.registration)
    }

    /// The standing of a session that begins at this moment, revoked or not.
    pub fn standing(&self) -> Standing {
        Standing { registration: self.digest(), restored_by: self.restored_by }
    }

    /// Whether something may be released that rests on `standing`.
    pub fn stands_as(&self, standing: &Standing) -> bool {
        self.revoked_at.is_none() && self.standing() == *standing
    }

    /// The registration, read from its bytes.
    pub fn read(&self) -> Result<ReadRegistration, RegistrationError> {
        let registration = Registration::from_bytes(&self.registration)?;
        Ok(ReadRegistration { id: self.id.clone(), standing: self.standing(), registration })
    }
}
