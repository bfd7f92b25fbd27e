use std::sync::{Arc, Mutex};

use aws_lc_rs::{
    digest,
    rsa::{Pkcs1PublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents},
};
use data_encoding::{BASE64, HEXLOWER};
use serde_json::Value;

use super::*;
use crate::{
    Product,
    listener::{response, serve},
    pki::{Amd, CSP_ID, Chip},
};

const NONCE: &str = "bm9uY2Vub25jZW5vbmNlbg";
const AUTH: &[u8] = br#"{"nonce":"bm9uY2Vub25jZW5vbmNlbg","extra-params":""}"#;
const COOKIE: &str = "Set-Cookie: session_id=c00kie; HttpOnly; Path=/\r\n";

fn machine() -> Machine {
    let amd = Amd::new(Product::Milan, "2026-11-01T12:00:00Z".parse().expect("a timestamp"));
    Machine::new(&amd, &Chip::new(Product::Milan, 1))
}

fn json_body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").expect("a body").1).expect("JSON")
}

/// A broker's answer to key after this attest: the passphrase for its key, with `end` after the closing
/// quote.
fn sealed(attest: &str, end: &str) -> Vec<u8> {
    let body = json_body(attest);
    let number = |name: &str| {
        BASE64.decode(body["tee-pubkey"][name].as_str().expect("text").as_bytes()).expect("base64")
    };
    let key = PublicKeyComponents { n: number("k-mod"), e: number("k-exp") };
    let key: PublicEncryptingKey = key.try_into().expect("a key");
    let key = Pkcs1PublicEncryptingKey::new(key).expect("a key");
    let mut ciphertext = vec![0; key.ciphertext_size()];
    let ciphertext = key.encrypt(b"open sesame", &mut ciphertext).expect("room");
    format!("\"{}\"{end}", HEXLOWER.encode(ciphertext)).into_bytes()
}

/// A broker that trusts anyone.
async fn broker(end: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let mut attested = String::new();
    serve(move |request| {
        let target = request.split(' ').nth(1).expect("a target");
        match target {
            "/kbs/v0/auth" => response(200, COOKIE, AUTH),
            "/kbs/v0/attest" => {
                request.clone_into(&mut attested);
                response(200, "", b"")
            }
            _ => response(200, "", &sealed(&attested, end)),
        }
    })
    .await
}

/// A broker that always gives the same answer.
async fn stubborn(answer: Vec<u8>) -> KrunGuest {
    let (url, _) = serve(move |_| answer.clone()).await;
    KrunGuest::new(&url, "w", machine()).expect("a URL")
}

