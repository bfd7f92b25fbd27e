//! The body of a guest's evidence, and the report in it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let evidence =
        keybroker_common::wire::handshake::evidence(keybroker_common::dialect::Dialect::Libkrun, bytes);
    let _ = evidence.map(|evidence| keybroker_snp::report::Report::parse(&evidence.report));
});
