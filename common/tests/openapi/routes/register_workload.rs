//! `POST /kbs/v0/register_workload`.

use keybroker_common::{
    broker::{Error, Registered},
    http::BODY_LIMIT,
    ids::WorkloadIdError,
    wire::{FieldName, Invalid, libkrun},
};
use serde_json::{Map, Value, json};

use super::token_or_nothing;
use crate::{
    answers::{self, Form, told},
    operation::{Operation, Request},
    schema::{byte, described, hex, json_text, named, reference, workload_id},
    shared::{ID, WORKLOAD, on_record, read, refusals_of_a_body, refusals_of_a_registration},
};

pub(crate) fn register_workload() -> Operation {
    let tee_config = r#"{"flags":{"bits":15},"minfw":{"major":0,"minor":0}}"#;
    let body = json!({
        "workload_id": WORKLOAD,
        "launch_measurement": "4d".repeat(48),
        "passphrase": "9e7a3c52d10f4b8896b1c2a4f0d37e65",
        "tee_config": tee_config,
    });
    let registered = read(&libkrun::registered(&Registered { id: ID, replaced: false }));
    let mut success =
        answers::success("It is registered, under an audit record.", &on_record(), &registered, &[]);
    success["links"] = json!({
        "key": {
            "operationId": "key",
            "parameters": { "workload_id": "$request.body#/workload_id" },
            "description": "A guest that has attested as this workload fetches the passphrase.",
        },
    });
    let mut problems = refusals_of_a_body(BODY_LIMIT, FieldName::new("policy"));
    problems.extend([
        Invalid::WorkloadId(WorkloadIdError::TooLong).into(),
        Invalid::MeasurementOfSev.into(),
        Error::AlreadyRegistered { id: ID }.into(),
    ]);
    problems.extend(refusals_of_a_registration());
    Operation {
        id: "registerWorkload",
        summary: "Registers a workload",
        description: "Buildah sends this request. The same id may be registered again within 30 minutes of \
                      the first time, with the same measurement and `tee_config`, until a guest has attested \
                      as it: the last passphrase wins."
            .to_owned(),
        parameters: Vec::new(),
        request: Some(Request {
            schema: reference("RegisterWorkload"),
            limit: BODY_LIMIT,
            examples: vec![("buildah", body)],
        }),
        success,
        problems: told(Form::Text, problems),

        security: token_or_nothing(),
        schemas: schemas(),
    }
}

/// The schemas of the body.
fn schemas() -> Map<String, Value> {
    named(json!({
        "RegisterWorkload": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "workload_id": reference("WorkloadId"),
                "launch_measurement": described(
                    "The launch measurement that the guest's report must have: a SHA-384, in hex.",
                    hex(48),
                ),
                "passphrase": {
                    "type": "string",
                    "description": "The passphrase that the guest gets: UTF-8 without NUL. Its length counts \
                                    in bytes.",
                    "minLength": 1,
                    "maxLength": 245,
                    "pattern": r"^[^\x00]*$",
                },
                "tee_config": described(
                    "The permitted guest policy: JSON in a string.",
                    json_text(&reference("TeeConfig")),
                ),
            },
            "required": ["workload_id", "launch_measurement", "passphrase", "tee_config"],
            "description": "A workload that buildah has built.",
        },
        "WorkloadId": workload_id(),
        "TeeConfig": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "flags": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "bits": {
                            "type": "integer",
                            "format": "uint32",
                            "minimum": 0,
                            "description": "Bit 0 lets the guest run with SMT. Bits 2 and 3 (MIGRATE_MA, \
                                            DEBUG) permit nothing, whatever their values.",
                            "maximum": 15,
                        },
                    },
                    "required": ["bits"],
                    "description": "Bits of the guest policy.",
                },
                "minfw": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "major": described("ABI_MAJOR.", byte()),
                        "minor": described("ABI_MINOR.", byte()),
                    },
                    "required": ["major", "minor"],
                    "description": "The lowest ABI version that the guest policy must demand.",
                },
            },
            "required": ["flags", "minfw"],
            "description": "The guest policy as buildah describes it.",
        },
    }))
}
