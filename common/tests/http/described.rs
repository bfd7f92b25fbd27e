//! Every status that the description of the API has is one that the router gives.

use std::{collections::BTreeSet, sync::Arc};

use axum::body::Body;
use http::{Request, header};
use keybroker_common::{
    admission::Admission,
    http::{ROUTES, Route, router_over},
};
use keybroker_native::client;
use keybroker_testing::faulty::When;

use super::{bodies::Scripted, doubles::NAMED_CHALLENGE, *};

/// By reference values, with a resource of this length.
fn by_reference_values(length: usize) -> String {
    let secret = "s".repeat(length);
    format!(r#"{{"measurements":["{MEASUREMENT}"],"resources":{{"r":"{secret}"}}}}"#)
}

/// By init data, under this id.
fn with_init_data(id: &str) -> String {
    let digest = "d1".repeat(32);
    let init_data = format!(r#"{{"bound_by":"host_data","algorithm":"sha256","digest":"{digest}"}}"#);
    by_reference_values(1).replacen('{', &format!(r#"{{"workload_id":"{id}","init_data":{init_data},"#), 1)
}

/// A request for a challenge of a guest of Trustee's that speaks this version.
fn trustees_auth(version: &str) -> String {
    format!(r#"{{"version":"{version}","tee":"snp","extra-params":{{}}}}"#)
}

/// Evidence of a guest of Trustee's, with a report that is none.
fn trustees_evidence() -> String {
    let modulus = data_encoding::BASE64URL_NOPAD.encode(&[0xC3; 256]);
    let key = format!(r#"{{"kty":"RSA","alg":"RSA1_5","n":"{modulus}","e":"AQAB"}}"#);
    let evidence = r#"{"primary_evidence":{},"additional_evidence":""}"#;
    format!(r#"{{"runtime-data":{{"nonce":"","tee-pubkey":{key}}},"tee-evidence":{evidence}}}"#)
}

/// A body that the route takes.
fn whole(route: &Route) -> String {
    match route.path {
        REGISTER => registration("web", "p"),
        AUTH => auth_body("snp", "0.0.0"),
        ATTEST => attest_body(&[0xc3; 256], &[1, 0, 1], "00"),
        path if path.ends_with(AUTH) => trustees_auth("0.4.0"),
        path if path.ends_with(ATTEST) => trustees_evidence(),
        path if path == REFERENCE_VALUES => by_reference_values(1),
        client::CHALLENGE_PATH => "{}".to_owned(),
        client::RELEASE_PATH => doubles::release(),
        _ => String::new(),
    }
}

/// The request with this session in the cookie of the route.
fn under(route: &Route, id: &str, mut request: Request<Body>) -> Request<Body> {
    let keybrokers = route.path == RESOURCE || route.is_trustees();
    let name = if keybrokers { "kbs-session-id" } else { "session_id" };
    request.headers_mut().insert(header::COOKIE, format!("{name}={id}").parse().unwrap());
    request
}

fn session(route: &Route, request: Request<Body>) -> Request<Body> {
    under(route, if route.is_trustees() { &NAMED_CHALLENGE } else { &SESSION }, request)
}

/// Every request that can be made of any route with a body.
fn with_bodies(route: &Route) -> Vec<Request<Body>> {
    let path = path_of(route);
    let ask = |body: Body| session(route, post(&path, body));
    let mut text = ask(whole(route).into());
    text.headers_mut().insert(header::CONTENT_TYPE, "text/plain".parse().unwrap());
    vec![
        ask(whole(route).into()),
        ask("{".into()),
        ask(Scripted::silent(1)),
        ask(Scripted::silent(1 << 20)),
        text,
        post(&path, whole(route)),
    ]
}

/// Every request that can be made of any route with a parameter: a secret that is there, one that is not,
/// none at all, and without a session.
fn with_parameters(route: &Route) -> Vec<Request<Body>> {
    let path = |segment| format!("{}/{segment}", path_of(route).rsplit_once('/').unwrap().0);
    let ask = |segment| session(route, bare(Method::GET, &path(segment)));
    vec![ask("open"), ask("web"), ask("%00"), bare(Method::GET, &path("open"))]
}

/// So many strangers are turned away on record.
const TOO_MANY: usize = 20;

async fn statuses(route: &Route) -> BTreeSet<String> {
    let mut requests = match (route.method == Method::POST, route.path.ends_with('}')) {
        (true, _) => with_bodies(route),
        (_, true) => with_parameters(route),
        _ => vec![bare(Method::GET, route.path)],
    };
    if route.path == REGISTER {
        requests.push(post(REGISTER, registration("taken", "p")));
    }
    if route.path.starts_with("/w/") && route.method == Method::POST {
        requests.push(session(route, post(&path_of(route).replace("web", "%ff"), whole(route))));
    }
    if route.path == AUTH {
        requests.push(post(AUTH, trustees_auth("0.5.0")));
    }
    if route.path == REFERENCE_VALUES {
        requests.push(post(REFERENCE_VALUES, with_init_data("taken")));
    }
    let mut statuses = BTreeSet::new();
    let mut ask = async |router: Router, request| {
        statuses.insert(checked(router).oneshot(request).await.unwrap().status().as_str().to_owned());
    };
    for request in requests {
        ask(router(doubles::services().await), request).await;
    }
    // The same as the first one where nobody may register or has a session, and where every store is down, or
    // panics.
    let first = || match (route.method == Method::POST, route.path.ends_with('}')) {
        (true, _) => with_bodies(route).swap_remove(0),
        (_, true) => with_parameters(route).swap_remove(0),
        _ => bare(Method::GET, route.path),
    };
    let mut services = doubles::services().await;
    services.register.admission = Admission::NONE;
    let closed = router(services);
    let stranger = |request: Request<Body>| {
        // The session is not of this request's evidence, and the challenge has none.
        let id = match route.path {
            ATTEST => &SESSION,
            _ if route.is_trustees() => &NAMED_CHALLENGE,
            _ => &CHALLENGE,
        };
        under(route, id, request)
    };
    if route.is_trustees() && route.method == Method::POST {
        // The decision is about other evidence than what follows.
        ask(closed.clone(), stranger(post(&path_of(route), whole(route) + " "))).await;
    }
    // The first may be the decision about a challenge.
    for _ in 0..TOO_MANY + 2 {
        ask(closed.clone(), stranger(first())).await;
    }
    for when in [When::Before, When::Panicking] {
        let services = doubles::failing(&doubles::AWAITED, when).await;
        ask(router_over(Arc::new(doubles::Sick(when)), services), first()).await;
    }
    statuses
}

#[tokio::test(start_paused = true)]
async fn every_status_that_is_described_is_given() {
    for route in ROUTES {
        let given = statuses(&route).await;
        // These need a guest's evidence: the end-to-end tests have guests.
        let elsewhere: &[&str] = match route.path {
            ATTEST => &["200", "403"],
            path if path == RESOURCE || path == client::RELEASE_PATH => &["200"],
            path if route.is_trustees() && !path.ends_with(AUTH) => &["200"],
            _ => &[],
        };
        let given: BTreeSet<_> = given.iter().map(String::as_str).chain(elsewhere.iter().copied()).collect();
        let described = description::statuses(&route);
        assert_eq!(given, described.iter().map(String::as_str).collect(), "{}", route.path);
    }
}
