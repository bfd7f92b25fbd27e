//! Trustee's clients: the form in which they are told what went wrong, and what may name their session.

use http::HeaderValue;
use keybroker_common::http::{BODY_LIMIT, EVIDENCE_LIMIT};

use super::{doubles::NAMED_CHALLENGE, logs::Lines, *};

const NAMED_RESOURCE: &str = "/kbs/v0/resource/default/key/tls";

/// Status, the last part of the type, and the detail.
async fn told(request: Request<Body>) -> (u16, String, String) {
    let (status, body) = answer(all().await, request).await;
    let read: serde_json::Value = serde_json::from_str(&body).unwrap();
    let member = |name: &str| read[name].as_str().unwrap_or_else(|| panic!("no {name}: {body}")).to_owned();
    let name = member("type").rsplit('/').next().unwrap().to_owned();
    assert_eq!(read.as_object().unwrap().len(), 2, "{body}");
    (status.as_u16(), name, member("detail"))
}

fn with(name: http::HeaderName, value: &str, mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    request
}

fn under(id: &str, request: Request<Body>) -> Request<Body> {
    with(header::COOKIE, &format!("kbs-session-id={id}"), request)
}

/// The client attests only after a 401 that it can read: without any credential, before anything is looked
/// up.
#[tokio::test]
async fn a_resource_without_a_credential_is_401_in_the_clients_form() {
    for path in [NAMED_RESOURCE, "/w/web/kbs/v0/resource/default/key/tls"] {
        let told = told(bare(Method::GET, path)).await;
        assert_eq!(told, (401, "TokenVerifierError".to_owned(), "no session cookie".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn what_is_no_resource_is_404() {
    for path in ["/kbs/v0/resource/.a/key/tls", "/kbs/v0/resource/a/key/t%20s", "/kbs/v0/resource/a/%00/tls"]
    {
        let (status, name, _) = told(bare(Method::GET, path)).await;
        assert_eq!((status, name.as_str()), (404, "InvalidRequestPath"), "{path}");
    }
}

/// Bearer and one attestation result, or the cookie: nothing else, and not both.
#[tokio::test]
async fn a_resource_takes_one_credential() {
    let get = || bare(Method::GET, NAMED_RESOURCE);
    for value in ["Bearer", "Bearer ", "Basic eDp5", "Bearer a.b.c", "bearer kb-0123456789", "Negotiate x"] {
        let (status, ..) = told(with(header::AUTHORIZATION, value, get())).await;
        assert_eq!(status, 401, "{value}");
    }
    let both = with(header::AUTHORIZATION, "Bearer a.b.c", under(&NAMED_CHALLENGE, get()));
    assert_eq!(told(both).await.2, "the request names two sessions");
    let mut twice = with(header::AUTHORIZATION, "Bearer a.b.c", get());
    twice.headers_mut().append(header::AUTHORIZATION, HeaderValue::from_static("Bearer a.b.c"));
    assert_eq!(told(twice).await.0, 401);
    // The session of another workload than the URL's.
    let other = bare(Method::GET, "/w/other/kbs/v0/resource/default/key/tls");
    let (status, name, detail) = told(under(&NAMED_CHALLENGE, other)).await;
    assert_eq!((status, name.as_str(), detail.as_str()), (401, "TokenVerifierError", "no such session"));
}

/// Below `/w/` no other client asks. So whatever is wrong with a request is told in the form of Trustee's.
#[tokio::test]
async fn below_w_every_problem_has_the_clients_form() {
    let auth = "/w/web/kbs/v0/auth";
    let text = |path: &str| with(header::CONTENT_TYPE, "text/plain", post(path, "{}"));
    for (request, status) in [
        (post(auth, "{"), 401),
        (text(auth), 415),
        (post("/w/a%2Fb/kbs/v0/auth", "{}"), 401),
        (post(&format!("/w/{}/kbs/v0/auth", "w".repeat(65)), auth_body("snp", "0.1.0")), 401),
        (bare(Method::GET, auth), 405),
        (post("/w/web/kbs/v0/attest", "{}"), 401),
        (under(&NAMED_CHALLENGE, text("/w/web/kbs/v0/attest")), 415),
        (under(&NAMED_CHALLENGE, post("/w/other/kbs/v0/attest", "{}")), 401),
        (bare(Method::GET, "/w/web/kbs/v0/jwks"), 404),
        (bare(Method::GET, "/w/"), 404),
    ] {
        let what = format!("{} {}", request.method(), request.uri());
        assert_eq!(told(request).await.0, status, "{what}");
    }
}

/// The seed's guest reads 0.0.0 and keybroker's any: a body that is Trustee's alone is answered as Trustee's.
#[tokio::test]
async fn on_the_shared_routes_the_body_says_whose_client_asks() {
    let version = |version: &str, extra: &str| {
        post(AUTH, format!(r#"{{"version":"{version}","tee":"tdx","extra-params":{extra}}}"#))
    };
    for (theirs, extra) in [("0.1.0", r#""""#), ("0.1.1", "{}"), ("0.4.0", "{}"), ("0.9.0", "{}")] {
        assert_eq!(told(version(theirs, extra)).await.0, 401, "{theirs}");
    }
    for (others, extra) in [("0.0.0", r#""{}""#), ("0.0.0", r#""""#), ("0.2.0", r#""""#)] {
        let (status, body) = answer(all().await, version(others, extra)).await;
        assert!(status == StatusCode::BAD_REQUEST && body.starts_with(r#"{"error":"#), "{others}: {body}");
    }
}

/// An id that is percent-encoded in the path is the same id.
#[tokio::test]
async fn a_workload_in_the_url_may_be_percent_encoded() {
    let body = r#"{"version":"0.4.0","tee":"snp","extra-params":{}}"#;
    let mut lengths = Vec::new();
    for id in ["kata", "k%61ta", "%6Bat%61", "kaf%C3%A9"] {
        let response = all().await.oneshot(post(&format!("/w/{id}/kbs/v0/auth"), body)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{id}");
        let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
        let id = cookie.strip_prefix("kbs-session-id=").unwrap().split(';').next().unwrap().to_owned();
        lengths.push(id.get(35..).unwrap().to_owned());
    }
    assert_eq!(lengths, ["kata", "kata", "kata", "a2Fmw6k"]);
}

#[tokio::test]
async fn neither_cookie_nor_attestation_result_is_ever_logged() {
    let (lines, _guard) = Lines::gather();
    let result = "eyJhbGciOiJFUzI1NiJ9.c2VjcmV0IGNsYWltcw.c2lnbmF0dXJl";
    let get = || bare(Method::GET, NAMED_RESOURCE);
    told(with(header::AUTHORIZATION, &format!("Bearer {result}"), get())).await;
    told(with(header::AUTHORIZATION, &format!("Basic {result}"), get())).await;
    told(under(&NAMED_CHALLENGE, get())).await;
    let text = lines.text();
    assert!(text.contains("attestation result was not read"), "nothing was gathered: {text}");
    for never in result.split('.').chain([&NAMED_CHALLENGE[..35]]) {
        assert!(!text.contains(never), "{never} in {text}");
    }
}

/// A challenge costs nothing, and a made-up id costs less: a long body is decoded under neither a made-up id
/// nor, beyond what its own guest may send, an id of another dialect.
#[tokio::test]
async fn a_body_is_decoded_under_an_id_of_the_brokers_own_alone() {
    let junk = || "x".repeat(100);
    let genuine = told(under(&NAMED_CHALLENGE, post(ATTEST, junk()))).await;
    assert_eq!(genuine, (401, "AttestationError".to_owned(), "body: not JSON".to_owned()));
    // The same id but for the last character of its tag.
    let (head, workload) = NAMED_CHALLENGE.split_at(35);
    let last = if head.ends_with('A') { 'E' } else { 'A' };
    let forged = format!("{}{last}{workload}", &head[..34]);
    let made_up = told(under(&forged, post(ATTEST, junk()))).await;
    assert_eq!(made_up, (401, "TokenVerifierError".to_owned(), "no such session".to_owned()));
}

#[tokio::test]
async fn evidence_has_512_kib_for_trustees_guests_and_64_for_others() {
    for (most, of_trustees) in [(EVIDENCE_LIMIT, true), (BODY_LIMIT, false)] {
        let attest = |length: usize| {
            let request = post(ATTEST, " ".repeat(length));
            if of_trustees { under(&NAMED_CHALLENGE, request) } else { challenged(request) }
        };
        let (status, body) = answer(all().await, attest(most)).await;
        assert!(status.as_u16() < 402 && body.contains("not JSON"), "{most}: {status} {body}");
        let (status, body) = answer(all().await, attest(most + 1)).await;
        let text = format!("the body is longer than {} KiB", most / 1024);
        assert!(status == StatusCode::PAYLOAD_TOO_LARGE && body.contains(&text), "{most}: {status} {body}");
    }
}

/// The request under a challenge of libkrun's.
fn challenged(request: Request<Body>) -> Request<Body> {
    with(header::COOKIE, &format!("session_id={}", *CHALLENGE), request)
}
