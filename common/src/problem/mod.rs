//! The one map from what went wrong to what the client is told.
//!
//! libkrun's guest ignores the status and takes an empty body for success, a longer one than its buffer for a
//! crash: every answer that a guest may get has a body of 3 to 199 bytes. Clients get fixed texts and the id
//! of the audit record, never a cause.

mod details;
mod trustee;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};

pub use trustee::{TrusteeStage, error_information};

use crate::{
    broker,
    http::reply,
    ids::AuditId,
    panics::Panicked,
    sampled::{Line, Sampled},
    wire::Invalid,
};

/// Everything that keeps a request from succeeding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The broker did not do it.
    #[error(transparent)]
    Broker(#[from] broker::Error),
    /// The request was not understood.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The request names no session.
    #[error("no session cookie")]
    NoCookie,
    /// The store cannot be used, or has no room: the answer to a monitor of the broker.
    #[error("the store cannot be used, or has no room")]
    Unhealthy,
    /// There is nothing under this path.
    #[error("not found")]
    NotFound,
    /// The path is known, and takes this method alone.
    #[error("method not allowed")]
    MethodNotAllowed(Method),
    /// The body did not arrive in time.
    #[error("the body did not arrive within 10 seconds")]
    Timeout,
    /// The connection failed while the body was read: nobody may be there to read this.
    #[error("the body did not arrive whole")]
    Truncated,
    /// The body is longer than any such request's: more than so many bytes.
    #[error("the body is longer than {} KiB", .0 / 1024)]
    TooLarge(usize),
    /// The body is declared to be something else than JSON.
    #[error("the body must be application/json")]
    MediaType,
}

/// Longest text about a policy, in characters: it says what to write instead, and no guest is told it.
const POLICY_TEXT_MAX_LEN: usize = 600;

impl Problem {
    /// The status that goes with it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Broker(broker::Error::NoSession { .. } | broker::Error::Unauthenticated { .. })
            | Self::NoCookie => StatusCode::UNAUTHORIZED,
            Self::Broker(broker::Error::TooMany { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Self::Broker(broker::Error::Refused { .. } | broker::Error::NoSecret { .. }) => {
                StatusCode::FORBIDDEN
            }
            Self::Broker(broker::Error::AlreadyRegistered { .. }) => StatusCode::CONFLICT,
            Self::Broker(broker::Error::Internal { .. }) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broker(broker::Error::Unavailable { .. }) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broker(broker::Error::Policy(_)) | Self::Invalid(_) | Self::Truncated => {
                StatusCode::BAD_REQUEST
            }
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    /// The audit record, where there is one.
    pub fn id(&self) -> Option<AuditId> {
        match self {
            Self::Broker(
                broker::Error::Refused { id }
                | broker::Error::NoSecret { id }
                | broker::Error::Unauthenticated { id }
                | broker::Error::AlreadyRegistered { id },
            ) => Some(*id),
            Self::Broker(
                broker::Error::NoSession { id }
                | broker::Error::Unavailable { id, .. }
                | broker::Error::Internal { id },
            ) => *id,
            _ => None,
        }
    }

    /// The body: `{"error":"<text>"}`, with `"id"` where there is an audit record. 3 to 199 bytes, but for
    /// what a policy is refused for.
    pub fn body(&self) -> Vec<u8> {
        let error = match self {
            // The parser's words, and a length of its own: what JSON would escape is replaced, the end left
            // out.
            Self::Broker(broker::Error::Policy(error)) => error
                .to_string()
                .replace('"', "'")
                .replace('\\', "/")
                .chars()
                .take(POLICY_TEXT_MAX_LEN)
                .collect(),
            // Quotes are all that the other texts hold of what JSON escapes; a test looks at every one of
            // them.
            other => other.to_string().replace('"', "\\\""),
        };
        match self.id() {
            Some(id) => format!(r#"{{"error":"{error}","id":"{id}"}}"#),
            None => format!(r#"{{"error":"{error}"}}"#),
        }
        .into_bytes()
    }
}

impl From<Panicked> for Problem {
    fn from(panicked: Panicked) -> Self {
        Self::Broker(panicked.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        static LINES: Sampled = Sampled::new();
        // Buildah shows its user the status alone: the operator can look here for the rest. If the answer has
        // a record, the log told of it with that record.
        if self.id().is_none()
            && let Some(Line { left_out }) = LINES.line()
        {
            tracing::info!(status = self.status().as_u16(), cause = %self, left_out, "request refused");
        }
        let mut response = reply::json(self.status(), self.body());
        match &self {
            Self::Broker(
                broker::Error::Unavailable { retry_after, .. } | broker::Error::TooMany { retry_after },
            ) => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*retry_after));
            }
            Self::MethodNotAllowed(allowed) => {
                if let Ok(allowed) = HeaderValue::from_str(allowed.as_str()) {
                    response.headers_mut().insert(header::ALLOW, allowed);
                }
            }
            Self::Broker(broker::Error::Unauthenticated { .. }) => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests;
