//! A certificate in DER, in each place of a chain.
#![no_main]

use keybroker_snp::{authority::TrustAnchor, chain::Intermediate, vek::Vek};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Vek::parse(bytes).map(|vek| assert_eq!(vek.der(), bytes));
    let _ = TrustAnchor::new(bytes);
    let _ = Intermediate::verify(bytes, &[]);
});
