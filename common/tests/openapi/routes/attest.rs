//! `POST /kbs/v0/attest`, and the same below `/w/{workload_id}`.

use data_encoding::BASE64URL_NOPAD;
use keybroker_common::{
    dialect::Dialect,
    http::EVIDENCE_LIMIT,
    ids::WorkloadIdError,
    problem::{Problem, TrusteeStage},
    secret::seal::GuestKeyError,
    wire::{FieldName, Invalid, trustee::KeyFault},
};
use serde_json::{Map, Value, json};

use crate::{
    answers::{self, Form, told},
    operation::{Operation, Request},
    schema::{any_base64url, base64url, byte, described, json_text, named, reference},
    shared::{
        WORKLOAD, attestation_result, object, path_parameter, refusals_of_a_body, refusals_of_a_session,
        session_cookie,
    },
};

/// The form of refusals of Trustee's guests.
const TRUSTEE: Form = Form::Trustee(TrusteeStage::Attestation);

pub(crate) fn attest() -> Operation {
    let (modulus, exponent) = (data_encoding::BASE64.encode(&[0xC3; 256]), "AQAB");
    let report = "00".repeat(keybroker_snp::report::Report::SIZE);
    let evidence = json!({ "gen": "milan", "report": report, "cert_chain": "[]" }).to_string();
    let libkrun = json!({
        "tee-pubkey": { "alg": "RSA", "k-mod": modulus, "k-exp": exponent },
        "tee-evidence": evidence,
    });
    let keybroker = json!({
        "tee-pubkey": { "kty": "RSA", "alg": "RSA", "n": modulus, "e": exponent },
        "tee-evidence": evidence,
    });
    let mut problems = refusals();
    problems.extend([Invalid::ReportHex.into(), Invalid::KeyExponent.into()]);
    Operation {
        id: "attest",
        summary: "Opens a session for a guest whose evidence holds",
        description: "One of the two cookies must name the challenge that the guest answers; both at once \
                      are refused. The first decision about a challenge is the only one, also if it is a refusal. \
                      The same body sent again gets the same answer. The challenge says whose guest it is; after one \
                      that leaves it open, the guest is keybroker's if its key's `alg` is `RSA`, and Trustee's if not."
            .to_owned(),
        parameters: [Dialect::Libkrun, Dialect::Keybroker].map(|one| session_cookie(one, false)).into(),
        request: Some(Request {
            schema: reference("AttestRequest"),
            limit: EVIDENCE_LIMIT,
            examples: [vec![("libkrun", libkrun), ("keybroker", keybroker)], trustees()].concat(),
        }),
        success: attested(
            "The guest is what it claims to be, and the session is open. Trustee's guest gets its attestation result. \
             For the others the answer has no body: libkrun's guest takes any body for a failure.",
        ),
        problems: [told(Form::Text, problems), told(TRUSTEE, trustees_refusals())].concat(),
        security: Vec::new(),
        schemas: schemas(),
    }
}

pub(crate) fn attest_of() -> Operation {
    let mut problems = trustees_refusals();
    problems.extend([
        Problem::NoCookie,
        Invalid::WorkloadId(WorkloadIdError::Unprintable).into(),
        Invalid::Path.into(),
    ]);
    Operation {
        id: "attestOfWorkload",
        summary: "Opens a session for a guest of Trustee's whose URL names its workload",
        description: "As `attest`. The challenge must have been asked for under the same workload id."
            .to_owned(),
        parameters: vec![
            path_parameter("workload_id", &reference("WorkloadId"), WORKLOAD),
            session_cookie(Dialect::Trustee, true),
        ],
        request: Some(Request {
            schema: reference("TrusteeAttestRequest"),
            limit: EVIDENCE_LIMIT,
            examples: trustees(),
        }),
        success: attested("The guest is what it claims to be, and the session is open."),
        problems: told(TRUSTEE, problems),
        security: Vec::new(),
        schemas: trustee_schemas(),
    }
}

fn refusals() -> Vec<Problem> {
    [refusals_of_a_session(), refusals_of_a_body(EVIDENCE_LIMIT, FieldName::new("init-data"))].concat()
}

fn trustees_refusals() -> Vec<Problem> {
    let faults = [KeyFault::NotServed, KeyFault::Oaep, KeyFault::LaterForm].map(Invalid::TrusteeKey);
    let faults = faults.into_iter().chain([
        Invalid::Key(GuestKeyError::Point),
        Invalid::AdditionalEvidence,
        Invalid::InitData,
    ]);
    refusals()
        .into_iter()
        .filter(|problem| *problem != Problem::NoCookie)
        .chain(faults.map(Problem::from))
        .collect()
}

