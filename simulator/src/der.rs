//! A writer for the few DER forms that AMD's certificates use.
//!
//! It is written by hand because a certificate builder refuses to make the defective certificates that tests
//! need.

use jiff::Timestamp;

/// An object identifier by its arcs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Oid(pub &'static [u32]);

pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut out = vec![tag];
    match significant.as_slice() {
        [] => out.push(0),
        [short @ 0..=0x7F] => out.push(*short),
        // A usize has at most eight bytes, so the count fits.
        long => {
            out.push(0x80 | long.len() as u8);
            out.extend(long);
        }
    }
    out.extend(content);
    out
}

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub(crate) fn set(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x31, &parts.concat())
}

/// `[number] EXPLICIT`.
pub(crate) fn explicit(number: u8, content: &[u8]) -> Vec<u8> {
    tlv(0xA0 | number, content)
}

/// A number that is not negative, big-endian.
pub(crate) fn integer(big_endian: &[u8]) -> Vec<u8> {
    let mut content: Vec<u8> = big_endian.iter().copied().skip_while(|byte| *byte == 0).collect();
    if content.first().is_none_or(|byte| byte & 0x80 != 0) {
        content.insert(0, 0);
    }
    tlv(0x02, &content)
}

pub(crate) fn boolean(value: bool) -> Vec<u8> {
    tlv(0x01, &[if value { 0xFF } else { 0 }])
}

pub(crate) fn null() -> Vec<u8> {
    tlv(0x05, &[])
}

pub(crate) fn octet_string(content: &[u8]) -> Vec<u8> {
    tlv(0x04, content)
}

/// A BIT STRING whose last `unused` bits do not count.
pub(crate) fn bit_string(unused: u8, content: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[unused], content].concat())
}

pub(crate) fn utf8(text: &str) -> Vec<u8> {
    tlv(0x0C, text.as_bytes())
}

pub(crate) fn printable(text: &str) -> Vec<u8> {
    tlv(0x13, text.as_bytes())
}

pub(crate) fn ia5(text: &str) -> Vec<u8> {
    tlv(0x16, text.as_bytes())
}

pub(crate) fn oid(oid: Oid) -> Vec<u8> {
    let mut content = Vec::new();
    if let [first, second, rest @ ..] = oid.0 {
        for arc in std::iter::once(40 * first + second).chain(rest.iter().copied()) {
            let groups = (32 - arc.leading_zeros()).div_ceil(7).max(1);
            for group in (0..groups).rev() {
                let more = if group == 0 { 0 } else { 0x80 };
                content.push((arc >> (7 * group)) as u8 & 0x7F | more);
            }
        }
    }
    tlv(0x06, &content)
}

/// UTCTime from 1950 to the end of 2049, else GeneralizedTime (RFC 5280, 4.1.2.5).
pub(crate) fn time(at: Timestamp) -> Vec<u8> {
    let text = at.strftime("%Y%m%d%H%M%SZ").to_string();
    match text.split_at(2) {
        ("19", short) if short >= "50" => tlv(0x17, short.as_bytes()),
        ("20", short) if short < "50" => tlv(0x17, short.as_bytes()),
        _ => tlv(0x18, text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_short_form_up_to_127() {
        assert_eq!(tlv(4, &[])[..], [4, 0]);
        assert_eq!(tlv(4, &[7; 127])[..3], [4, 127, 7]);
        assert_eq!(tlv(4, &[7; 128])[..4], [4, 0x81, 128, 7]);
        assert_eq!(tlv(4, &[7; 256])[..5], [4, 0x82, 1, 0, 7]);
    }

    #[test]
    fn integers_are_minimal_and_not_negative() {
        assert_eq!(integer(&[0]), [2, 1, 0]);
        assert_eq!(integer(&[0, 0x7F]), [2, 1, 0x7F]);
        assert_eq!(integer(&[0xD9]), [2, 2, 0, 0xD9]);
        assert_eq!(integer(&[1, 0, 0]), [2, 3, 1, 0, 0]);
    }

    #[test]
    fn object_identifiers_have_base_128_arcs() {
        assert_eq!(
            oid(Oid(&[1, 3, 6, 1, 4, 1, 3704, 1, 3, 8])),
            [6, 10, 43, 6, 1, 4, 1, 0x9C, 0x78, 1, 3, 8]
        );
        assert_eq!(oid(Oid(&[2, 5, 29, 15])), [6, 3, 0x55, 29, 15]);
        assert_eq!(
            oid(Oid(&[1, 2, 840, 113549, 1, 1, 10])),
            [6, 9, 42, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 10]
        );
    }

    #[test]
    fn time_changes_its_form_in_2050() {
        let at = |text: &str| time(text.parse().expect("a timestamp"));
        assert_eq!(at("2049-12-31T23:59:59Z"), tlv(0x17, b"491231235959Z"));
        assert_eq!(at("2050-01-01T00:00:00Z"), tlv(0x18, b"20500101000000Z"));
        assert_eq!(at("1999-01-01T00:00:00Z"), tlv(0x17, b"990101000000Z"));
    }
}
