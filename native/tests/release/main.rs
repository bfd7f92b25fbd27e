//! A guest and a broker, each by its side of the crate.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod properties;

use keybroker_initdata::{Algorithm, BrokerKey};
use keybroker_native::{
    Answer, AnswerError, Ask, Evidence, Sealed, SealedSecret, SigningKey, Suite,
    client::{Challenge, Opened, Pending, request},
};
use serde_json::Value;

const SECRETS: [(&str, &[u8]); 3] =
    [("passphrase", b"correct horse"), ("empty", b""), ("tls.key", &[0xFF; 300])];

fn challenge() -> Challenge {
    Challenge { challenge: "c".repeat(78), expires_in: 300 }
}

fn pending(suite: Suite, keys: &[&SigningKey]) -> Pending {
    let init_data = Algorithm::Sha256.digest("a document");
    let names = SECRETS.map(|(name, _)| name.to_owned()).to_vec();
    let accepted = keys.iter().map(|key| key.broker_key().id()).collect();
    Pending::new(suite, &challenge(), "web", names, init_data, accepted).unwrap()
}

/// The guest's request as the broker reads it.
fn sent(pending: &Pending) -> Value {
    let evidence = Evidence::of_report(vec![1; 1184], vec![vec![2; 3]]);
    serde_json::from_slice(&pending.request(&evidence)).unwrap()
}

/// The broker's answer to a request of this suite.
fn sealed(pending: &Pending, suite: Suite, secrets: &[(&str, &[u8])]) -> Sealed {
    let body = sent(pending);
    let public_key = data_encoding::BASE64URL_NOPAD.decode(body["public_key"].as_str().unwrap().as_bytes());
    let hash = keybroker_native::AskHash(pending.report_data());
    let (encapsulated, ciphertexts) =
        suite.sealer(&public_key.unwrap(), &hash).unwrap().seal(secrets.iter().copied()).unwrap();
    let secrets = secrets.iter().zip(ciphertexts);
    let secrets =
        secrets.map(|((name, _), ciphertext)| SealedSecret { name: (*name).to_owned(), ciphertext });
    let decision = "0199c5c2-0000-7000-8000-000000000000".to_owned();
    Sealed { decision, encapsulated, secrets: secrets.collect() }
}

fn answer(pending: &Pending, suite: Suite, key: &SigningKey) -> Vec<u8> {
    let hash = keybroker_native::AskHash(pending.report_data());
    sealed(pending, suite, &SECRETS).sign(&hash, key).unwrap().to_json()
}

fn open(pending: Pending, body: &[u8], keys: &[&BrokerKey]) -> Result<Opened, AnswerError> {
    pending.open(body, keys)
}

#[test]
fn secrets_arrive_in_their_order_under_every_suite() {
    for suite in Suite::ALL {
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let pending = pending(suite, &[&other, &key]);
        let body = answer(&pending, suite, &key);
        let opened = open(pending, &body, &[other.broker_key(), key.broker_key()]).unwrap();
        assert_eq!(opened.decision, "0199c5c2-0000-7000-8000-000000000000");
        let clear: Vec<_> = opened.secrets.iter().map(|secret| secret.as_slice()).collect();
        assert_eq!(clear, SECRETS.map(|(_, secret)| secret));
    }
}

