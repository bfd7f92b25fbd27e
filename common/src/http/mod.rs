//! The broker over HTTP: one table of routes, shared by the functions and the embedded server.
//!
//! A handler decodes, calls the broker once and encodes. Every failure on the way is a [`Problem`], and
//! [`problem`](crate::problem) alone decides what the client is told.

pub mod guest_url;
mod handlers;
pub mod reply;
mod request;
mod unhurried;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, any},
};
use http::{Method, Uri, uri::PathAndQuery};
use keybroker_native::client;
use tower::{Layer as _, util::MapRequestLayer};

use crate::{
    broker::{Attest, Auth, Broker, Register},
    function::Function,
    panics::caught,
    problem::{Problem, TrusteeStage},
    store::Health,
};

pub use request::{BODY_LIMIT, BODY_TIMEOUT, EVIDENCE_LIMIT, REFERENCE_VALUES_LIMIT, body_within};

/// A row of the table of routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The one method that the path takes.
    pub method: Method,
    /// The path, with `{…}` where it has a parameter.
    pub path: &'static str,
    /// The function that serves it.
    pub function: Function,
}

impl Route {
    const fn new(method: Method, path: &'static str, function: Function) -> Self {
        Self { method, path, function }
    }

    /// Whether all its clients are Trustee's, which read problems in a form of their own.
    pub fn is_trustees(&self) -> bool {
        [AUTH_OF, ATTEST_OF, NAMED_RESOURCE, NAMED_RESOURCE_OF].contains(self)
    }

    /// Whether a guest may show its attestation result there, in the Authorization header.
    pub fn takes_results(&self) -> bool {
        [NAMED_RESOURCE, NAMED_RESOURCE_OF].contains(self)
    }

    /// Longest body that it takes, in bytes.
    pub fn body_limit(&self) -> usize {
        match self {
            route if *route == REFERENCE_VALUES => REFERENCE_VALUES_LIMIT,
            route if *route == ATTEST || *route == ATTEST_OF => EVIDENCE_LIMIT,
            _ => BODY_LIMIT,
        }
    }
}

const REGISTER: Route = Route::new(Method::POST, "/kbs/v0/register_workload", Function::Register);
const AUTH: Route = Route::new(Method::POST, "/kbs/v0/auth", Function::Auth);
const ATTEST: Route = Route::new(Method::POST, "/kbs/v0/attest", Function::Attest);
/// A passphrase, sealed to the guest's key.
pub const KEY: Route = Route::new(Method::GET, "/kbs/v0/key/{workload_id}", Function::Attest);
const REFERENCE_VALUES: Route = Route::new(Method::POST, "/rvp/register", Function::Register);
const RESOURCE: Route = Route::new(Method::GET, "/kbs/v0/resource/{name}", Function::Attest);
/// A resource of Trustee's guests.
const NAMED_RESOURCE: Route =
    Route::new(Method::GET, "/kbs/v0/resource/{repository}/{type}/{tag}", Function::Attest);
/// The public keys that attestation results are signed with.
const RESULT_KEYS: Route = Route::new(Method::GET, "/kbs/v0/jwks", Function::Attest);
/// The same routes for a guest of Trustee's whose URL names its workload.
const AUTH_OF: Route = Route::new(Method::POST, "/w/{workload_id}/kbs/v0/auth", Function::Auth);
const ATTEST_OF: Route = Route::new(Method::POST, "/w/{workload_id}/kbs/v0/attest", Function::Attest);
const NAMED_RESOURCE_OF: Route =
    Route::new(Method::GET, "/w/{workload_id}/kbs/v0/resource/{repository}/{type}/{tag}", Function::Attest);
/// A challenge, in the broker's own protocol.
pub const CHALLENGE: Route = Route::new(Method::POST, client::CHALLENGE_PATH, Function::Auth);
/// Secrets for evidence, in the broker's own protocol.
pub const RELEASE: Route = Route::new(Method::POST, client::RELEASE_PATH, Function::Attest);
const HEALTH: Route = Route::new(Method::GET, "/healthz", Function::Any);

/// Every route there is.
pub const ROUTES: [Route; 14] = [
    REGISTER,
    REFERENCE_VALUES,
    AUTH,
    AUTH_OF,
    ATTEST,
    ATTEST_OF,
    KEY,
    RESOURCE,
    NAMED_RESOURCE,
    NAMED_RESOURCE_OF,
    RESULT_KEYS,
    CHALLENGE,
    RELEASE,
    HEALTH,
];

/// The prefix of the registration paths where API Gateway asks for a signature. They stand beside the plain
/// paths, for a route there has one authoriser or none. To the broker both are the same route.
pub const SIGNED: &str = "/iam";

/// A service that serves some of the routes.
///
/// Each service names its own handlers, and no table names all of them: so a function that is built over one
/// service holds no code of the others.
pub trait Serve {
    /// The routes that it serves, with their handlers.
    fn handlers(self) -> Vec<(Route, MethodRouter)>;
}

impl Serve for Register {
    fn handlers(self) -> Vec<(Route, MethodRouter)> {
        let by_reference_values = any(handlers::register_reference_values).with_state(self.clone());
        vec![(REGISTER, any(handlers::register).with_state(self)), (REFERENCE_VALUES, by_reference_values)]
    }
}

