//! Why a file is no table of advisories.

use keybroker_snp::silicon::Cpuid;

use super::{FORMAT, MAX_LEN, MAX_ROWS_OF_SILICON};
use crate::encoding::Hex;

/// Why a file is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdvisoriesError {
    /// It is another file than the one that was pinned.
    #[error("its SHA-256 is {found}, and {pinned} was given")]
    Digest {
        /// The file's own.
        found: Hex<32>,
        /// The one that was given.
        pinned: Hex<32>,
    },
    /// It is too long.
    #[error("it has more than {} bytes", MAX_LEN)]
    Length,
    /// It is not of the form: not JSON, or with a member that is missing, unknown or of another type.
    #[error("it is no table of advisories: {0}")]
    Form(String),
    /// It is of a form that this release does not know.
    #[error("its format is {format}, and this release reads format {}", FORMAT)]
    Format {
        /// Its format.
        format: u32,
    },
    /// A row cannot stand in it.
    #[error("row {number} ({bulletin}, {}) {fault}", silicon.text())]
    Row {
        /// Which, counted from 1.
        number: usize,
        /// Its bulletin.
        bulletin: String,
        /// Its silicon.
        silicon: Cpuid,
        /// Its fault.
        fault: RowFault,
    },
}

/// Why a row cannot stand in a table, as the continuation of a sentence about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowFault {
    /// The bulletin's id cannot be one.
    #[error("must name its bulletin with 1 to 24 letters, digits, dots and hyphens")]
    Bulletin,
    /// A text is missing or too long.
    #[error("must have a source, and a name in `confirmed`, of 1 to 1000 characters")]
    Text,
    /// Levels that no such silicon can have, or a list of demands without any.
    #[error("has no level in `levels`, no bit in `mitigations`, or fmc, which this silicon does not have")]
    Demands,
    /// The table has the bulletin's row for this silicon already.
    #[error("comes twice")]
    Duplicate,
    /// There are too many.
    #[error("is one of more than {} rows for this silicon", MAX_ROWS_OF_SILICON)]
    TooMany,
    /// A date of it is after the table's.
    #[error("was published, or read at AMD, after the table's date")]
    Later,
    /// An operator confirmed it, and nobody read it at AMD.
    #[error("is confirmed, and does not say in `read_at_amd` when it was read at AMD")]
    Unread,
}
