//! Every problem, in each form.

use std::collections::BTreeMap;

use super::*;
use crate::{
    http::{BODY_LIMIT, REFERENCE_VALUES_LIMIT},
    ids::WorkloadIdError,
    platform::DemandError,
    policy::PolicyRefused,
    secret::seal::GuestKeyError,
    wire::{Fault, FieldName, Part, keybroker::RegistrationFault, native::ReleaseFault, trustee::KeyFault},
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
        GuestKeyError::Point,
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
        Invalid::ReportHash,
        Invalid::AdditionalEvidence,
        Invalid::InitData,
        Invalid::Authorization,
    ];
    let trustees_keys =
        [KeyFault::NotServed, KeyFault::Oaep, KeyFault::LaterForm, KeyFault::Members, KeyFault::Base64];
    let field = "reference_values.measurement";
    let registrations = [
        RegistrationFault::Unbound,
        RegistrationFault::Measurement(field),
        RegistrationFault::Disjoint,
        RegistrationFault::Hex("author_key_digest", 96),
        RegistrationFault::Zeros(field),
        RegistrationFault::Keys("id_key_digest"),
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
        RegistrationFault::Demand("minimum_committed_tcb", DemandError::Form),
        RegistrationFault::Demand("minimum_committed_tcb", DemandError::Silicon),
        RegistrationFault::Demand("require.launch_mitigations", DemandError::Silicon),
        RegistrationFault::Demand("minimum_committed_tcb", DemandError::Components),
        RegistrationFault::Demand("require.launch_mitigations", DemandError::Bits),
        RegistrationFault::Demand("require.platform", DemandError::Condition),
        RegistrationFault::Demand("require.minimum_firmware", DemandError::Firmware),
        RegistrationFault::Ignored("reference_values"),
        RegistrationFault::ResourceCount,
        RegistrationFault::ResourceName,
        RegistrationFault::ResourceLength,
        RegistrationFault::Dialects,
        RegistrationFault::DialectsAlone,
        RegistrationFault::TrusteeBinding,
        RegistrationFault::AnyDocument,
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
    all.extend(trustees_keys.map(Invalid::TrusteeKey));
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

/// As long as every other answer that a guest may get. Without a type and a detail Trustee's client gives up.
#[test]
fn every_body_for_trustees_client_has_199_bytes_at_most() {
    // These answer requests to register, which no guest sends.
    let registers = |problem: &Problem| {
        matches!(problem, Problem::Invalid(Invalid::Registration(_)))
            || matches!(problem, Problem::Broker(broker::Error::Unauthenticated { .. }))
    };
    for problem in problems().into_iter().filter(|problem| !registers(problem)) {
        for stage in [TrusteeStage::Attestation, TrusteeStage::Resource] {
            let body = problem.trustee_body(stage);
            let text = String::from_utf8(body).unwrap();
            assert!(text.len() <= 199, "{problem:?}: {} bytes: {text}", text.len());
            let object: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
            assert_eq!(object.keys().collect::<Vec<_>>(), ["detail", "type"]);
        }
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
    let description = include_str!("../../../docs/openapi.yaml");
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
