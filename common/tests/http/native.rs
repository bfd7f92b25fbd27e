//! The broker's own protocol: bodies of JSON, and problems in the form of RFC 9457.

use axum::body::Bytes;
use http::HeaderMap;
use keybroker_common::http::BODY_LIMIT;
use keybroker_native::client::{CHALLENGE_PATH, Problem, RELEASE_PATH};
use keybroker_testing::faulty::{Method as Call, When};
use serde_json::{Value, json};

use super::{bodies::Scripted, doubles::release, *};

/// The answer to a request of this protocol, with its header.
async fn asked(router: Router, request: Request<Body>) -> (u16, HeaderMap, String) {
    let response = router.oneshot(request).await.unwrap();
    let headers = response.headers().clone();
    let (status, body) = whole(response).await;
    (status.as_u16(), headers, body)
}

/// The problem that a request meets, as the guest reads it.
async fn problem(router: Router, request: Request<Body>) -> (Problem, HeaderMap) {
    let what = format!("{} {}", request.method(), request.uri());
    let (status, headers, body) = asked(router, request).await;
    assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json", "{what}: {body}");
    let read = Problem::from_json(body.as_bytes()).unwrap();
    assert_eq!(read.status, status, "{what}: {body}");
    assert!(body.starts_with(r#"{"type":"about:blank","title":""#), "{body}");
    (read, headers)
}

async fn refused(request: Request<Body>, status: u16, detail: &str) {
    let (problem, headers) = problem(all().await, request).await;
    assert_eq!((problem.status, problem.detail.as_str(), problem.decision), (status, detail, None));
    assert!(!headers.contains_key(header::RETRY_AFTER));
}

#[tokio::test]
async fn a_challenge_is_one_text_and_no_cookie() {
    let (status, headers, body) = asked(all().await, post(CHALLENGE_PATH, "{}")).await;
    assert_eq!((status, &headers[header::CONTENT_TYPE]), (200, &"application/json".parse().unwrap()));
    assert!(!headers.contains_key(header::SET_COOKIE));
    let body: Value = serde_json::from_str(&body).unwrap();
    let challenge = body["challenge"].as_str().unwrap();
    assert_eq!(body, json!({"challenge": challenge, "expires_in": 3600}));
    assert_eq!(challenge.len(), 78);
}

#[tokio::test]
async fn what_is_not_understood_is_400() {
    refused(post(CHALLENGE_PATH, ""), 400, "body: not JSON").await;
    refused(post(CHALLENGE_PATH, "[]"), 400, "body: a value of the wrong type").await;
    let unknown = r#"{"workload":"web"}"#;
    refused(post(CHALLENGE_PATH, unknown), 400, "body: unknown field workload").await;
    refused(post(RELEASE_PATH, "{}"), 400, "body: missing field challenge").await;
    let altered = |name: &str, value: Value| {
        let mut body: Value = serde_json::from_str(&release()).unwrap();
        body[name] = value;
        post(RELEASE_PATH, body.to_string())
    };
    let rows = [
        ("challenge", json!("none"), "challenge is not one that POST /v1/challenge answers"),
        ("secrets", json!([]), "secrets is not 1 to 16 different names of A-Z a-z 0-9 . _ -"),
        ("workload", json!(""), "the workload id is empty"),
        (
            "evidence",
            json!({"type": "tdx", "report": "", "certificates": []}),
            "evidence.type is not \"snp\" or \"az-snp-vtpm\"",
        ),
    ];
    for (name, value, detail) in rows {
        refused(altered(name, value), 400, detail).await;
    }
}

#[tokio::test]
async fn what_is_refused_is_403_with_the_decision() {
    let (problem, _) = problem(all().await, post(RELEASE_PATH, release())).await;
    assert_eq!(
        (problem.status, problem.title.as_str(), problem.detail.as_str()),
        (403, "Forbidden", "refused")
    );
    assert!(uuid::Uuid::parse_str(&problem.decision.unwrap()).is_ok());
}

#[tokio::test]
async fn a_challenge_that_was_answered_is_401_and_soon_429() {
    let router = all().await;
    asked(router.clone(), post(RELEASE_PATH, release())).await;
    let mut statuses = Vec::new();
    for _ in 0..30 {
        let (problem, headers) = problem(router.clone(), post(RELEASE_PATH, release())).await;
        match problem.status {
            401 => {
                let detail = "the challenge was answered before, is over, or is not this broker's";
                assert_eq!(problem.detail, detail);
                assert!(problem.decision.is_some() && !headers.contains_key(header::RETRY_AFTER));
            }
            429 => {
                assert!(problem.decision.is_none());
                assert!(headers[header::RETRY_AFTER].to_str().unwrap().parse::<u64>().unwrap() >= 1);
            }
            other => panic!("{other}: {problem:?}"),
        }
        statuses.push(problem.status);
    }
    assert!(statuses.contains(&401) && statuses.contains(&429), "{statuses:?}");
}

/// Nothing of the broker's is asked about an id that it did not make.
#[tokio::test]
async fn a_challenge_that_the_broker_did_not_make_is_401_without_a_record() {
    let mut body: Value = serde_json::from_str(&release()).unwrap();
    let challenge = body["challenge"].as_str().unwrap().to_owned();
    // The tag is the end of the id.
    let (id, nonce) = challenge.split_at(35);
    body["challenge"] = format!("{}AAAAAA{nonce}", &id[..29]).into();
    let detail = "the challenge was answered before, is over, or is not this broker's";
    refused(post(RELEASE_PATH, body.to_string()), 401, detail).await;
}

#[tokio::test]
async fn an_unreachable_store_is_503_with_retry_after() {
    for (call, request) in [
        (Call::Keyring, post(CHALLENGE_PATH, "{}")),
        (Call::Keyring, post(RELEASE_PATH, release())),
        (Call::Decide, post(RELEASE_PATH, release())),
    ] {
        let router = checked(router(doubles::failing(&[call], When::Before).await));
        let (problem, headers) = problem(router, request).await;
        assert_eq!((problem.status, problem.title.as_str()), (503, "Service Unavailable"), "{call:?}");
        assert_eq!(headers[header::RETRY_AFTER], "5");
    }
}

#[tokio::test]
async fn a_panic_is_500_and_the_broker_goes_on() {
    let router = checked(router(doubles::failing(&[Call::Keyring, Call::Decide], When::Panicking).await));
    let (problem_of_challenge, _) = problem(router.clone(), post(CHALLENGE_PATH, "{}")).await;
    assert_eq!((problem_of_challenge.status, problem_of_challenge.decision), (500, None));
    assert_eq!(asked(router.clone(), post(CHALLENGE_PATH, "{}")).await.0, 200);
    let (problem_of_release, _) = problem(router.clone(), post(RELEASE_PATH, release())).await;
    assert_eq!((problem_of_release.status, problem_of_release.detail.as_str()), (500, "internal error"));
    assert!(problem_of_release.decision.is_some());
    // Nothing was decided: the challenge is still open.
    assert_eq!(problem(router, post(RELEASE_PATH, release())).await.0.status, 403);
}

#[tokio::test]
async fn other_paths_and_methods_are_problems_too() {
    for path in ["/v1/", "/v1/none", "/v1/release/", "/v1/challenge/more", "/v1//release", "//v1/none"] {
        let (problem, _) = problem(router(doubles::services().await), bare(Method::GET, path)).await;
        assert_eq!((problem.status, problem.detail.as_str()), (404, "not found"), "{path}");
    }
    for path in [CHALLENGE_PATH, RELEASE_PATH] {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let (problem, headers) = problem(all().await, bare(method, path)).await;
            assert_eq!((problem.status, &headers[header::ALLOW]), (405, &"POST".parse().unwrap()));
        }
    }
    // Outside of this protocol, problems have the other form.
    for path in ["/v1", "/v10/release", "/kbs/v1/release"] {
        let (status, headers, body) = asked(all().await, bare(Method::GET, path)).await;
        assert_eq!((status, body.as_str()), (404, r#"{"error":"not found"}"#), "{path}");
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    }
}

/// As for libkrun's guest, one more slash in front is no other path.
#[tokio::test]
async fn a_url_that_ends_with_a_slash_leads_to_the_same() {
    let (status, ..) = asked(router(doubles::services().await), post("//v1/challenge", "{}")).await;
    assert_eq!(status, 200);
}

#[tokio::test(start_paused = true)]
async fn bodies_have_bounds() {
    let text = "the body is longer than 64 KiB";
    let spaces = |length: usize| Bytes::from(vec![b' '; length]);
    let padded = [release().into_bytes(), vec![b' '; BODY_LIMIT]].concat();
    refused(post(RELEASE_PATH, padded), 413, text).await;
    refused(post(CHALLENGE_PATH, Scripted::frames([spaces(BODY_LIMIT), spaces(1)])), 413, text).await;
    let whole = format!("{{}}{}", " ".repeat(BODY_LIMIT - 2));
    assert_eq!(asked(all().await, post(CHALLENGE_PATH, whole)).await.0, 200);
    let late = "the body did not arrive within 10 seconds";
    refused(post(RELEASE_PATH, Scripted::silent(100)), 408, late).await;
    refused(post(RELEASE_PATH, Scripted::broken()), 400, "the body did not arrive whole").await;
    for path in [CHALLENGE_PATH, RELEASE_PATH] {
        let mut other = post(path, "{}");
        other.headers_mut().insert(header::CONTENT_TYPE, "text/plain".parse().unwrap());
        refused(other, 415, "the body must be application/json").await;
        let mut none = post(path, "{}");
        none.headers_mut().remove(header::CONTENT_TYPE);
        refused(none, 415, "the body must be application/json").await;
    }
}

#[tokio::test]
async fn no_challenge_key_or_init_data_is_logged() {
    let (lines, _guard) = logs::Lines::gather();
    let body = release();
    asked(all().await, post(RELEASE_PATH, body.clone())).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    let text = lines.text();
    assert!(text.contains("keybroker::audit"), "nothing was gathered: {text}");
    for name in ["challenge", "public_key"] {
        assert!(!text.contains(&body[name].as_str().unwrap()[..35]), "{name} in {text}");
    }
}
