//! A chain in PEM, as KDS sends it and as an operator names it for trust anchors.
#![no_main]

use keybroker_snp::anchors::{TrustAnchors, pem_certificates};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = pem_certificates(bytes).map(|certificates| assert!(!certificates.is_empty()));
    let _ = TrustAnchors::default().add_pem(bytes);
});
