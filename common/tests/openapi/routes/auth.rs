//! `POST /kbs/v0/auth`, and the same below `/w/{workload_id}`.

use std::time::Duration;

use keybroker_common::{
    broker::Error,
    dialect::Dialect,
    http::BODY_LIMIT,
    ids::{KbsVersion, WorkloadIdError},
    problem::{Problem, TrusteeStage},
    wire::{Fault, FieldName, Invalid, Part, handshake},
};
use serde_json::{Map, Value, json};

use crate::{
    answers::{self, Form, told},
    operation::{Operation, Request},
    schema::{json_text, named, reference},
    shared::{
        SESSION_ID, WORKLOAD, cookie_name, object, path_parameter, read, refusals_of_a_body,
        sample_challenge, sample_challenge_of,
    },
};
use keybroker_common::{
    challenge::{Challenge, Claim},
    ids::{CarriedId, ReportHash, TrusteeClaim, WorkloadId},
};

/// The form of refusals of Trustee's guests.
const TRUSTEE: Form = Form::Trustee(TrusteeStage::Attestation);

pub(crate) fn auth() -> Operation {
    let libkrun = json!({
        "version": "0.0.0",
        "tee": "snp",
        "extra-params": json!({ "workload_id": WORKLOAD }).to_string(),
    });
    let keybroker = json!({ "version": "0.0.0", "tee": "snp", "extra-params": "" });
    let text = [
        refusals(),
        vec![
            Invalid::WorkloadIdForCookie.into(),
            Invalid::Json {
                part: Part::ExtraParams,
                fault: Fault::MissingField(FieldName::new("workload_id")),
            }
            .into(),
        ],
    ];
    let problems = [told(Form::Text, text.concat()), told(TRUSTEE, after_the_body())];
    let [libkruns, keybrokers] = [Dialect::Libkrun, Dialect::Keybroker].map(cookie_name);
    Operation {
        id: "auth",
        summary: "Gives a guest a challenge",
        description: format!(
            "The broker looks nothing up and stores nothing: nobody can learn here whether a workload is registered. \
             libkrun's guest names its registration by a workload id in `extra-params`; for the others, HOST_DATA of \
             the report names it. Trustee's guests speak the versions {}. With 0.1.0 and empty `extra-params`, the \
             guest is Trustee's or keybroker's: its key tells when it attests.",
            versions()
        ),
        parameters: Vec::new(),
        request: Some(Request {
            schema: reference("AuthRequest"),
            limit: BODY_LIMIT,
            examples: [vec![("libkrun", libkrun), ("keybroker", keybroker)], trustees()].concat(),
        }),
        success: given(
            &format!("`{libkruns}` if the guest is libkrun's, `{keybrokers}` if it is not."),
            &[libkruns, keybrokers],
            &sample_challenge(),
        ),
        problems: problems.concat(),
        security: Vec::new(),
        schemas: schemas(),
    }
}

pub(crate) fn auth_of() -> Operation {
    let mut problems = refusals();
    problems.extend([
        Invalid::WorkloadIdForCookie.into(),
        Invalid::WorkloadId(WorkloadIdError::Unprintable).into(),
        Invalid::Path.into(),
    ]);
    let workload = CarriedId::new(WorkloadId::new(WORKLOAD).unwrap());
    let claim = Claim::Trustee(TrusteeClaim { version: KbsVersion::V0_4_0(ReportHash::Sha384), workload });
    let cookie = cookie_name(Dialect::Trustee);
    Operation {
        id: "authOfWorkload",
        summary: "Gives a challenge to a guest of Trustee's whose URL names its workload",
        description:
            "Such a guest is configured with a URL that ends with `/w/` and the workload id, and appends \
                      its own paths to it. As in `auth`, the broker looks nothing up."
                .to_owned(),
        parameters: vec![path_parameter("workload_id", &reference("WorkloadId"), WORKLOAD)],
        request: Some(Request {
            schema: reference("TrusteeAuthRequest"),
            limit: BODY_LIMIT,
            examples: trustees(),
        }),
        success: given(&format!("`{cookie}`."), &[cookie], &sample_challenge_of(claim)),
        problems: told(TRUSTEE, problems),
        security: Vec::new(),
        schemas: trustee_schemas(),
    }
}

/// The refusals of any guest.
fn refusals() -> Vec<Problem> {
    [refusals_of_a_body(BODY_LIMIT, FieldName::new("init-data")), after_the_body()].concat()
}

/// The refusals of any guest whose body is JSON: a guest of Trustee's is known by it.
fn after_the_body() -> Vec<Problem> {
    vec![
        Invalid::Tee.into(),
        Invalid::Version.into(),
        Error::Internal { id: None }.into(),
        Error::Unavailable { id: None, retry_after: 5 }.into(),
    ]
}

/// The versions of Trustee's protocol, as guests name them.
fn versions() -> String {
    let mut names = KbsVersion::ALL.map(|version| format!("`{}`", version.name())).to_vec();
    names.dedup();
    names.join(", ")
}

/// The bodies that Trustee's guests send.
fn trustees() -> Vec<(&'static str, Value)> {
    let later = |version| {
        let hashes = ["sha256", "sha384", "sha512"];
        json!({ "version": version, "tee": "snp", "extra-params": { "supported-hash-algorithms": hashes } })
    };
    vec![
        ("trustee 0.1.0", json!({ "version": "0.1.0", "tee": "snp", "extra-params": "" })),
        ("trustee 0.1.1", later("0.1.1")),
        ("trustee 0.2.0", later("0.2.0")),
        ("trustee 0.4.0", later("0.4.0")),
    ]
}

