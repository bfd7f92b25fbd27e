//! A revocation list in DER, with AMD's roots at hand: none has signed what the simulator makes.
#![no_main]

use keybroker_snp::{anchors::TrustAnchors, crl::Crl, product::Product};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert!(Crl::verify(bytes, &TrustAnchors::amd().arks(Product::Milan)).is_err());
});
