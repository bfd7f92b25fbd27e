//! Correct requests are answered as each client needs it.

use std::sync::Arc;

use axum::http::HeaderValue;
use http::{Method, StatusCode, header};
use keybroker_common::{
    broker::Broker,
    function::Function,
    http::{ROUTES, reply, router_over},
};
use keybroker_testing::faulty::{Method as Call, When};
use tower::ServiceExt;

use super::*;

#[tokio::test]
async fn a_registration_is_200_with_the_id_of_its_record() {
    let (status, body) = answer(all().await, post(REGISTER, registration("web", "p"))).await;
    assert_eq!(status, StatusCode::OK, "buildah takes 200 and 202 alone");
    assert_eq!(body.len(), r#"{"id":""}"#.len() + 36, "{body}");
}

#[tokio::test]
async fn parameters_of_the_media_type_change_nothing() {
    for value in ["application/json; charset=utf-8", "Application/JSON", "application/json ;x=y"] {
        let mut request = post(REGISTER, registration("web", "p"));
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
        assert_eq!(answer(all().await, request).await.0, StatusCode::OK, "{value}");
    }
}

#[tokio::test]
async fn a_taken_id_is_409_and_a_store_that_is_down_is_503() {
    assert_eq!(answer(all().await, post(REGISTER, registration("taken", "p"))).await.0, StatusCode::CONFLICT);
    let down = checked(router(doubles::failing(&[Call::Create], When::Before).await));
    let response = down.oneshot(post(REGISTER, registration("web", "p"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::RETRY_AFTER], "5");
}

#[tokio::test]
async fn a_challenge_is_a_nonce_and_a_cookie_of_the_same_session() {
    let response = all().await.oneshot(post(AUTH, auth_body("snp", "0.0.0"))).await.unwrap();
    let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    let (status, body) = whole(response).await;
    assert_eq!(status, StatusCode::OK);
    let nonce = body.strip_prefix(r#"{"nonce":""#).unwrap().strip_suffix(r#"","extra-params":""}"#).unwrap();
    assert_eq!(nonce.len(), 44);
    let id =
        cookie.strip_prefix("session_id=").unwrap().strip_suffix("; Path=/; HttpOnly; Max-Age=3600").unwrap();
    assert_eq!((id.len(), id.get(35..)), (38, Some("web")));
}

#[tokio::test]
async fn a_key_ends_in_a_nul_for_the_guest_that_sends_no_user_agent() {
    let key = || with_session(bare(Method::GET, "/kbs/v0/key/open"));
    let (status, body) = answer(all().await, key()).await;
    assert_eq!((status, body.len()), (StatusCode::OK, 1 + 512 + 2));
    assert!(body.starts_with('"') && body.ends_with("\"\0"), "{body:?}");

    let mut with_agent = key();
    with_agent.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("curl/8"));
    let (status, body) = answer(all().await, with_agent).await;
    assert_eq!((status, body.len()), (StatusCode::OK, 1 + 512 + 1));
    assert!(body.ends_with('"'), "{body:?}");
}

#[tokio::test]
async fn an_id_that_is_percent_encoded_is_the_same_id() {
    let (status, _) = answer(all().await, with_session(bare(Method::GET, "/kbs/v0/key/o%70en"))).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn another_workloads_key_is_403_and_an_unknown_session_401() {
    let (status, body) = answer(all().await, with_session(bare(Method::GET, "/kbs/v0/key/web"))).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(body.starts_with(r#"{"error":"refused","id":""#), "{body}");
    let attest = post(ATTEST, attest_body(&[0xc3; 256], &[1, 0, 1], "00"));
    assert_eq!(answer(all().await, with_session(attest)).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn health_is_ok() {
    assert_eq!(
        answer(all().await, bare(Method::GET, "/healthz")).await,
        (StatusCode::OK, r#"{"status":"ok"}"#.to_owned())
    );
}

#[tokio::test]
async fn health_is_the_stores() {
    let sick = Arc::new(doubles::Sick(When::Before));
    let router = checked(router_over(sick, doubles::services().await));
    let unwell = r#"{"error":"the store cannot be used, or has no room"}"#.to_owned();
    let asked = answer(router, bare(Method::GET, "/healthz")).await;
    assert_eq!(asked, (StatusCode::SERVICE_UNAVAILABLE, unwell));
}

#[tokio::test]
async fn the_empty_answer_has_no_body_and_says_so() {
    assert_eq!(whole(reply::empty()).await, (StatusCode::OK, String::new()));
}

/// A function serves exactly the routes that the deployment gives to it.
#[tokio::test]
async fn each_function_serves_its_own_routes_alone() {
    let Broker { register, auth, attest } = doubles::services().await;
    let functions = [
        (Function::Register, router(register)),
        (Function::Auth, router(auth)),
        (Function::Attest, router(attest)),
    ];
    for (function, router) in functions {
        for route in ROUTES {
            let request = bare(route.method.clone(), &path_of(&route));
            let (status, body) = answer(router.clone(), request).await;
            let served = route.function == function || route.function == Function::Any;
            let unknown = status == StatusCode::NOT_FOUND && body.contains("not found");
            assert_eq!(!unknown, served, "{function:?} {}", route.path);
        }
    }
}
