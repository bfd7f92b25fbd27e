//! A search for secrets in places where they must not be.

use data_encoding::{BASE64_NOPAD, HEXLOWER, HEXUPPER};

/// The ways to write a secret: as it is, in hex, in base64.
pub fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut base64 = BASE64_NOPAD.encode(secret);
    // The last character depends on what follows the secret.
    base64.pop();
    let texts = [HEXLOWER.encode(secret), HEXUPPER.encode(secret), base64];
    [secret.to_vec()].into_iter().chain(texts.map(String::into_bytes)).collect()
}

/// Whether `needle` is anywhere in `haystack`.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// The key in the text of a key file.
pub fn key_of(file: &str) -> Option<Vec<u8>> {
    let (_, digits) = file.trim_end().split_once(':')?;
    HEXLOWER.decode(digits.as_bytes()).ok()
}
