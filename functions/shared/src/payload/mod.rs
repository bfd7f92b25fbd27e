//! API Gateway's payload format 2.0: an event becomes a request, a response becomes a reply.
//!
//! lambda_http makes the request, and `guard` stands before it: no event can make this panic. A header that
//! HTTP could not carry, with a line break in it for one, is left out. The reply is made here: lambda_http's
//! own adapter would bring more code to each function, and nothing that the broker needs.

use std::collections::BTreeMap;

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
};
use data_encoding::BASE64;
use http::{Request, header};
use http_body_util::BodyExt;
use keybroker_common::{http::Principal, panics::caught, problem::Problem};
use serde::{Deserialize, Serialize};
use tower::ServiceExt;

mod guard;
#[cfg(test)]
mod tests;

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
    request_id: Option<String>,
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
    /// The request, as API Gateway names it in its log and in its answer.
    pub fn request_id(&self) -> Option<&str> {
        self.request_context.request_id.as_deref()
    }

    fn into_request(self) -> Result<Request<Body>, Problem> {
        let principal = self.request_context.principal();
        let mut request = guard::request(self)?;
        if let Some(principal) = principal {
            request.extensions_mut().insert(principal);
        }
        Ok(request)
    }
}

impl RequestContext {
    /// The principal that API Gateway authenticated by IAM. Sessions of one role are one principal: the
    /// callers choose the names of sessions.
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
