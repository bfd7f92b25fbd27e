//! A stored registration: what is read is written so that it reads the same.
#![no_main]

use keybroker_common::workload::Registration;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(read) = Registration::from_bytes(bytes) else { return };
    assert_eq!(read.to_bytes().and_then(|written| Registration::from_bytes(&written)), Ok(read));
});
