//! The JSON of a LUKS2 header, in two copies that are whole.
#![no_main]

#[path = "../../tests/support/headers.rs"]
#[allow(dead_code, clippy::indexing_slicing, reason = "support for tests")]
mod headers;

use keybroker_initdata::luks::{Header, HeaderError};

libfuzzer_sys::fuzz_target!(|json: &[u8]| {
    match Header::parse(&headers::luks2(json)) {
        Ok(header) => assert!(header.copy_len() <= header.segment().offset),
        Err(error) => assert!(!matches!(error, HeaderError::Damaged { .. } | HeaderError::Truncated)),
    }
});