/// The answer with an attestation result.
fn attested(description: &str) -> Value {
    let form = object(&[("token", reference("AttestationResult"))]);
    answers::success(description, &form, &json!({ "token": attestation_result() }), &[])
}

/// The bodies that Trustee's guests send.
fn trustees() -> Vec<(&'static str, Value)> {
    let n = BASE64URL_NOPAD.encode(&[0xC3; 256]);
    let rsa = json!({ "kty": "RSA", "alg": "RSA1_5", "n": n, "e": "AQAB" });
    // The base point of P-256.
    let [x, y] =
        ["axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY", "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"];
    let ec = json!({ "kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": x, "y": y });
    let evidence = json!({
        "attestation_report": { "version": 3, "guest_svn": 0, "policy": 196_608 },
        "cert_chain": null,
    });
    vec![
        ("trustee 0.1.0", json!({ "tee-pubkey": rsa, "tee-evidence": evidence.to_string() })),
        ("trustee 0.1.1", json!({ "tee-pubkey": rsa, "tee-evidence": evidence })),
        ("trustee 0.2.0", json!({ "tee-pubkey": ec, "tee-evidence": evidence })),
        (
            "trustee 0.4.0",
            json!({
                "init-data": null,
                "runtime-data": { "nonce": data_encoding::BASE64.encode(&[0x5A; 32]), "tee-pubkey": ec },
                "tee-evidence": { "primary_evidence": evidence, "additional_evidence": "" },
            }),
        ),
    ]
}

/// The schemas of the body of Trustee's guests.
fn trustee_schemas() -> Map<String, Value> {
    let modulus = json!({
        "type": "string",
        "minLength": 342,
        "pattern": any_base64url()["pattern"],
        "contentEncoding": "base64url",
        "description": "The modulus of an RSA key: 2048 to 4096 bits, odd.",
    });
    let body = |properties: Value, required: &[&str], description: &str| {
        json!({
            "type": "object",
            "additionalProperties": false,
            "properties": properties,
            "required": required,
            "description": description,
        })
    };
    let key = reference("TrusteeKey");
    // The members differ from release to release of the client.
    let evidence =
        |required| json!({ "type": "object", "additionalProperties": true, "required": [required] });
    named(json!({
        "TrusteeAttestRequest": {
            "description": "The evidence of a guest of Trustee's, in the form of its version.",
            "anyOf": [
                reference("TrusteeEvidenceInText"), reference("TrusteeEvidence"),
                reference("TrusteeEvidenceWithInitData"),
            ],
        },
        "TrusteeEvidenceInText": body(
            json!({ "tee-pubkey": key, "tee-evidence": json_text(&reference("SevEvidence")) }),
            &["tee-pubkey", "tee-evidence"],
            "0.1.0: the evidence is JSON in a string. The key must be RSA1_5.",
        ),
        "TrusteeEvidence": body(
            json!({ "tee-pubkey": key, "tee-evidence": reference("SevEvidence") }),
            &["tee-pubkey", "tee-evidence"],
            "0.1.1, where the key must be RSA1_5, and 0.2.0.",
        ),
        "TrusteeEvidenceWithInitData": body(
            json!({
                "init-data": { "anyOf": [reference("SentInitData"), { "type": "null" }] },
                "runtime-data": object(&[
                    ("nonce", json!({ "type": "string", "description": "Not read." })),
                    ("tee-pubkey", key),
                ]),
                "tee-evidence": object(&[
                    ("primary_evidence", reference("SevEvidence")),
                    ("additional_evidence", json!({
                        "description": "Evidence of other devices: none is served.",
                        "type": "string",
                        "const": "",
                    })),
                ]),
            }),
            &["runtime-data", "tee-evidence"],
            "0.4.0.",
        ),
        "SentInitData": body(
            json!({
                "format": { "type": "string", "const": "toml" },
                "body": {
                    "type": "string",
                    "description": "The document, with `version`, `algorithm` and `[data]`.",
                },
            }),
            &["format", "body"],
            "The guest's init data. The broker computes its digest. Leaving it out changes nothing about what the \
             registration demands.",
        ),
        "TrusteeKey": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "kty": { "type": "string", "enum": ["RSA", "EC"] },
                "alg": { "type": "string", "enum": ["RSA1_5", "RSA-OAEP-256", "ECDH-ES+A256KW"] },
                "crv": { "type": "string", "const": "P-256" },
                "n": modulus,
                "e": described("The exponent of an RSA key, odd.", any_base64url()),
                "x": described("A coordinate of an EC key. The two must be those of a point.", base64url(32)),
                "y": described("The other coordinate.", base64url(32)),
            },
            "required": ["kty", "alg"],
            "description": "The guest's public key, as a JSON Web Key: numbers are base64url without padding. 0.1.0 and \
                            0.1.1 are served with RSA1_5 alone.",
            "oneOf": [
                {
                    "properties": {
                        "kty": { "const": "RSA" }, "alg": { "enum": ["RSA1_5", "RSA-OAEP-256"] },
                        "crv": false, "x": false, "y": false,
                    },
                    "required": ["n", "e"],
                },
                {
                    "properties": {
                        "kty": { "const": "EC" }, "alg": { "const": "ECDH-ES+A256KW" },
                        "n": false, "e": false,
                    },
                    "required": ["crv", "x", "y"],
                },
            ],
        },
        "SevEvidence": {
            "anyOf": [evidence("attestation_report"), evidence("hcl_report"), evidence("report")],
            "description": "The report as the `sev` crate serialises it: `attestation_report` in the form of any of its \
                            releases from 1.2 to 8.0, and `cert_chain`, which is `null` or an array of objects with \
                            `cert_type` and `data`. Of a guest in an Azure confidential VM: `version`, `tpm_quote`, \
                            `hcl_report` and `vcek`; or, from earlier clients, `quote`, `report` and `vcek`. The broker \
                            does not look at the quote.",
        },
        "AttestationResult": {
            "description": "An attestation result (EAR), signed with ES256 by a key that `/kbs/v0/jwks` shows. Until it \
                            expires, it is also the guest's credential.",
            "type": "string",
            "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}$",
            "maxLength": 8192,
        },
    }))
}

