//! A report: one that is parsed keeps its bytes, and its versions can be read as any product's.
#![no_main]

use keybroker_snp::{product::Product, report::Report};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(report) = Report::parse(bytes) else { return };
    assert_eq!(report.as_bytes().as_slice(), bytes);
    let _ = Product::ALL.map(|product| {
        [
            report.reported_tcb(product),
            report.current_tcb(product),
            report.committed_tcb(product),
            report.launch_tcb(product),
        ]
    });
});
