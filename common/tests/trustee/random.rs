//! Reports at random through each shape, and every number of a shape changed for another.

use std::collections::BTreeSet;

use keybroker_common::wire::trustee::evidence::read;
use proptest::prelude::*;
use serde_json::Value;

use crate::shapes::{Shape, evidence, sample, sayable};

proptest! {
    /// A report comes back bit for bit, whatever is in it. Bytes that the shape cannot say are zero.
    #[test]
    fn a_report_comes_through_every_shape(
        bytes in prop::collection::vec(any::<u8>(), 1184),
        version in prop::sample::select(&[2_u8, 3, 4, 5][..]),
        shape in prop::sample::select(&Shape::ALL[..]),
        turin in any::<bool>(),
    ) {
        let mut bytes = bytes;
        bytes[..4].copy_from_slice(&[version, 0, 0, 0]);
        let read = read(&evidence(shape, turin, &bytes).to_string()).unwrap();
        prop_assert_eq!(read.report.bytes, sayable(shape, turin, &bytes));
    }

    /// Evidence that ends early is refused, wherever it ends.
    #[test]
    fn cut_evidence_is_refused(
        shape in prop::sample::select(&Shape::ALL[..]),
        cut in any::<prop::sample::Index>(),
    ) {
        let text = evidence(shape, false, &sample(5)).to_string();
        prop_assert!(read(&text[..cut.index(text.len())]).is_err());
    }
}

/// The pointers to all of the numbers in `value`.
fn numbers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Number(_) => found.push(at),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| numbers(item, format!("{at}/{index}"), found));
        }
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| numbers(member, format!("{at}/{name}"), found));
        }
        _ => {}
    }
}

/// The bits in which two reports differ.
fn differing(one: &[u8], other: &[u8]) -> Vec<usize> {
    let bytes = (0..one.len()).filter(|byte| one[*byte] != other[*byte]);
    let bits = bytes.flat_map(|byte| 8 * byte..8 * byte + 8);
    bits.filter(|bit| (one[bit / 8] ^ other[bit / 8]) >> (bit % 8) & 1 == 1).collect()
}

/// Each number of each shape is bytes of its own. One bit of it is one bit of the report.
#[test]
fn every_number_is_seen_in_the_report() {
    for (shape, turin, count) in [
        (Shape::A, false, 1152),
        (Shape::B, false, 576),
        (Shape::B, true, 580),
        (Shape::C, false, 578),
        (Shape::C, true, 582),
    ] {
        let mut whole = evidence(shape, turin, &sample(5));
        let report = read(&whole.to_string()).unwrap().report.bytes;
        let mut pointers = Vec::new();
        numbers(&whole, String::new(), &mut pointers);
        let mut seen = BTreeSet::new();
        for pointer in &pointers {
            let number = whole.pointer(pointer).unwrap().as_u64().unwrap();
            *whole.pointer_mut(pointer).unwrap() = (number ^ 1).into();
            let bits = differing(&report, &read(&whole.to_string()).unwrap().report.bytes);
            *whole.pointer_mut(pointer).unwrap() = number.into();
            assert_eq!(bits.len(), 1, "{pointer}");
            assert_eq!(bits[0] % 8, 0, "{pointer}");
            assert!(seen.insert(bits[0]), "{pointer}");
        }
        assert_eq!(seen.len(), count, "{shape:?} turin {turin}");
    }
}

/// The wide numbers, bit by bit: none goes through a float, which has 53.
#[test]
fn every_bit_of_a_wide_number_is_seen() {
    let words = [
        ("policy", 0x008, 64, &Shape::ALL[..]),
        ("plat_info", 0x040, 64, &Shape::ALL[..]),
        ("version", 0x000, 32, &Shape::ALL[..]),
        ("guest_svn", 0x004, 32, &Shape::ALL[..]),
        ("vmpl", 0x030, 32, &Shape::ALL[..]),
        ("sig_algo", 0x034, 32, &Shape::ALL[..]),
        ("_author_key_en", 0x048, 32, &[Shape::A][..]),
        ("_reserved_0", 0x04C, 32, &[Shape::A][..]),
        ("key_info", 0x048, 32, &[Shape::B, Shape::C][..]),
        ("launch_mit_vector", 0x1F8, 64, &[Shape::C][..]),
        ("current_mit_vector", 0x200, 64, &[Shape::C][..]),
    ];
    for (name, at, bits, shapes) in words {
        for shape in shapes {
            let mut whole = evidence(*shape, true, &sample(5));
            let report = read(&whole.to_string()).unwrap().report.bytes;
            let number = whole["attestation_report"][name].as_u64().unwrap();
            for bit in 0..bits {
                whole["attestation_report"][name] = (number ^ 1 << bit).into();
                let changed = read(&whole.to_string()).unwrap().report.bytes;
                assert_eq!(differing(&report, &changed), [8 * at + bit], "{name} bit {bit} {shape:?}");
            }
        }
    }
}
