//! The kinds of keys that endorse reports.

use std::fmt;

/// Which kind of key endorses a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndorsementKind {
    /// Versioned Chip Endorsement Key: one chip's, certified by AMD's ASK.
    Vcek,
    /// Versioned Loaded Endorsement Key: a cloud provider's, certified by AMD's ASVK.
    Vlek,
}

impl EndorsementKind {
    /// The name in KDS URLs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vcek => "vcek",
            Self::Vlek => "vlek",
        }
    }
}

impl fmt::Display for EndorsementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
        })
    }
}
