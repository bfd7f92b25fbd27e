//! A report: one that is parsed can be summarised as any product's.
#![no_main]

use keybroker_common::{audit::EvidenceSummary, requirements::EvidenceForm};
use keybroker_snp::{product::Product, report::Report};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(report) = Report::parse(bytes) else { return };
    let _ = Product::ALL.map(|product| EvidenceSummary::of(&report, EvidenceForm::Snp, Some(product), false));
});
