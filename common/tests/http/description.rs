//! Whether what the router answered is in the description of the API, which is in docs/openapi.yaml.

use std::{collections::BTreeSet, fs, path::Path, sync::LazyLock};

use axum::{body::Body, extract::Request, middleware::Next, response::Response};
use http::{Method, StatusCode, header, response::Parts};
use http_body_util::BodyExt;
use keybroker_common::{
    http::{ROUTES, Route},
    problem::Problem,
};
use keybroker_testing::yaml;
use serde_json::Value;

/// The description, which the core generates.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.yaml");
    yaml::read(&fs::read_to_string(file).expect("docs/openapi.yaml"))
});

/// The statuses that are described for a route.
pub(crate) fn statuses(route: &Route) -> BTreeSet<String> {
    let operation = &DOCUMENT["paths"][route.path][route.method.as_str().to_lowercase()];
    operation["responses"].as_object().unwrap().keys().cloned().collect()
}

/// Lets a request through, and fails the test if the answer is none that is described.
pub(crate) async fn check(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (parts, body) = next.run(request).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    assert_described(&method, &path, &parts, &body);
    Response::from_parts(parts, Body::from(body))
}

fn assert_described(method: &Method, path: &str, parts: &Parts, body: &[u8]) {
    let what = format!("{method} {path}: {} {:?}", parts.status, String::from_utf8_lossy(body));
    let described = match ROUTES.iter().find(|route| leads(route, path)) {
        None => {
            assert_eq!(parts.status, Problem::NotFound.status(), "{what}");
            &DOCUMENT["components"]["responses"]["NotFound"]
        }
        Some(route) if route.method != method => {
            assert_eq!(parts.status, StatusCode::METHOD_NOT_ALLOWED, "{what}");
            &DOCUMENT["components"]["responses"]["MethodNotAllowed"]
        }
        Some(route) => {
            let operation = &DOCUMENT["paths"][route.path][route.method.as_str().to_lowercase()];
            &operation["responses"][parts.status.as_str()]
        }
    };
    assert!(described.is_object(), "not described: {what}");
    assert_header(described, parts, &what);
    match described.get("content") {
        None => assert!(body.is_empty() && !parts.headers.contains_key(header::CONTENT_TYPE), "{what}"),
        // Trustee's guests get an attestation result, and the others nothing.
        Some(_) if path == super::ATTEST && parts.status == StatusCode::OK && body.is_empty() => {
            assert!(!parts.headers.contains_key(header::CONTENT_TYPE), "{what}");
        }
        Some(content) => {
            let media_type = parts.headers[header::CONTENT_TYPE].to_str().unwrap();
            let schema = &content[media_type]["schema"];
            assert!(schema.is_object(), "{what}");
            // libkrun's guest has a NUL behind its key.
            let text = body.strip_suffix(b"\0").unwrap_or(body);
            let value: Value = serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {what}"));
            assert!(fits(&DOCUMENT, schema, &value), "{what} is not {schema}");
        }
    }
}

/// Every field that is described is there, and none but those and what every HTTP answer may have.
fn assert_header(described: &Value, parts: &Parts, what: &str) {
    let headers = described["headers"].as_object().unwrap();
    for name in headers.keys() {
        assert!(parts.headers.contains_key(name), "no {name}: {what}");
    }
    for name in parts.headers.keys() {
        let known = headers.keys().any(|described| described.eq_ignore_ascii_case(name.as_str()));
        assert!(known || [header::CONTENT_TYPE, header::CONTENT_LENGTH].contains(name), "{name}: {what}");
    }
}

/// Whether a path is one of the route's: each parameter is one segment that is not empty.
fn leads(route: &Route, path: &str) -> bool {
    let (own, sent): (Vec<_>, Vec<_>) = (route.path.split('/').collect(), path.split('/').collect());
    let fits = |(own, sent): (&&str, &&str)| own == sent || own.starts_with('{') && !sent.is_empty();
    own.len() == sent.len() && own.iter().zip(&sent).all(fits)
}

/// Whether a value has the members of the schema. A validator checks the members themselves: the suite
/// `openapi` of the end-to-end tests has one.
fn fits(document: &Value, schema: &Value, value: &Value) -> bool {
    if let Some(reference) = schema["$ref"].as_str() {
        let referred = document.pointer(reference.trim_start_matches('#')).expect("a schema");
        return fits(document, referred, value);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().any(|schema| fits(document, schema, value));
    }
    let Some(object) = value.as_object() else {
        return match schema["type"].as_str() {
            Some("string") => value.is_string(),
            Some("integer") => value.is_u64(),
            Some("array") => value
                .as_array()
                .is_some_and(|items| items.iter().all(|item| fits(document, &schema["items"], item))),
            _ => false,
        };
    };
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    schema["type"] == "object"
        && required.into_iter().all(|name| object.contains_key(name))
        && object.iter().all(|(name, member)| fits(document, &schema["properties"][name], member))
}
