//! The guard of the loopback against requests that a name led here.
//!
//! A page in a browser on this machine can let its own name resolve to the loopback, and then post to the
//! loopback as to itself. But the page cannot name another host than its own.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use keybroker_common::{
    function::Function,
    http::{self, ROUTES, reply},
    sampled::{Line, Sampled},
};
use std::net::{IpAddr, SocketAddr};

/// Refuses a registration that names another host than the loopback with 421, if `guarded`.
pub(crate) async fn only(State(guarded): State<bool>, request: Request, next: Next) -> Response {
    if guarded && registers(&request) && !names_loopback(request.headers()) {
        static LINES: Sampled = Sampled::new();
        if let Some(Line { left_out }) = LINES.line() {
            tracing::warn!(left_out, "refused a registration that came to the loopback for another host");
        }
        let body =
            br#"{"error":"this address takes registrations only from requests that name the loopback"}"#;
        return reply::json(StatusCode::MISDIRECTED_REQUEST, body.to_vec()).into_response();
    }
    next.run(request).await
}

fn registers(request: &Request) -> bool {
    let path = http::path(request.uri());
    request.method() == Method::POST
        && ROUTES.iter().any(|route| route.function == Function::Register && route.path == path)
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return address.is_loopback();
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_registration_is_one_behind_any_number_of_slashes() {
        for path in ["/kbs/v0/register_workload", "//kbs/v0/register_workload", "///rvp/register?x"] {
            let request = Request::post(path).body(axum::body::Body::empty()).unwrap();
            assert!(registers(&request), "{path}");
        }
    }

    #[test]
    fn the_loopback_goes_by_its_addresses_and_its_one_name() {
        let rows = [
            (&["127.0.0.1:8000"][..], true),
            (&["127.0.0.1"], true),
            (&["127.9.9.9:1"], true),
            (&["[::1]:8000"], true),
            (&["[::1]"], true),
            (&["localhost:8000"], true),
            (&["LOCALHOST"], true),
            (&["rebound.example.org:8000"], false),
            (&["localhost.example.org"], false),
            (&["10.0.0.1:8000"], false),
            (&["127.0.0.1.example.org"], false),
            (&[""], false),
            (&[], false),
            (&["127.0.0.1", "127.0.0.1"], false),
        ];
        for (hosts, expected) in rows {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, HeaderValue::from_static(host));
            }
            assert_eq!(names_loopback(&headers), expected, "{hosts:?}");
        }
    }
}
