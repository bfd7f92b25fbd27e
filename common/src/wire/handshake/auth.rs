//! `POST /kbs/v0/auth`: a guest claims an identity, and is given a challenge.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, value::MapAccessDeserializer},
};

use super::super::{
    Invalid, Part, json, manners,
    trustee::{self, Offered},
};
use crate::{
    challenge::{Challenge, Claim},
    ids::{CarriedId, WorkloadId},
};

/// The identity that a guest claims.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    /// `0.0.0` from libkrun's guest, one of its own from Trustee's, any from keybroker's.
    version: String,
    /// The one technology that is served: `snp`, or one of Trustee's names of Azure's form of it. Nothing
    /// binds it: the evidence says what form it has.
    tee: String,
    #[serde(rename = "extra-params")]
    extra_params: Extra,
}

/// The form of `extra-params`.
enum Extra {
    /// libkrun's guest: JSON in a string. keybroker's, and Trustee's of 0.1.0: empty.
    Text(String),
    /// Trustee's guest from 0.1.1 on.
    Offered(Offered),
}

impl<'de> Deserialize<'de> for Extra {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Extra;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Extra, E> {
                Ok(Extra::Text(text.to_owned()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Extra, A::Error> {
                Offered::deserialize(MapAccessDeserializer::new(map)).map(Extra::Offered)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtraParams {
    workload_id: String,
}

/// Longest version that is read, in bytes.
const VERSION_MAX_LEN: usize = 32;

/// Reads the identity that a guest claims, at a URL whose path names the workload `named`, or none.
///
/// With a workload id in `extra-params` the guest is libkrun's and names its registration. With an object in
/// them it is Trustee's, and so it may be with nothing in them and the version 0.1.0. With nothing in them
/// and any other version it is keybroker's, whose clients differ in the version that they name. Only
/// Trustee's clients keep a path in front of their own.
pub fn auth_request(body: &[u8], named: Option<WorkloadId>) -> Result<Claim, Invalid> {
    let body: Body = json::read(Part::Body, body)?;
    let azure = trustee::AZURE.contains(&&*body.tee);
    if body.tee != "snp" && !azure {
        return Err(Invalid::Tee);
    }
    let carried = |id| CarriedId::new(id).ok_or(Invalid::WorkloadIdForCookie);
    let named = named.map(carried).transpose()?;
    let claim = match (body.extra_params, &*body.version) {
        (Extra::Offered(offered), version) => trustee::claim(version, Some(&offered), named),
        (Extra::Text(text), "0.1.0") if text.is_empty() => trustee::claim("0.1.0", None, named),
        _ if named.is_some() => Err(Invalid::Version),
        (Extra::Text(text), version) if text.is_empty() => {
            let version = (1..=VERSION_MAX_LEN).contains(&version.len());
            if version { Ok(Claim::HostData) } else { Err(Invalid::Version) }
        }
        (Extra::Text(text), "0.0.0") => {
            let extra: ExtraParams = json::read(Part::ExtraParams, text.as_bytes())?;
            carried(WorkloadId::new(extra.workload_id)?).map(Claim::Named)
        }
        _ => Err(Invalid::Version),
    }?;
    match claim {
        Claim::Trustee(_) => Ok(claim),
        _ if azure => Err(Invalid::Tee),
        _ => Ok(claim),
    }
}

/// The answer's body. The guest takes the first key that begins with `nonce`, and knows no escapes: base64
/// needs none.
pub fn challenge(challenge: &Challenge) -> Vec<u8> {
    let (nonce, extra) = (challenge.nonce.expose(), trustee::selected_hash(&challenge.claim));
    format!(r#"{{"nonce":"{nonce}","extra-params":{extra}}}"#).into_bytes()
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
    use crate::ids::{KbsVersion, ReportHash, TrusteeClaim, WorkloadIdError};

    /// A request to a URL that names no workload.
    fn read(body: &[u8]) -> Result<Claim, Invalid> {
        auth_request(body, None)
    }

    fn trustees(version: KbsVersion) -> Claim {
        Claim::Trustee(TrusteeClaim { version, workload: None })
    }

    fn body(extra_params: &str, tee: &str, version: &str) -> Vec<u8> {
        let extra_params = serde_json::to_string(extra_params).unwrap();
        format!(r#"{{"extra-params":{extra_params},"tee":"{tee}","version":"{version}"}}"#).into_bytes()
    }

    fn refusal(extra_params: &str) -> Invalid {
        read(&body(extra_params, "snp", "0.0.0")).unwrap_err()
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
        assert_eq!(read(sent), Ok(named("web")));
        let reordered = br#"{"version":"0.0.0","tee":"snp","extra-params":"{\"workload_id\":\"web\"}"}"#;
        assert_eq!(read(reordered), Ok(named("web")));
    }

    #[test]
    fn a_request_from_keybrokers_guest_is_read() {
        for version in ["0.0.0", "0.1.1", "0.4.0", "1"] {
            let sent = format!(r#"{{"version":"{version}","tee":"snp","extra-params":""}}"#);
            assert_eq!(read(sent.as_bytes()), Ok(Claim::HostData));
        }
        for version in ["", &"0".repeat(33)] {
            assert_eq!(read(&body("", "snp", version)), Err(Invalid::Version), "{version}");
        }
    }

    #[test]
    fn another_tee_is_refused() {
        for (tee, extra_params) in
            ["sev", "tdx", "SNP", "", "sample"].into_iter().flat_map(|tee| [(tee, "{}"), (tee, "")])
        {
            assert_eq!(read(&body(extra_params, tee, "0.0.0")), Err(Invalid::Tee), "{tee}");
        }
    }

    /// Azure's form is Trustee's: libkrun's guests and keybroker's have a bare report.
    #[test]
    fn azures_form_is_for_trustees_guests_alone() {
        for tee in trustee::AZURE {
            for extra_params in [r#"{"workload_id":"web"}"#, ""] {
                assert_eq!(read(&body(extra_params, tee, "0.0.0")), Err(Invalid::Tee), "{tee}");
            }
            let sent = format!(r#"{{"version":"0.4.0","tee":"{tee}","extra-params":{{}}}}"#);
            assert!(matches!(read(sent.as_bytes()), Ok(Claim::Trustee(_))), "{tee}");
        }
    }

    #[test]
    fn another_version_is_refused() {
        for version in ["0.1.0", "0.4.0", "0.0.0 ", ""] {
            assert_eq!(read(&body("{}", "snp", version)), Err(Invalid::Version), "{version}");
        }
    }

    /// As guests of Trustee send it.
    #[test]
    fn each_version_of_trustees_is_read() {
        let offered = r#"{"supported-hash-algorithms":["sha256","sha384","sha512"]}"#;
        let sha384 = KbsVersion::V0_4_0(ReportHash::Sha384);
        for (version, extra, expected) in [
            ("0.1.0", r#""""#, KbsVersion::V0_1_0),
            ("0.1.1", offered, KbsVersion::V0_1_1),
            ("0.2.0", offered, KbsVersion::V0_2_0),
            ("0.4.0", offered, sha384),
            ("0.1.1", "{}", KbsVersion::V0_1_1),
            ("0.4.0", "{}", sha384),
        ] {
            let sent = format!(r#"{{"version":"{version}","tee":"snp","extra-params":{extra}}}"#);
            assert!(trustee::asks(sent.as_bytes()), "{sent}");
            assert_eq!(read(sent.as_bytes()), Ok(trustees(expected)), "{sent}");
            // The same guest with the workload in the path of its URL.
            let workload = CarriedId::new(WorkloadId::new("web").unwrap());
            let at = auth_request(sent.as_bytes(), Some(WorkloadId::new("web").unwrap()));
            assert_eq!(at, Ok(Claim::Trustee(TrusteeClaim { version: expected, workload })), "{sent}");
        }
    }

    #[test]
    fn a_guest_of_another_version_is_told_which_are_spoken() {
        let text = Invalid::Version.to_string();
        for version in KbsVersion::ALL {
            assert!(text.contains(version.name()), "{text}");
        }
        for version in ["0.1.0", "0.3.0", "0.5.0", "0.0.0", "", "0.4.0 "] {
            let sent = format!(r#"{{"version":"{version}","tee":"snp","extra-params":{{}}}}"#);
            assert!(trustee::asks(sent.as_bytes()));
            assert_eq!(read(sent.as_bytes()), Err(Invalid::Version), "{version}");
        }
        // If the body has no version's form, the guest is told its fault.
        for (extra, fault) in [
            ("7", Fault::Type),
            ("null", Fault::Type),
            ("[]", Fault::Type),
            (r#"{"supported-hash-algorithms":null}"#, Fault::Type),
            (r#"{"supported-hash-algorithms":[1]}"#, Fault::Type),
            (r#"{"x":1}"#, Fault::UnknownField(FieldName::new("x"))),
        ] {
            let sent = format!(r#"{{"version":"0.4.0","tee":"snp","extra-params":{extra}}}"#);
            assert_eq!(read(sent.as_bytes()), Err(Invalid::Json { part: Part::Body, fault }), "{sent}");
        }
    }

    #[test]
    fn a_challenge_selects_a_hash_function_that_the_guest_has() {
        let with = |version, hashes: &str| {
            let extra = format!(r#"{{"supported-hash-algorithms":[{hashes}]}}"#);
            read(format!(r#"{{"version":"{version}","tee":"snp","extra-params":{extra}}}"#).as_bytes())
        };
        for (hashes, hash, extra) in [
            (r#""sha256","sha384","sha512""#, ReportHash::Sha384, r#""""#),
            (r#""sha384""#, ReportHash::Sha384, r#""""#),
            ("", ReportHash::Sha384, r#""""#),
            (r#""sha256","sha512""#, ReportHash::Sha512, r#"{"selected-hash-algorithm":"sha512"}"#),
            (r#""sha256","sm3""#, ReportHash::Sha256, r#"{"selected-hash-algorithm":"sha256"}"#),
        ] {
            let claim = with("0.4.0", hashes).unwrap();
            assert_eq!(claim, trustees(KbsVersion::V0_4_0(hash)), "{hashes}");
            let given = crate::challenge::tests::given(claim);
            let text = String::from_utf8(challenge(&given)).unwrap();
            assert_eq!(text, format!(r#"{{"nonce":"{}","extra-params":{extra}}}"#, given.nonce.expose()));
        }
        assert_eq!(with("0.4.0", r#""sm3""#), Err(Invalid::ReportHash));
        // Earlier versions have one.
        assert_eq!(with("0.2.0", r#""sha256""#), Ok(trustees(KbsVersion::V0_2_0)));
    }

    #[test]
    fn no_other_guest_names_its_workload_in_the_url() {
        let named = || Some(WorkloadId::new("web").unwrap());
        let libkruns = body(r#"{"workload_id":"web"}"#, "snp", "0.0.0");
        for sent in [libkruns, body("", "snp", "0.0.0"), body("", "snp", "0.4.0")] {
            assert_eq!(auth_request(&sent, named()), Err(Invalid::Version));
        }
        let long = Some(WorkloadId::new("a".repeat(65)).unwrap());
        assert_eq!(auth_request(&body("", "snp", "0.1.0"), long), Err(Invalid::WorkloadIdForCookie));
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
        let fault = Fault::UnknownField(FieldName::new("workload_id"));
        assert_eq!(read(sent), Err(Invalid::Json { part: Part::Body, fault }));
    }

    #[test]
    fn a_workload_id_that_the_cookie_cannot_carry_is_refused() {
        for id in ["a".repeat(65), "ü".repeat(25)] {
            let params = format!(r#"{{"workload_id":"{id}"}}"#);
            assert_eq!(refusal(&params), Invalid::WorkloadIdForCookie);
        }
        let longest = format!(r#"{{"workload_id":"{}"}}"#, "a".repeat(64));
        assert_eq!(read(&body(&longest, "snp", "0.0.0")), Ok(named(&"a".repeat(64))));
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
