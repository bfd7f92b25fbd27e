//! AMD's certificates.

use serde::{Deserialize, Serialize};

/// Which kind of key endorses a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndorsementKind {
    /// Versioned Chip Endorsement Key: one chip's, certified by AMD's ASK.
    Vcek,
    /// Versioned Loaded Endorsement Key: a cloud provider's, certified by AMD's ASVK.
    Vlek,
}