/// The answer with a challenge, in a cookie of one of these names.
fn given(whose: &str, cookies: &[&str], challenge: &Challenge) -> Value {
    let selected = object(&[(
        "selected-hash-algorithm",
        json!({
            "description": "The hash function for REPORT_DATA (0.4.0). Without it: SHA-384.",
            "type": "string",
            "enum": ["sha256", "sha512"],
        }),
    )]);
    let form = object(&[
        (
            "nonce",
            json!({ "type": "string", "pattern": "^[A-Za-z0-9+/]{43}=$", "contentEncoding": "base64" }),
        ),
        ("extra-params", json!({ "anyOf": [{ "type": "string", "const": "" }, selected] })),
    ]);
    let set_cookie = json!({
        "description": format!(
            "{whose} The value is opaque and has at most 99 characters. The broker decides about the challenge once, \
             within `Max-Age` seconds."
        ),
        "required": true,
        "schema": {
            "type": "string",
            "pattern": format!("^({})={SESSION_ID}; Path=/; HttpOnly; Max-Age=[0-9]+$", cookies.join("|")),
        },
        "example": handshake::set_cookie(challenge, Duration::from_secs(300)),
    });
    let example = read(&handshake::challenge(challenge));
    answers::success("A challenge.", &form, &example, &[("Set-Cookie", set_cookie)])
}

/// The hash functions of which 0.4.0 needs one, unless it offers none.
fn one_of_three() -> Value {
    let served = json!({ "contains": { "enum": ["sha256", "sha384", "sha512"] } });
    json!({ "properties": { "supported-hash-algorithms": { "anyOf": [{ "const": [] }, served] } } })
}

/// A version of Trustee's protocol, with its form of `extra-params`.
fn by_version() -> Vec<Value> {
    let offering = json!({ "allOf": [{ "type": "object" }, one_of_three()] });
    vec![
        json!({ "properties": {
            "version": { "const": "0.1.0" }, "extra-params": { "const": "" },
        } }),
        json!({ "properties": {
            "version": { "enum": ["0.1.1", "0.2.0"] }, "extra-params": { "type": "object" },
        } }),
        json!({ "properties": { "version": { "const": "0.4.0" }, "extra-params": offering } }),
    ]
}

/// The technologies that the broker serves.
fn tee() -> Value {
    json!({
        "type": "string",
        "description": "The technology: SEV-SNP. Trustee's guests in Azure confidential VMs call it `az-snp-vtpm`, \
                        earlier ones `azsnpvtpm`.",
        "enum": ["snp", "azsnpvtpm", "az-snp-vtpm"],
    })
}

/// The schemas of the body of any guest.
fn schemas() -> Map<String, Value> {
    let mut forms = vec![
        // A guest that names a workload speaks the one version that libkrun's guest has.
        json!({ "properties": {
            "version": { "const": "0.0.0" }, "tee": { "const": "snp" }, "extra-params": { "type": "string" },
        } }),
        json!({ "properties": { "tee": { "const": "snp" }, "extra-params": { "const": "" } } }),
    ];
    forms.extend(by_version());
    named(json!({
        "AuthRequest": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "version": {
                    "type": "string",
                    "description": "The version that the guest speaks: `0.0.0` if it names a workload, one of \
                                    Trustee's if `extra-params` is an object.",
                    "minLength": 1,
                    "maxLength": 32,
                },
                "tee": tee(),
                "extra-params": {
                    "anyOf": [
                        json_text(&reference("ExtraParams")),
                        { "type": "string", "const": "" },
                        reference("Offered"),
                    ],
                    "description": "libkrun's guest: JSON in a string. keybroker's guest, and Trustee's of 0.1.0: \
                                    empty. Trustee's of later versions: an object.",
                },
            },
            "required": ["version", "tee", "extra-params"],
            "description": "The identity that a guest claims.",
            "anyOf": forms,
        },
        "ExtraParams": {
            "type": "object",
            "additionalProperties": false,
            "properties": { "workload_id": reference("WorkloadId") },
            "required": ["workload_id"],
        },
    }))
}

/// The schemas of the body of a guest of Trustee's.
fn trustee_schemas() -> Map<String, Value> {
    named(json!({
        "TrusteeAuthRequest": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "version": {
                    "type": "string",
                    "description": "The version that the guest speaks.",
                    "enum": ["0.1.0", "0.1.1", "0.2.0", "0.4.0"],
                },
                "tee": tee(),
                "extra-params": { "anyOf": [{ "type": "string", "const": "" }, reference("Offered")] },
            },
            "required": ["version", "tee", "extra-params"],
            "description": "The version that a guest of Trustee's speaks, and what it offers.",
            "anyOf": by_version(),
        },
        "Offered": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "supported-hash-algorithms": {
                    "type": "array",
                    "items": { "type": "string" },
                    "description": "The hash functions that the guest has for REPORT_DATA: `sha256`, `sha384`, \
                                    `sha512`. Others are passed over.",
                    "default": [],
                },
            },
            "description": "What a guest of 0.1.1 or later offers. The broker selects by it from 0.4.0 on.",
        },
    }))
}