#[tokio::test]
async fn krun_boots_where_the_key_ends_with_nul() {
    let (url, requests) = broker("\0").await;
    let mut guest = KrunGuest::new(&url, "W", machine()).expect("a URL");
    assert_eq!(guest.boot().await.expect("a passphrase"), b"open sesame");

    let host = url.strip_prefix("http://").expect("http");
    let requests = requests.lock().expect("whole");
    let auth = r#"{"extra-params":"{\"workload_id\":\"W\"}","tee":"snp","version":"0.0.0"}"#;
    assert_eq!(
        requests[0],
        format!(
            "POST /kbs/v0/auth HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n\
             Content-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\r\n{auth}",
            auth.len()
        )
    );
    assert_eq!(
        requests[2],
        format!(
            "GET /kbs/v0/key/W HTTP/1.1\r\nHost: {host}\r\nCookie: session_id=c00kie\r\n\
             Accept: application/json\r\nContent-Type: application/json; charset=utf-8\r\n\
             Cookie: session_id=c00kie\r\n\r\n"
        )
    );

    assert_eq!(requests[1].matches("Cookie: session_id=c00kie\r\n").count(), 2);
    let (_, body) = requests[1].split_once("\r\n\r\n").expect("a body");
    let (modulus, report) = (guest.state.key.modulus(), guest.state.report().expect("a report"));
    let key = format!(r#"{{"alg":"RSA","k-mod":"{modulus}","k-exp":"AQAB"}}"#);
    let start = format!(r#"{{"tee-pubkey":{key},"tee-evidence":"{{\"gen\":\"milan\",\"report\":\""#);
    assert!(body.starts_with(&start), "{body}");
    assert!(body.ends_with(r#"\",\"cert_chain\":\"[]\"}"}"#), "{body}");
    let hex = &body[start.len()..start.len() + 2368];
    assert!(hex.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte)));
    assert!(hex.starts_with("03000000"));
    let bound = digest::digest(&digest::SHA512, format!("{NONCE}{modulus}AQAB").as_bytes());
    assert_eq!(report[0x50..0x90], *bound.as_ref());
    assert!(hex.contains(&data_encoding::HEXUPPER.encode(bound.as_ref())));
}

#[tokio::test]
async fn krun_reads_stale_memory_behind_a_key_without_nul() {
    let (url, _) = broker("").await;
    let mut guest = KrunGuest::new(&url, "W", machine()).expect("a URL");
    assert!(matches!(guest.boot().await, Err(Error::BadKey(_))));
    let mut polite = PoliteGuest::new(&url, "W", machine()).expect("a URL");
    assert_eq!(polite.boot().await.expect("a passphrase"), b"open sesame");
}

#[tokio::test]
async fn krun_ignores_the_status_and_minds_the_body() {
    let mut guest = stubborn(response(500, COOKIE, AUTH)).await;
    guest.auth().await.expect("a nonce is a nonce");
    assert_eq!(guest.state.nonce.as_deref(), Some(NONCE));
    assert!(matches!(guest.attest().await, Err(Error::Refused(said)) if said.status == 500));

    let mut guest = stubborn(response(403, "", b"")).await;
    guest.state.nonce = Some(NONCE.into());
    guest.attest().await.expect("an empty body is success");
    assert!(matches!(guest.key().await, Err(Error::Crash(_))));

    for (body, crash) in [(199, false), (200, true)] {
        let mut guest = stubborn(response(403, "", &vec![b'x'; body])).await;
        guest.state.nonce = Some(NONCE.into());
        assert_eq!(matches!(guest.attest().await, Err(Error::Crash(_))), crash, "{body}");
    }
}

#[tokio::test]
async fn krun_is_picky_about_the_challenge() {
    for (headers, body, error) in [
        (COOKIE, &br#"{"error":"no"}"#[..], "no nonce"),
        ("", AUTH, "no session cookie"),
        ("Set-Cookie: session_id=c; Secure\r\n", AUTH, "no session cookie"),
        (COOKIE, &[b'x'; 8192], "the guest crashes"),
    ] {
        let refused = stubborn(response(200, headers, body)).await.auth().await.expect_err("a refusal");
        assert!(refused.to_string().starts_with(error), "{refused} is not {error}");
    }
    let long = format!("Set-Cookie: session_id={}\r\n", "c".repeat(100));
    assert!(matches!(stubborn(response(200, &long, AUTH)).await.auth().await, Err(Error::Crash(_))));

    let earlier = br#"{"nonce-form":"a","nonce":"b"}"#;
    let mut guest = stubborn(response(200, COOKIE, earlier)).await;
    guest.auth().await.expect("a challenge");
    assert_eq!(guest.state.nonce.as_deref(), Some("a"), "the first that begins so");
}

#[tokio::test]
async fn krun_has_a_hundred_characters_for_the_url() {
    let (url, _) = broker("\0").await;
    let fits = 99 - 12 - url.len();
    KrunGuest::new(&url, &"w".repeat(fits), machine()).expect("a URL").boot().await.expect("a passphrase");
    let long = KrunGuest::new(&url, &"w".repeat(fits + 1), machine()).expect("a URL").boot().await;
    assert_eq!(long, Err(Error::UrlOverflow(100)));
}

#[tokio::test]
async fn krun_takes_no_chunks_and_no_junk() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\"00\"\r\n0\r\n\r\n".to_vec();
    for (answer, expected) in [
        (chunked, "no key"),
        (response(403, "", b"{\"e\":1}\0"), "no key"),
        (response(200, "", b"\"\""), "the guest crashes"),
        (response(200, "", b"\0\0\0\0"), "the guest crashes"),
        (response(200, "", b"\"00\"\0"), "the key does not decrypt"),
    ] {
        let error = stubborn(answer).await.key().await.expect_err("no key");
        assert!(error.to_string().starts_with(expected), "{error} is not {expected}");
    }
}

#[tokio::test]
async fn the_polite_guest_honours_the_status() {
    let (url, requests) = broker("").await;
    let mut guest = PoliteGuest::new(&url, "W", machine()).expect("a URL");
    guest.boot().await.expect("a passphrase");
    for request in requests.lock().expect("whole").iter() {
        assert!(request.contains(&format!("\r\nUser-Agent: {USER_AGENT}\r\n")));
        assert_eq!(request.matches("Cookie:").count(), usize::from(!request.contains("/auth ")));
    }
    let (url, _) = serve(|_| response(403, COOKIE, AUTH)).await;
    let refused = PoliteGuest::new(&url, "W", machine()).expect("a URL").auth().await.expect_err("403");
    assert_eq!(refused, Error::Refused(Said { status: 403, body: String::from_utf8_lossy(AUTH).into() }));
}

#[test]
fn a_guest_in_a_cloud_brings_its_vlek() {
    let amd = Amd::new(Product::Milan, "2026-11-01T12:00:00Z".parse().expect("a timestamp"));
    let machine = Machine::in_cloud(&amd, &Chip::new(Product::Milan, 1), CSP_ID);
    let certificate = machine.vek.certificate.clone();
    let state = State::new("http://127.0.0.1:1", "W", machine).expect("a URL");
    let body: Value = serde_json::from_str(&state.attest_body_with(&[0xAB])).expect("JSON");
    let evidence: Value = serde_json::from_str(body["tee-evidence"].as_str().expect("text")).expect("JSON");
    assert_eq!(evidence["report"], "AB");
    let chain: Value = serde_json::from_str(evidence["cert_chain"].as_str().expect("text")).expect("JSON");
    assert_eq!(chain[0]["cert_type"], "VLEK");
    assert_eq!(chain[0]["data"], Value::from(certificate));
    let report = state.machine.report([7; 64]);
    assert_eq!((report[0x48], &report[0x1A0..0x1E0], report[0x50]), (4, &[0; 64][..], 7));
}

#[test]
fn nothing_is_bound_before_there_is_a_nonce() {
    let state = State::new("http://127.0.0.1:1", "W", machine()).expect("a URL");
    assert_eq!(state.attest_body(), Err(Error::NoChallenge));
    assert!(matches!(State::new("https://x", "W", machine()), Err(Error::Url(_))));
}
