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
    present::{End, present},
    sign::Signer,
    upstream::{Fault, Upstream},
};

/// The header fields that the broker's protocol needs. A client's Authorization is not among them: the relay
/// registers in its own name, and guests do not register.
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
    Broker(Fault),
}

impl From<Problem> for Unanswered {
    fn from(problem: Problem) -> Self {
        Self::Request(problem)
    }
}

impl From<Fault> for Unanswered {
    fn from(fault: Fault) -> Self {
        Self::Broker(fault)
    }
}

impl IntoResponse for Unanswered {
    fn into_response(self) -> Response {
        match self {
            Self::Request(problem) => problem.into_response(),
            Self::Broker(fault) => fault.into_response(),
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
    let end = end(&route, &parts.headers);
    let mut headers = passed(&parts.headers);
    // The body is zeroed after use, as in the broker: a registration holds a passphrase.
    let body = match route.method {
        Method::GET => None,
        _ => Some(Bytes::from_owner(http::body_within(route.body_limit(), body).await?)),
    };
    if let RelayKind::Build(credential) = role {
        authorize(credential, &url, &mut headers, body.as_deref().unwrap_or_default()).await?;
    }
    let answer = upstream.ask(route.method.clone(), url, headers, body).await?;
    static LINES: Sampled = Sampled::new();
    if !answer.status().is_success()
        && let Some(Line { left_out }) = LINES.line()
    {
        let status = answer.status().as_u16();
        tracing::info!(status, route = route.path, left_out, "the broker refused");
    }
    Ok(present(answer, end))
}

/// The fields that are passed, each with all its values: libkrun's guest sends its cookie twice.
fn passed(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in PASSED {
        for value in headers.get_all(&name) {
            passed.append(name.clone(), value.clone());
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

/// The end that the client needs. libkrun's guest sends no User-Agent, and reads a key until a NUL.
fn end(route: &Route, headers: &HeaderMap) -> End {
    if *route == KEY && !headers.contains_key(header::USER_AGENT) { End::Nul } else { End::AsItIs }
}
