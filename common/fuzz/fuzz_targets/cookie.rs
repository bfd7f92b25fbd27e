//! Cookie fields, one a line.
#![no_main]

use http::{HeaderMap, HeaderValue, header::COOKIE};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let fields = bytes.split(|byte| *byte == b'\n').filter_map(|field| HeaderValue::from_bytes(field).ok());
    let headers: HeaderMap = fields.map(|field| (COOKIE, field)).collect();
    let _ = keybroker_common::wire::cookie::session(&headers);
});
