//! The router, with doubles in the place of stores and keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bodies;
mod described;
mod description;
mod doubles;
mod gone;
mod logs;
mod native;
mod pairs;
mod panics;
mod rejected;
mod served;
mod slashes;
mod strangers;
mod trustee;

use axum::{Router, body::Body, middleware, response::Response};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use keybroker_common::http::{Route, router};
use tower::ServiceExt;

use self::doubles::{CHALLENGE, SESSION};

const MEASUREMENT: &str =
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f";

const REGISTER: &str = "/kbs/v0/register_workload";
const AUTH: &str = "/kbs/v0/auth";
const ATTEST: &str = "/kbs/v0/attest";
const REFERENCE_VALUES: &str = "/rvp/register";
const RESOURCE: &str = "/kbs/v0/resource/{name}";

/// A path of the route.
fn path_of(route: &Route) -> String {
    let named = [
        ("{workload_id}", "web"),
        ("{name}", "passphrase"),
        ("{repository}", "default"),
        ("{type}", "key"),
        ("{tag}", "tls"),
    ];
    named.into_iter().fold(route.path.to_owned(), |path, (name, value)| path.replace(name, value))
}

fn registration(id: &str, passphrase: &str) -> String {
    let tee_config = r#"{\"flags\":{\"bits\":15},\"minfw\":{\"major\":0,\"minor\":0}}"#;
    format!(
        r#"{{"workload_id":"{id}","launch_measurement":"{MEASUREMENT}","passphrase":"{passphrase}","tee_config":"{tee_config}"}}"#
    )
}

fn auth_body(tee: &str, version: &str) -> String {
    format!(r#"{{"extra-params":"{{\"workload_id\":\"web\"}}","tee":"{tee}","version":"{version}"}}"#)
}

fn attest_body(modulus: &[u8], exponent: &[u8], report: &str) -> String {
    let (modulus, exponent) = (data_encoding::BASE64.encode(modulus), data_encoding::BASE64.encode(exponent));
    format!(
        r#"{{"tee-pubkey":{{"alg":"RSA","k-mod":"{modulus}","k-exp":"{exponent}"}},"tee-evidence":"{{\"gen\":\"milan\",\"report\":\"{report}\",\"cert_chain\":\"[]\"}}"}}"#
    )
}

/// Every answer is checked against the description of the API.
async fn all() -> Router {
    checked(router(doubles::services().await))
}

fn checked(router: Router) -> Router {
    router.layer(middleware::from_fn(description::check))
}

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header(header::CONTENT_TYPE, "application/json").body(body.into()).unwrap()
}

fn with_session(mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().insert(header::COOKIE, format!("session_id={}", *SESSION).parse().unwrap());
    request
}

fn bare(method: Method, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

/// Status and body, once what holds for every answer is checked.
async fn answer(router: Router, request: Request<Body>) -> (StatusCode, String) {
    let response = router.oneshot(request).await.unwrap();
    whole(response).await
}

async fn whole(response: Response) -> (StatusCode, String) {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    assert_eq!(parts.headers[header::CONTENT_LENGTH], body.len().to_string());
    assert_eq!(parts.headers[header::CACHE_CONTROL], "no-store");
    assert!(!parts.headers.contains_key(header::TRANSFER_ENCODING));
    (parts.status, String::from_utf8(body.to_vec()).unwrap())
}
