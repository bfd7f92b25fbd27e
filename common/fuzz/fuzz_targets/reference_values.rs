//! The body of a registration by reference values.
#![no_main]

use keybroker_common::{ids::HostData, wire::keybroker};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = keybroker::register_request(bytes, HostData::random());
});
