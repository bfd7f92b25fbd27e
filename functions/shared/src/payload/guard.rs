//! The guard before lambda_http's conversion of an event. The conversion (lambda_http 1.3.2,
//! aws_lambda_events 1.2.1) panics on events that a client can bring about, and lets others change the
//! request's path. So it gets no event as it came, but one that is built here:
//!
//! | of the event | what the conversion does with it | what it is given |
//! |---|---|---|
//! | Host, X-Forwarded-Proto | makes a URL of them and the path; panics if it is none, and a Host may hold a path | no Host, without which it reads neither; Host is put back afterwards |
//! | domainName | stands in for Host | nothing |
//! | rawPath | panics if it has no `/` in front or is too long; resolves `..` | the route's own part, encoded; it is put back afterwards |
//! | stage | puts it before the path | nothing: it is stripped here |
//! | rawQueryString | panics if it has what no URI can hold | nothing: no route takes a query |
//! | body | panics if it is said to be base64 and is not; copies it | nothing: its bytes are attached afterwards |
//! | headers | none of them is left out: one that is no header fails the event | those that are headers |
//! | cookies | join into one header in place of any other, or vanish if one of them is not ASCII | headers, one each |
//! | method | an empty one is GET | a method |
//!
//! `tests/tripwire` fails when one of these panics is gone.

use std::borrow::Cow;

use axum::body::Body;
use data_encoding::BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use keybroker_common::{http::SIGNED, problem::Problem};
use lambda_http::{aws_lambda_events::apigw::ApiGatewayV2httpRequest, request::LambdaRequest};

use super::{Event, RequestContext};

/// The request that `event` is.
pub(super) fn request(event: Event) -> Result<Request<Body>, Problem> {
    let body = body(event.body, event.is_base64_encoded)?;
    let context = event.request_context;
    let method = Method::from_bytes(context.http.method.as_bytes()).map_err(|_| Problem::NotFound)?;
    let path = encoded(path(&event.raw_path, &context)).into_owned();
    // `encoded` leaves nothing that a URI refuses but a length.
    let sent: Uri = path.parse().map_err(|_| Problem::NotFound)?;
    if !path.starts_with('/') {
        return Err(Problem::NotFound);
    }
    let mut headers = headers(event.headers.into_iter().flatten(), event.cookies.into_iter().flatten());
    let host = headers.remove(header::HOST);

    let mut harmless = ApiGatewayV2httpRequest::default();
    harmless.request_context.http.method = method;
    harmless.raw_path = Some(path);
    harmless.headers = headers;

    let request: lambda_http::Request = LambdaRequest::ApiGatewayV2(harmless).into();
    let mut request = request.map(|_| Body::from(body));
    *request.uri_mut() = sent;
    request.headers_mut().extend(host.map(|host| (header::HOST, host)));
    Ok(request)
}

/// The body's bytes: text as it is, or decoded. The decoder takes base64 in several pieces, on which the
/// conversion's panics.
fn body(text: Option<String>, base64: bool) -> Result<Vec<u8>, Problem> {
    match text {
        Some(text) if base64 => BASE64.decode(text.as_bytes()).map_err(|_| Problem::Truncated),
        text => Ok(text.unwrap_or_default().into_bytes()),
    }
}

/// All that HTTP can carry of `headers` and `cookies`: a header with a line break in it is left out, as are
/// those that no map has room for.
fn headers(
    headers: impl Iterator<Item = (String, String)>,
    cookies: impl Iterator<Item = String>,
) -> HeaderMap {
    let mut carried = HeaderMap::new();
    for (name, value) in headers.chain(cookies.map(|value| ("cookie".to_owned(), value))) {
        let header = (HeaderName::try_from(name), HeaderValue::try_from(value.into_bytes()));
        if let (Ok(name), Ok(value)) = header
            && carried.try_append(name, value).is_err()
        {
            break;
        }
    }
    carried
}

/// The path that the routes know: `raw` without what stands in front of it, a stage's name or a custom
/// domain's base path.
///
/// The route that API Gateway matched says how many segments are the route's own. Where it matched none
/// (`$default`, as with `cargo lambda watch`), a named stage is all that can be told apart.
fn path<'a>(raw: &'a str, context: &RequestContext) -> &'a str {
    let route = context.route_key.as_deref().and_then(|key| key.split_once(' '));
    if let Some((_, template)) = route {
        let own = template.matches('/').count();
        let begin = raw.rmatch_indices('/').nth(own.saturating_sub(1)).map_or(0, |(index, _)| index);
        let path = raw.get(begin..).unwrap_or(raw);
        return if template.starts_with(SIGNED) { path.strip_prefix(SIGNED).unwrap_or(path) } else { path };
    }
    let stage = context.stage.as_deref().filter(|stage| *stage != "$default");
    let below = |stage| raw.strip_prefix('/')?.strip_prefix(stage).filter(|rest| rest.starts_with('/'));
    stage.and_then(below).unwrap_or(raw)
}

/// API Gateway hands out paths decoded: what a URL cannot hold is encoded again. `%` stays, for it may stand
/// for itself where the path came as it was sent, and no id of ours holds one.
pub(super) fn encoded(path: &str) -> Cow<'_, str> {
    let holds = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}?#".contains(&byte);
    if path.bytes().all(holds) {
        return path.into();
    }
    let encode = |byte| if holds(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.bytes().map(encode).collect::<String>().into()
}
