//! The body of a guest's evidence, and the report in it.
#![no_main]

use keybroker_common::{
    challenge::Claim,
    dialect::Dialect,
    ids::{KbsVersion, TrusteeClaim},
    wire::handshake,
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let trustees = |version| Claim::Trustee(TrusteeClaim { version, workload: None });
    for claim in KbsVersion::ALL.map(trustees).into_iter().chain([Claim::HostData]) {
        let evidence = handshake::evidence(Dialect::ALL.to_vec(), &claim, bytes);
        let report = evidence.ok().and_then(|evidence| evidence.report.ok());
        let _ = report.map(|sent| sent.read().is_ok());
    }
});