/// Each byte of the answer is under the signature, or is the signature, or makes it no answer.
#[test]
fn no_byte_of_the_answer_can_be_altered() {
    let key = SigningKey::generate().unwrap();
    let body = answer(&pending(Suite::P384, &[&key]), Suite::P384, &key);
    let guest = pending(Suite::P384, &[&key]);
    let body_of_this_guest = answer(&guest, Suite::P384, &key);
    let hash = keybroker_native::AskHash(guest.report_data());
    let mut seen = std::collections::BTreeSet::new();
    for index in 0..body_of_this_guest.len() {
        for bit in [0x01, 0x02, 0x20] {
            let mut altered = body_of_this_guest.clone();
            altered[index] ^= bit;
            let verified =
                Answer::from_json(&altered).and_then(|read| read.verify(&hash, &[key.broker_key()]));
            match verified {
                Err(refused) => drop(seen.insert(refused.to_string())),
                // JSON has one reading of an answer, but more than one spelling of no byte in it.
                Ok(_) => panic!("byte {index} ^ {bit:#x}: {}", String::from_utf8_lossy(&altered)),
            }
        }
    }
    let all = [AnswerError::Form, AnswerError::Key, AnswerError::Signature].map(|error| error.to_string());
    assert_eq!(seen, all.into());
    assert_eq!(open(guest, &body, &[key.broker_key()]).unwrap_err(), AnswerError::Signature);
}

#[test]
fn an_answer_without_a_secret_or_with_two_swapped_is_refused() {
    let key = SigningKey::generate().unwrap();
    let swapped: Vec<_> = [SECRETS[1], SECRETS[0], SECRETS[2]].to_vec();
    let more: Vec<_> = SECRETS.into_iter().chain([("more", b"x".as_slice())]).collect();
    // A broker that signs so has answered another request.
    for secrets in [&SECRETS[..2], &swapped, &more, &[]] {
        let guest = pending(Suite::X25519, &[&key]);
        let hash = keybroker_native::AskHash(guest.report_data());
        let body = sealed(&guest, Suite::X25519, secrets).sign(&hash, &key).unwrap().to_json();
        assert_eq!(open(guest, &body, &[key.broker_key()]).unwrap_err(), AnswerError::Secrets);
    }
    // Anybody else has no signature for it.
    let edits: [fn(&mut Vec<Value>); 4] = [
        |secrets| drop(secrets.pop()),
        |secrets| secrets.swap(0, 2),
        |secrets| {
            let first = secrets[0]["ciphertext"].clone();
            secrets[0]["ciphertext"] = std::mem::replace(&mut secrets[1]["ciphertext"], first);
        },
        |secrets| secrets.push(secrets[0].clone()),
    ];
    for edit in edits {
        let guest = pending(Suite::P384, &[&key]);
        let mut body: Value = serde_json::from_slice(&answer(&guest, Suite::P384, &key)).unwrap();
        edit(body["secrets"].as_array_mut().unwrap());
        let body = serde_json::to_vec(&body).unwrap();
        assert_eq!(open(guest, &body, &[key.broker_key()]).unwrap_err(), AnswerError::Signature);
    }
}

#[test]
fn an_answer_under_a_key_that_the_guest_does_not_accept_is_refused() {
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let guest = pending(Suite::P384, &[&key]);
    let body = answer(&guest, Suite::P384, &other);
    assert_eq!(open(guest, &body, &[key.broker_key()]).unwrap_err(), AnswerError::Key);
    // The other key's signature under this key's name.
    let guest = pending(Suite::P384, &[&key]);
    let mut body: Value = serde_json::from_slice(&answer(&guest, Suite::P384, &other)).unwrap();
    body["broker_key"] = key.broker_key().id().to_string().into();
    let body = serde_json::to_vec(&body).unwrap();
    assert_eq!(open(guest, &body, &[key.broker_key()]).unwrap_err(), AnswerError::Signature);
}

/// A secret that was sealed for one place opens at no other, even if the broker's signature says so.
#[test]
fn a_sealed_secret_opens_at_its_own_place_alone() {
    let key = SigningKey::generate().unwrap();
    let guest = pending(Suite::P384, &[&key]);
    let mut moved = sealed(&guest, Suite::P384, &SECRETS);
    let ciphertext = moved.secrets[0].ciphertext.clone();
    moved.secrets[0].ciphertext = std::mem::replace(&mut moved.secrets[1].ciphertext, ciphertext);
    let hash = keybroker_native::AskHash(guest.report_data());
    let body = moved.sign(&hash, &key).unwrap().to_json();
    assert_eq!(open(guest, &body, &[key.broker_key()]).unwrap_err(), AnswerError::Open);
}

