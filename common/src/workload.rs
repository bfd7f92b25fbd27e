//! Workloads: what was registered, byte for byte, and how it is told apart.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    appraisal::{AppraisalPolicy, ReferenceValues},
    audit::AuditId,
    encoding::is_format,
    rego::PolicyText,
    secret::WrappedSecret,
};

/// The name under which a workload is registered and asks for its secrets.
///
/// 1 to 256 bytes of UTF-8 without control characters, and without the characters that a guest which prints
/// the id into its URL unescaped could not send back: slash and backslash, `?`, `#`, `%`, quotes and
/// backticks, angle brackets, white space, and the path segments `.` and `..`. Nor those of Unicode's
/// category Cf, such as zero-width joiners and changes of direction: two ids that are not the same must not
/// look alike to an operator for want of a visible character.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkloadId(String);

/// Why a text is no workload id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadIdError {
    /// Nothing at all.
    #[error("the workload id is empty")]
    Empty,
    /// More than [`WorkloadId::MAX_LEN`] bytes.
    #[error("the workload id is longer than 256 bytes")]
    TooLong,
    /// A character that is not shown, or changes how others are.
    #[error("the workload id holds a character that is not shown")]
    Invisible,
    /// A control character or one that does not survive in a guest's URL.
    #[error("the workload id holds a character that a guest's URL cannot carry")]
    Unprintable,
}

impl WorkloadId {
    /// Longest id, in bytes.
    pub const MAX_LEN: usize = 256;

    /// Beside white space and control characters, what a guest that prints the id into its URL could not send
    /// back.
    pub const UNSENDABLE: &str = "/?#%\\\"<>`";

    /// Checks `text` against the rules of the type.
    pub fn new(text: impl Into<String>) -> Result<Self, WorkloadIdError> {
        let text = text.into();
        if text.is_empty() {
            return Err(WorkloadIdError::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(WorkloadIdError::TooLong);
        }
        let unsendable = |c: char| c.is_control() || c.is_whitespace() || Self::UNSENDABLE.contains(c);
        if text == "." || text == ".." || text.chars().any(unsendable) {
            return Err(WorkloadIdError::Unprintable);
        }
        if text.chars().any(is_format) {
            return Err(WorkloadIdError::Invisible);
        }
        Ok(Self(text))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Without the rule about characters that are not shown, which few dialects of regular expressions could
/// state.
#[cfg(feature = "schema")]
impl schemars::JsonSchema for WorkloadId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "WorkloadId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let unsendable = Self::UNSENDABLE.replace('\\', r"\\");
        let description = format!(
            "The name of a workload: 1 to {} bytes of UTF-8. None of {} or white space, none of Unicode's categories Cc and \
             Cf, and neither `.` nor `..`.",
            Self::MAX_LEN,
            Self::UNSENDABLE.chars().map(String::from).collect::<Vec<_>>().join(" "),
        );
        schemars::json_schema!({
            "description": description,
            "type": "string",
            "minLength": 1,
            "maxLength": Self::MAX_LEN,
            "pattern": format!(r"^(?!\.\.?$)[^\s{unsendable}\x00-\x1f\x7f-\x9f]+$"),
        })
    }
}

impl TryFrom<String> for WorkloadId {
    type Error = WorkloadIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl From<WorkloadId> for String {
    fn from(id: WorkloadId) -> Self {
        id.0
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which clients' conventions a registration and its guests follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// buildah's registration and libkrun's guest, which names its workload.
    V0,
    /// keybroker's registration by reference values, and its guest, which names its workload by HOST_DATA.
    Rvp,
}

/// The HOST_DATA with which a guest of a registration by reference values is launched: a UUID, then 16 zeros.
///
/// The host chooses it: it selects a registration and satisfies none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostData(Uuid);

impl HostData {
    /// A new one: 122 random bits.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// Reads a report's. `None` if a byte behind the UUID is set: no registration has it.
    pub fn from_report(host_data: &[u8; 32]) -> Option<Self> {
        let (id, zeros) = host_data.split_first_chunk::<16>()?;
        zeros.iter().all(|byte| *byte == 0).then(|| Self(Uuid::from_bytes(*id)))
    }

    /// As the guest is launched with it.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let (id, _) = bytes.split_at_mut(16);
        id.copy_from_slice(self.0.as_bytes());
        bytes
    }

    /// The id of the workload that it selects: the UUID as text, in lower case with hyphens.
    pub fn workload_id(self) -> WorkloadId {
        WorkloadId(self.0.hyphenated().to_string())
    }
}

/// All that decides about a release, as one value: stored, hashed and bound to the secrets as one byte
/// string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Version of this form: [`Registration::FORMAT`].
    pub format: u8,
    /// Unique to each registration, so that one which replaces another never has its digest.
    pub serial: Uuid,
    /// Whose conventions the guest follows.
    pub dialect: Dialect,
    /// The authenticated principal who registered, where there is one.
    pub owner: Option<String>,
    /// What the evidence must equal.
    pub reference_values: ReferenceValues,
    /// What else the evidence must satisfy.
    pub policy: AppraisalPolicy,
    /// What the evidence must satisfy in Rego, beside all that.
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
pub struct Registered {
    id: WorkloadId,
    standing: Standing,
    registration: Registration,
}

impl Registered {
    /// The workload that is registered.
    pub fn id(&self) -> &WorkloadId {
        &self.id
    }

    /// Digest of the registration's bytes.
    pub fn digest(&self) -> RegistrationDigest {
        self.standing.registration
    }

    /// What a session of a guest that is appraised by it rests on.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// What the bytes say.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }
}

/// What a session rests on, and every release to it: a registration, in the time between two revocations.
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

/// SHA-256 of a registration's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegistrationDigest(#[serde(with = "crate::encoding::hex_array")] [u8; 32]);

impl RegistrationDigest {
    /// The digest of a registration's stored bytes.
    pub fn of(registration: &[u8]) -> Self {
        Self(Sha256::digest(registration).into())
    }
}

impl fmt::Display for RegistrationDigest {
    /// 64 lower-case hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for RegistrationDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistrationDigest({self})")
    }
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

    /// What a session that begins now rests on, revoked or not.
    pub fn standing(&self) -> Standing {
        Standing { registration: self.digest(), restored_by: self.restored_by }
    }

    /// Whether something may be released that rests on `standing`.
    pub fn stands_as(&self, standing: &Standing) -> bool {
        self.revoked_at.is_none() && self.standing() == *standing
    }

    /// The registration, read from its bytes.
    pub fn read(&self) -> Result<Registered, RegistrationError> {
        let registration = Registration::from_bytes(&self.registration)?;
        Ok(Registered { id: self.id.clone(), standing: self.standing(), registration })
    }
}
