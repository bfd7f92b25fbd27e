//! Problems as Trustee's clients read them.
//!
//! Such a client attests anew after 401, and gives up after 404. So a request that it cannot make good is 404
//! only where another attestation would change nothing; what the broker cannot do now keeps its status.

use http::StatusCode;
use serde::Serialize;

use super::Problem;
use crate::{broker, wire::Invalid};

/// The part of the exchange that a problem ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrusteeStage {
    /// Challenge or evidence.
    Attestation,
    /// A resource.
    Resource,
}

/// The name space of the types.
const TYPES: &str = "https://github.com/confidential-containers/kbs/errors";

#[derive(Serialize)]
struct ErrorInformation {
    r#type: String,
    detail: String,
}

impl Problem {
    /// The status for Trustee's client.
    pub fn trustee_status(&self) -> StatusCode {
        match self {
            Self::Broker(broker::Error::NoSecret { .. })
            | Self::Invalid(Invalid::ResourceName | Invalid::Path)
            | Self::NotFound => StatusCode::NOT_FOUND,
            other => match other.status() {
                StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN => StatusCode::UNAUTHORIZED,
                status => status,
            },
        }
    }

    /// The body for Trustee's client: the type that Trustee itself would name, and as the detail the text of
    /// [`Self::body`] with the audit record's id, where there is one.
    pub fn trustee_body(&self, stage: TrusteeStage) -> Vec<u8> {
        let name = match self {
            Self::Broker(broker::Error::NoSecret { .. }) => "PluginInternalError",
            Self::Invalid(Invalid::ResourceName | Invalid::Path) | Self::NotFound => "InvalidRequestPath",
            Self::Broker(broker::Error::NoSession { .. }) | Self::NoCookie => "TokenVerifierError",
            Self::TooLarge(_) => "PayloadTooLarge",
            _ if stage == TrusteeStage::Resource => "PolicyDeny",
            _ => "AttestationError",
        };
        let text = match self {
            Self::Broker(broker::Error::NoSecret { .. }) => "resource not found".to_owned(),
            other => other.to_string(),
        };
        let detail = match self.id() {
            Some(id) => format!("{text} (decision {id})"),
            None => text,
        };
        error_information(name, detail)
    }
}

/// A body that Trustee's client can read: a type of this name, and what to tell people.
pub fn error_information(name: &str, detail: String) -> Vec<u8> {
    serde_json::to_vec(&ErrorInformation { r#type: format!("{TYPES}/{name}"), detail }).unwrap_or_default()
}
