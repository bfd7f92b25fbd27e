//! A report: one that is parsed keeps its bytes and can be summarised as any product's.
#![no_main]

use keybroker_common::{audit::EvidenceSummary, snp::product::Product, snp::report::Report};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(report) = Report::parse(bytes) else { return };
    assert_eq!(report.as_bytes().as_slice(), bytes);
    let _ = Product::ALL.map(|product| EvidenceSummary::of(&report, Some(product), false));
});
