//! Answers: whole bodies with their length, never kept by a cache on the way.

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};

/// An answer with a JSON body.
pub fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = whole(status, body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The same answer with another status and body.
pub(super) fn with_status(response: Response, status: StatusCode, body: Vec<u8>) -> Response {
    let mut other = whole(status, body);
    for (name, value) in response.headers() {
        other.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    other
}

/// The same answer with problem details (RFC 9457) in the place of its body.
pub(super) fn with_details(response: Response, details: Vec<u8>) -> Response {
    let status = response.status();
    let mut detailed = with_status(response, status, details);
    let form = HeaderValue::from_static("application/problem+json");
    detailed.headers_mut().insert(header::CONTENT_TYPE, form);
    detailed
}

/// Success without a body: what libkrun's guest takes for success, and nothing else.
pub fn empty() -> Response {
    whole(StatusCode::OK, Vec::new())
}

/// Success with a JSON body, or without one.
pub fn json_or_empty(body: Vec<u8>) -> Response {
    if body.is_empty() { empty() } else { json(StatusCode::OK, body) }
}

/// An answer with this body, whatever it is.
pub fn whole(status: StatusCode, body: Vec<u8>) -> Response {
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
