//! Problems in the form of RFC 9457, for the broker's own protocol.

use serde::Serialize;

use super::Problem;
use crate::{broker, ids::AuditId};

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
