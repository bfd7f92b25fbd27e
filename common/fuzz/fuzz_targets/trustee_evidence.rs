//! Evidence as Trustee's guests send it: a whole report or a blob is read, and certificates within their
//! bounds.
#![no_main]

use keybroker_common::{requirements::EvidenceForm, wire::trustee::evidence};
use keybroker_snp::{hcl::HclReport, report::Report};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(read) = evidence::read(text) else { return };
    let size = read.report.bytes.len();
    match read.report.form {
        EvidenceForm::Snp => assert_eq!(size, Report::SIZE),
        // Base64 is as long as the body may be.
        EvidenceForm::AzSnpVtpm => assert!(size <= HclReport::MAX_SIZE.max(text.len())),
    }
    assert!(read.certificates.len() <= 8 && read.certificates.iter().all(|one| one.len() <= 16 * 1024));
    let _ = read.report.read().map(|read| read.report_data([0; 64]));
});
