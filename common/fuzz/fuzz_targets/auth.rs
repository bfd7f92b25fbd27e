//! The body of a guest's request for a challenge.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = keybroker_common::wire::handshake::auth_request(bytes, None);
});
