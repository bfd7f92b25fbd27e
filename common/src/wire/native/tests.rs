//! Requests of the broker's own protocol as sent: one row for each field that is absent, malformed
//! or of another value.

use std::time::Duration;

use keybroker_initdata::Algorithm;
use keybroker_native::{
    Evidence, Suite,
    client::{self, Pending},
};
use serde_json::{Value, json};

use super::{
    super::{Fault, FieldName, Invalid, Part},
    ReleaseFault, challenge, challenge_request, release_request,
};
use crate::{
    binding::SentReport,
    broker::ReleaseRequest,
    challenge::{Challenge, Claim, tests::given},
    dialect::Dialect,
    ids::{CarriedId, SessionId, WorkloadId, WorkloadIdError},
};

/// A document of the workload `web`.
const DOCUMENT: &str = include_str!("../../../../initdata/tests/data/document.toml");

fn read_challenge(of: &Challenge) -> client::Challenge {
    client::Challenge::from_json(&challenge(of, Duration::from_secs(300))).unwrap()
}

/// A guest's request in answer to `given`, as keybroker-guest makes it.
fn pending(given: &Challenge, suite: Suite) -> Pending {
    let secrets = ["passphrase", "tls.key"].map(str::to_owned).to_vec();
    let init_data = Algorithm::Sha384.digest("a document");
    let keys = vec![keybroker_initdata::KeyId::from_bytes([7; 32])];
    Pending::new(suite, &read_challenge(given), "web", secrets, init_data, keys).unwrap()
}

fn sent(pending: &Pending) -> Value {
    let evidence = Evidence::of_report(vec![0x5A; 1184], vec![vec![1, 2, 3], Vec::new()]);
    serde_json::from_slice(&pending.request(&evidence)).unwrap()
}

/// A sound body.
fn body() -> Value {
    sent(&pending(&given(Claim::Later), Suite::X25519))
}

fn read(body: &Value) -> Result<(SessionId, ReleaseRequest), Invalid> {
    release_request(body.to_string().as_bytes())
}

/// Why a body is refused that has `value` at `at`.
fn refusal(at: &str, value: Value) -> Invalid {
    let mut body = body();
    *body.pointer_mut(at).unwrap() = value;
    read(&body).unwrap_err()
}

fn fault(at: &str, value: Value) -> ReleaseFault {
    match refusal(at, value.clone()) {
        Invalid::Release(fault) => fault,
        other => panic!("{at}: {value}: {other:?}"),
    }
}

fn form(fault: Fault) -> Invalid {
    Invalid::Json { part: Part::Body, fault }
}

