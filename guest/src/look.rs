//! The guest's look at its own report, before it asks anybody.
//!
//! The report is read here without its signature: the guest's own kernel got it from the processor, and the
//! broker verifies it in full. This establishes that an honest guest does not go on under a document that its
//! launch was not bound to, or where its host can read its memory. It proves nothing to anybody else.

use keybroker_native::EvidenceForm;
use keybroker_snp::{
    hcl::{HclError, HclReport},
    report::{ParseError, Report},
};

use crate::{
    document::{Bond, Found},
    report::Evidence,
};

/// Why this guest stops before it asks anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookError {
    /// The report is none.
    #[error("its own report cannot be read: {0}")]
    Report(#[from] ParseError),
    /// The paravisor's index holds no report.
    #[error("what its vTPM holds cannot be read: {0}")]
    Hcl(#[from] HclError),
    /// The paravisor's claims are an answer to somebody else's request.
    #[error("the claims beside its own report do not repeat what was asked for")]
    UserData,
    /// The report does not belong to the claims beside it.
    #[error("REPORT_DATA of its own report is not the hash of the claims beside it")]
    Claims,
    /// The report is an answer to somebody else's request.
    #[error("REPORT_DATA of its own report is not what was asked for")]
    ReportData,
    /// The host may read and write the guest's memory.
    #[error("the guest's policy allows DEBUG: the host can read its memory")]
    Debug,
    /// Software below the guest's kernel is more privileged than the kernel.
    #[error("its own report is of VMPL {0}, not of VMPL 0")]
    Vmpl(u32),
    /// The guest was launched under another document, or under none.
    #[error("HOST_DATA is not the digest of the document")]
    HostData,
    /// The document says that it is measured, and the host handed it over.
    #[error("the document calls itself measured, and comes from the host")]
    NotBuiltIn,
    /// The document says that nothing binds it, and the guest was launched for some document.
    #[error(
        "the document says that nothing binds it, and HOST_DATA is set: the guest was launched for another"
    )]
    HostDataSet,
    /// The document says that something binds it, and on Azure nothing does.
    #[error(
        "the document says that it is bound by {0}, and on Azure nothing binds one: make it with binding = \"none\""
    )]
    Paravisor(Bond),
}

/// The report in evidence that was asked for with `report_data`, if it is an answer to that.
pub fn answer(evidence: &Evidence, report_data: &[u8; 64]) -> Result<Report, LookError> {
    match evidence.form {
        EvidenceForm::Snp => {
            let report = Report::parse(&evidence.report)?;
            if report.report_data() == report_data { Ok(report) } else { Err(LookError::ReportData) }
        }
        EvidenceForm::AzSnpVtpm => {
            let hcl = HclReport::parse(&evidence.report)?;
            if hcl.user_data()? != *report_data {
                return Err(LookError::UserData);
            }
            let report = Report::parse(hcl.report())?;
            if *report.report_data() == hcl.expected_report_data() {
                Ok(report)
            } else {
                Err(LookError::Claims)
            }
        }
    }
}

/// Evidence that passed the look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnEvidence(Evidence);

impl From<OwnEvidence> for keybroker_native::Evidence {
    /// As it is sent to a broker.
    fn from(OwnEvidence(evidence): OwnEvidence) -> Self {
        let Evidence { form, report, certificates, .. } = evidence;
        Self { form, report, certificates: certificates.into_iter().map(|known| known.der).collect() }
    }
}

/// Looks at evidence that was asked for with `report_data`.
pub fn look(evidence: Evidence, report_data: &[u8; 64], found: &Found) -> Result<OwnEvidence, LookError> {
    let report = answer(&evidence, report_data)?;
    if report.policy().debug_allowed() {
        return Err(LookError::Debug);
    }
    if report.vmpl() != 0 {
        return Err(LookError::Vmpl(report.vmpl()));
    }
    bound(found, evidence.form, report.host_data())?;
    Ok(OwnEvidence(evidence))
}

/// The tie that the document speaks of is there.
///
/// A report of Azure's paravisor measures the paravisor alone. Under it any kernel runs, with any HOST_DATA:
/// no document is bound there, whatever it says of itself.
///
/// The last two rules keep guests apart that share this initrd. Under a document that nothing binds, the
/// guest may open a disk of the host's, whose code then asks the broker itself: its report must have no
/// HOST_DATA that a registration demands. And a registration whose document is measured demands no HOST_DATA,
/// so no guest may take such a document from its host.
fn bound(found: &Found, form: EvidenceForm, host_data: &[u8; 32]) -> Result<(), LookError> {
    match found.bond() {
        bond @ (Bond::HostData | Bond::Measured) if form == EvidenceForm::AzSnpVtpm => {
            Err(LookError::Paravisor(bond))
        }
        Bond::HostData if *host_data != found.digest.host_data() => Err(LookError::HostData),
        Bond::Measured if found.place.is_outside() => Err(LookError::NotBuiltIn),
        Bond::Nothing if *host_data != [0; 32] => Err(LookError::HostDataSet),
        Bond::HostData | Bond::Measured | Bond::Nothing => Ok(()),
    }
}
