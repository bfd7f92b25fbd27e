//! `POST /kbs/v0/auth`, as libkrun's guest sends it.

use std::time::Duration;

use serde::Deserialize;

use super::{
    super::{Invalid, Part, json},
    SESSION_COOKIE,
};
use crate::{session::Challenge, workload::WorkloadId};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    version: String,
    tee: String,
    #[serde(rename = "extra-params")]
    extra_params: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtraParams {
    workload_id: String,
}

/// Reads whom a guest claims to be.
pub fn auth_request(body: &[u8]) -> Result<WorkloadId, Invalid> {
    let body: Body = json::read(Part::Body, body)?;
    if body.version != "0.0.0" {
        return Err(Invalid::Version);
    }
    if body.tee != "snp" {
        return Err(Invalid::Tee);
    }
    let extra: ExtraParams = json::read(Part::ExtraParams, body.extra_params.as_bytes())?;
    Ok(WorkloadId::new(extra.workload_id)?)
}

/// The answer's body. The guest takes the first key that begins with `nonce`, and knows no escapes: base64 needs none.
pub fn challenge(challenge: &Challenge) -> Vec<u8> {
    format!(r#"{{"nonce":"{}","extra-params":""}}"#, challenge.nonce.expose()).into_bytes()
}

/// The answer's Set-Cookie. Without `Secure`, which would keep the cookie from guests that come over plain http: it is
/// worth nothing without the guest's key.
pub fn set_cookie(challenge: &Challenge, ttl: Duration) -> String {
    let id = challenge.session_id.expose();
    format!("{SESSION_COOKIE}={id}; Path=/; HttpOnly; Max-Age={}", ttl.as_secs())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{
        super::super::{Fault, FieldName},
        *,
    };
    use crate::{
        session::{Nonce, SessionId},
        workload::{Dialect, WorkloadIdError},
    };

    fn body(extra_params: &str, tee: &str, version: &str) -> Vec<u8> {
        let extra_params = serde_json::to_string(extra_params).unwrap();
        format!(r#"{{"extra-params":{extra_params},"tee":"{tee}","version":"{version}"}}"#).into_bytes()
    }

    fn refusal(extra_params: &str) -> Invalid {
        auth_request(&body(extra_params, "snp", "0.0.0")).unwrap_err()
    }

    fn extra_params(fault: Fault) -> Invalid {
        Invalid::Json { part: Part::ExtraParams, fault }
    }

    #[test]
    fn what_libkrun_sends_is_read() {
        let sent = br#"{"extra-params":"{\"workload_id\":\"web\"}","tee":"snp","version":"0.0.0"}"#;
        assert_eq!(auth_request(sent).unwrap().as_str(), "web");
        let reordered = br#"{"version":"0.0.0","tee":"snp","extra-params":"{\"workload_id\":\"web\"}"}"#;
        assert_eq!(auth_request(reordered).unwrap().as_str(), "web");
    }

    #[test]
    fn another_tee_is_refused() {
        for tee in ["sev", "tdx", "SNP", "", "sample"] {
            assert_eq!(auth_request(&body("{}", tee, "0.0.0")), Err(Invalid::Tee), "{tee}");
        }
    }

    #[test]
    fn another_version_is_refused() {
        for version in ["0.1.0", "0.4.0", "0.0.0 ", ""] {
            assert_eq!(auth_request(&body("{}", "snp", version)), Err(Invalid::Version), "{version}");
        }
    }

    #[test]
    fn extra_params_of_another_form_are_refused() {
        assert_eq!(refusal(""), extra_params(Fault::Syntax));
        assert_eq!(refusal("{}"), extra_params(Fault::MissingField(FieldName::new("workload_id"))));
        assert_eq!(
            refusal(r#"{"workload_id":"a","workload_id":"b"}"#),
            extra_params(Fault::DuplicateField(FieldName::new("workload_id")))
        );
        assert_eq!(
            refusal(r#"{"workload_id":"a","x":1}"#),
            extra_params(Fault::UnknownField(FieldName::new("x")))
        );
        assert_eq!(refusal(r#"{"workload_id":7}"#), extra_params(Fault::Type));
        assert_eq!(refusal(r#"{"workload_id":""}"#), Invalid::WorkloadId(WorkloadIdError::Empty));
    }

    #[test]
    fn an_object_in_place_of_text_is_refused() {
        let sent = br#"{"extra-params":{"workload_id":"web"},"tee":"snp","version":"0.0.0"}"#;
        assert_eq!(auth_request(sent), Err(Invalid::Json { part: Part::Body, fault: Fault::Type }));
    }

    #[test]
    fn the_answer_has_the_nonce_first_and_the_cookie_is_not_secure() {
        let held = Challenge {
            session_id: SessionId::parse(&"0f".repeat(16)).unwrap(),
            nonce: Nonce::random().unwrap(),
            dialect: Dialect::V0,
            workload_id: WorkloadId::new("web").unwrap(),
            expires_at: Timestamp::UNIX_EPOCH,
        };
        let text = String::from_utf8(challenge(&held)).unwrap();
        assert_eq!(text, format!(r#"{{"nonce":"{}","extra-params":""}}"#, held.nonce.expose()));
        assert_eq!(held.nonce.expose().len(), 44);
        assert_eq!(
            set_cookie(&held, Duration::from_secs(300)),
            "session_id=0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f; Path=/; HttpOnly; Max-Age=300"
        );
    }
}
