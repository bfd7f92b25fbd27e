//! Conditions of a platform's state.

use std::fmt;

use keybroker_snp::report::Report;
use serde::{Deserialize, Serialize};

use super::DemandError;

/// Makes [`Condition`] of rows: the text above, the name, what it means if it does not hold, and the rule.
macro_rules! conditions {
    ($(
        $(#[$doc:meta])+
        $condition:ident { name: $name:literal, missed: $missed:literal, holds: $holds:expr, }
    )+) => {
        /// A condition of the platform that a report tells.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum Condition {
            $($(#[$doc])+ $condition,)+
        }

        impl Condition {
            /// Every condition.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$condition),+];

            /// Its name, as texts have it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$condition => $name,)+
                }
            }

            /// The fault of a platform where it does not hold, as the continuation of a sentence about that.
            pub fn missed(self) -> &'static str {
                match self {
                    $(Self::$condition => $missed,)+
                }
            }

            /// Whether it holds for the platform of a report.
            pub fn holds(self, report: &Report) -> bool {
                let holds: fn(&Report) -> bool = match self {
                    $(Self::$condition => $holds,)+
                };
                holds(report)
            }
        }
    };
}

conditions! {
    /// Memory is checked for aliases at boot (AMD-SB-3015): PLATFORM_INFO bit 5.
    AliasCheck {
        name: "alias-check",
        missed: "has not completed the check of its memory for aliases (ALIAS_CHECK_COMPLETE)",
        holds: |report| info(report, 5),
    }
    /// The IOMMU's writes are safe (AMD-SB-3016): PLATFORM_INFO bit 6.
    IommuWrites {
        name: "iommu-writes",
        missed: "does not report that the IOMMU's writes are safe (PLATFORM_INFO bit 6)",
        holds: |report| info(report, 6),
    }
    /// All memory is encrypted: PLATFORM_INFO bit 1.
    Tsme {
        name: "tsme",
        missed: "does not encrypt all of its memory (TSME_EN)",
        holds: |report| info(report, 1),
    }
    /// No simultaneous multithreading: PLATFORM_INFO bit 0 is clear.
    NoSmt {
        name: "no-smt",
        missed: "has simultaneous multithreading on (SMT_EN)",
        holds: |report| !info(report, 0),
    }
    /// RAPL, by which power is measured, is off: PLATFORM_INFO bit 3.
    RaplDisabled {
        name: "rapl-disabled",
        missed: "measures power (RAPL_DIS is clear)",
        holds: |report| info(report, 3),
    }
    /// Memory has error correction: PLATFORM_INFO bit 2.
    Ecc {
        name: "ecc",
        missed: "has memory without error correction (ECC_EN)",
        holds: |report| info(report, 2),
    }
    /// Ciphertext is hidden from the host: PLATFORM_INFO bit 4.
    CiphertextHiding {
        name: "ciphertext-hiding",
        missed: "does not hide its memory's ciphertext from the host (CIPHERTEXT_HIDING_DRAM_EN)",
        holds: |report| info(report, 4),
    }
    /// The firmware that runs is committed: the platform cannot go back behind it.
    Committed {
        name: "committed",
        missed: "runs provisional firmware: it can still go back to the committed one",
        holds: committed,
    }
}

fn info(report: &Report, bit: u32) -> bool {
    report.platform_info() >> bit & 1 == 1
}

/// The TCB versions are compared as they stand: that says the same in every product's layout.
fn committed(report: &Report) -> bool {
    let (current, committed) = report.current_and_committed_tcb();
    committed == current && report.committed_version() == report.current_version()
}

impl Condition {
    /// The condition of this name.
    pub fn parse(name: &str) -> Result<Self, DemandError> {
        Self::ALL.into_iter().find(|condition| condition.name() == name).ok_or(DemandError::Condition)
    }
}

impl From<Condition> for String {
    fn from(condition: Condition) -> Self {
        condition.name().to_owned()
    }
}

impl TryFrom<String> for Condition {
    type Error = DemandError;

    fn try_from(name: String) -> Result<Self, DemandError> {
        Self::parse(&name)
    }
}

/// The name.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
