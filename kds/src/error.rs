//! Why there are no endorsements for a report, and why AMD's KDS gave none.

use keybroker_common::store::StoreError;
use keybroker_snp::certificate::CertificateError;

/// Seconds after which to try again when nothing better is known.
pub(crate) const RETRY_AFTER: u64 = 5;

/// Why there are no endorsements for a report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndorsementError {
    /// The guest's VLEK certificate is needed, since AMD publishes none, and the guest sent none that fits.
    #[error("the report is signed with a VLEK, and the guest sent no certificate for it")]
    NoVlek,
    /// A certificate that the guest sent fits the report and does not lead to a trust anchor.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The chip id is all zeros.
    #[error(
        "the report names no chip: its host masks the chip id (MASK_CHIP_ID), so there is no certificate to ask for"
    )]
    MaskedChip,
    /// The chip id is of another product's length, its reported TCB is in no product's layout, or no key
    /// signed: no certificate can be asked for.
    #[error("the report names no chip and TCB that a certificate could be asked for")]
    NoChip,
    /// AMD's KDS knows no certificate for the chip and its TCB.
    #[error("AMD's KDS knows no certificate for this chip and TCB")]
    UnknownChip,
    /// The operator wants no new chips.
    #[error("the chip is not known, and new ones are not asked for")]
    NewChip,
    /// Other new chips were first.
    #[error("more new chips came at once than AMD's KDS is asked for")]
    TooManyNewChips {
        /// After how many seconds to try again.
        retry_after: u64,
    },
    /// Not now.
    #[error("{cause}")]
    Unavailable {
        /// After how many seconds to try again.
        retry_after: u64,
        /// Why.
        cause: String,
    },
}

impl EndorsementError {
    /// Not now, for `cause`; nothing says when.
    pub(crate) fn not_now(cause: impl ToString) -> Self {
        Self::Unavailable { retry_after: RETRY_AFTER, cause: cause.to_string() }
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::TooManyNewChips { .. } | Self::Unavailable { .. })
    }
}

impl From<StoreError> for EndorsementError {
    /// The table cannot be read or written now.
    fn from(cause: StoreError) -> Self {
        Self::not_now(cause)
    }
}

/// Why KDS gave no answer that could be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KdsError {
    /// It says that there is no such thing.
    #[error("AMD's KDS knows no such certificate")]
    NotFound,
    /// It turned the request away for now.
    #[error("AMD's KDS answered {status}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// After how many seconds it wants to be asked again.
        retry_after: Option<u64>,
    },
    /// It did not answer, or not in time. The text has the whole chain of causes, and neither path nor host.
    #[error("AMD's KDS did not answer: {0}")]
    Silent(String),
    /// No client can be made for it.
    #[error("AMD's KDS cannot be asked: {0}")]
    Client(String),
    /// The answer is larger than any certificate.
    #[error("AMD's KDS sent more than a certificate's worth")]
    TooLarge,
    /// This process has all the requests under way that it allows itself.
    #[error("too many requests to AMD's KDS are under way")]
    Busy,
}

impl KdsError {
    /// Whether KDS, or the way to it, failed: another attempt may do better. All else is an answer.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            Self::Silent(_) => true,
            Self::NotFound | Self::TooLarge | Self::Busy | Self::Client(_) => false,
        }
    }
}
