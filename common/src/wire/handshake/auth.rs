//! `POST /kbs/v0/auth`: a guest claims an identity, and is given a challenge.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, de::IgnoredAny};

use super::super::{Invalid, Part, json, manners};
use crate::{
    challenge::{Challenge, Claim},
    ids::{CarriedId, WorkloadId},
};

/// The identity that a guest claims.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    /// `0.0.0` from libkrun's guest, any from keybroker's.
    version: String,
    /// The one technology that is served.
    tee: String,
    /// libkrun's guest: JSON in a string. keybroker's guest: empty.
    #[serde(rename = "extra-params")]
    extra_params: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtraParams {
    workload_id: String,
}

/// Longest version that is read, in bytes.
const VERSION_MAX_LEN: usize = 32;

/// Reads the identity that a guest claims. With a workload id in `extra-params` the guest is libkrun's and
/// names its registration. With nothing in them it is keybroker's, and its report's HOST_DATA names the
/// registration.
///
/// keybroker's clients differ in the version that they name, and nothing depends on it.
pub fn auth_request(body: &[u8]) -> Result<Claim, Invalid> {
    let body: Body = json::read(Part::Body, body)
        .map_err(|error| if is_later(body) { Invalid::Version } else { error })?;
    if body.tee != "snp" {
        return Err(Invalid::Tee);
    }
    if body.extra_params.is_empty() {
        let version = (1..=VERSION_MAX_LEN).contains(&body.version.len());
        return if version { Ok(Claim::HostData) } else { Err(Invalid::Version) };
    }
    if body.version != "0.0.0" {
        return Err(Invalid::Version);
    }
    let extra: ExtraParams = json::read(Part::ExtraParams, body.extra_params.as_bytes())?;
    let workload_id = WorkloadId::new(extra.workload_id)?;
    CarriedId::new(workload_id).map(Claim::Named).ok_or(Invalid::WorkloadIdForCookie)
}

/// Whether a guest speaks a later version, whose extra-params are an object. It is told which are spoken, and
/// not what is wrong with a form that it does not mean.
fn is_later(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Later {
        version: String,
        #[serde(rename = "extra-params")]
        _extra_params: BTreeMap<String, IgnoredAny>,
    }
    serde_json::from_slice(body).is_ok_and(|Later { version, .. }| version != "0.0.0")
}

/// The answer's body. The guest takes the first key that begins with `nonce`, and knows no escapes: base64
/// needs none.
pub fn challenge(challenge: &Challenge) -> Vec<u8> {
    format!(r#"{{"nonce":"{}","extra-params":""}}"#, challenge.nonce.expose()).into_bytes()
}

/// The answer's Set-Cookie. Without `Secure`, which would keep the cookie from guests that come over plain
/// http: it is worth nothing without the guest's key.
pub fn set_cookie(challenge: &Challenge, ttl: Duration) -> String {
    // Dialects that share their request for a challenge share the cookie that answers it.
    let mut sessions = challenge.claim.dialects().iter().filter_map(|dialect| manners(*dialect).session);
    let Some(session) = sessions.next() else { return String::new() };
    let (name, id) = (session.cookie, challenge.session_id.expose());
    format!("{name}={id}; Path=/; HttpOnly; Max-Age={}", ttl.as_secs())
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Fault, FieldName},
        *,
    };
    use crate::ids::WorkloadIdError;

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

    fn named(workload_id: &str) -> Claim {
        Claim::Named(CarriedId::new(WorkloadId::new(workload_id).unwrap()).unwrap())
    }

    #[test]
    fn a_request_from_libkrun_is_read() {
        let sent = br#"{"extra-params":"{\"workload_id\":\"web\"}","tee":"snp","version":"0.0.0"}"#;
        assert_eq!(auth_request(sent), Ok(named("web")));
        let reordered = br#"{"version":"0.0.0","tee":"snp","extra-params":"{\"workload_id\":\"web\"}"}"#;
        assert_eq!(auth_request(reordered), Ok(named("web")));
    }

    #[test]
    fn a_request_from_keybrokers_guest_is_read() {
        for version in ["0.0.0", "0.1.0"] {
            let sent = format!(r#"{{"version":"{version}","tee":"snp","extra-params":""}}"#);
            assert_eq!(auth_request(sent.as_bytes()), Ok(Claim::HostData));
        }
        for version in ["", &"0".repeat(33)] {
            assert_eq!(auth_request(&body("", "snp", version)), Err(Invalid::Version), "{version}");
        }
    }

    #[test]
    fn another_tee_is_refused() {
        for (tee, extra_params) in
            ["sev", "tdx", "SNP", "", "sample"].into_iter().flat_map(|tee| [(tee, "{}"), (tee, "")])
        {
            assert_eq!(auth_request(&body(extra_params, tee, "0.0.0")), Err(Invalid::Tee), "{tee}");
        }
    }

    #[test]
    fn another_version_is_refused() {
        for version in ["0.1.0", "0.4.0", "0.0.0 ", ""] {
            assert_eq!(auth_request(&body("{}", "snp", version)), Err(Invalid::Version), "{version}");
        }
    }

    /// As guests of Trustee send it.
    #[test]
    fn a_guest_of_a_later_version_is_told_which_are_spoken() {
        let later =
            r#"{"version":"0.4.0","tee":"snp","extra-params":{"supported-hash-algorithms":["sha384"]}}"#;
        assert_eq!(auth_request(later.as_bytes()), Err(Invalid::Version));
        assert_eq!(auth_request(later.replace("[\"sha384\"]", "null").as_bytes()), Err(Invalid::Version));
        let text = Invalid::Version.to_string();
        assert!(text.contains("\"0.0.0\"") && text.contains("any of 1 to 32 bytes"), "{text}");
        // If the body has no later version's form, the guest is told its fault.
        for (from, to, fault) in [
            ("0.4.0", "0.0.0", Fault::Type),
            ("{\"supported-hash-algorithms\":[\"sha384\"]}", "7", Fault::Type),
            ("\"tee\"", "tee", Fault::Syntax),
        ] {
            let sent = later.replace(from, to);
            assert_eq!(
                auth_request(sent.as_bytes()),
                Err(Invalid::Json { part: Part::Body, fault }),
                "{sent}"
            );
        }
    }

    #[test]
    fn extra_params_of_another_form_are_refused() {
        assert_eq!(refusal(" "), extra_params(Fault::Syntax));
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
    fn a_workload_id_that_the_cookie_cannot_carry_is_refused() {
        for id in ["a".repeat(65), "ü".repeat(25)] {
            let params = format!(r#"{{"workload_id":"{id}"}}"#);
            assert_eq!(refusal(&params), Invalid::WorkloadIdForCookie);
        }
        let longest = format!(r#"{{"workload_id":"{}"}}"#, "a".repeat(64));
        assert_eq!(auth_request(&body(&longest, "snp", "0.0.0")), Ok(named(&"a".repeat(64))));
    }

    #[test]
    fn an_answer_has_the_nonce_first_and_a_cookie_without_secure() {
        for (claim, cookie) in [(named("web"), "session_id"), (Claim::HostData, "kbs-session-id")] {
            let given = crate::challenge::tests::given(claim);
            let text = String::from_utf8(challenge(&given)).unwrap();
            assert_eq!(text, format!(r#"{{"nonce":"{}","extra-params":""}}"#, given.nonce.expose()));
            assert_eq!(given.nonce.expose().len(), 44);
            assert_eq!(
                set_cookie(&given, Duration::from_secs(300)),
                format!("{cookie}={}; Path=/; HttpOnly; Max-Age=300", given.session_id.expose())
            );
        }
    }
}
