//! The outer form of certificates and CRLs: what stands around the signed part.
//!
//! The X.509 parser takes more than DER there, such as other classes of a tag or longer forms of a length. No
//! signature would notice: one certificate could be written in many ways, and its digest would not be a name
//! for it.

const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// The signature algorithm in a certificate or CRL.
pub(crate) struct Algorithms<'a> {
    /// As the signed part states it.
    pub(crate) inner: &'a [u8],
    /// As it stands beside the signature.
    pub(crate) outer: &'a [u8],
}

/// Reads `SEQUENCE { signed part, algorithm, signature }` (RFC 5280, 4.1 and 5.1) in DER. `None` if it is not
/// that.
pub(crate) fn algorithms(der: &[u8]) -> Option<Algorithms<'_>> {
    let (whole, []) = expect(SEQUENCE, der)? else { return None };
    let (signed, rest) = expect(SEQUENCE, whole.content)?;
    let (outer, rest) = expect(SEQUENCE, rest)?;
    let (signature, []) = expect(BIT_STRING, rest)? else { return None };
    // The first byte of a BIT STRING says how many bits at its end are unused.
    let [0, ..] = signature.content else { return None };

    // The algorithm follows version and serial number, and is the first SEQUENCE.
    let (mut inner, mut rest) = Element::read(signed.content)?;
    while inner.tag != SEQUENCE {
        (inner, rest) = Element::read(rest)?;
    }
    Some(Algorithms { inner: inner.bytes, outer: outer.bytes })
}

/// One element of DER, with a tag of one byte.
struct Element<'a> {
    tag: u8,
    bytes: &'a [u8],
    content: &'a [u8],
}

impl<'a> Element<'a> {
    /// Takes the first element off `bytes`. Its length must be in the shortest form, and below 16 MiB.
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, length) = match *bytes {
            [_, length @ 0..=0x7F, ..] => (2, usize::from(length)),
            [_, 0x81, length @ 0x80..=0xFF, ..] => (3, usize::from(length)),
            [_, 0x82, high @ 1..=0xFF, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
            [_, 0x83, high @ 1..=0xFF, middle, low, ..] => {
                (5, usize::try_from(u32::from_be_bytes([0, high, middle, low])).ok()?)
            }
            _ => return None,
        };
        let (element, rest) = bytes.split_at_checked(header + length)?;
        Some((Self { tag: *element.first()?, bytes: element, content: element.get(header..)? }, rest))
    }
}

/// Takes the first element off `bytes`, if it has this tag.
fn expect(tag: u8, bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    Element::read(bytes).filter(|(element, _)| element.tag == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALGORITHM: [u8; 4] = [SEQUENCE, 2, 5, 0];

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        [&[tag, length], content].concat()
    }

    /// Version and serial number, the algorithm, a subject.
    fn signed(algorithm: &[u8]) -> Vec<u8> {
        element(SEQUENCE, &[&[0xA0, 1, 2, 2, 1, 0], algorithm, &[SEQUENCE, 0]].concat())
    }

    fn whole(signed: &[u8], signature: &[u8]) -> Vec<u8> {
        element(SEQUENCE, &[signed, &ALGORITHM, &element(BIT_STRING, signature)].concat())
    }

    #[test]
    fn both_algorithms_are_found() {
        let other = [SEQUENCE, 2, 5, 1];
        let der = whole(&signed(&other), &[0, 7]);
        let Algorithms { inner, outer } = algorithms(&der).unwrap();
        assert_eq!((inner, outer), (&other[..], &ALGORITHM[..]));
    }

    #[test]
    fn the_outer_form_is_der() {
        let good = whole(&signed(&ALGORITHM), &[0, 7]);
        assert!(algorithms(&good).is_some());
        let unused_bits = whole(&signed(&ALGORITHM), &[1, 7]);
        let no_signature = whole(&signed(&ALGORITHM), &[]);
        let no_algorithm = whole(&[SEQUENCE, 0], &[0, 7]);
        let trailing = [good.as_slice(), &[0]].concat();
        let truncated = good.split_last().unwrap().1;
        let long_length = [&[SEQUENCE, 0x81], good.get(1..).unwrap()].concat();
        let longer_length = [&[SEQUENCE, 0x82, 0], good.get(1..).unwrap()].concat();
        let indefinite = [&[SEQUENCE, 0x80], good.get(2..).unwrap(), &[0, 0]].concat();
        for bad in [
            &unused_bits,
            &no_signature,
            &no_algorithm,
            &trailing,
            truncated,
            &long_length,
            &longer_length,
            &indefinite,
        ] {
            assert!(algorithms(bad).is_none(), "{bad:x?}");
        }
        for class in [0x10, 0x70, 0xB0] {
            let mut bad = good.clone();
            bad[0] = class;
            assert!(algorithms(&bad).is_none());
        }
    }
}
