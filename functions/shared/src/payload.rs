//! API Gateway's payload format 2.0: an event becomes a request, a response becomes a reply.
//!
//! Nothing in an event can make this panic. What HTTP could not carry, a header with a line break in it for
//! one, is left out.

use std::{borrow::Cow, collections::BTreeMap};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
};
use data_encoding::BASE64;
use http::{HeaderName, HeaderValue, Method, Request, header};
use http_body_util::BodyExt;
use keybroker_common::{
    http::{Principal, SIGNED},
    panics::caught,
    problem::Problem,
};
use serde::{Deserialize, Serialize};
use tower::ServiceExt;

/// An event of payload format 2.0, as far as the broker reads it. Its body may be a passphrase: there is no
/// `Debug`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    raw_path: String,
    headers: Option<BTreeMap<String, String>>,
    cookies: Option<Vec<String>>,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
    request_context: RequestContext,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    http: Http,
    route_key: Option<String>,
    stage: Option<String>,
    authorizer: Option<Authorizer>,
}

#[derive(Deserialize)]
struct Http {
    method: String,
}

#[derive(Deserialize)]
struct Authorizer {
    iam: Option<Iam>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Iam {
    user_arn: Option<String>,
}

/// A reply of payload format 2.0.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply {
    status_code: u16,
    headers: BTreeMap<String, String>,
    cookies: Vec<String>,
    body: String,
    is_base64_encoded: bool,
}

/// Has `router` answer `event`.
pub async fn answer(router: Router, event: Event) -> Reply {
    let response = caught(async {
        match event.into_request() {
            Ok(request) => router.oneshot(request).await.unwrap_or_else(|never| match never {}),
            Err(problem) => problem.into_response(),
        }
    });
    // To the runtime a panic would be an error of the function, which it prints with all that was said.
    let response = response.await.unwrap_or_else(|panicked| Problem::from(panicked).into_response());
    Reply::from_response(response).await
}

impl Event {
    fn into_request(self) -> Result<Request<Body>, Problem> {
        let method = Method::from_bytes(self.request_context.http.method.as_bytes());
        let path = encoded(path(&self.raw_path, &self.request_context)).into_owned();
        let mut request = Request::new(body(self.body.unwrap_or_default(), self.is_base64_encoded)?);
        *request.method_mut() = method.map_err(|_| Problem::NotFound)?;
        *request.uri_mut() = path.parse().map_err(|_| Problem::NotFound)?;
        let cookies = self.cookies.unwrap_or_default().into_iter().map(|value| ("cookie".to_owned(), value));
        for (name, value) in self.headers.unwrap_or_default().into_iter().chain(cookies) {
            let header = (HeaderName::try_from(name), HeaderValue::try_from(value.into_bytes()));
            if let (Ok(name), Ok(value)) = header {
                request.headers_mut().append(name, value);
            }
        }
        if let Some(principal) = self.request_context.principal() {
            request.extensions_mut().insert(principal);
        }
        Ok(request)
    }
}

fn body(text: String, base64: bool) -> Result<Body, Problem> {
    if base64 {
        BASE64.decode(text.as_bytes()).map(Body::from).map_err(|_| Problem::Truncated)
    } else {
        Ok(Body::from(text))
    }
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
fn encoded(path: &str) -> Cow<'_, str> {
    let holds = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}?#".contains(&byte);
    if path.bytes().all(holds) {
        return path.into();
    }
    let encode = |byte| if holds(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.bytes().map(encode).collect::<String>().into()
}

impl RequestContext {
    /// Whom API Gateway authenticated by IAM. Sessions of one role are one principal: their names are the
    /// callers' choice.
    fn principal(&self) -> Option<Principal> {
        let arn = self.authorizer.as_ref()?.iam.as_ref()?.user_arn.as_deref()?;
        let role = |arn: &str| {
            let (role, _session) = arn.rsplit_once('/')?;
            role.contains(":assumed-role/").then(|| role.to_owned())
        };
        Some(Principal(role(arn).unwrap_or_else(|| arn.to_owned())))
            .filter(|Principal(name)| !name.is_empty())
    }
}

impl Reply {
    async fn from_response(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let mut headers = BTreeMap::new();
        let mut cookies = Vec::new();
        for (name, value) in &parts.headers {
            // All of them are ASCII: the broker's own.
            let Ok(text) = value.to_str() else { continue };
            if name == header::SET_COOKIE {
                cookies.push(text.to_owned());
            } else {
                headers.insert(name.as_str().to_owned(), text.to_owned());
            }
        }
        // The broker's bodies are whole before they are sent, so gathering one cannot fail.
        let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let (body, is_base64_encoded) = match std::str::from_utf8(&bytes) {
            Ok(text) => (text.to_owned(), false),
            Err(_) => (BASE64.encode(&bytes), true),
        };
        Self { status_code: parts.status.as_u16(), headers, cookies, body, is_base64_encoded }
    }
}

#[cfg(test)]
mod tests;
