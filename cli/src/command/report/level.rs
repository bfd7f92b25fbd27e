//! The level of a platform, and how it stands to AMD's bulletins.

use keybroker_common::{
    advisories::Verdict,
    audit::{AuditRecord, EvidenceSummary},
};

use crate::table::printable;

/// The level of a platform, as a genuine report of it says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Level {
    /// The silicon, or where the record does not name it the product.
    pub(super) platform: String,
    pub(super) reported: String,
    pub(super) standing: Standing,
    /// The verdict by AMD's bulletins, in words; empty in records that carry none.
    pub(super) verdict: String,
}

/// How a platform stood to the table of AMD's bulletins when a guest attested on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Behind a bulletin.
    Behind,
    /// Behind nothing that the table has.
    NotBehind,
    /// The table says nothing of it, or the record carries no verdict.
    Unjudged,
}

impl Level {
    /// The level that a record names with its evidence.
    pub(super) fn of(record: &AuditRecord, evidence: &EvidenceSummary) -> Self {
        let unknown = || "unknown".to_owned();
        let tcb = record.tcb.as_ref();
        let silicon = tcb.and_then(|tcb| tcb.silicon).map(|silicon| silicon.text());
        let product = || evidence.product.map(|product| product.to_string());
        Self {
            platform: silicon.or_else(product).unwrap_or_else(unknown),
            reported: evidence.reported_tcb.map_or_else(unknown, |tcb| tcb.to_string()),
            standing: match tcb.map(|tcb| tcb.verdict) {
                Some(Verdict::Behind) => Standing::Behind,
                Some(Verdict::UpToDate | Verdict::BehindNothing) => Standing::NotBehind,
                Some(Verdict::UnnamedSilicon | Verdict::NoSilicon | Verdict::Other) | None => {
                    Standing::Unjudged
                }
            },
            verdict: tcb.map(|tcb| printable(&tcb.to_string())).unwrap_or_default(),
        }
    }
}
