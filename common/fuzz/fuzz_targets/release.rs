//! The body of a request for secrets in the broker's own protocol: the report in it, and what it is bound to.
#![no_main]

use keybroker_common::wire::native;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let read = native::release_request(bytes);
    let report = read.ok().and_then(|(_, request)| request.evidence.report.ok());
    let _ = report.map(|report| keybroker_snp::report::Report::parse(&report.bytes));
});
