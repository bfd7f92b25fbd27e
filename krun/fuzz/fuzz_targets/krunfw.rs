//! A libkrunfw-sev library: what it hands out lies in it, is measured or refused, and can be linked anew.
#![no_main]

use std::num::NonZeroU8;

use keybroker_krun::{Library, relink};
use keybroker_snp::measurement::krun::{Fpu, measure};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let relinked = relink(bytes, b"initrd");
    let Ok(library) = Library::parse(bytes) else { return };
    let firmware = library.firmware;
    for blob in [firmware.qboot, firmware.kernel, firmware.initrd] {
        assert!(bytes.as_ptr_range().contains(&blob.as_ptr()) || blob.is_empty());
        assert!(blob.len() <= bytes.len());
    }
    let _ = measure(&firmware, NonZeroU8::MIN, 512, Fpu::Zero);
    if let Ok(relinked) = relinked {
        // One more segment, at its alignment: a page with a function, and one with the initrd.
        assert_eq!(relinked.len(), bytes.len().next_multiple_of(0x1_0000) + 0x2000);
    }
});
