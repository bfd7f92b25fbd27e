//! The beginning of a device: what is read of a header does not change with what follows it.
#![no_main]

use keybroker_initdata::luks::{Header, MAX_COPY_LEN, metadata_len};

libfuzzer_sys::fuzz_target!(|device: &[u8]| {
    let Ok(header) = Header::parse(device) else { return };
    let length = metadata_len(device);
    assert!(header.copy_len() <= MAX_COPY_LEN && header.copy_len() <= header.segment().offset);
    let alone = length.ok().and_then(|length| device.get(..length)).map(Header::parse);
    assert_eq!(alone, Some(Ok(header)));
});
