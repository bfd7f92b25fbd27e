//! `POST /rvp/register`.

use keybroker_common::{
    broker::Error,
    http::REFERENCE_VALUES_LIMIT,
    policy::{MAX_QUERIES, PolicyRefused},
    wire::{FieldName, Invalid, keybroker},
};
use keybroker_initdata::Algorithm;
use serde_json::{Map, Value, json};

use super::token_or_nothing;
use crate::{
    answers::{self, Form, told},
    operation::{Operation, Request},
    schema::{byte, described, hex, named, reference, resource_name, resource_path},
    shared::{
        ID, RESOURCE_NAME, RESOURCE_PATH, WORKLOAD, init_data, read, refusals_of_a_body,
        refusals_of_a_registration, sample_host_data,
    },
};

pub(crate) fn register_reference_values() -> Operation {
    let measurement = "4d".repeat(48);
    let short = json!({
        "query": ["data.measurement == input.measurement"],
        "reference_values": { "measurement": measurement },
        "resources": { RESOURCE_NAME: "mysecretpassphrase" },
    });
    let long = json!({
        "measurements": [measurement],
        "minimum_tcb": {
            "milan": { "boot_loader": 4, "tee": 0, "snp": 22, "microcode": 213 },
            "turin": { "fmc": 1, "boot_loader": 1, "tee": 0, "snp": 4, "microcode": 60 },
        },
        "require": { "id_key_digest": "1d".repeat(48), "minimum_guest_svn": 2, "smt": false },
        "policy": "package policy\n\nallow if input.snp.vmpl == 0\n",
        "query": ["data.policy.allow"],
        "resources": { RESOURCE_NAME: "mysecretpassphrase", "tls.key": "-----BEGIN PRIVATE KEY-----" },
    });
    let ours = json!({
        "workload_id": WORKLOAD,
        "init_data": {
            "bound_by": "host_data",
            "algorithm": "sha256",
            "digest": Algorithm::Sha256.digest("a document").to_string(),
        },
        "measurements": [measurement],
        "resources": { RESOURCE_NAME: "mysecretpassphrase" },
    });
    let trustees = json!({
        "workload_id": WORKLOAD,
        "dialects": ["trustee"],
        "measurements": [measurement],
        "resources": { RESOURCE_PATH: "-----BEGIN PRIVATE KEY-----" },
    });
    let host_data = "HOST_DATA to launch the guest with: 32 bytes in standard base64. Zeros, where the registration has \
                     no init data and is Trustee's guests': then their launch chooses it.";
    let form = json!({ "type": "string", "pattern": "^[A-Za-z0-9+/]{43}=$", "contentEncoding": "base64" });
    let example = read(&keybroker::registered(&sample_host_data().to_bytes()));
    let mut problems = refusals_of_a_body(REFERENCE_VALUES_LIMIT, FieldName::new("measurement"));
    problems.push(Invalid::Registration(keybroker::RegistrationFault::Unbound).into());
    problems.push(Invalid::Registration(keybroker::RegistrationFault::InitDataAlone).into());
    problems.push(Invalid::Registration(keybroker::RegistrationFault::TrusteeBinding).into());
    problems.push(Error::AlreadyRegistered { id: ID }.into());
    problems.push(Error::Policy(PolicyRefused(format!("more than {MAX_QUERIES} queries"))).into());
    problems.extend(refusals_of_a_registration());
    Operation {
        id: "registerReferenceValues",
        summary: "Registers reference values, policy and resources",
        description: "Without `workload_id`, the guests are keybroker's: the same body sent twice makes two \
                      registrations, with a HOST_DATA each, and none is ever replaced. With `workload_id` and \
                      `init_data`, they are guests of the broker's own protocol, which have this init data. With \
                      `dialects`, they may be Trustee's: their URL names the workload, or the digest of `init_data` in \
                      HOST_DATA does, which at most one registration can have. The broker refuses a requirement that \
                      would require nothing, and measurements and digests of zeros."
            .to_owned(),
        parameters: Vec::new(),
        request: Some(Request {
            schema: reference("RegisterReferenceValues"),
            limit: REFERENCE_VALUES_LIMIT,
            examples: vec![("short", short), ("long", long), ("init_data", ours), ("trustee", trustees)],
        }),
        success: answers::success(host_data, &form, &example, &[]),
        problems: told(Form::Text, problems),

        security: token_or_nothing(),
        schemas: schemas(),
    }
}

/// Which members come together, by the dialects of the guests.
fn forms() -> Value {
    let plain = json!({ "propertyNames": resource_name() });
    let paths = json!({ "propertyNames": resource_path() });
    let by_host_data = json!({ "properties": { "bound_by": { "const": "host_data" } } });
    json!([
        {
            "description": "keybroker's guests.",
            "properties": {
                "workload_id": false,
                "dialects": false,
                "init_data": false,
                "resources": plain,
                // The broker draws HOST_DATA.
                "require": { "properties": { "host_data": false } },
            },
        },
        {
            "description": "Guests of the broker's own protocol.",
            "properties": { "dialects": { "const": ["v1"] }, "resources": plain },
            "required": ["workload_id", "init_data"],
        },
        {
            "description": "Trustee's guests.",
            "properties": {
                "dialects": { "const": ["trustee"] },
                "init_data": by_host_data,
                "resources": paths,
            },
            "required": ["workload_id", "dialects"],
        },
        {
            "description": "Both.",
            "properties": {
                "dialects": { "minItems": 2 },
                "init_data": by_host_data,
            },
            "required": ["workload_id", "dialects", "init_data"],
        },
    ])
}