impl Serve for Auth {
    fn handlers(self) -> Vec<(Route, MethodRouter)> {
        let challenge = any(handlers::challenge).with_state(self.clone());
        let auth_of = any(handlers::auth).with_state(self.clone());
        vec![(AUTH, any(handlers::auth).with_state(self)), (AUTH_OF, auth_of), (CHALLENGE, challenge)]
    }
}

impl Serve for Attest {
    fn handlers(self) -> Vec<(Route, MethodRouter)> {
        let key = any(handlers::key).with_state(self.clone());
        let resource = any(handlers::resource).with_state(self.clone());
        let release = any(handlers::release).with_state(self.clone());
        let named_resource = || any(handlers::named_resource).with_state(self.clone());
        let result_keys = any(handlers::result_keys).with_state(self.clone());
        let attest = || any(handlers::attest).with_state(self.clone());
        vec![
            (ATTEST, attest()),
            (ATTEST_OF, attest()),
            (KEY, key),
            (RESOURCE, resource),
            (NAMED_RESOURCE, named_resource()),
            (NAMED_RESOURCE_OF, named_resource()),
            (RESULT_KEYS, result_keys),
            (RELEASE, release),
        ]
    }
}

/// All three in one process.
impl Serve for Broker {
    fn handlers(self) -> Vec<(Route, MethodRouter)> {
        [self.register.handlers(), self.auth.handlers(), self.attest.handlers()].concat()
    }
}

/// The path of a request as the routes have it, with one slash in front however many were sent: libkrun's
/// guest puts its path behind the URL in its image as that is, and asks for `//kbs/v0/auth` where it ends
/// with a slash.
///
/// No guest sends more than one further in, where a slash may be a part of an id: what does is no route.
pub fn path(uri: &Uri) -> &str {
    let path = uri.path();
    let slashes = path.len() - path.trim_start_matches('/').len();
    path.get(slashes.saturating_sub(1)..).unwrap_or(path)
}

/// The request with its [`path`] for its path.
fn with_path(mut request: Request) -> Request {
    let (uri, path) = (request.uri(), path(request.uri()));
    if path.len() != uri.path().len() {
        let path = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = PathAndQuery::try_from(path).ok();
        // The end of what was a path is one.
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// The routes of `service`, and the health of the process. Everything else is a 404 or a 405, with a body.
pub fn router(service: impl Serve) -> Router {
    mounted(service, None)
}

/// The same, with the health of the store that `service` stands on.
pub fn router_over(store: Arc<dyn Health>, service: impl Serve) -> Router {
    mounted(service, Some(store))
}

fn mounted(service: impl Serve, store: Option<Arc<dyn Health>>) -> Router {
    let mut handlers = service.handlers();
    handlers.push((HEALTH, any(handlers::health).with_state(store)));
    let mount = |router: Router, (route, handler): (Route, MethodRouter)| {
        router.route(route.path, handler.layer(middleware::from_fn_with_state(route.method, only)))
    };
    let routes = handlers.into_iter().fold(Router::new(), mount);
    // If the path matches no route as it came, it may match one after normalisation.
    let by_path = routes.clone().fallback(|| async { Problem::NotFound });
    let router = routes.fallback_service(MapRequestLayer::new(with_path).layer(by_path));
    router.layer(middleware::from_fn(answered))
}

/// The prefix of the broker's own protocol: its problems are RFC 9457's.
const NATIVE: &str = "/v1/";

/// The prefix of the paths that name a workload. Trustee's clients alone have such a URL.
const OF_WORKLOAD: &str = "/w/";

/// Answers in the place of a handler that panicked, and problems in the form of the protocol that they are
/// of: the path says which, or the handler where it depends on the request.
async fn answered(request: Request, next: Next) -> Response {
    let path = path(request.uri());
    let native = path.starts_with(NATIVE);
    let trustees = path.starts_with(OF_WORKLOAD).then_some(TrusteeStage::Attestation);
    let response = caught(next.run(request)).await;
    let mut response = response.unwrap_or_else(|panicked| Problem::from(panicked).into_response());
    let stage = response.extensions_mut().remove::<TrusteeStage>().or(trustees);
    match (response.extensions_mut().remove::<Problem>(), stage) {
        (Some(problem), _) if native => reply::with_details(response, problem.details()),
        (Some(problem), Some(stage)) => {
            reply::with_status(response, problem.trustee_status(), problem.trustee_body(stage))
        }
        _ => response,
    }
}

/// The principal that the server in front of the broker has authenticated: an extension of the request.
/// Nothing that the client itself sends becomes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal(pub String);

/// The operator, by a name for the record: an extension of requests that come the operator's own way, and of
/// no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator(pub String);

/// Lets `method` alone through. axum would answer HEAD wherever it answers GET: to a key that means a
/// release, audit record and all, for an answer that nobody reads.
async fn only(State(method): State<Method>, request: Request, next: Next) -> Response {
    if request.method() == method {
        next.run(request).await
    } else {
        Problem::MethodNotAllowed(method).into_response()
    }
}
