//! The id of a workload, and the HOST_DATA that spells one.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::encoding::is_format;

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
