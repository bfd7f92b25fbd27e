//! An attestation result, or the claims of one alone: claims that are read are those that are written, and no
//! text is verified that nobody signed.
#![no_main]

use keybroker_common::{
    ear::{Claims, Compact},
    keyring::ResultPublicKey,
};

/// The base point of P-256: nobody signs with the private key 1 here.
const POINT: [u8; 65] = *b"\x04\
    \x6b\x17\xd1\xf2\xe1\x2c\x42\x47\xf8\xbc\xe6\xe5\x63\xa4\x40\xf2\
    \x77\x03\x7d\x81\x2d\xeb\x33\xa0\xf4\xa1\x39\x45\xd8\x98\xc2\x96\
    \x4f\xe3\x42\xe2\xfe\x1a\x7f\x9b\x8e\xe7\xeb\x4a\x7c\x0f\x9e\x16\
    \x2b\xce\x33\x57\x6b\x31\x5e\xce\xcb\xb6\x40\x68\x37\xbf\x51\xf5";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(claims) = Claims::from_bytes(bytes) {
        assert_eq!(claims.to_bytes(), bytes);
        let _ = (claims.expires_at(), claims.guest_key(), claims.status(), format!("{claims:?}"));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some(compact) = Compact::parse(text) else { return };
    let Some(key) = ResultPublicKey::from_bytes(&POINT) else { return };
    let _ = compact.is_headed_by(&key);
    assert_eq!(compact.verified(&key), None);
});
