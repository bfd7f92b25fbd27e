//! The evidence that goes with a request.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The form in which a guest presents the chip's report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceForm {
    /// The report as the guest got it from the firmware: REPORT_DATA binds it.
    #[default]
    Snp,
    /// The blob of an Azure confidential VM. The paravisor asked for the report: REPORT_DATA binds the
    /// paravisor's claims, and `user-data` in the claims binds the guest.
    AzSnpVtpm,
}

impl EvidenceForm {
    /// Every form.
    pub const ALL: [Self; 2] = [Self::Snp, Self::AzSnpVtpm];

    /// Its name in messages, registrations and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Snp => "snp",
            Self::AzSnpVtpm => "az-snp-vtpm",
        }
    }

    /// The form of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }

    /// Whether it is the report alone.
    pub fn is_snp(&self) -> bool {
        *self == Self::Snp
    }
}

impl fmt::Display for EvidenceForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The evidence that goes with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The form of `report`.
    pub form: EvidenceForm,
    /// The report, 1184 bytes, or the blob that holds it.
    pub report: Vec<u8>,
    /// Certificates of the host's table, DER, in any order. May be empty: the broker then asks AMD.
    pub certificates: Vec<Vec<u8>>,
}

impl Evidence {
    /// A report as the firmware gave it, and what came with it.
    pub fn of_report(report: Vec<u8>, certificates: Vec<Vec<u8>>) -> Self {
        Self { form: EvidenceForm::Snp, report, certificates }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_one_name() {
        for form in EvidenceForm::ALL {
            assert_eq!(serde_json::to_value(form).unwrap(), form.name());
            assert_eq!(EvidenceForm::named(form.name()), Some(form));
            assert_eq!(form.is_snp(), form == EvidenceForm::default());
        }
        assert_eq!(EvidenceForm::named("SNP"), None);
    }
}
