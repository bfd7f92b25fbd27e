//! Bad input: a status of its own, a short body, and never the broker's fault (5xx).

use std::{sync::LazyLock, time::Duration};

use axum::body::{Body, Bytes};
use http::{HeaderValue, Method, Request, StatusCode, header};
use keybroker_common::http::{BODY_LIMIT, BODY_TIMEOUT, ROUTES};
use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use super::{bodies::Scripted, *};

async fn refused(request: Request<Body>, status: u16, text: &str) {
    let what = format!("{} {}", request.method(), request.uri());
    let (got, body) = answer(all().await, request).await;
    assert!((3..=199).contains(&body.len()), "{what}: {body}");
    assert_eq!((got.as_u16(), body), (status, format!(r#"{{"error":"{text}"}}"#)), "{what}");
}

async fn register(body: impl Into<Body>, text: &str) {
    refused(post(REGISTER, body), 400, text).await;
}

async fn attest(body: impl Into<Body>, text: &str) {
    refused(with_session(post(ATTEST, body)), 400, text).await;
}

#[tokio::test]
async fn bodies_of_another_form() {
    let whole = registration("web", "p");
    register("", "body: not JSON").await;
    register(whole[..whole.len() - 1].to_owned(), "body: not JSON").await;
    register(whole.clone() + "{}", "body: not JSON").await;
    register([whole.as_bytes(), b"\xff"].concat(), "body: not JSON").await;
    register(whole.replace("web", "\u{7}"), "body: not JSON").await;
    register("null", "body: a value of the wrong type").await;
    register(whole.replacen('{', r#"{"passphrase":"q","#, 1), "body: duplicate field passphrase").await;
    register(whole.replacen('{', r#"{"policy":"q","#, 1), "body: unknown field policy").await;
    let mut non_utf8 = whole.into_bytes();
    *non_utf8.iter_mut().find(|byte| **byte == b'w').unwrap() = 0xff;
    register(non_utf8, "body: not JSON").await;
}

#[tokio::test]
async fn ids_that_no_guest_could_send() {
    register(registration(&"w".repeat(257), "p"), "the workload id is longer than 256 bytes").await;
    let unprintable = "the workload id holds a character that a guest's URL cannot carry";
    register(registration("a\\u0000b", "p"), unprintable).await;
    for path in ["/kbs/v0/key/a%00b", "/kbs/v0/key/a%2Fb", "/kbs/v0/key/.."] {
        refused(with_session(bare(Method::GET, path)), 400, unprintable).await;
    }
    let long = format!("/kbs/v0/key/{}", "w".repeat(257));
    refused(with_session(bare(Method::GET, &long)), 400, "the workload id is longer than 256 bytes").await;
    refused(with_session(bare(Method::GET, "/kbs/v0/key/%ff")), 400, "the path is not UTF-8").await;
}

#[tokio::test]
async fn another_tee_or_version() {
    let tee = r#"this broker serves tee \"snp\", and of Trustee's guests \"az-snp-vtpm\" (\"azsnpvtpm\")"#;
    refused(post(AUTH, auth_body("tdx", "0.0.0")), 400, tee).await;
    let version = "version: spoken are 0.0.0 with a workload_id, and 0.1.0, 0.1.1, 0.2.0, 0.4.0 with their own \
                   extra-params";
    refused(post(AUTH, auth_body("snp", "0.4.0")), 400, version).await;
}

#[tokio::test]
async fn keys_and_reports_of_another_form() {
    let good = [0xc3; 256];
    attest(
        attest_body(&[0xc3; 128], &[1, 0, 1], "00"),
        "tee-pubkey: the modulus has 1024 bits, fewer than 2048",
    )
    .await;
    attest(
        attest_body(&[0xc3; 1024], &[1, 0, 1], "00"),
        "tee-pubkey: the modulus has 8192 bits, more than 4096",
    )
    .await;
    attest(attest_body(&[0xc4; 256], &[1, 0, 1], "00"), "tee-pubkey: the modulus is even").await;
    let exponent = "tee-pubkey: the public exponent is not odd, or not within 3 and 2^33";
    attest(attest_body(&good, &[1], "00"), exponent).await;
    attest(attest_body(&good, &[4], "00"), exponent).await;
    attest(attest_body(&good, &[1, 0, 1], "000"), "tee-evidence: report is not hex").await;
    attest(attest_body(&good, &[1, 0, 1], "zz"), "tee-evidence: report is not hex").await;
}

#[tokio::test]
async fn requests_without_a_session_or_with_two() {
    let key = || bare(Method::GET, "/kbs/v0/key/web");
    refused(post(ATTEST, attest_body(&[0xc3; 256], &[1, 0, 1], "00")), 401, "no session cookie").await;
    refused(key(), 401, "no session cookie").await;
    for cookie in ["session_id=nonsense", "session_id", "other=1"] {
        let mut request = key();
        request.headers_mut().insert(header::COOKIE, HeaderValue::from_static(cookie));
        refused(request, 401, "no session cookie").await;
    }
    let mut two = with_session(key());
    let other = format!("session_id={}", "0".repeat(32)).parse().unwrap();
    two.headers_mut().append(header::COOKIE, other);
    refused(two, 400, "the request names two sessions").await;
}

#[tokio::test]
async fn other_media_types() {
    let text = "the body must be application/json";
    for value in ["text/plain", "application/jsonx", "application/x-www-form-urlencoded", "", "application"] {
        let mut request = post(REGISTER, registration("web", "p"));
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
        refused(request, 415, text).await;
    }
    let mut none = post(REGISTER, registration("web", "p"));
    none.headers_mut().remove(header::CONTENT_TYPE);
    refused(none, 415, text).await;
    let mut two = post(REGISTER, registration("web", "p"));
    two.headers_mut().append(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    refused(two, 415, text).await;
}

#[tokio::test]
async fn a_body_of_64_kib_is_read_and_one_byte_more_is_too_large() {
    let padded = |length: usize| {
        let body = registration("web", "p");
        let padding = " ".repeat(length - body.len());
        body + &padding
    };
    assert_eq!(answer(all().await, post(REGISTER, padded(BODY_LIMIT))).await.0, StatusCode::OK);
    let text = "the body is longer than 64 KiB";
    refused(post(REGISTER, padded(BODY_LIMIT + 1)), 413, text).await;
    let halves = [BODY_LIMIT, 1].map(|length| Bytes::from(vec![b' '; length]));
    refused(post(REGISTER, Scripted::frames(halves)), 413, text).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up_after_10_seconds() {
    let started = tokio::time::Instant::now();
    let text = "the body did not arrive within 10 seconds";
    refused(post(REGISTER, Scripted::silent(100)), 408, text).await;
    assert_eq!(started.elapsed().as_secs(), BODY_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_declared_too_long_is_not_waited_for() {
    let started = tokio::time::Instant::now();
    let length = u64::try_from(BODY_LIMIT).unwrap() + 1;
    refused(post(REGISTER, Scripted::silent(length)), 413, "the body is longer than 64 KiB").await;
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_body_that_breaks_off() {
    refused(post(REGISTER, Scripted::broken()), 400, "the body did not arrive whole").await;
}

#[tokio::test]
async fn unknown_paths() {
    for path in
        ["/", "/kbs/v0", "/kbs/v0/key/", "/kbs/v0/key/a/b", "/kbs/v0/auth/", "/KBS/v0/auth", "/prod/healthz"]
    {
        refused(bare(Method::GET, path), 404, "not found").await;
    }
}

#[tokio::test]
async fn every_route_takes_one_method_alone() {
    let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"];
    for route in ROUTES {
        for method in methods.map(|name| Method::from_bytes(name.as_bytes()).unwrap()) {
            let allowed = method == route.method;
            let path = path_of(&route);
            let response = all().await.oneshot(bare(method.clone(), &path)).await.unwrap();
            let refused = response.status() == StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(refused, !allowed, "{method} {path}");
            if refused {
                assert_eq!(response.headers()[header::ALLOW], route.method.as_str());
                assert_ne!(response.headers()[header::CONTENT_LENGTH], "0");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_body_is_the_brokers_fault(body in any::<Vec<u8>>()) {
        never_5xx(body);
    }

    #[test]
    fn no_damage_to_a_good_body_is_the_brokers_fault(
        at in 0..400usize, byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let attest = attest_body(&[0xc3; 256], &[1, 0, 1], "z");
        let goods = [registration("web", "p"), auth_body("snp", "0.0.0"), attest];
        for good in goods {
            let mut body = good.into_bytes();
            let at = at % body.len();
            body[at] = byte;
            if cut {
                body.truncate(at);
            }
            never_5xx(body);
        }
    }
}

fn never_5xx(body: Vec<u8>) {
    /// One for all bodies.
    static BROKER: LazyLock<(Runtime, Router)> = LazyLock::new(|| {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let router = runtime.block_on(all());
        (runtime, router)
    });
    let (runtime, router) = &*BROKER;
    for path in [REGISTER, AUTH, ATTEST] {
        let request = with_session(post(path, body.clone()));
        let (status, answered) = runtime.block_on(answer(router.clone(), request));
        assert!(status.is_success() || status.is_client_error(), "{path}: {status}");
        assert!((3..=199).contains(&answered.len()), "{path}: {answered}");
    }
}