/// The schemas of the body.
fn schemas() -> Map<String, Value> {
    let level = |description| described(description, byte());
    let floor = |words| described(words, json!({ "anyOf": [reference("TcbVersion"), { "type": "null" }] }));
    named(json!({
        "RegisterReferenceValues": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "query": {
                    "type": "array",
                    "items": { "type": "string", "maxLength": 4096 },
                    "description": "Queries in Rego: each must be defined and true.",
                    "maxItems": 16,
                    "default": [],
                },
                "reference_values": {
                    "type": "object",
                    "additionalProperties": true,
                    "description": "The root of `data` in the queries. `measurement` in it, one of 96 hex digits or a non-empty \
                                    array of\nthem, is enforced natively too, before any query.",
                },
                "resources": reference("Resources"),
                "policy": {
                    "type": "string",
                    "description": "A module in Rego. Permitted only beside a query.",
                    "maxLength": 16384,
                },
                "measurements": {
                    "type": "array",
                    "items": hex(48),
                    "description": "Launch measurements: the report's must be one of them. If \
                                    `reference_values` names some as well, it\nmust be in both.",
                    "minItems": 1,
                },
                "minimum_tcb": described("Floors of REPORTED_TCB.", reference("TcbFloors")),
                "minimum_committed_tcb": described("Floors of COMMITTED_TCB.", reference("TcbFloors")),
                "minimum_launch_tcb": described("Floors of LAUNCH_TCB.", reference("TcbFloors")),
                "require": reference("Require"),
                "dialects": {
                    "type": "array",
                    "items": { "type": "string", "enum": ["v1", "trustee"] },
                    "description": "The dialects in which the guests may ask. Without it: `v1` where there is a \
                                    `workload_id`, and else keybroker's.",
                    "minItems": 1,
                    "uniqueItems": true,
                },
                "workload_id": reference("WorkloadId"),
                "init_data": init_data(
                    "The init data that the guests must have been given. A document for `v1` must name the workload, and \
                     have the binding that `bound_by` says; one for `trustee` alone needs `version`, `algorithm` and \
                     `[data]`.",
                    &[("bound_by", json!({
                        "description": "The value that ties a guest to its init data: HOST_DATA, the launch \
                                        measurement, or nothing.",
                        "type": "string",
                        "enum": ["host_data", "measurement", "nothing"],
                    }))],
                ),
            },
            "required": ["resources"],
            "oneOf": forms(),
            "description": "Reference values, the other requirements on a guest, and the secrets that it \
                            then gets. The body must name a launch measurement (in\n`measurements` or \
                            `reference_values.measurement`) or `require.id_key_digest`.",
        },
        "Resources": {
            "description": "The secrets that the guest may fetch, by name: a plain name, or `repository/type/tag` for \
                            Trustee's guests. Lengths count in bytes.",
            "type": "object",
            "maxProperties": 16,
            "propertyNames": { "anyOf": [resource_name(), resource_path()] },
            "additionalProperties": {
                "anyOf": [
                    { "type": "string", "minLength": 1, "maxLength": 4000 },
                    {
                        "type": "object",
                        "description": "A secret that is not UTF-8, in standard base64 with padding.",
                        "additionalProperties": false,
                        "required": ["base64"],
                        "properties": {
                            "base64": {
                                "type": "string",
                                "pattern": "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$",
                            },
                        },
                    },
                ],
            },
        },
        "TcbFloors": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "milan": floor("Milan's."),
                "genoa": floor("Genoa's, Bergamo's and Siena's."),
                "turin": floor("Turin's."),
            },
            "description": "Floors of a TCB version, by product: levels of different products cannot be \
                            compared.",
            "minProperties": 1,
        },
        "TcbVersion": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "fmc": {
                    "type": ["integer", "null"],
                    "format": "uint8",
                    "minimum": 0,
                    "maximum": 255,
                    "description": "Firmware management controller: Turin only.",
                },
                "boot_loader": level("Bootloader."),
                "tee": level("PSP operating system."),
                "snp": level("SNP firmware."),
                "microcode": level("CPU microcode."),
            },
            "required": ["boot_loader", "tee", "snp", "microcode"],
            "description": "A TCB version: the security patch levels of a platform's components.",
        },
        "Require": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "host_data": described(
                    "HOST_DATA of the report. Permitted only beside `workload_id`: without it, the broker chooses HOST_DATA.",
                    hex(32),
                ),
                "id_key_digest": described("The key that signed the guest's ID block.", hex(48)),
                "author_key_digest": described("The author key that certified the ID block's key.", hex(48)),
                "family_id": described(
                    "FAMILY_ID of the ID block. Permitted only beside a key: anybody can sign an ID block \
                     with a key of their own.",
                    hex(16),
                ),
                "image_id": described("IMAGE_ID of the ID block. Permitted only beside a key.", hex(16)),
                "minimum_guest_svn": {
                    "type": "integer",
                    "format": "uint32",
                    "minimum": 1,
                    "description": "The least GUEST_SVN of the ID block. Permitted only beside a key.",
                },
                "single_socket": {
                    "type": "boolean",
                    "description": "The guest policy must bind the guest to one socket.",
                    "const": true,
                },
                "smt": {
                    "type": "boolean",
                    "description": "The guest policy must forbid SMT.",
                    "const": false,
                },
                "ciphertext_hiding": {
                    "type": "boolean",
                    "description": "The guest policy must demand that ciphertext is hidden from the host.",
                    "const": true,
                },
            },
            "description": "Requirements on the guest policy and the ID block. Every member that is present \
                            must require something.",
        },
    }))
}
