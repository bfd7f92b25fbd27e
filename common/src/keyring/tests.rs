use jiff::ToSpan as _;

use super::*;

fn at(hours: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
}

fn wrapped(number: u8) -> WrappedSecret {
    WrappedSecret { key_id: "k".to_owned(), ciphertext: vec![number] }
}

fn numbers<'a>(keys: impl Iterator<Item = &'a WrappedKey>) -> Vec<u8> {
    keys.map(|key| key.number).collect()
}

const WEEK: i64 = 7 * 24;

#[test]
fn a_first_key_counts_at_once_and_every_next_after_its_lead() {
    let ring = Keyring::default();
    assert!(ring.is_due(at(0)));
    let ring = ring.with(wrapped(1), at(0));
    assert_eq!(ring.current(at(0)).map(|key| key.number), Some(1));
    assert!(!ring.is_due(at(WEEK) - 1.second()) && ring.is_due(at(WEEK)));
    let ring = ring.with(wrapped(2), at(WEEK));
    assert!(!ring.is_due(at(WEEK)));
    let lead = at(WEEK) + Keyring::LEAD;
    assert_eq!(ring.current(lead - 1.nanosecond()).map(|key| key.number), Some(1));
    assert_eq!(ring.current(lead).map(|key| key.number), Some(2));
}

#[test]
fn a_key_is_honoured_until_its_successor_has_been_there_for_a_while() {
    let ring = Keyring::default().with(wrapped(1), at(0)).with(wrapped(2), at(WEEK));
    let (came, after) = (at(WEEK) + Keyring::LEAD, SignedDuration::from_mins(10));
    assert_eq!(numbers(ring.honoured(came, after)), [1, 2]);
    assert_eq!(numbers(ring.honoured(came + after - 1.nanosecond(), after)), [1, 2]);
    assert_eq!(numbers(ring.honoured(came + after, after)), [2]);
}

#[test]
fn a_ring_drops_what_nothing_rests_on() {
    let ring = Keyring::default().with(wrapped(1), at(0)).with(wrapped(2), at(WEEK));
    let ring = ring.with(wrapped(3), at(2 * WEEK));
    assert_eq!(numbers(ring.keys.iter()), [2, 3]);
    // Two turns in a row: what was made under the first may still be honoured.
    let soon = ring.with(wrapped(4), at(2 * WEEK + 1));
    assert_eq!(numbers(soon.keys.iter()), [2, 3, 4]);
}

#[test]
fn an_emptied_ring_goes_on_counting() {
    let ring = Keyring::default().with(wrapped(1), at(0)).emptied();
    assert!(ring.is_due(at(0)) && ring.current(at(0)).is_none());
    let ring = ring.with(wrapped(2), at(1));
    assert_eq!((numbers(ring.keys.iter()), ring.current(at(1)).map(|key| key.number)), (vec![2], Some(2)));
    let turned = ring.turned();
    assert!(turned.is_due(at(1)) && turned.keys == ring.keys);
    assert!(!turned.with(wrapped(3), at(1)).is_due(at(1)));
}

#[test]
fn numbers_go_round() {
    let ring = Keyring { last: 255, ..Keyring::default() }.with(wrapped(0), at(0));
    assert_eq!((ring.last, numbers(ring.keys.iter())), (0, vec![0]));
}

/// A clock that ran ahead dated it: nobody could turn the ring, nor use its key, until then.
#[test]
fn a_key_from_the_future_does_not_count() {
    let ring = Keyring::default().with(wrapped(1), at(1000));
    assert!(ring.is_due(at(0)) && ring.current(at(0)).is_none());
    let ring = ring.with(wrapped(2), at(0));
    assert_eq!((numbers(ring.keys.iter()), ring.current(at(0)).map(|key| key.number)), (vec![2], Some(2)));
}

#[test]
fn a_hash_depends_on_label_and_parts_and_where_they_end() {
    let key = |byte| Key::new(&Secret::new(vec![byte; Keyring::KEY_LEN])).unwrap();
    let hashes = [
        key(1).hash("a", &[b"bc", b"d"]),
        key(2).hash("a", &[b"bc", b"d"]),
        key(1).hash("ab", &[b"c", b"d"]),
        key(1).hash("a", &[b"b", b"cd"]),
        key(1).hash("a", &[b"bcd"]),
        key(1).hash("a", &[b"bc", b"d", b""]),
    ];
    for (index, hash) in hashes.iter().enumerate() {
        assert!(!hashes.iter().take(index).any(|other| other == hash), "{index}");
    }
    assert!(Key::new(&Secret::new(vec![1; 31])).is_err());
}