#[test]
fn every_field_of_a_request_is_in_its_hash() {
    let key = SigningKey::generate().unwrap();
    let ask = Ask {
        challenge: "c".to_owned(),
        workload: "web".to_owned(),
        secrets: vec!["a".to_owned(), "b".to_owned()],
        suite: Suite::P384,
        public_key: vec![4; 97],
        init_data: Algorithm::Sha256.digest("a document"),
        broker_keys: vec![key.broker_key().id()],
    };
    let other = SigningKey::generate().unwrap().broker_key().id();
    type Change = Box<dyn Fn(&mut Ask)>;
    let changes: [(&str, Change); 11] = [
        ("challenge", Box::new(|ask| ask.challenge.push('c'))),
        ("workload", Box::new(|ask| ask.workload.push('c'))),
        ("secrets", Box::new(|ask| drop(ask.secrets.pop()))),
        ("order of secrets", Box::new(|ask| ask.secrets.reverse())),
        ("one secret of two", Box::new(|ask| ask.secrets = vec!["ab".to_owned()])),
        ("suite", Box::new(|ask| ask.suite = Suite::X25519)),
        ("public key", Box::new(|ask| ask.public_key[96] ^= 1)),
        ("algorithm", Box::new(|ask| ask.init_data = Algorithm::Sha512.digest("a document"))),
        ("init data", Box::new(|ask| ask.init_data = Algorithm::Sha256.digest("another"))),
        ("broker keys", Box::new(move |ask| ask.broker_keys.push(other))),
        ("no broker keys", Box::new(|ask| ask.broker_keys.clear())),
    ];
    for (name, change) in changes {
        let mut changed = ask.clone();
        change(&mut changed);
        assert_ne!(changed.hash(), ask.hash(), "{name}");
    }
    // The evidence is not: it holds the hash.
    let evidence = |byte| Evidence::of_report(vec![byte; 1184], Vec::new());
    assert_ne!(request(&ask, &evidence(1)), request(&ask, &evidence(2)));
}

#[test]
fn a_signing_key_is_read_back_as_it_was_written() {
    let key = SigningKey::generate().unwrap();
    let read = SigningKey::from_bytes(&key.to_bytes().unwrap()).unwrap();
    assert_eq!(read.broker_key(), key.broker_key());
    let signature = read.sign(b"message").unwrap();
    assert!(keybroker_native::verify(key.broker_key(), b"message", &signature));
    assert!(!keybroker_native::verify(key.broker_key(), b"massage", &signature));
    for wrong in [&[0; 48][..], &[0xFF; 48], &[1; 47], &[]] {
        assert!(SigningKey::from_bytes(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn nothing_is_sealed_to_what_is_no_public_key() {
    let hash = keybroker_native::AskHash([0; 64]);
    for (suite, key) in [
        (Suite::P384, vec![4; 97]),
        (Suite::P384, vec![0; 97]),
        (Suite::P384, vec![9; 32]),
        (Suite::X25519, vec![9; 31]),
        // The point of order 1: every shared secret with it is zero.
        (Suite::X25519, vec![0; 32]),
    ] {
        assert!(suite.sealer(&key, &hash).is_err(), "{suite:?} {key:?}");
    }
}

#[test]
fn no_secret_and_no_private_key_is_printed() {
    let key = SigningKey::generate().unwrap();
    let (_, private) = Suite::P384.generate().unwrap();
    assert_eq!(format!("{private:?}"), "PrivateKey(redacted)");
    let private = data_encoding::HEXLOWER.encode(&key.to_bytes().unwrap());
    assert!(!format!("{key:?}").contains(&private));
    let guest = pending(Suite::P384, &[&key]);
    let body = answer(&guest, Suite::P384, &key);
    let opened = open(guest, &body, &[key.broker_key()]).unwrap();
    assert!(!format!("{opened:?}").contains("horse"), "{opened:?}");
}
