//! The body of a registration.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = keybroker_common::wire::libkrun::register_request(bytes);
});
