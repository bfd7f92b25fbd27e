//! `GET /kbs/v0/key/{workload_id}` and `GET /kbs/v0/resource/{name}`: secrets, sealed to a guest's key.

use keybroker_common::{
    dialect::Dialect,
    ids::WorkloadIdError,
    secret::seal::Sealed,
    wire::{Invalid, keybroker, libkrun},
};
use serde_json::{Map, Value, json};

use crate::{
    answers::{self, Form},
    operation::Operation,
    schema::{named, reference, resource_name},
    shared::{RESOURCE_NAME, WORKLOAD, path_parameter, read, refusals_of_a_session, session_cookie},
};

pub(crate) fn key() -> Operation {
    let form = json!({
        "type": "string",
        "pattern": "^([0-9a-f]{2})+$",
        "minLength": 512,
        "maxLength": 1024,
    });
    let sealed = "The passphrase by RSAES-PKCS1-v1_5 to the key that attested, in hex.";
    let example = read(&libkrun::released(&[0xAB; 256], false));
    let mut problems = refusals_of_a_session();
    problems.extend([Invalid::WorkloadId(WorkloadIdError::Unprintable).into(), Invalid::Path.into()]);
    Operation {
        id: "key",
        summary: "Releases the passphrase of a workload to a guest that has attested as it",
        description:
            "The guest can fetch it again until the session expires, always under the same key. For \
                      a client that sends no `User-Agent`, one NUL byte follows the closing quote: libkrun's \
                      guest needs it."
                .to_owned(),
        parameters: vec![
            path_parameter("workload_id", &reference("WorkloadId"), WORKLOAD),
            session_cookie(Dialect::Libkrun, true),
        ],
        request: None,
        success: answers::success(sealed, &form, &example, &[]),
        problems,
        form: Form::Text,
        security: Vec::new(),
        schemas: Map::new(),
    }
}

pub(crate) fn resource() -> Operation {
    let sealed = "The resource, sealed to the key that attested: `ciphertext` by RSAES-PKCS1-v1_5 in hex, with the other \
                  members empty; one that is too long for that as a flattened JWE (RFC 7516) with RSA-OAEP-256 and A256GCM.";
    let example = read(&keybroker::released(&Sealed::Pkcs1(vec![0xAB; 256])));
    let mut problems = refusals_of_a_session();
    problems.push(Invalid::ResourceName.into());
    Operation {
        id: "resource",
        summary: "Releases a resource to a guest that HOST_DATA has selected the registration of",
        description: "The guest can fetch it again until the session expires, always under the same key."
            .to_owned(),
        parameters: vec![
            path_parameter("name", &resource_name(), RESOURCE_NAME),
            session_cookie(Dialect::Keybroker, true),
        ],
        request: None,
        success: answers::success(sealed, &reference("Jwe"), &example, &[]),
        problems,
        form: Form::Text,
        security: Vec::new(),
        schemas: schemas(),
    }
}

/// The schema of a resource.
fn schemas() -> Map<String, Value> {
    let member = |description| json!({ "type": "string", "description": description });
    named(json!({
        "Jwe": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "protected": member("The header."),
                "encrypted_key": member("The content key, encrypted to the guest."),
                "iv": member("The initialisation vector."),
                "ciphertext": member("The secret, encrypted."),
                "tag": member("The authentication tag."),
            },
            "required": ["protected", "encrypted_key", "iv", "ciphertext", "tag"],
            "description": "The members of the flattened JSON form (RFC 7516, 7.2.2), each in base64url without \
                            padding.",
        },
    }))
}
