//! `POST /kbs/v0/attest`.

use keybroker_common::{
    dialect::Dialect,
    http::BODY_LIMIT,
    wire::{FieldName, Invalid},
};
use serde_json::{Map, Value, json};

use crate::{
    answers::{self, Form},
    operation::{Operation, Request},
    schema::{byte, described, json_text, named, reference},
    shared::{refusals_of_a_body, refusals_of_a_session, session_cookie},
};

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
    let mut problems = refusals_of_a_session();
    problems.extend(refusals_of_a_body(BODY_LIMIT, FieldName::new("init-data")));
    problems.extend([Invalid::ReportHex.into(), Invalid::KeyExponent.into()]);
    Operation {
        id: "attest",
        summary: "Opens a session for a guest whose evidence holds",
        description: "One of the two cookies must name the challenge that the guest answers; both at once \
                      are refused. The first decision about a challenge is the only one, also if it is a refusal \
                      with 403. The same body sent again gets the same answer."
            .to_owned(),
        parameters: [Dialect::Libkrun, Dialect::Keybroker].map(|one| session_cookie(one, false)).into(),
        request: Some(Request {
            schema: reference("AttestRequest"),
            limit: BODY_LIMIT,
            examples: vec![("libkrun", libkrun), ("keybroker", keybroker)],
        }),
        success: answers::empty(
            "The guest is what it claims to be, and the session is open. The answer has no body: libkrun's \
             guest takes any body for a failure.",
        ),
        problems,
        form: Form::Text,
        security: Vec::new(),
        schemas: schemas(),
    }
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
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "tee-pubkey": reference("TeePubkey"),
                "tee-evidence": described("JSON in a string.", json_text(&reference("TeeEvidence"))),
            },
            "required": ["tee-pubkey", "tee-evidence"],
            "description": "The evidence of a guest, and the key that it is bound to.",
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
