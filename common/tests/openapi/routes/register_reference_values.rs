//! `POST /rvp/register`.

use keybroker_common::{
    broker::Error,
    http::REFERENCE_VALUES_LIMIT,
    platform::Condition,
    policy::{MAX_QUERIES, PolicyRefused},
    requirements::KeyDigests,
    wire::{FieldName, Invalid, keybroker},
};
use keybroker_initdata::Algorithm;
use keybroker_snp::{product::Product, silicon::Cpuid};
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
            "milan-x": { "snp": 27, "microcode": 71 },
            "turin-c1": { "fmc": 1, "boot_loader": 1, "tee": 0, "snp": 4, "microcode": 60 },
        },
        "require": {
            "id_key_digest": "1d".repeat(48),
            "minimum_guest_svn": 2,
            "smt": false,
            "platform": ["committed"],
        },
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
                "minimum_current_tcb": described("Floors of CURRENT_TCB.", reference("TcbFloors")),
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
            "anyOf": [
                { "properties": { "require": { "properties": { "evidence": false } } } },
                {
                    "description": "With `require.evidence`, nothing binds HOST_DATA or init data.",
                    "properties": {
                        "require": { "properties": { "host_data": false } },
                        "init_data": { "properties": { "bound_by": { "const": "nothing" } } },
                    },
                    "required": ["workload_id"],
                },
            ],
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
        "TcbFloors": by_silicon(
            "Floors of a TCB version, by silicon: levels of different silicon cannot be compared. A stepping's name or its \
             CPUID signature holds for reports that name their stepping, a product for those of version 2. Guests on silicon \
             that is not named are refused.",
            reference("TcbLevels"),
        ),
        "TcbLevels": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "fmc": level("Firmware management controller: Turin only."),
                "boot_loader": level("Bootloader."),
                "tee": level("PSP operating system."),
                "snp": level("SNP firmware."),
                "microcode": level("CPU microcode."),
            },
            "minProperties": 1,
            "description": "The least security patch levels of a platform's components. A component that is not \
                            named may have any.",
        },
        "Mitigations": by_silicon(
            "The numbers of bits that a mitigation vector must have, by silicon. Silicon with an empty list is admitted \
             without any; silicon that is not named is refused.",
            json!({ "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 63 } }),
        ),
        "Require": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "host_data": described(
                    "HOST_DATA of the report. Permitted only beside `workload_id`: without it, the broker chooses HOST_DATA.",
                    hex(32),
                ),
                "id_key_digest": {
                    "description": "The key that signed the guest's ID block, or several of which one did.",
                    "anyOf": [
                        hex(48),
                        {
                            "type": "array",
                            "items": hex(48),
                            "minItems": 1,
                            "maxItems": KeyDigests::MOST,
                            "uniqueItems": true,
                        },
                    ],
                },
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
                "evidence": {
                    "type": "string",
                    "description": "The form of the guest's evidence: that of an Azure confidential VM. Without it, the \
                                    bare report is required.",
                    "const": "az-snp-vtpm",
                },
                "products": {
                    "type": "array",
                    "items": { "type": "string", "enum": product_names() },
                    "description": "The products that the guest may run on.",
                    "minItems": 1,
                },
                "chips": {
                    "type": "array",
                    "items": { "type": "string", "pattern": "^(?:[0-9a-fA-F]{16}|[0-9a-fA-F]{128})$" },
                    "description": "The chips that the guest may run on, by id: 64 bytes in hex, or the 8 of a Turin. No id \
                                    is all zeros.",
                    "minItems": 1,
                },
                "current_mitigations": described("Bits of CURRENT_MIT_VECTOR.", reference("Mitigations")),
                "launch_mitigations": described("Bits of LAUNCH_MIT_VECTOR.", reference("Mitigations")),
                "platform": {
                    "type": "array",
                    "items": { "type": "string", "enum": Condition::ALL.map(Condition::name) },
                    "description": "Conditions of the platform, most of them in PLATFORM_INFO. `committed`: no \
                                    provisional firmware.",
                    "minItems": 1,
                },
                "minimum_firmware": {
                    "type": "string",
                    "pattern": firmware_version(),
                    "description": "The least version of the SNP firmware: API major, API minor and build.",
                },
            },
            "description": "Requirements on the guest policy and the ID block. Every member that is present \
                            must require something.",
        },
    }))
}

/// Three numbers below 256, with dots between them.
fn firmware_version() -> String {
    let number = "(?:0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])";
    format!(r"^{number}\.{number}\.{number}$")
}

/// The names of products, as demands have them.
fn product_names() -> Vec<String> {
    Product::ALL.iter().map(|product| product.name().to_ascii_lowercase()).collect()
}

/// An object of values by silicon.
fn by_silicon(description: &str, value: Value) -> Value {
    let mut names = product_names();
    names.extend(Cpuid::names().map(str::to_owned));
    json!({
        "type": "object",
        "propertyNames": {
            "anyOf": [{ "enum": names }, { "pattern": "^0x[0-9a-fA-F]{1,8}$" }],
        },
        "additionalProperties": value,
        "description": description,
        "minProperties": 1,
    })
}
