//! `POST /v1/challenge` and `POST /v1/release`: the broker's own protocol.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use keybroker_common::{
    broker::Error,
    challenge::Claim,
    http::BODY_LIMIT,
    ids::WorkloadIdError,
    wire::{
        FieldName, Invalid,
        native::{self, ReleaseFault},
    },
};
use keybroker_initdata::Algorithm;
use keybroker_native::{AskHash, EvidenceForm, Sealed, SealedSecret, SigningKey, Suite};
use serde_json::{Map, Value, json};

use crate::{
    answers::{self, Form, told},
    operation::{Operation, Request},
    schema::{any_base64url, base64url, described, named, reference, resource_name},
    shared::{ID, RESOURCE_NAME, WORKLOAD, init_data, object, read, refusals_of_a_body, sample_challenge_of},
};

pub(crate) fn challenge() -> Operation {
    let form = object(&[("challenge", reference("Challenge")), ("expires_in", expires_in())]);
    let mut problems = refusals_of_a_body(BODY_LIMIT, FieldName::new("workload"));
    problems.extend([
        Error::Internal { id: None }.into(),
        Error::Unavailable { id: None, retry_after: 5 }.into(),
    ]);
    Operation {
        id: "challenge",
        summary: "Gives a challenge to a guest of the broker's own protocol",
        description: "The broker looks nothing up and stores nothing. The challenge is one opaque text; the \
                      guest names its workload in the request for its secrets."
            .to_owned(),
        parameters: Vec::new(),
        request: Some(Request {
            schema: reference("ChallengeRequest"),
            limit: BODY_LIMIT,
            examples: vec![("guest", json!({}))],
        }),
        success: answers::success("A challenge.", &form, &read(&given()), &[]),
        problems: told(Form::Details, problems),

        security: Vec::new(),
        schemas: named(json!({
            "ChallengeRequest": described("An object without members.", object(&[])),
            "Challenge": {
                "description": "A challenge, as the broker gave it.",
                "type": "string",
                "pattern": "^[A-Za-z0-9_-]{78}$",
            },
        })),
    }
}

fn expires_in() -> Value {
    json!({
        "description": "Seconds within which the broker decides about it, once.",
        "type": "integer",
        "minimum": 1,
    })
}

/// The answer with a challenge.
fn given() -> Vec<u8> {
    native::challenge(&sample_challenge_of(Claim::Later), Duration::from_secs(300))
}

pub(crate) fn release() -> Operation {
    let mut problems = refusals_of_a_body(BODY_LIMIT, FieldName::new("nonce"));
    let faults = [
        ReleaseFault::Challenge,
        ReleaseFault::Secrets,
        ReleaseFault::Suite,
        ReleaseFault::Base64("public_key"),
        ReleaseFault::PublicKey,
        ReleaseFault::InitData,
        ReleaseFault::BrokerKeys,
        ReleaseFault::Evidence,
    ];
    problems.extend(faults.map(|fault| Invalid::Release(fault).into()));
    problems.extend([
        Invalid::WorkloadId(WorkloadIdError::TooLong).into(),
        Invalid::CertificateCount.into(),
        Error::NoSession { id: Some(ID) }.into(),
        Error::NoSession { id: None }.into(),
        Error::TooMany { retry_after: 3 }.into(),
        Error::Refused { id: ID }.into(),
        Error::Internal { id: Some(ID) }.into(),
        Error::Internal { id: None }.into(),
        Error::Unavailable { id: Some(ID), retry_after: 5 }.into(),
        Error::Unavailable { id: None, retry_after: 5 }.into(),
    ]);
    let schema = reference("Released");
    Operation {
        id: "release",
        summary: "Releases secrets to a guest whose evidence holds",
        description: "All secrets that the guest asks for, or none. The first decision about a challenge is the \
                      only one: a guest whose answer was lost asks for another challenge. `protocol.md` has the \
                      bytes that REPORT_DATA, HPKE and the signature are computed over."
            .to_owned(),
        parameters: Vec::new(),
        request: Some(Request {
            schema: reference("ReleaseRequest"),
            limit: BODY_LIMIT,
            examples: vec![("guest", body())],
        }),
        success: answers::success("The secrets, sealed and signed.", &schema, &read(&released()), &[]),
        problems: told(Form::Details, problems),

        security: Vec::new(),
        schemas: schemas(),
    }
}