#[test]
fn a_request_for_a_challenge_is_an_empty_object() {
    assert_eq!(challenge_request(client::CHALLENGE_BODY), Ok(Claim::Later));
    assert_eq!(challenge_request(b" {\n} "), Ok(Claim::Later));
    let unknown = form(Fault::UnknownField(FieldName::new("workload")));
    assert_eq!(challenge_request(br#"{"workload":"web"}"#), Err(unknown));
    for other in ["[]", "null", "0", "\"\""] {
        assert_eq!(challenge_request(other.as_bytes()), Err(form(Fault::Type)), "{other}");
    }
    for other in ["", "{", "{}{}", "{}\0"] {
        assert_eq!(challenge_request(other.as_bytes()), Err(form(Fault::Syntax)), "{other}");
    }
}

#[test]
fn a_challenge_is_one_text_of_78_characters() {
    let given = given(Claim::Later);
    let read = read_challenge(&given);
    assert_eq!((read.challenge.len(), read.expires_in), (78, 300));
    assert!(read.challenge.starts_with(&given.session_id.expose()));
}

#[test]
fn a_request_for_secrets_is_read_as_it_was_meant() {
    for suite in Suite::ALL {
        let given = given(Claim::Later);
        let pending = pending(&given, suite);
        let body = sent(&pending);
        let (session_id, request) = read(&body).unwrap();
        assert_eq!(session_id, given.session_id);
        assert_eq!(request.secrets, ["passphrase", "tls.key"]);
        assert_eq!(request.broker_keys, [keybroker_initdata::KeyId::from_bytes([7; 32])]);
        let evidence = request.evidence;
        assert_eq!(evidence.dialects, [Dialect::Native]);
        assert_eq!(evidence.workload_id, Some(WorkloadId::new("web").unwrap()));
        assert_eq!(evidence.init_data, Some(Algorithm::Sha384.digest("a document")));
        assert_eq!(evidence.report, Ok(SentReport::bare([0x5A; 1184])));
        assert_eq!(evidence.certificates, [vec![1, 2, 3], Vec::new()]);
        assert_eq!((evidence.guest_key.suite, evidence.claimed_product), (suite, None));
        let key = data_encoding::BASE64URL_NOPAD.encode(&evidence.guest_key.public_key);
        assert_eq!(body["public_key"], key);
        // The broker computes what the guest did.
        assert_eq!(evidence.binding.report_data(&given.nonce), pending.report_data());
    }
}

/// REPORT_DATA follows the nonce that the broker makes again, and not the one that was sent.
#[test]
fn a_nonce_that_was_sent_decides_nothing() {
    let given = given(Claim::Later);
    let pending = pending(&given, Suite::P384);
    let mut body = sent(&pending);
    let other = given.session_id.expose() + &"A".repeat(43);
    body["challenge"] = other.into();
    let (_, request) = read(&body).unwrap();
    assert_eq!(request.evidence.binding.report_data(&given.nonce), pending.report_data());
}

#[test]
fn challenges_of_another_form_are_refused() {
    let own = read_challenge(&given(Claim::Later)).challenge;
    let (id, nonce) = own.split_at(SessionId::HEAD_LEN);
    let of = |claim| given(claim).session_id.expose();
    let named = Claim::Named(CarriedId::new(WorkloadId::new("web").unwrap()).unwrap());
    for other in [
        String::new(),
        id.to_owned(),
        own[1..].to_owned(),
        format!("{own}A"),
        format!("{own}="),
        format!("{id}{}", "A".repeat(42)),
        format!("{id}{}", "A".repeat(44)),
        format!("{id}{}+", &nonce[..42]),
        // Bits behind the last byte.
        format!("{id}{}B", &nonce[..42]),
        // The other dialects'.
        of(Claim::HostData) + nonce,
        of(named) + nonce,
        "é".repeat(39),
    ] {
        assert_eq!(fault("/challenge", json!(other)), ReleaseFault::Challenge, "{other}");
    }
}

#[test]
fn workloads_are_named_as_they_are_registered() {
    for (name, error) in [
        ("", WorkloadIdError::Empty),
        ("..", WorkloadIdError::Unprintable),
        ("a/b", WorkloadIdError::Unprintable),
        ("a\u{200B}b", WorkloadIdError::Invisible),
        (&"w".repeat(257), WorkloadIdError::TooLong),
    ] {
        assert_eq!(refusal("/workload", json!(name)), Invalid::WorkloadId(error), "{name}");
    }
    // No cookie must carry it.
    let mut long = body();
    long["workload"] = "w".repeat(256).into();
    assert!(read(&long).is_ok());
}

#[test]
fn secrets_are_1_to_16_different_names() {
    let names = |count: usize| (0..count).map(|index| format!("s{index}")).collect::<Vec<_>>();
    for wrong in
        [json!([]), json!(names(17)), json!(["a", "b", "a"]), json!(["a/b"]), json!([""]), json!([".."])]
    {
        assert_eq!(fault("/secrets", wrong.clone()), ReleaseFault::Secrets, "{wrong}");
    }
    for wrong in [json!("passphrase"), json!([1]), json!([["a"]]), Value::Null] {
        assert_eq!(refusal("/secrets", wrong), form(Fault::Type));
    }
    for count in [1, 16] {
        let mut body = body();
        body["secrets"] = json!(names(count));
        assert_eq!(read(&body).unwrap().1.secrets, names(count));
    }
}

#[test]
fn keys_are_of_a_suite_that_is_served() {
    for other in ["", "hpke-p256-sha256-aes256gcm", "HPKE-P384-SHA384-AES256GCM", "none"] {
        assert_eq!(fault("/suite", json!(other)), ReleaseFault::Suite, "{other}");
    }
    // The other suite's key.
    assert_eq!(fault("/suite", json!(Suite::P384.name())), ReleaseFault::PublicKey);
    let text = |length: usize| json!(data_encoding::BASE64URL_NOPAD.encode(&vec![4; length]));
    for length in [0, 31, 33, 97] {
        assert_eq!(fault("/public_key", text(length)), ReleaseFault::PublicKey, "{length}");
    }
    for wrong in ["A", "AA==", "A+A/", "A A", "AB"] {
        assert_eq!(fault("/public_key", json!(wrong)), ReleaseFault::Base64("public_key"), "{wrong}");
    }
}

#[test]
fn init_data_is_a_document_or_its_digest() {
    let digest = "ab".repeat(32);
    let mut with = body();
    with["init_data"] = json!({"document": DOCUMENT});
    let read_digest = |body: &Value| read(body).unwrap().1.evidence.init_data.unwrap();
    assert_eq!(read_digest(&with), Algorithm::Sha256.digest(DOCUMENT));
    with["init_data"] = json!({"algorithm": "sha256", "digest": digest.to_uppercase()});
    assert_eq!(read_digest(&with).to_string(), digest);
    for wrong in [
        json!({}),
        json!({"document": ""}),
        json!({"document": format!("{DOCUMENT}\nmore = 1\n")}),
        json!({"algorithm": "sha256"}),
        json!({"digest": digest}),
        json!({"algorithm": "sha256", "digest": "ab".repeat(48)}),
        json!({"algorithm": "sha384", "digest": digest}),
        json!({"algorithm": "SHA256", "digest": digest}),
        json!({"algorithm": "sha256", "digest": "xy".repeat(32)}),
        json!({"document": DOCUMENT, "algorithm": "sha256", "digest": digest}),
        json!({"document": DOCUMENT, "algorithm": "sha256"}),
    ] {
        assert_eq!(fault("/init_data", wrong.clone()), ReleaseFault::InitData, "{wrong}");
    }
    for wrong in [json!([]), json!("sha256"), Value::Null, json!({"document": null}), json!({"digest": 1})] {
        assert_eq!(refusal("/init_data", wrong.clone()), form(Fault::Type), "{wrong}");
    }
    let unknown = form(Fault::UnknownField(FieldName::new("bound_by")));
    assert_eq!(refusal("/init_data", json!({"bound_by": "host_data"})), unknown);
}

#[test]
fn broker_keys_are_1_to_8_ids() {
    let id = |bytes: usize| data_encoding::BASE64URL_NOPAD.encode(&vec![7; bytes]);
    for wrong in [json!([]), json!(vec![id(32); 9]), json!([id(31)]), json!([id(97)]), json!([id(32) + "="])]
    {
        assert_eq!(fault("/broker_keys", wrong.clone()), ReleaseFault::BrokerKeys, "{wrong}");
    }
    for wrong in [json!(id(32)), Value::Null] {
        assert_eq!(refusal("/broker_keys", wrong), form(Fault::Type));
    }
    let mut most = body();
    most["broker_keys"] = json!(vec![id(32); 8]);
    assert_eq!(read(&most).unwrap().1.broker_keys.len(), 8);
}

#[test]
fn evidence_is_a_report_and_its_hosts_certificates() {
    for other in ["tdx", "", "SNP"] {
        assert_eq!(fault("/evidence/type", json!(other)), ReleaseFault::Evidence, "{other}");
    }
    let report = ReleaseFault::Base64("evidence.report");
    assert_eq!(fault("/evidence/report", json!("AA==")), report);
    let certificates = ReleaseFault::Base64("evidence.certificates");
    assert_eq!(fault("/evidence/certificates", json!(["AAAA", "A"])), certificates);
    assert_eq!(refusal("/evidence/certificates", json!(vec![""; 9])), Invalid::CertificateCount);
    let long = |bytes: usize| json!([data_encoding::BASE64URL_NOPAD.encode(&vec![0; bytes])]);
    assert_eq!(refusal("/evidence/certificates", long(16 * 1024 + 1)), Invalid::CertificateLength);
    let mut most = body();
    most["evidence"]["certificates"] = long(16 * 1024);
    assert_eq!(read(&most).unwrap().1.evidence.certificates[0].len(), 16 * 1024);
    for wrong in [json!(["snp", "", []]), Value::Null, json!("")] {
        assert_eq!(refusal("/evidence", wrong), form(Fault::Type));
    }
}

#[test]
fn every_field_must_be_there_once_and_no_other() {
    let whole = body();
    for at in ["", "/evidence"] {
        for name in whole.pointer(at).unwrap().as_object().unwrap().keys() {
            let mut body = whole.clone();
            body.pointer_mut(at).unwrap().as_object_mut().unwrap().remove(name);
            let missing = form(Fault::MissingField(FieldName::new(name)));
            assert_eq!(read(&body).unwrap_err(), missing, "{at}/{name}");
        }
        let mut body = whole.clone();
        body.pointer_mut(at).unwrap()["nonce"] = json!("");
        assert_eq!(read(&body).unwrap_err(), form(Fault::UnknownField(FieldName::new("nonce"))), "{at}");
    }
    let twice = whole.to_string().replacen('{', r#"{"workload":"web","#, 1);
    let duplicate = form(Fault::DuplicateField(FieldName::new("workload")));
    assert_eq!(release_request(twice.as_bytes()).unwrap_err(), duplicate);
}
