//! The blob of an Azure confidential VM: what is read lies within it, and the claims say one thing or
//! nothing.
#![no_main]

use keybroker_snp::{hcl::HclReport, report::Report};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(hcl) = HclReport::parse(bytes) else { return };
    assert!(bytes.starts_with(b"HCLA") && bytes.len() <= HclReport::MAX_SIZE);
    assert_eq!(bytes.get(32..1216), Some(hcl.report().as_slice()));
    assert_eq!(bytes.get(1236..1236 + hcl.claims().len()), Some(hcl.claims()));
    assert!(bytes.iter().skip(1236 + hcl.claims().len()).all(|byte| *byte == 0));
    assert_eq!(hcl.expected_report_data().get(32..), Some([0; 32].as_slice()));
    assert_eq!(hcl.user_data(), hcl.user_data());
    let _ = Report::parse(hcl.report());
});
