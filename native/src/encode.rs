//! The one encoding of everything that is hashed or signed.

/// `parts` one after the other behind `label`, each after its length in 8 big-endian bytes: no two lists
/// share an encoding.
pub(crate) fn encoded<'a>(label: &'a str, parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in std::iter::once(label.as_bytes()).chain(parts) {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// A number, as a part.
pub(crate) fn count(number: usize) -> [u8; 8] {
    (number as u64).to_be_bytes()
}