/// A request, but for its evidence.
fn body() -> Value {
    let challenge = read(&given())["challenge"].clone();
    json!({
        "challenge": challenge,
        "workload": WORKLOAD,
        "secrets": [RESOURCE_NAME],
        "suite": Suite::P384.name(),
        "public_key": BASE64URL_NOPAD.encode(&[4; 97]),
        "init_data": { "algorithm": "sha256", "digest": Algorithm::Sha256.digest("a document").to_string() },
        "broker_keys": [BASE64URL_NOPAD.encode(&[7; 32])],
        "evidence": {
            "type": "snp",
            "report": BASE64URL_NOPAD.encode(&[0; keybroker_snp::report::Report::SIZE]),
            "certificates": [],
        },
    })
}

/// An answer, the same each time but for its key and signature, which are replaced.
fn released() -> Vec<u8> {
    let secrets = vec![SealedSecret { name: RESOURCE_NAME.to_owned(), ciphertext: vec![0xAB; 34] }];
    let sealed = Sealed { decision: ID.to_string(), encapsulated: vec![4; 97], secrets };
    let answer = sealed.sign(&AskHash([0; 64]), &SigningKey::from_bytes(&[1; 48]).unwrap()).unwrap();
    let mut answer = read(&answer.to_json());
    answer["signature"] = BASE64URL_NOPAD.encode(&[0x5A; SigningKey::SIGNATURE_LEN]).into();
    serde_json::to_vec(&answer).unwrap()
}

/// The schemas of body and answer.
fn schemas() -> Map<String, Value> {
    let of = |suite: Suite| {
        let members =
            json!({ "suite": { "const": suite.name() }, "public_key": base64url(suite.public_len()) });
        json!({ "properties": members })
    };
    let mut certificate = described("DER.", any_base64url());
    certificate["maxLength"] = 21846.into();
    named(json!({
        "ReleaseRequest": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "challenge": reference("Challenge"),
                "workload": reference("WorkloadId"),
                "secrets": {
                    "description": "The names of the secrets, in the order in which they are answered.",
                    "type": "array",
                    "items": resource_name(),
                    "minItems": 1,
                    "maxItems": 16,
                    "uniqueItems": true,
                },
                "suite": {
                    "description": "How they are sealed (RFC 9180, base mode).",
                    "type": "string",
                    "enum": Suite::ALL.map(Suite::name),
                },
                "public_key": {
                    "description": "A key that the guest made for this request, as RFC 9180 serialises it.",
                    "type": "string",
                    "contentEncoding": "base64url",
                },
                "init_data": init_data("The guest's init data: the document, or its digest.", &[]),
                "broker_keys": {
                    "description": "The broker's keys that the guest accepts a signature of: each the SHA-256 of the \
                                    uncompressed point.",
                    "type": "array",
                    "items": base64url(32),
                    "minItems": 1,
                    "maxItems": 8,
                },
                "evidence": reference("Evidence"),
            },
            "required": [
                "challenge",
                "workload",
                "secrets",
                "suite",
                "public_key",
                "init_data",
                "broker_keys",
                "evidence",
            ],
            "description": "A request for secrets. REPORT_DATA is the SHA-512 of its transcript.",
            "anyOf": Suite::ALL.map(of),
        },
        "Evidence": described("The guest's evidence.", object(&[
            ("type", json!({
                "description": "The form of `report`: the bare report, or the blob of an Azure confidential \
                                VM.",
                "type": "string",
                "enum": EvidenceForm::ALL.map(EvidenceForm::name),
            })),
            ("report", described(
                "`snp`: the report as the firmware gave it, 1184 bytes. `az-snp-vtpm`: what the NV index 0x01400001 of \
                 the virtual TPM holds.",
                any_base64url(),
            )),
            ("certificates", json!({
                "description": "The certificates of the host's table. Without one, the broker asks AMD.",
                "type": "array",
                "items": certificate,
                "maxItems": 8,
            })),
        ])),
        "Released": described("All secrets that were asked for, in the order in which they were.", object(&[
            ("decision", json!({
                "description": "The audit record: `keybroker audit` takes this id.",
                "type": "string",
                "format": "uuid",
            })),
            ("broker_key", described("The key that signed.", base64url(32))),
            ("encapsulated", described("The encapsulated key, as RFC 9180 serialises it.", any_base64url())),
            ("secrets", json!({
                "type": "array",
                "items": object(&[
                    ("name", resource_name()),
                    ("ciphertext", described("The secret, sealed to the guest's key.", any_base64url())),
                ]),
                "minItems": 1,
                "maxItems": 16,
            })),
            ("signature", described(
                "ECDSA on P-384 with SHA-384 over the whole answer and the transcript's hash: r and s.",
                base64url(96),
            )),
        ])),
    }))
}
