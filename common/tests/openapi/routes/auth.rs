//! `POST /kbs/v0/auth`.

use std::time::Duration;

use keybroker_common::{
    broker::Error,
    dialect::Dialect,
    http::BODY_LIMIT,
    wire::{Fault, FieldName, Invalid, Part, handshake},
};
use serde_json::{Map, Value, json};

use crate::{
    answers::{self, Form},
    operation::{Operation, Request},
    schema::{json_text, named, reference},
    shared::{SESSION_ID, WORKLOAD, cookie_name, object, read, refusals_of_a_body, sample_challenge},
};

pub(crate) fn auth() -> Operation {
    let libkrun = json!({
        "version": "0.0.0",
        "tee": "snp",
        "extra-params": json!({ "workload_id": WORKLOAD }).to_string(),
    });
    let keybroker = json!({ "version": "0.1.0", "tee": "snp", "extra-params": "" });
    let challenge = sample_challenge();
    let form = object(&[
        (
            "nonce",
            json!({ "type": "string", "pattern": "^[A-Za-z0-9+/]{43}=$", "contentEncoding": "base64" }),
        ),
        ("extra-params", json!({ "type": "string", "const": "" })),
    ]);
    let [libkruns, keybrokers] = [Dialect::Libkrun, Dialect::Keybroker].map(cookie_name);
    let set_cookie = json!({
        "description": format!(
            "`{libkruns}` if the guest names a workload, `{keybrokers}` if it does not. The value is opaque and has at \
             most 99 characters. The broker decides about the challenge once, within `Max-Age` seconds."
        ),
        "required": true,
        "schema": {
            "type": "string",
            "pattern": format!("^({libkruns}|{keybrokers})={SESSION_ID}; Path=/; HttpOnly; Max-Age=[0-9]+$"),
        },
        "example": handshake::set_cookie(&challenge, Duration::from_secs(300)),
    });
    let example = read(&handshake::challenge(&challenge));
    let mut problems = refusals_of_a_body(BODY_LIMIT, FieldName::new("init-data"));
    problems.extend([
        Invalid::Tee.into(),
        Invalid::Version.into(),
        Invalid::WorkloadIdForCookie.into(),
        Invalid::Json { part: Part::ExtraParams, fault: Fault::MissingField(FieldName::new("workload_id")) }
            .into(),
        Error::Internal { id: None }.into(),
        Error::Unavailable { id: None, retry_after: 5 }.into(),
    ]);
    Operation {
        id: "auth",
        summary: "Gives a guest a challenge",
        description: "The broker looks nothing up and stores nothing: nobody can learn here whether a workload is registered. \
                      The guest names its registration by a workload id in `extra-params`; without one, \
                      HOST_DATA of its report names it."
            .to_owned(),
        parameters: Vec::new(),
        request: Some(Request {
            schema: reference("AuthRequest"),
            limit: BODY_LIMIT,
            examples: vec![("libkrun", libkrun), ("keybroker", keybroker)],
        }),
        success: answers::success("A challenge.", &form, &example, &[("Set-Cookie", set_cookie)]),
        problems,
        form: Form::Text,
        security: Vec::new(),
        schemas: schemas(),
    }
}

/// The schemas of the body.
fn schemas() -> Map<String, Value> {
    named(json!({
        "AuthRequest": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "version": {
                    "type": "string",
                    "description": "`0.0.0` from libkrun's guest, any from keybroker's.",
                    "minLength": 1,
                    "maxLength": 32,
                },
                "tee": {
                    "type": "string",
                    "description": "The only technology that the broker serves.",
                    "const": "snp",
                },
                "extra-params": {
                    "anyOf": [json_text(&reference("ExtraParams")), { "type": "string", "const": "" }],
                    "description": "libkrun's guest: JSON in a string. keybroker's guest: empty.",
                },
            },
            "required": ["version", "tee", "extra-params"],
            "description": "The identity that a guest claims.",
            // A guest that names a workload speaks the one version that libkrun's guest has.
            "anyOf": [
                { "properties": { "version": { "const": "0.0.0" } } },
                { "properties": { "extra-params": { "const": "" } } },
            ],
        },
        "ExtraParams": {
            "type": "object",
            "additionalProperties": false,
            "properties": { "workload_id": reference("WorkloadId") },
            "required": ["workload_id"],
        },
    }))
}
