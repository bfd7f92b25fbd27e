//! The one map from what went wrong to what the client is told.
//!
//! libkrun's guest ignores the status and takes an empty body for success, a longer one than its buffer for a
//! crash: every answer that a guest may get has a body of 3 to 199 bytes. Clients get fixed texts and the id
//! of the audit record, never a cause.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};
use serde::Serialize;

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
            Self::Broker(broker::Error::Refused { .. }) => StatusCode::FORBIDDEN,
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

/// Problem details, as RFC 9457 has them.
#[derive(Serialize)]
struct Details<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<AuditId>,
}

impl Problem {
    /// The same in the form of RFC 9457, for the broker's own protocol. The detail is the text of
    /// [`Self::body`], and `decision` the audit record's id, where there is one.
    pub fn details(&self) -> Vec<u8> {
        let detail = match self {
            Self::Broker(broker::Error::NoSession { .. }) => {
                "the challenge was answered before, is over, or is not this broker's".to_owned()
            }
            other => other.to_string(),
        };
        let (status, decision) = (self.status(), self.id());
        let title = status.canonical_reason().unwrap_or_default();
        // The status says what kind of problem it is: `about:blank` (RFC 9457, 4.2.1).
        let details = Details { r#type: "about:blank", title, status: status.as_u16(), detail, decision };
        serde_json::to_vec(&details).unwrap_or_default()
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
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        http::{BODY_LIMIT, REFERENCE_VALUES_LIMIT},
        ids::WorkloadIdError,
        policy::PolicyRefused,
        secret::seal::GuestKeyError,
        wire::{Fault, FieldName, Part, keybroker::RegistrationFault, native::ReleaseFault},
    };

    fn faults() -> Vec<Invalid> {
        let name = FieldName::new(&"n".repeat(FieldName::MAX_LEN));
        let parts = [
            Part::Body,
            Part::TeeConfig,
            Part::ExtraParams,
            Part::TeeEvidence,
            Part::CertChain,
            Part::ReferenceValues,
        ];
        parts
            .into_iter()
            .flat_map(|part| {
                [
                    Fault::Syntax,
                    Fault::Type,
                    Fault::UnknownField(name.clone()),
                    Fault::DuplicateField(name.clone()),
                    Fault::MissingField(name.clone()),
                ]
                .map(|fault| Invalid::Json { part, fault })
            })
            .collect()
    }

    fn invalids() -> Vec<Invalid> {
        let keys = [
            GuestKeyError::ModulusTooShort(2047),
            GuestKeyError::ModulusTooLong(usize::MAX),
            GuestKeyError::EvenModulus,
            GuestKeyError::Exponent,
        ];
        let ids = [
            WorkloadIdError::Empty,
            WorkloadIdError::TooLong,
            WorkloadIdError::Invisible,
            WorkloadIdError::Unprintable,
        ];
        let others = [
            Invalid::Path,
            Invalid::MeasurementEmpty,
            Invalid::MeasurementOfSev,
            Invalid::Measurement,
            Invalid::PassphraseLength,
            Invalid::PassphraseNul,
            Invalid::TeeConfigBits,
            Invalid::Tee,
            Invalid::Version,
            Invalid::ReportHex,
            Invalid::KeyAlgorithm,
            Invalid::KeyBase64,
            Invalid::KeyExponent,
            Invalid::CertificateCount,
            Invalid::CertificateLength,
            Invalid::Cookies,
            Invalid::WorkloadIdForCookie,
            Invalid::ResourceName,
        ];
        let field = "reference_values.measurement";
        let registrations = [
            RegistrationFault::Unbound,
            RegistrationFault::Measurement(field),
            RegistrationFault::Disjoint,
            RegistrationFault::Hex("author_key_digest", 96),
            RegistrationFault::Zeros(field),
            RegistrationFault::HostData,
            RegistrationFault::OtherHostData,
            RegistrationFault::InitDataAlone,
            RegistrationFault::InitData,
            RegistrationFault::Document,
            RegistrationFault::OtherWorkload,
            RegistrationFault::OtherBinding,
            RegistrationFault::ReferenceValues,
            RegistrationFault::Nothing("ciphertext_hiding"),
            RegistrationFault::Unsigned("minimum_guest_svn"),
            RegistrationFault::NoFloor("minimum_committed_tcb"),
            RegistrationFault::Fmc("minimum_committed_tcb"),
            RegistrationFault::Ignored("reference_values"),
            RegistrationFault::ResourceCount,
            RegistrationFault::ResourceName,
            RegistrationFault::ResourceLength,
        ];
        let releases = [
            ReleaseFault::Challenge,
            ReleaseFault::Secrets,
            ReleaseFault::Suite,
            ReleaseFault::Base64("evidence.certificates"),
            ReleaseFault::PublicKey,
            ReleaseFault::InitData,
            ReleaseFault::BrokerKeys,
            ReleaseFault::Evidence,
        ];
        let mut all = faults();
        all.extend(releases.map(Invalid::Release));
        all.extend(registrations.map(Invalid::Registration));
        all.extend(keys.map(Invalid::Key));
        all.extend(ids.map(Invalid::WorkloadId));
        all.extend(others);
        all
    }

    /// One of each, where it has a text of its own.
    fn problems() -> Vec<Problem> {
        let id = AuditId::new();
        let broker = [
            broker::Error::NoSession { id: Some(id) },
            broker::Error::NoSession { id: None },
            broker::Error::Refused { id },
            broker::Error::AlreadyRegistered { id },
            broker::Error::Unauthenticated { id },
            broker::Error::TooMany { retry_after: 5 },
            broker::Error::Unavailable { id: Some(id), retry_after: 5 },
            broker::Error::Unavailable { id: None, retry_after: 5 },
            broker::Error::Internal { id: Some(id) },
            broker::Error::Internal { id: None },
        ];
        let http = [
            Problem::NoCookie,
            Problem::Unhealthy,
            Problem::NotFound,
            Problem::MethodNotAllowed(Method::POST),
            Problem::Timeout,
            Problem::Truncated,
            Problem::TooLarge(REFERENCE_VALUES_LIMIT),
            Problem::MediaType,
        ];
        let mut all: Vec<_> = broker.map(Problem::Broker).into();
        all.extend(http);
        all.extend(invalids().into_iter().map(Problem::Invalid));
        all
    }

    #[test]
    fn every_body_is_3_to_199_bytes_of_json_with_text_and_id() {
        for problem in problems() {
            let body = problem.body();
            assert!((3..=199).contains(&body.len()), "{problem:?}: {} bytes", body.len());
            let object: BTreeMap<String, String> = serde_json::from_slice(&body).unwrap();
            assert_eq!(object["error"], problem.to_string());
            assert_eq!(object.get("id").cloned(), problem.id().map(|id| id.to_string()));
        }
    }

    #[test]
    fn every_problem_has_details_with_its_status_and_record() {
        for problem in problems() {
            let details: serde_json::Value = serde_json::from_slice(&problem.details()).unwrap();
            let mut expected = serde_json::json!({
                "type": "about:blank",
                "title": problem.status().canonical_reason().unwrap(),
                "status": problem.status().as_u16(),
                "detail": problem.to_string(),
            });
            if let Some(id) = problem.id() {
                expected["decision"] = id.to_string().into();
            }
            if matches!(problem, Problem::Broker(broker::Error::NoSession { .. })) {
                // A guest of that protocol knows no session.
                let detail = "the challenge was answered before, is over, or is not this broker's";
                expected["detail"] = detail.into();
            }
            assert_eq!(details, expected);
            // As the guest reads it.
            let read = keybroker_native::client::Problem::from_json(&problem.details()).unwrap();
            assert_eq!(read.decision, problem.id().map(|id| id.to_string()));
            assert!((1..=120).contains(&read.detail.len()), "{read:?}");
        }
    }

    /// The parser's words may hold anything, and are of no route that answers with details.
    #[test]
    fn details_of_any_words_are_json() {
        for message in ["\"\\\"", "\u{0}\u{1f}", "é\u{2028}"] {
            let refused = broker::Error::Policy(PolicyRefused(message.to_owned()));
            let details: serde_json::Value =
                serde_json::from_slice(&Problem::Broker(refused.clone()).details()).unwrap();
            assert_eq!(
                (details["status"].as_u64(), details["detail"].as_str()),
                (Some(400), Some(&*refused.to_string()))
            );
        }
    }

    /// The parser quotes what it was given.
    #[test]
    fn a_parsers_words_about_a_policy_fit_into_a_body_of_json() {
        for message in ["x".repeat(5000), "\"\\\"".repeat(1000), "\\u0000".repeat(300)] {
            let error = PolicyRefused(format!("query 15: {message}"));
            let body = Problem::Broker(broker::Error::Policy(error)).body();
            assert!(body.len() <= POLICY_TEXT_MAX_LEN + 12, "{} bytes", body.len());
            let object: BTreeMap<String, String> = serde_json::from_slice(&body).unwrap();
            assert!(object["error"].starts_with("query 15: "), "{object:?}");
        }
    }

    #[test]
    fn every_text_is_120_characters_at_most() {
        for problem in problems() {
            assert!(problem.to_string().len() <= 120, "{problem}");
        }
    }

    #[test]
    fn each_outcome_has_its_status() {
        let id = AuditId::new();
        let rows = [
            (Problem::Broker(broker::Error::NoSession { id: Some(id) }), 401),
            (Problem::NoCookie, 401),
            (Problem::Broker(broker::Error::Refused { id }), 403),
            (Problem::Broker(broker::Error::AlreadyRegistered { id }), 409),
            (Problem::Broker(broker::Error::Unauthenticated { id }), 401),
            (Problem::Broker(broker::Error::TooMany { retry_after: 1 }), 429),
            (Problem::Broker(broker::Error::Unavailable { id: None, retry_after: 5 }), 503),
            (Problem::Broker(broker::Error::Internal { id: Some(id) }), 500),
            (Problem::Unhealthy, 503),
            (Problem::Invalid(Invalid::Tee), 400),
            (Problem::Broker(broker::Error::Policy(PolicyRefused("no query".to_owned()))), 400),
            (Problem::Truncated, 400),
            (Problem::NotFound, 404),
            (Problem::MethodNotAllowed(Method::GET), 405),
            (Problem::Timeout, 408),
            (Problem::TooLarge(BODY_LIMIT), 413),
            (Problem::MediaType, 415),
        ];
        for (problem, status) in rows {
            assert_eq!(problem.status().as_u16(), status, "{problem:?}");
        }
    }

    /// A new problem needs a place in the description of the API.
    #[test]
    fn every_status_is_described_somewhere() {
        let description = include_str!("../../docs/openapi.yaml");
        for problem in problems() {
            let described = match problem {
                // No route answers with these: they have a response of their own.
                Problem::NotFound => "    NotFound:\n".to_owned(),
                Problem::MethodNotAllowed(_) => "    MethodNotAllowed:\n".to_owned(),
                _ => format!("        \"{}\":\n", problem.status().as_u16()),
            };
            assert!(description.contains(&described), "{problem:?}");
        }
    }

    #[test]
    fn unavailable_says_when_to_come_back() {
        let problem = Problem::Broker(broker::Error::Unavailable { id: None, retry_after: 7 });
        assert_eq!(problem.into_response().headers()[header::RETRY_AFTER], "7");
    }

    #[test]
    fn method_not_allowed_names_the_one_that_is() {
        let response = Problem::MethodNotAllowed(Method::POST).into_response();
        assert_eq!(response.headers()[header::ALLOW], "POST");
    }
}
