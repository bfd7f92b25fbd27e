//! Evidence as Trustee's guests send it: a whole report is read, and certificates within their bounds.
#![no_main]

use keybroker_common::wire::trustee::evidence;
use keybroker_snp::report::Report;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(read) = evidence::snp(text) else { return };
    assert_eq!(read.report.len(), Report::SIZE);
    assert!(read.certificates.len() <= 8 && read.certificates.iter().all(|one| one.len() <= 16 * 1024));
    let _ = Report::parse(&read.report);
});
