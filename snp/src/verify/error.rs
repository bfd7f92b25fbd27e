//! Why a report is not verified, as data.

use jiff::Timestamp;

use super::check::VerificationCheck;
use crate::{
    certificate::{CertificateError, Defect},
    crl::CrlError,
    endorsement::EndorsementKind,
    few::list,
    product::{Product, TcbVersion},
    silicon::Cpuid,
};

/// Why a report is not verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// REPORT_DATA is not what the challenge and the guest's key demand.
    #[error("the report is not bound to this challenge and key")]
    Challenge,
    /// The host told the firmware not to sign (MASK_CHIP_KEY), or SIGNING_KEY is none.
    #[error("the report says that no chip key signed it")]
    Unsigned,
    /// SIGNING_KEY and the certificate disagree.
    #[error("the report was signed with a {report}, the certificate is a {certificate}'s")]
    SigningKey {
        /// The kind of key that the report names.
        report: EndorsementKind,
        /// The kind of key that the certificate is for.
        certificate: EndorsementKind,
    },
    /// A certificate of the chain is not acceptable.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The CRL cannot be used.
    #[error(transparent)]
    Crl(#[from] CrlError),
    /// A CPU that this broker does not know.
    #[error("the CPU {cpuid} is no product that this broker serves{}", unserved(*.0), cpuid = .0)]
    UnknownProduct(Cpuid),
    /// The CPU is of another product than the certificate.
    #[error("the CPU is {report}, the certificate says {certificate}")]
    Product {
        /// By CPUID.
        report: Product,
        /// By the certificate.
        certificate: Product,
    },
    /// The reported TCB is not the certificate's in every component.
    #[error(
        "the reported TCB ({}) is not the certificate's ({certificate})",
        .report.map_or("reserved bits set".to_owned(), |tcb| tcb.to_string())
    )]
    ReportedTcb {
        /// The report's. `None` if it sets reserved bits.
        report: Option<TcbVersion>,
        /// The certificate's.
        certificate: TcbVersion,
    },
    /// The certificate is for current_tcb, which is another than the reported one, and its key did sign the
    /// report.
    #[error(
        "the report is signed under the VCEK of current_tcb ({current}), where AMD's ABI has that of reported_tcb ({reported}): update \
         the host's firmware, and commit to it (snphost commit), so that the two are the same"
    )]
    SignedAtCurrentTcb {
        /// The report's, which should have been signed under.
        reported: TcbVersion,
        /// The report's, which was.
        current: TcbVersion,
    },
    /// The chip is not the certificate's.
    #[error("the certificate is another chip's")]
    ChipId,
    /// The report does not say which chip it is of.
    #[error("the report names no chip, so no VCEK can be its: the host masks the chip id (MASK_CHIP_ID)")]
    ChipMasked,
    /// The VLEK's provider is not on the accepted list.
    #[error("the provider is {found:?}, accepted is {}", list(.accepted))]
    Provider {
        /// The certificate's.
        found: String,
        /// Those that the operator accepts.
        accepted: Vec<String>,
    },
    /// The signature does not hold over the received bytes.
    #[error("the signature does not hold")]
    Signature,
    /// It does not hold under the VCEK of reported_tcb, and current_tcb is another.
    #[error(
        "the signature does not hold under the VCEK of reported_tcb ({reported}), and current_tcb is another ({current}): some firmware \
         signs under that one's. Update the host's firmware, and commit to it (snphost commit), so that the two are the same"
    )]
    SignatureBesideCurrentTcb {
        /// The report's, whose key the certificate is for.
        reported: TcbVersion,
        /// The report's.
        current: TcbVersion,
    },
    /// An input was missing.
    #[error("the check {} could not be made", .0.name())]
    NotChecked(VerificationCheck),
}

impl VerifyError {
    /// From when on this is no error any more: the start of a certificate's validity, or a list's thisUpdate.
    pub fn valid_from(&self) -> Option<Timestamp> {
        match self {
            Self::Certificate(CertificateError { defect: Defect::NotYetValid(from), .. })
            | Self::Crl(CrlError::NotYetValid(from)) => Some(*from),
            _ => None,
        }
    }
}

/// The thing that a release would need to serve the CPU.
fn unserved(cpuid: Cpuid) -> String {
    cpuid.unserved().map_or_else(String::new, |line| {
        format!(". It is a {}: {}. A release that serves it needs {}", line.name, line.known, line.needs)
    })
}
