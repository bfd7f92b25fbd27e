//! The value that binds evidence to a challenge.

use std::fmt::Debug;

use keybroker_snp::{
    hcl::{HclError, HclReport},
    report::{ParseError, Report},
};

use crate::{challenge::Nonce, requirements::EvidenceForm};

/// The key of a guest as its dialect binds a report to it.
///
/// The 64 bytes are the one thing that a guest chooses in its evidence. Evidence that carries what this gives
/// was made for this nonce and this key, and for no others. [`ReadReport::report_data`] says where each form
/// of evidence carries them.
pub trait Binding: Debug + Send + Sync {
    /// The evidence must carry these 64 bytes.
    fn report_data(&self, nonce: &Nonce) -> [u8; 64];
}

/// The bytes that a guest presents as its report. Nothing in it is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentReport {
    /// The form of the bytes, as the guest says.
    pub form: EvidenceForm,
    /// The report, or the blob that holds it.
    pub bytes: Vec<u8>,
}

impl SentReport {
    /// A report without anything around it.
    pub fn bare(bytes: impl Into<Vec<u8>>) -> Self {
        Self { form: EvidenceForm::Snp, bytes: bytes.into() }
    }

    /// The report in it.
    pub fn read(&self) -> Result<ReadReport<'_>, Unread> {
        let hcl = match self.form {
            EvidenceForm::Snp => None,
            EvidenceForm::AzSnpVtpm => Some(HclReport::parse(&self.bytes)?),
        };
        let report = Report::parse(hcl.map_or(self.bytes.as_slice(), |hcl| hcl.report()))?;
        Ok(ReadReport { report, hcl })
    }
}

/// Why what a guest presents holds no report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub enum Unread {
    /// It is no report.
    Report(#[from] ParseError),
    /// It is no blob of an Azure confidential VM.
    Hcl(#[from] HclError),
}

/// A report, and in the form [`EvidenceForm::AzSnpVtpm`] the claims beside it. Untrusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadReport<'a> {
    report: Report,
    hcl: Option<HclReport<'a>>,
}

impl ReadReport<'_> {
    /// The report.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The form in which it was presented.
    pub fn form(&self) -> EvidenceForm {
        match self.hcl {
            None => EvidenceForm::Snp,
            Some(_) => EvidenceForm::AzSnpVtpm,
        }
    }

    /// The REPORT_DATA that the report must have for the evidence to carry `bound`. Nothing else decides it.
    ///
    /// A bare report carries `bound` as REPORT_DATA. In the other form the claims carry it, and REPORT_DATA
    /// must be the claims' hash: so the answer is no other than the hash of claims that carry `bound`.
    /// Whether the chip signed that REPORT_DATA is not established here.
    pub fn report_data(&self, bound: [u8; 64]) -> Result<[u8; 64], NotBound> {
        let Some(hcl) = &self.hcl else { return Ok(bound) };
        match hcl.user_data()? {
            user_data if user_data == bound => {}
            user_data if user_data == [0; 64] => return Err(NotBound::Nothing),
            _ => return Err(NotBound::Other),
        }
        // The verifier compares them as well. It does not know what they are.
        self.check_claims()?;
        Ok(hcl.expected_report_data())
    }

    /// That the claims beside the report, if there are any, are those that it binds.
    pub fn check_claims(&self) -> Result<(), NotBound> {
        match &self.hcl {
            Some(hcl) if *self.report.report_data() != hcl.expected_report_data() => Err(NotBound::Claims),
            _ => Ok(()),
        }
    }
}

/// Why the claims of an Azure confidential VM do not bind its report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotBound {
    /// The claims carry no 64 bytes of the guest.
    #[error("{0}")]
    UserData(#[from] HclError),
    /// The guest wrote nothing, or zeros.
    #[error(
        "user-data in the claims is all zeros: the guest wrote nothing to the NV index 0x01400002 (Trustee's \
         clients do so since version 2 of their evidence)"
    )]
    Nothing,
    /// The guest wrote something else, or the blob is an old one.
    #[error("user-data in the claims is not what answers this challenge with this key")]
    Other,
    /// The claims are not the paravisor's.
    #[error("REPORT_DATA is not the SHA-256 of the claims, followed by zeros")]
    Claims,
}
