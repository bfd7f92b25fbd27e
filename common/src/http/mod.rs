//! The broker over HTTP: one table of routes, shared by the functions and the embedded server.
//!
//! A handler decodes, calls the broker once and encodes. What goes wrong on the way is a [`Problem`], and
//! [`problem`](crate::problem) alone knows what the client is told.

mod guest_url;
mod handlers;
pub(crate) mod reply;
mod request;
#[cfg(test)]
mod tests;
mod unhurried;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, any},
};
use http::Method;

pub use request::{BODY_LIMIT, BODY_TIMEOUT};

use crate::{
    broker::{Attest, Auth, Register},
    problem::Problem,
};

/// Which function of the deployment serves a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Registration.
    Register,
    /// Challenges.
    Auth,
    /// Attestation and release.
    Attest,
    /// Each of them.
    Any,
}

/// A row of the table of routes.
#[derive(Debug, Clone)]
pub struct Route {
    /// The one method that the path takes.
    pub method: Method,
    /// The path, with `{…}` where it has a parameter.
    pub path: &'static str,
    /// Who serves it.
    pub function: Function,
    /// Its handler, if the services hold what that needs.
    handler: fn(&Services) -> Option<MethodRouter>,
}

/// Every route there is.
pub const ROUTES: [Route; 5] = [
    Route {
        method: Method::POST,
        path: "/kbs/v0/register_workload",
        function: Function::Register,
        handler: |services| Some(any(handlers::register).with_state(services.register.clone()?)),
    },
    Route {
        method: Method::POST,
        path: "/kbs/v0/auth",
        function: Function::Auth,
        handler: |services| Some(any(handlers::auth).with_state(services.auth.clone()?)),
    },
    Route {
        method: Method::POST,
        path: "/kbs/v0/attest",
        function: Function::Attest,
        handler: |services| Some(any(handlers::attest).with_state(services.attest.clone()?)),
    },
    Route {
        method: Method::GET,
        path: "/kbs/v0/key/{workload_id}",
        function: Function::Attest,
        handler: |services| Some(any(handlers::key).with_state(services.attest.clone()?)),
    },
    Route {
        method: Method::GET,
        path: "/healthz",
        function: Function::Any,
        handler: |_| Some(any(handlers::health)),
    },
];

/// What a process serves: a function holds one of them, the embedded server all.
#[derive(Debug, Clone, Default)]
pub struct Services {
    /// Registration.
    pub register: Option<Register>,
    /// Challenges.
    pub auth: Option<Auth>,
    /// Attestation and release.
    pub attest: Option<Attest>,
}

/// The routes that `services` can serve. Everything else is a 404 or a 405, with a body.
pub fn router(services: &Services) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        if let Some(handler) = (route.handler)(services) {
            let handler = handler.layer(middleware::from_fn_with_state(route.method, only));
            router = router.route(route.path, handler);
        }
    }
    router.fallback(|| async { Problem::NotFound })
}

/// Lets `method` alone through. axum would answer HEAD wherever it answers GET: to a key that means a release, audit
/// record and all, for an answer that nobody reads.
async fn only(State(method): State<Method>, request: Request, next: Next) -> Response {
    if request.method() == method {
        next.run(request).await
    } else {
        Problem::MethodNotAllowed(method).into_response()
    }
}
