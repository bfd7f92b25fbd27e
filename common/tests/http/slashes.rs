//! Paths with more than one slash in front, as libkrun's guest asks for them where its URL ends with one.

use http::Uri;
use keybroker_common::http::{ROUTES, path};

use super::*;

/// A path of each route, and a request that it answers otherwise than an unknown path.
fn requests() -> Vec<(Method, String)> {
    ROUTES.iter().map(|route| (route.method.clone(), path_of(route))).collect()
}

#[tokio::test]
async fn every_route_answers_behind_any_number_of_slashes() {
    for (method, path) in requests() {
        // One broker: another shows other keys.
        let broker = router(doubles::services().await);
        let ask = async |path: String| answer(broker.clone(), bare(method.clone(), &path)).await;
        let one = ask(path.clone()).await;
        assert_ne!(one, (StatusCode::NOT_FOUND, r#"{"error":"not found"}"#.to_owned()), "{path}");
        for before in ["/", "//", "/////"] {
            assert_eq!(ask(format!("{before}{path}")).await, one, "{before}{path}");
            assert_eq!(ask(format!("{before}{path}?a=//b")).await, one, "{before}{path}");
        }
        // A method that is not the route's is refused there, too, and not passed by.
        let (status, _) =
            answer(router(doubles::services().await), bare(Method::DELETE, &format!("/{path}"))).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
}

/// There a slash may be a part of an id, and no guest sends two.
#[tokio::test]
async fn several_slashes_further_in_are_no_route() {
    for path in
        ["/kbs//v0/auth", "/kbs/v0//auth", "//kbs/v0//auth", "/kbs/v0/key//web", "/kbs/v0/auth/", "//", "/"]
    {
        let (status, body) = answer(router(doubles::services().await), bare(Method::POST, path)).await;
        assert_eq!((status, body.as_str()), (StatusCode::NOT_FOUND, r#"{"error":"not found"}"#), "{path}");
    }
}

#[test]
fn the_path_of_a_request_has_one_slash_in_front() {
    for (uri, expected) in [
        ("/kbs/v0/auth", "/kbs/v0/auth"),
        ("//kbs/v0/auth", "/kbs/v0/auth"),
        ("////kbs//v0/auth?//", "/kbs//v0/auth"),
        ("http://h//kbs/v0/auth", "/kbs/v0/auth"),
        ("/", "/"),
        ("//", "/"),
        ("*", "*"),
    ] {
        assert_eq!(path(&uri.parse::<Uri>().unwrap()), expected, "{uri}");
    }
}
