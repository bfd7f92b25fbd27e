//! The worked example of docs/protocol.md, which another implementation made: tests/protocol.

use std::collections::BTreeMap;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use keybroker_initdata::{Algorithm, InitDataDigest};
use serde_json::Value;

use super::*;
use crate::{Sealed, SealedSecret, SigningKey};

/// A block of the example: its form, and its text.
type Block = (&'static str, &'static str);

const REPORT: &str = "…";

/// The blocks of the example, in their order.
fn blocks() -> Vec<Block> {
    let page = include_str!("../../../docs/protocol.md");
    let (_, example) = page.split_once("<!-- example -->").unwrap();
    let (example, _) = example.split_once("<!-- end of the example -->").unwrap();
    let mut pieces = example.split("```").skip(1);
    let mut blocks = Vec::new();
    while let (Some(block), Some(_)) = (pieces.next(), pieces.next()) {
        blocks.push(block.split_once('\n').unwrap());
    }
    blocks
}

/// The bytes in hex, without comments.
fn hex(text: &str) -> Vec<u8> {
    let digits = text.lines().map(|line| line.split('#').next().unwrap());
    HEXLOWER.decode(digits.flat_map(str::split_whitespace).collect::<String>().as_bytes()).unwrap()
}

/// Bytes by the comments above them.
fn named(text: &str) -> BTreeMap<&str, Vec<u8>> {
    let parts = text.split("# ").skip(1).map(|part| part.split_once('\n').unwrap());
    parts.map(|(name, bytes)| (name, hex(bytes))).collect()
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body[name].as_str().unwrap()
}

fn bytes(body: &Value, name: &str) -> Vec<u8> {
    BASE64URL_NOPAD.decode(text(body, name).as_bytes()).unwrap()
}

/// The request of the example.
fn ask(body: &Value) -> Ask {
    let list =
        |name: &str| body[name].as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned());
    let init_data = &body["init_data"];
    let digest = HEXLOWER.decode(text(init_data, "digest").as_bytes()).unwrap();
    let algorithm = Algorithm::from_name(text(init_data, "algorithm")).unwrap();
    Ask {
        challenge: text(body, "challenge").to_owned(),
        workload: text(body, "workload").to_owned(),
        secrets: list("secrets").collect(),
        suite: Suite::named(text(body, "suite")).unwrap(),
        public_key: bytes(body, "public_key"),
        init_data: InitDataDigest::new(algorithm, digest).unwrap(),
        broker_keys: list("broker_keys").map(|id| KeyId::from_text(&id).unwrap()).collect(),
    }
}

/// The answer of the example, before it was signed.
fn sealed(body: &Value) -> Sealed {
    let secret = |secret: &Value| SealedSecret {
        name: text(secret, "name").to_owned(),
        ciphertext: bytes(secret, "ciphertext"),
    };
    Sealed {
        decision: text(body, "decision").to_owned(),
        encapsulated: bytes(body, "encapsulated"),
        secrets: body["secrets"].as_array().unwrap().iter().map(secret).collect(),
    }
}

struct Example {
    signing_key: SigningKey,
    /// The parts of the suite on P-384.
    transcript: Vec<u8>,
    report_data: Vec<u8>,
    info: Vec<u8>,
    signed: Vec<u8>,
    secrets: Vec<Vec<u8>>,
    /// For each suite: the guest's private key, the request and the answer.
    exchanges: Vec<(Vec<u8>, Value, Value)>,
}

fn example() -> Example {
    let blocks = blocks();
    let [
        ("text", broker),
        ("json", given),
        ("text", guest),
        ("json", request),
        ("text", transcript),
        ("text", report_data),
        ("text", info),
        ("text", secrets),
        ("text", _ephemeral),
        ("text", signed),
        ("json", answer),
        ("text", other_guest),
        ("json", other_request),
        ("json", other_answer),
    ] = blocks.as_slice()
    else {
        panic!("{blocks:?}")
    };
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let (broker, secrets) = (named(broker), named(secrets));
    let signing_key = SigningKey::from_bytes(&broker["private key"]).unwrap();
    assert_eq!(signing_key.broker_key().as_bytes().as_slice(), broker["point"]);
    assert_eq!(signing_key.broker_key().id().as_bytes().as_slice(), broker["id"]);
    let (request, guest) = (json(request), named(guest));
    assert_eq!(Challenge::from_json(given.as_bytes()).unwrap().challenge, text(&request, "challenge"));
    assert_eq!(guest["public key"], bytes(&request, "public_key"));
    Example {
        signing_key,
        transcript: hex(transcript),
        report_data: hex(report_data),
        info: hex(info),
        signed: hex(signed),
        secrets: ["passphrase", "tls key"].map(|name| secrets[name].clone()).to_vec(),
        exchanges: vec![
            (guest["private key"].clone(), request, json(answer)),
            (named(other_guest)["private key"].clone(), json(other_request), json(other_answer)),
        ],
    }
}

#[test]
fn the_bytes_are_those_of_the_documentation() {
    let Example { signing_key, transcript, report_data, info, signed, exchanges, .. } = example();
    let (_, request, answer) = &exchanges[0];
    let ask = ask(request);
    assert_eq!(ask.transcript(), transcript);
    assert_eq!(ask.hash().0.as_slice(), report_data);
    assert_eq!(Suite::info(&ask.hash()), info);
    assert_eq!(sealed(answer).signed(&ask.hash(), &signing_key.broker_key().id()), signed);
}

#[test]
fn a_request_is_written_as_in_the_documentation() {
    for (_, body, _) in example().exchanges {
        let evidence = Evidence::of_report(vec![0; 1184], Vec::new());
        let mut written: Value = serde_json::from_slice(&request(&ask(&body), &evidence)).unwrap();
        written["evidence"]["report"] = REPORT.into();
        assert_eq!(written, body);
    }
}

/// Sealed by one library, opened by another; signed by one, verified by another.
#[test]
fn the_answer_of_the_documentation_is_opened_under_every_suite() {
    let Example { signing_key, secrets, exchanges, .. } = example();
    assert_eq!(exchanges.len(), Suite::ALL.len());
    for (private, request, answer) in exchanges {
        let ask = ask(&request);
        let pending = || Pending {
            ask: ask.clone(),
            hash: ask.hash(),
            key: PrivateKey::from_bytes(ask.suite, private.clone()),
        };
        let body = answer.to_string().into_bytes();
        let opened = pending().open(&body, &[signing_key.broker_key()]).unwrap();
        assert_eq!(opened.decision, text(&answer, "decision"));
        assert!(opened.secrets.iter().map(|secret| secret.as_slice()).eq(&secrets), "{:?}", ask.suite);

        // A signature of this implementation is another one, and counts as well.
        let signed = sealed(&answer).sign(&ask.hash(), &signing_key).unwrap().to_json();
        assert_ne!(signed, body);
        assert!(pending().open(&signed, &[signing_key.broker_key()]).is_ok());
        // The request is another one.
        let other = Pending { hash: AskHash([0; 64]), ..pending() };
        assert_eq!(other.open(&body, &[signing_key.broker_key()]).unwrap_err(), AnswerError::Signature);
    }
}
