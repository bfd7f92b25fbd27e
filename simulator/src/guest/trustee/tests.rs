use jiff::Timestamp;
use serde_json::json;

use super::{stand_in::SECRET, *};
use crate::{
    Product,
    listener::{response, serve},
    pki::{Amd, CSP_ID, Chip},
    report::ReportFields,
};

const NONCE: &str = "bm9uY2Vub25jZW5vbmNlbm9uY2Vub25jZW5vbmNlbm8=";
const COOKIE: &str = "Set-Cookie: kbs-session-id=c00kie; HttpOnly; Path=/\r\n";
const PATH: &str = "default/key/disk";

fn amd(product: Product) -> Amd {
    Amd::new(product, "2026-11-01T12:00:00Z".parse().expect("a timestamp"))
}

fn machine(product: Product) -> Machine {
    Machine::new(&amd(product), &Chip::new(product, 1))
}

fn guest(url: &str, version: KbsVersion, form: KeyForm) -> TrusteeGuest {
    TrusteeGuest::new(url, version, form, machine(Product::Milan)).expect("a URL")
}

fn challenge(extra: &str) -> String {
    format!(r#"{{"nonce":"{NONCE}","extra-params":{extra}}}"#)
}

fn problem(status: u16) -> Vec<u8> {
    response(status, "", br#"{"type":"https://github.com/x/errors/Y","detail":"no"}"#)
}

fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").expect("a body").1).expect("JSON")
}

fn far() -> i64 {
    Timestamp::now().as_second() + 300
}

/// A broker that trusts anyone: it seals to the key that attest brought.
fn trusting(form: JweForm) -> impl FnMut(&str) -> Vec<u8> + Send {
    let mut key = Value::Null;
    move |request| match request.split(' ').nth(1).and_then(|path| path.rsplit_once("/kbs/v0/")) {
        Some((_, "auth")) => response(200, COOKIE, challenge("\"\"").as_bytes()),
        Some((_, "attest")) => {
            let body = body(request);
            key = body.get("runtime-data").unwrap_or(&body)["tee-pubkey"].clone();
            response(200, "", json!({"token": stand_in::token(far())}).to_string().as_bytes())
        }
        _ if key.is_null() => problem(401),
        _ => response(200, "", stand_in::sealed(form, &key, |header| header).as_bytes()),
    }
}

#[tokio::test]
async fn every_version_boots_with_every_key_and_either_credential() {
    for version in KbsVersion::ALL {
        for form in KeyForm::ALL {
            for credential in Credential::ALL {
                let (url, requests) = serve(trusting(version.jwe())).await;
                let mut guest = guest(&format!("{url}/w/W/"), version, form);
                let opened = guest.boot(PATH, credential).await.expect("a resource");
                assert_eq!(opened, SECRET);

                let requests = requests.lock().expect("whole");
                let host = url.strip_prefix("http://").expect("http");
                let token = guest.token.clone().expect("a token");
                let shown = match credential {
                    Credential::Cookie => "cookie: kbs-session-id=c00kie".to_owned(),
                    Credential::Bearer => format!("authorization: Bearer {token}"),
                };
                assert_eq!(
                    requests[2],
                    format!(
                        "GET /w/W/kbs/v0/resource/{PATH} HTTP/1.1\r\n{shown}\r\n\
                         user-agent: {TRUSTEE_USER_AGENT}\r\naccept: */*\r\nhost: {host}\r\n\r\n"
                    )
                );
                let name = format!("{}-{}-{credential:?}", version.text(), form.alg());
                let kept = Transcript::of(&guest, "stand-in", Some(&opened)).expect("a report");
                kept.keep(&name).expect("a directory");
            }
        }
    }
}

#[tokio::test]
async fn the_requests_are_those_of_the_version() {
    let hashes = r#"{"supported-hash-algorithms":["sha256","sha384","sha512","sm3"]}"#;
    for (version, extra) in KbsVersion::ALL.into_iter().zip([r#""""#, hashes, hashes, hashes]) {
        let mut guest = guest("http://127.0.0.1:1", version, KeyForm::P256);
        let text = version.text();
        assert_eq!(
            guest.auth_request().body(),
            format!(r#"{{"version":"{text}","tee":"snp","extra-params":{extra}}}"#)
        );
        assert_eq!(guest.attestation(), Err(Error::NoChallenge));
        guest.nonce = Some("N".to_owned());
        let message = guest.attestation().expect("a message");
        let jwk = guest.key.jwk();
        let (x, y) = (jwk.member("x").expect("x"), jwk.member("y").expect("y"));
        let key = format!(r#"{{"kty":"EC","crv":"P-256","alg":"ECDH-ES+A256KW","x":"{x}","y":"{y}"}}"#);
        let sorted = format!(r#"{{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let evidence = &message.evidence;
        let as_written = evidence.starts_with(r#"{"attestation_report":{"version":3,"#);
        assert_eq!(as_written, version == KbsVersion::V0_1_0, "a value is sorted, a text is not");
        let (hashed, sent) = match version {
            KbsVersion::V0_1_0 => (
                format!(r#"{{"nonce":"N","tee-pubkey":{sorted}}}"#),
                format!(r#"{{"tee-pubkey":{key},"tee-evidence":{}}}"#, Value::from(evidence.as_str())),
            ),
            KbsVersion::V0_1_1 | KbsVersion::V0_2_0 => (
                format!(r#"{{"nonce":"N","tee-pubkey":{sorted}}}"#),
                format!(r#"{{"tee-pubkey":{key},"tee-evidence":{evidence}}}"#),
            ),
            KbsVersion::V0_4_0 => (
                format!(r#"{{"additional-evidence":"","nonce":"N","tee-pubkey":{sorted}}}"#),
                format!(r#"{{"init-data":null,"runtime-data":{{"nonce":"N","tee-pubkey":{key}}},"#)
                    + &format!(
                        r#""tee-evidence":{{"primary_evidence":{evidence},"additional_evidence":""}}}}"#
                    ),
            ),
        };
        assert_eq!(message.runtime_data(), hashed);
        assert_eq!(message.body(), sent);
        let bound = HashAlgorithm::Sha384.digest(hashed.as_bytes());
        assert_eq!(message.report_data(HashAlgorithm::Sha384), [bound, vec![0; 16]].concat()[..]);
        let report: Value = serde_json::from_str(evidence).expect("JSON");
        let report = &report["attestation_report"]["report_data"];
        assert_eq!(*report, json!(message.report_data(HashAlgorithm::Sha384).to_vec()));
    }
}

#[test]
fn an_rsa_key_is_sent_in_its_order_and_hashed_in_another() {
    let mut guest = guest("http://127.0.0.1:1", KbsVersion::V0_2_0, KeyForm::RsaOaep256);
    guest.nonce = Some("N".to_owned());
    let message = guest.attestation_for(Jwk::new([("kty", "RSA"), ("alg", "A"), ("n", "M"), ("e", "AQAB")]));
    let message = message.expect("a message");
    assert!(message.body().starts_with(r#"{"tee-pubkey":{"kty":"RSA","alg":"A","n":"M","e":"AQAB"},"#));
    let hashed = r#"{"nonce":"N","tee-pubkey":{"alg":"A","e":"AQAB","kty":"RSA","n":"M"}}"#;
    assert_eq!(message.runtime_data(), hashed);
}

#[tokio::test]
async fn the_hash_is_the_one_that_was_selected() {
    for (version, extra, hash) in [
        (KbsVersion::V0_4_0, r#""""#, Some(HashAlgorithm::Sha384)),
        (KbsVersion::V0_4_0, "{}", Some(HashAlgorithm::Sha384)),
        (KbsVersion::V0_4_0, r#"{"selected-hash-algorithm":"sha256"}"#, Some(HashAlgorithm::Sha256)),
        (KbsVersion::V0_4_0, r#"{"selected-hash-algorithm":"SHA512"}"#, Some(HashAlgorithm::Sha512)),
        (KbsVersion::V0_1_1, r#"{"selected-hash-algorithm":"sha512"}"#, Some(HashAlgorithm::Sha512)),
        (KbsVersion::V0_1_0, r#"{"selected-hash-algorithm":"sha512"}"#, Some(HashAlgorithm::Sha384)),
        (KbsVersion::V0_4_0, r#"{"selected-hash-algorithm":"md5"}"#, None),
        (KbsVersion::V0_4_0, r#"{"selected-hash-algorithm":null}"#, None),
    ] {
        let (url, _) = serve(move |_| response(200, COOKIE, challenge(extra).as_bytes())).await;
        let mut guest = guest(&url, version, KeyForm::P256);
        let auth = guest.auth().await;
        assert_eq!(auth.is_ok().then_some(guest.hash), hash, "{extra}");
    }
}

#[tokio::test]
async fn a_challenge_has_two_members_and_a_cookie_that_comes_back() {
    for (cookie, body, refusal) in [
        (COOKIE, r#"{"nonce":"N"}"#, "no nonce"),
        (COOKIE, r#"{"extra-params":""}"#, "no nonce"),
        ("", r#"{"nonce":"N","extra-params":""}"#, "no session cookie"),
        ("Set-Cookie: session_id=c\r\n", r#"{"nonce":"N","extra-params":""}"#, "no session cookie"),
    ] {
        let (url, _) = serve(move |_| response(200, cookie, body.as_bytes())).await;
        let refused = guest(&url, KbsVersion::V0_4_0, KeyForm::P256).auth().await.expect_err(refusal);
        assert!(refused.to_string().starts_with(refusal), "{refused}");
    }
    for (attributes, sent) in [
        ("", true),
        ("; HttpOnly; Path=/", true),
        ("; Path=/w/W", true),
        ("; Path=/w/W/kbs/v0", true),
        ("; Path=/w/V", false),
        ("; Path=/w/W/kbs/v0/auth", false),
        ("; Secure", false),
    ] {
        let cookie = format!("kbs-session-id=c{attributes}");
        assert_eq!(session_id(&cookie, "/w/W").is_some(), sent, "{attributes}");
    }
}

#[tokio::test]
async fn the_client_asks_first_and_shakes_hands_after_401() {
    let (url, requests) = serve(trusting(JweForm::Rfc7516)).await;
    let mut client = guest(&url, KbsVersion::V0_4_0, KeyForm::P256);
    let opened = client.fetch(PATH, Credential::Cookie, Pace::HURRIED).await;
    assert_eq!(opened.expect("a resource"), SECRET);
    let requests = requests.lock().expect("whole");
    let paths: Vec<&str> =
        requests.iter().map(|request| request.split(' ').nth(1).expect("a path")).collect();
    let resource = format!("/kbs/v0/resource/{PATH}");
    assert_eq!(paths, [resource.as_str(), "/kbs/v0/auth", "/kbs/v0/attest", resource.as_str()]);
    assert!(!requests[0].contains("cookie: "));
    assert!(!requests[1].contains("cookie: "));
}

#[tokio::test]
async fn the_client_gives_up_after_three_requests_and_at_once_where_it_must() {
    let deny = |status| {
        move |request: &str| {
            let mut broker = trusting(JweForm::Rfc7516);
            if request.starts_with("GET") { problem(status) } else { broker(request) }
        }
    };
    for (status, requests, handshakes) in [(401, 3, 2), (404, 1, 0), (403, 1, 0), (500, 1, 0)] {
        let (url, log) = serve(deny(status)).await;
        let mut client = guest(&url, KbsVersion::V0_4_0, KeyForm::P256);
        let refused = client.fetch(PATH, Credential::Cookie, Pace::HURRIED).await.expect_err("refused");
        assert!(matches!(refused, Error::Refused(said) if said.status == status));
        let log = log.lock().expect("whole");
        let count = |method: &str| log.iter().filter(|request| request.contains(method)).count();
        assert_eq!((count("/resource/"), count("/attest ")), (requests, handshakes), "{status}");
    }
    let (url, log) = serve(|_| response(401, "", br#"{"error":"no"}"#)).await;
    let mut client = guest(&url, KbsVersion::V0_4_0, KeyForm::P256);
    let refused = client.fetch(PATH, Credential::Cookie, Pace::HURRIED).await;
    assert!(matches!(refused, Err(Error::NoReason(said)) if said.status == 401));
    assert_eq!(log.lock().expect("whole").len(), 1);
}

#[tokio::test]
async fn a_token_takes_five_handshakes_with_one_key_at_most() {
    let mut left = 4;
    let mut broker = trusting(JweForm::Rfc7516);
    let (url, log) = serve(move |request| {
        if request.contains("/attest ") && left > 0 {
            left -= 1;
            return problem(401);
        }
        broker(request)
    })
    .await;
    let mut client = guest(&url, KbsVersion::V0_4_0, KeyForm::P256);
    client.token(Pace::HURRIED).await.expect("a token");
    {
        let log = log.lock().expect("whole");
        let attests: Vec<Value> =
            log.iter().filter(|request| request.contains("/attest ")).map(|r| body(r)).collect();
        assert_eq!(attests.len(), 5);
        let key = |attest: &Value| attest["runtime-data"]["tee-pubkey"].clone();
        assert!(attests.iter().all(|attest| key(attest) == key(&attests[0])));
        let second = log.iter().filter(|request| request.contains("/auth ")).nth(1).expect("a second");
        assert!(second.contains("\r\ncookie: kbs-session-id=c00kie\r\n"), "the store sends what it has");
    }
    client.token(Pace::HURRIED).await.expect("the same token");
    assert_eq!(log.lock().expect("whole").len(), 10, "a token that counts is kept");
    client.token = Some(stand_in::token(1));
    client.token(Pace::HURRIED).await.expect("a new token");
    assert_eq!(log.lock().expect("whole").len(), 12, "one that is over is not");

    let (url, log) = serve(|_| problem(401)).await;
    let refused = guest(&url, KbsVersion::V0_4_0, KeyForm::P256).token(Pace::HURRIED).await;
    assert!(matches!(refused, Err(Error::Refused(_))));
    assert_eq!(log.lock().expect("whole").len(), 5);
    assert_eq!((Pace::CLIENT.handshakes, Pace::CLIENT.delay), (5, Duration::from_secs(1)));
}

#[tokio::test]
async fn a_bearer_whose_token_is_refused_begins_with_a_new_key() {
    let mut refused = false;
    let mut broker = trusting(JweForm::Rfc7516);
    let (url, log) = serve(move |request| {
        if request.starts_with("GET") && !refused {
            refused = true;
            return problem(401);
        }
        broker(request)
    })
    .await;
    let mut client = guest(&url, KbsVersion::V0_4_0, KeyForm::P256);
    let opened = client.fetch(PATH, Credential::Bearer, Pace::HURRIED).await;
    assert_eq!(opened.expect("a resource"), SECRET);
    let log = log.lock().expect("whole");
    let attests: Vec<Value> =
        log.iter().filter(|request| request.contains("/attest ")).map(|r| body(r)).collect();
    assert_eq!(attests.len(), 2);
    assert_ne!(attests[0]["runtime-data"]["tee-pubkey"], attests[1]["runtime-data"]["tee-pubkey"]);
}

#[tokio::test]
async fn attest_must_answer_with_a_token_that_the_client_can_read() {
    let token = |claims: &str| format!("e30.{}.AA", BASE64URL_NOPAD.encode(claims.as_bytes()));
    for (answer, reads) in [
        (json!({"token": token(r#"{"exp":9}"#)}), true),
        (json!({"token": token(r#"{"exp":9,"nbf":1}"#), "more": 1}), true),
        (json!({"token": token(r#"{"exp":9,"nbf":"1"}"#)}), false),
        (json!({"token": token(r#"{"exp":9.5}"#)}), false),
        (json!({"token": token("{}")}), false),
        (json!({"token": "e30.e30"}), false),
        (json!({}), false),
    ] {
        let text = answer.to_string();
        let (url, _) = serve(move |_| response(200, "", answer.to_string().as_bytes())).await;
        let mut guest = guest(&url, KbsVersion::V0_4_0, KeyForm::P256);
        guest.nonce = Some("N".to_owned());
        assert_eq!(guest.attest().await.is_ok(), reads, "{text}");
    }
}

#[test]
fn a_header_is_rebuilt_and_that_is_what_must_be_authentic() {
    let key = TrusteeKey::generate(KeyForm::P256);
    let jwk: Value = serde_json::from_str(&key.jwk().json()).expect("JSON");
    type Alter = fn(String) -> String;
    let rows: [(Alter, bool); 5] = [
        (|header| header, true),
        (|header| header.replace(r#","enc""#, r#", "enc""#), false),
        (|header| header.replace(r#""crv":"P-256","kty":"EC""#, r#""kty":"EC","crv":"P-256""#), false),
        (|header| header.replace("A256GCM", "A128GCM"), false),
        (|header| header.replace(r#""alg":"ECDH-ES+A256KW","#, ""), false),
    ];
    for (alter, opens) in rows {
        let jwe = Jwe::parse(stand_in::sealed(JweForm::Rfc7516, &jwk, alter).as_bytes()).expect("a JWE");
        assert_eq!(jwe.open(JweForm::Rfc7516, &key).is_ok(), opens);
        assert_eq!(jwe.open(JweForm::BeforeRfc, &key), Err(Error::Decrypt));
    }
    let sealed = stand_in::sealed(JweForm::Rfc7516, &jwk, |header| header);
    let other = TrusteeKey::generate(KeyForm::P256);
    let jwe = Jwe::parse(sealed.as_bytes()).expect("a JWE");
    assert_eq!(jwe.open(JweForm::Rfc7516, &other), Err(Error::Decrypt));
    assert_eq!(Jwe::parse(sealed.replace("\"tag\"", "\"aad\":null,\"tag\"").as_bytes()), None);
    assert_eq!(Jwe::parse(sealed.replace("\"tag\"", "\"tog\"").as_bytes()), None);
    for member in 0..3 {
        let mut altered = jwe.clone();
        [&mut altered.ciphertext, &mut altered.tag, &mut altered.encrypted_key][member][0] ^= 1;
        assert_eq!(altered.open(JweForm::Rfc7516, &key), Err(Error::Decrypt));
    }
}

#[test]
fn a_short_coordinate_is_padded_at_the_wrong_end() {
    let key = TrusteeKey::padded_wrongly();
    let x = BASE64URL_NOPAD.decode(key.jwk().member("x").expect("x").as_bytes()).expect("base64url");
    assert_eq!((x.len(), x[31]), (32, b'0'));
}

#[test]
fn host_data_is_the_digest_of_the_document() {
    for (algorithm, length) in HashAlgorithm::ALL.into_iter().zip([32, 48, 64]) {
        let document = InitData::new(algorithm, &[("aa.toml", "[token_configs]"), ("cdh.toml", "")]);
        assert!(document.text.contains(&format!("algorithm = \"{}\"", algorithm.name())));
        assert_eq!(document.digest().len(), length);
        assert_eq!(document.host_data(), document.digest()[..32]);
        let mut guest =
            guest("http://127.0.0.1:1", KbsVersion::V0_4_0, KeyForm::P256).launched_with(document.clone());
        guest.nonce = Some("N".to_owned());
        let body: Value =
            serde_json::from_str(&guest.attestation().expect("a message").body()).expect("JSON");
        assert_eq!(body["init-data"], json!({"format": "toml", "body": document.text}));
        let report = &body["tee-evidence"]["primary_evidence"]["attestation_report"];
        assert_eq!(report["host_data"], json!(document.host_data()));
    }
}

#[test]
fn a_table_has_its_entries_in_the_host_s_order() {
    let amd = amd(Product::Milan);
    let chip = Chip::new(Product::Milan, 1);
    let read = |table: &CertTable| -> Value {
        let text = evidence("{}", Some(table));
        let evidence: Value = serde_json::from_str(&text).expect("JSON");
        evidence["cert_chain"].clone()
    };
    let machine = Machine::new(&amd, &chip);
    let chain = read(&CertTable::mixed(&amd, &machine));
    let kinds: Vec<Value> =
        chain.as_array().expect("entries").iter().map(|e| e["cert_type"].clone()).collect();
    let other = json!({"OTHER": "a8074bc2-a25a-483e-aae6-39c045a0b8a1"});
    assert_eq!(kinds, [json!("ARK"), other, json!("CRL"), json!("ASK"), json!("VCEK"), json!("Empty")]);
    assert!(chain[4]["data"] == json!(machine.vek.certificate));
    let cloud = read(&CertTable::full(&amd, &Machine::in_cloud(&amd, &chip, CSP_ID)));
    assert_eq!(cloud[0]["cert_type"], "VLEK");
    assert_eq!(cloud[1]["cert_type"], "ASK", "the ASVK has no type of its own");
    assert_eq!(evidence("{}", None), r#"{"attestation_report":{},"cert_chain":null}"#);
}

/// The report in a shape, read as JSON.
fn shaped(shape: Shape, fields: &ReportFields) -> Option<Value> {
    let chip = Chip::new(fields.product, 1);
    let text = shape.write(&fields.sign(&chip.vcek_key(chip.tcb)))?;
    Some(serde_json::from_str(&text).expect("JSON"))
}

#[test]
fn each_shape_says_what_it_can() {
    for product in Product::ALL {
        let usual = ReportFields::new(&Chip::new(product, 1));
        for version in 2..=5 {
            let fields = ReportFields { version, ..usual.clone() };
            let [a, b, c] = Shape::ALL.map(|shape| shaped(shape, &fields));
            assert!(a.is_some() && c.is_some(), "{product} {version}");
            assert_eq!(b.is_some(), version < 5, "mitigation vectors have no place in B");
            let c = c.expect("sayable");
            assert_eq!(c["cpuid_fam_id"].is_null(), version == 2);
            assert_eq!(c["launch_mit_vector"].is_null(), version < 5);
            assert_eq!(c["current_tcb"]["fmc"].is_null(), product != Product::Turin);
            assert_eq!(c["current_tcb"]["snp"], fields.current_tcb.snp);
        }
        let quiet = ReportFields { version: 5, launch_mit_vector: 0, current_mit_vector: 0, ..usual.clone() };
        let b = shaped(Shape::B, &quiet).expect("nothing that B cannot say");
        assert!(b.get("launch_mit_vector").is_none());
        let masked = ReportFields { version: 2, chip_id: [0; 64], ..usual };
        assert_eq!(Shape::ALL.map(|shape| shaped(shape, &masked).is_some()), [true, false, false]);
    }
}

/// Every report that each shape can say, kept for those who have the crates that write the shapes.
#[test]
fn every_shape_is_kept() {
    for product in Product::ALL {
        let amd = amd(product);
        let machine = Machine::new(&amd, &Chip::new(product, 1));
        for (shape, version) in Shape::ALL.into_iter().flat_map(|shape| (2..=5).map(move |v| (shape, v))) {
            let url = "http://127.0.0.1:1";
            let mut guest =
                TrusteeGuest::new(url, KbsVersion::V0_4_0, KeyForm::P256, machine.clone()).expect("a URL");
            guest.nonce = Some(NONCE.to_owned());
            guest.shape = shape;
            guest.machine.fields.version = version;
            guest.certificates = Some(CertTable::mixed(&amd, &guest.machine));
            if shape == Shape::B && version == 5 {
                assert_eq!(guest.attestation(), Err(Error::Unsayable));
                guest.machine.fields.launch_mit_vector = 0;
                guest.machine.fields.current_mit_vector = 0;
            }
            let kept = Transcript::of(&guest, "none", None).expect("a report");
            kept.keep(&format!("{product}-{version}-{shape:?}")).expect("a directory");
        }
    }
}

#[test]
fn a_reserved_byte_has_its_place_in_shape_a_alone() {
    let chip = Chip::new(Product::Milan, 1);
    let report = ReportFields::new(&chip).sign(&chip.vcek_key(chip.tcb));
    for at in [0x03A, 0x04C, 0x18B, 0x1EB, 0x1EF, 0x208, 0x330, 0x49F] {
        let mut report = report;
        report[at] = 1;
        assert_eq!(Shape::ALL.map(|shape| shape.write(&report).is_some()), [true, false, false], "{at:#x}");
    }
}
