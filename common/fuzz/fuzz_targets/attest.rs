//! The body of a guest's evidence, and the report in it.
#![no_main]

use keybroker_common::{dialect::Dialect, wire::handshake};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let evidence = handshake::evidence(Dialect::ALL.to_vec(), bytes);
    let _ = evidence.map(|evidence| keybroker_snp::report::Report::parse(&evidence.report));
});