/// The schemas of the body.
fn schemas() -> Map<String, Value> {
    let modulus = json!({
        "type": "string",
        "minLength": 344,
        "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
        "contentEncoding": "base64",
        "description": "The modulus, big-endian, in standard base64 with padding.",
    });
    let exponent = json!({ "type": "string", "description": "The exponent, likewise.", "const": "AQAB" });
    let either =
        |name: &str, alias: &str| json!({ "oneOf": [{ "required": [name] }, { "required": [alias] }] });
    let chain = json!({
        "description": "The table: certificates that the host gave to the guest.",
        "type": "array",
        "items": reference("Certificate"),
        "maxItems": 8,
    });
    named(json!({
        "AttestRequest": {
            "description": "The evidence of a guest, and the key that it is bound to.",
            "anyOf": [reference("GuestEvidence"), reference("TrusteeAttestRequest")],
        },
        "GuestEvidence": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "tee-pubkey": reference("TeePubkey"),
                "tee-evidence": described("JSON in a string.", json_text(&reference("TeeEvidence"))),
            },
            "required": ["tee-pubkey", "tee-evidence"],
            "description": "The evidence of libkrun's or keybroker's guest, and the key that it is bound to.",
        },
        "TeePubkey": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "kty": { "type": ["string", "null"], "enum": ["RSA", null] },
                "alg": { "type": "string", "const": "RSA" },
                "k-mod": modulus,
                "k-exp": exponent,
                "n": modulus,
                "e": exponent,
            },
            "required": ["alg"],
            "description": "An RSA key that the guest has just made: 2048 to 4096 bits, an odd modulus, the exponent 65537. \
                            Modulus\nand exponent go by either of their two names.",
            "allOf": [either("k-mod", "n"), either("k-exp", "e")],
        },
        "TeeEvidence": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "report": {
                    "type": "string",
                    "description": "The report as the firmware gave it, 1184 bytes, in hex. REPORT_DATA must be\n\
                                    `SHA-512(nonce ‖ modulus ‖ exponent)`, over the three base64 texts as sent.",
                    "pattern": "^([0-9A-Fa-f]{2})*$",
                },
                "gen": {
                    "type": ["string", "null"],
                    "description": "The product that the broker tries first if the report does not name its \
                                    CPU: `milan`,\n`genoa`, `turin`.",
                },
                "cert_chain": {
                    "type": ["string", "null"],
                    "contentMediaType": "application/json",
                    "contentSchema": chain,
                    "description": "JSON in a string: certificates that the host has.",
                },
            },
            "required": ["report"],
            "description": "An attestation report, and data that helps to verify it.",
        },
        "Certificate": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "cert_type": {
                    "anyOf": [
                        { "type": "string", "description": "A name." },
                        {
                            "type": "object",
                            "additionalProperties": true,
                            "description": "A kind without a name: `{\"OTHER\":\"<GUID>\"}`.",
                        },
                    ],
                    "description": "The kind of the certificate. The broker uses VCEK, VLEK and ASK; it \
                                    ignores roots, CRLs and all other kinds.",
                },
                "data": {
                    "type": "array",
                    "items": byte(),
                    "description": "The certificate, DER or PEM.",
                    "maxItems": 16384,
                },
            },
            "required": ["cert_type", "data"],
            "description": "One row of the table.",
        },
    }))
}
