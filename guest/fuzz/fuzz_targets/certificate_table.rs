//! The host's certificate table: a certificate that is read is a part of the table, and is read back as it
//! was written.
#![no_main]

use keybroker_guest::report::table::{parse, write};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(certificates) = parse(bytes) else { return };
    for certificate in &certificates {
        let der = certificate.der.as_slice();
        assert!(der.is_empty() || bytes.windows(der.len()).any(|part| part == der));
    }
    assert_eq!(parse(&write(&certificates)), Ok(certificates));
});
