//! The requests that a relay passes on, and what it adds to them.

use std::{fmt, sync::Arc};

use axum::{
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, any},
};
use keybroker_common::{
    function::Function,
    http::{self, KEY, ROUTES, Route, SIGNED, Serve},
    problem::Problem,
    sampled::{Line, Sampled},
};

use super::{
    present::{Reader, present, refusal},
    sign::Signer,
    upstream::{Fault, Upstream},
};

/// The header fields that the broker's protocol needs. A client's Authorization is not among them: the relay
/// registers in its own name, and guests do not register. Where a guest shows its attestation result in that
/// field, a guest relay passes it, too.
const PASSED: [HeaderName; 4] = [header::CONTENT_TYPE, header::COOKIE, header::ACCEPT, header::USER_AGENT];

/// The two kinds of relay.
#[derive(Debug)]
pub(super) enum RelayKind {
    /// For guests: challenges, evidence, keys.
    Guest,
    /// For a build: registrations, in the name of the credential's owner.
    Build(BuildCredential),
}

/// The credential with which a build relay registers.
#[derive(Debug)]
pub(super) enum BuildCredential {
    /// A token: the Authorization header that presents it.
    Token(HeaderValue),
    /// A principal of AWS.
    Signature(Signer),
}

impl RelayKind {
    fn serves(&self, route: &Route) -> bool {
        match self {
            Self::Guest => matches!(route.function, Function::Auth | Function::Attest),
            Self::Build(_) => route.function == Function::Register,
        }
    }

    fn prefix(&self) -> &'static str {
        match self {
            Self::Build(BuildCredential::Signature(_)) => SIGNED,
            _ => "",
        }
    }
}

impl fmt::Display for RelayKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guest => "guest relay",
            Self::Build(BuildCredential::Token(_)) => "build relay, which registers with its token,",
            Self::Build(BuildCredential::Signature(_)) => {
                "build relay, which registers as its AWS principal,"
            }
        })
    }
}

/// A relay: the routes of its kind, each of which asks the broker.
#[derive(Debug, Clone)]
pub(super) struct Relay(Arc<RelayParts>);

#[derive(Debug)]
struct RelayParts {
    role: RelayKind,
    upstream: Upstream,
}

impl Relay {
    pub(super) fn new(role: RelayKind, upstream: Upstream) -> Self {
        Self(Arc::new(RelayParts { role, upstream }))
    }
}

impl Serve for Relay {
    fn handlers(self) -> Vec<(Route, MethodRouter)> {
        let served = ROUTES.into_iter().filter(|route| self.0.role.serves(route));
        served.map(|route| (route.clone(), any(forward).with_state((self.clone(), route)))).collect()
    }
}

/// The reason why a request was not passed on, or its answer not passed back.
enum Unanswered {
    Request(Problem),
    Broker(Fault, Reader),
}

impl From<Problem> for Unanswered {
    fn from(problem: Problem) -> Self {
        Self::Request(problem)
    }
}

impl IntoResponse for Unanswered {
    fn into_response(self) -> Response {
        match self {
            Self::Request(problem) => problem.into_response(),
            Self::Broker(fault, reader) => refusal(fault.status(), &fault.to_string(), reader),
        }
    }
}

async fn forward(
    State((relay, route)): State<(Relay, Route)>,
    request: Request,
) -> Result<Response, Unanswered> {
    let RelayParts { role, upstream } = &*relay.0;
    let (parts, body) = request.into_parts();
    let url = upstream.url(role.prefix(), &route, parts.uri.path()).ok_or(Problem::NotFound)?;
    let reader = reader(&route, &parts.headers);
    let unanswered = |fault| Unanswered::Broker(fault, reader);
    let mut headers = passed(&route, &parts.headers);
    // The body is zeroed after use, as in the broker: a registration holds a passphrase.
    let body = match route.method {
        Method::GET => None,
        _ => Some(Bytes::from_owner(http::body_within(route.body_limit(), body).await?)),
    };
    if let RelayKind::Build(credential) = role {
        let authorized = authorize(credential, &url, &mut headers, body.as_deref().unwrap_or_default());
        authorized.await.map_err(unanswered)?;
    }
    let answer = upstream.ask(route.method.clone(), url, headers, body).await.map_err(unanswered)?;
    static LINES: Sampled = Sampled::new();
    if !answer.status().is_success()
        && let Some(Line { left_out }) = LINES.line()
    {
        let status = answer.status().as_u16();
        tracing::info!(status, route = route.path, left_out, "the broker refused");
    }
    Ok(present(answer, reader))
}

/// The fields that are passed, each with all its values: libkrun's guest sends its cookie twice.
fn passed(route: &Route, headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in PASSED.into_iter().chain(route.takes_results().then_some(header::AUTHORIZATION)) {
        for value in headers.get_all(&name) {
            let mut value = value.clone();
            value.set_sensitive([header::COOKIE, header::AUTHORIZATION].contains(&name));
            passed.append(name.clone(), value);
        }
    }
    passed
}

async fn authorize(
    credential: &BuildCredential,
    url: &reqwest::Url,
    headers: &mut HeaderMap,
    body: &[u8],
) -> Result<(), Fault> {
    match credential {
        BuildCredential::Token(value) => {
            headers.insert(header::AUTHORIZATION, value.clone());
            Ok(())
        }
        BuildCredential::Signature(signer) => signer.sign(url, headers, body).await.map_err(|cause| {
            tracing::error!(cause = format!("{cause:#}"), "a registration cannot be signed");
            Fault::Unsigned
        }),
    }
}

/// The client, by what it can read. libkrun's guest sends no User-Agent, and reads a key until a NUL.
fn reader(route: &Route, headers: &HeaderMap) -> Reader {
    match (route.is_trustees(), headers.contains_key(header::USER_AGENT)) {
        (true, _) => Reader::Trustee,
        (false, true) => Reader::Http,
        (false, false) if *route == KEY => Reader::LibkrunsKey,
        (false, false) => Reader::Libkrun,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request has every field that a client may send, and goes to each route.
    #[test]
    fn an_attestation_result_passes_where_guests_show_one_and_nowhere_else() {
        let mut sent = HeaderMap::new();
        for name in ["content-type", "cookie", "accept", "user-agent", "authorization", "x-amz-date", "host"]
        {
            sent.append(HeaderName::from_static(name), HeaderValue::from_static("Bearer a.b.c"));
        }
        let mut results = 0;
        for route in ROUTES {
            let passed = passed(&route, &sent);
            let mut names: Vec<_> = passed.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            if route.takes_results() {
                results += 1;
                assert_eq!((&route.method, route.function), (&Method::GET, Function::Attest));
                assert_eq!(names, ["accept", "authorization", "content-type", "cookie", "user-agent"]);
            } else {
                assert_eq!(names, ["accept", "content-type", "cookie", "user-agent"], "{}", route.path);
            }
            let sensitive = passed.iter().filter(|(_, value)| value.is_sensitive()).count();
            assert_eq!(sensitive, 1 + usize::from(route.takes_results()), "{}", route.path);
        }
        assert_eq!(results, 2);
        // A build relay serves no such route: its own Authorization stands alone.
        let build = RelayKind::Build(BuildCredential::Token(HeaderValue::from_static("Bearer t")));
        assert!(!ROUTES.iter().any(|route| build.serves(route) && route.takes_results()));
    }
}
