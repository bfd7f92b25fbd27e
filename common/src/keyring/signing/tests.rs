use jiff::ToSpan as _;

use super::*;
use crate::keyring::PublicHalf;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn wrapped() -> WrappedSecret {
    WrappedSecret { key_id: "k".to_owned(), ciphertext: vec![1] }
}

/// A key and the ring with it as the newest.
fn with_next(ring: &Keyring) -> (BrokerKey, Keyring) {
    let (_, public) = drawn().unwrap();
    let ring = ring.with_signing(wrapped(), public.clone(), NOW).unwrap();
    (public, ring)
}

fn used(ring: &Keyring) -> Vec<u8> {
    ring.signing().map(|key| key.number).collect()
}

#[test]
fn the_first_key_is_used_at_once_and_every_next_when_an_operator_says_so() {
    let (first, ring) = with_next(&Keyring::default());
    assert_eq!((used(&ring), ring.prepared()), (vec![1], None));
    let (second, ring) = with_next(&ring);
    assert_eq!((used(&ring), ring.prepared().unwrap().number), (vec![1], 2));
    let ring = ring.with_prepared_used(NOW).unwrap();
    assert_eq!((used(&ring), ring.prepared()), (vec![1, 2], None));
    let publics: Vec<_> = ring.keys.iter().map(|key| key.signing_key().cloned().unwrap()).collect();
    assert_eq!(publics, [first, second]);
    assert_eq!(ring.with_prepared_used(NOW), Err(SigningRingError::NotPrepared));
}

#[test]
fn one_key_is_prepared_at_a_time_and_none_twice() {
    let (first, ring) = with_next(&Keyring::default());
    assert_eq!(ring.with_signing(wrapped(), first, NOW), Err(SigningRingError::Known));
    let (second, ring) = with_next(&ring);
    assert_eq!(ring.with_signing(wrapped(), drawn().unwrap().1, NOW), Err(SigningRingError::Prepared));
    assert_eq!(ring.with_signing(wrapped(), second, NOW), Err(SigningRingError::Known));
}

#[test]
fn a_ring_holds_so_many_keys_and_no_more() {
    let (_, mut ring) = with_next(&Keyring::default());
    for _ in 1..MOST {
        ring = with_next(&ring).1.with_prepared_used(NOW).unwrap();
    }
    assert_eq!(ring.keys.len(), MOST);
    assert_eq!(ring.with_signing(wrapped(), drawn().unwrap().1, NOW), Err(SigningRingError::Full));
}

#[test]
fn any_key_but_the_current_one_can_be_retired() {
    let (first, ring) = with_next(&Keyring::default());
    assert_eq!(ring.without(&first.id()), Err(SigningRingError::Current));
    let (second, ring) = with_next(&ring);
    // The current one is the newest that is used.
    assert_eq!(ring.without(&first.id()), Err(SigningRingError::Current));
    assert_eq!(used(&ring.without(&second.id()).unwrap()), [1]);
    let ring = ring.with_prepared_used(NOW).unwrap();
    assert_eq!(ring.without(&second.id()), Err(SigningRingError::Current));
    let ring = ring.without(&first.id()).unwrap();
    assert_eq!((used(&ring), ring.last), (vec![2], 2));
    assert_eq!(ring.without(&first.id()), Err(SigningRingError::Unknown));
}

/// A process keeps the keys that it opened by their numbers.
#[test]
fn no_two_keys_have_one_number() {
    let (_, ring) = with_next(&Keyring { last: 255, ..Keyring::default() });
    assert_eq!(used(&ring), [0]);
    let (_, ring) = with_next(&Keyring { last: 255, ..ring });
    assert_eq!(ring.keys.iter().map(|key| key.number).collect::<Vec<_>>(), [0, 1]);
}

/// The rules of the other rings would drop a key, or count one that nobody has used.
#[test]
fn a_prepared_key_counts_for_nothing_and_ends_nothing() {
    let ring = with_next(&with_next(&Keyring::default()).1).1;
    let late = NOW + 10_000.hours();
    assert_eq!(
        ring.honoured(late, 1.hour().try_into().unwrap()).map(|key| key.number).collect::<Vec<_>>(),
        [1]
    );
    assert_eq!(ring.current(late).map(|key| key.number), Some(1));
}

#[test]
fn a_key_is_opened_beside_its_own_public_half_alone() {
    let ((private, public), (other, others)) = (drawn().unwrap(), drawn().unwrap());
    let kept = |public| WrappedKey { number: 1, wrapped: wrapped(), public, made_at: NOW, from: Some(NOW) };
    assert_eq!(private.expose().len(), SigningKey::LEN);
    let opened_as = |public: Option<BrokerKey>, private: &Secret| {
        opened(&kept(public.map(PublicHalf::from)), private).map(|key| key.broker_key().clone())
    };
    assert_eq!(opened_as(Some(public.clone()), &private), Ok(public.clone()));
    assert_eq!(opened_as(Some(others.clone()), &private), Err(KeyError::Mismatch));
    assert_eq!(opened_as(Some(public.clone()), &other), Err(KeyError::Mismatch));
    assert_eq!(opened_as(None, &private), Err(KeyError::Mismatch));
    for bytes in [vec![], vec![0; 48], vec![0xFF; 48], private.expose()[1..].to_vec()] {
        let bytes = Secret::new(bytes);
        assert_eq!(opened_as(Some(public.clone()), &bytes), Err(KeyError::Mismatch));
    }
}

#[test]
fn a_row_holds_the_public_half_in_the_clear() {
    let ring = with_next(&with_next(&Keyring::default()).1).1;
    let row = serde_json::to_value(&ring).unwrap();
    assert_eq!(row["keys"][0]["public"], ring.keys[0].signing_key().unwrap().to_string());
    assert!(row["keys"][0].get("from").is_some() && row["keys"][1].get("from").is_none(), "{row}");
    assert_eq!(serde_json::from_value::<Keyring>(row.clone()).unwrap(), ring);
    for altered in ["", "BA", "not base64url"] {
        let mut row = row.clone();
        row["keys"][0]["public"] = altered.into();
        assert!(serde_json::from_value::<Keyring>(row).is_err(), "{altered:?}");
    }
}
