//! The end of an image: a trailer lies within it.
#![no_main]

use keybroker_initdata::trailer::Trailer;

libfuzzer_sys::fuzz_target!(|end: &[u8]| {
    let Ok((_, length)) = Trailer::parse(end) else { return };
    assert!(length <= end.len() && length <= Trailer::MAX_LEN);
});
