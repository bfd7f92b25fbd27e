//! `GET /kbs/v0/key/{workload_id}` and `GET /kbs/v0/resource/…`: secrets, sealed to a guest's key.
//! `GET /kbs/v0/jwks`: the keys by which attestation results are verified.

use data_encoding::BASE64URL_NOPAD;
use keybroker_common::{
    broker::Error,
    dialect::Dialect,
    ids::WorkloadIdError,
    problem::TrusteeStage,
    secret::seal::Sealed,
    wire::{Invalid, keybroker, libkrun},
};
use serde_json::{Map, Value, json};

use crate::{
    answers::{self, Form, told},
    operation::Operation,
    schema::{any_base64url, base64url, described, named, path_part, reference, resource_name},
    shared::{
        ID, RESOURCE_NAME, RESOURCE_PATH, WORKLOAD, object, path_parameter, read, refusals_of_a_session,
        session_cookie,
    },
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
        problems: told(Form::Text, problems),

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
        problems: told(Form::Text, problems),

        security: Vec::new(),
        schemas: schemas(),
    }
}

pub(crate) fn named_resource() -> Operation {
    let mut operation = of_trustees("namedResource", Vec::new());
    operation.schemas = trustee_schemas();
    operation
}

pub(crate) fn named_resource_of() -> Operation {
    let workload = path_parameter("workload_id", &reference("WorkloadId"), WORKLOAD);
    let mut operation = of_trustees("namedResourceOfWorkload", vec![workload]);
    operation.description += " The session must be of the workload that the URL names.";
    let unprintable = Invalid::WorkloadId(WorkloadIdError::Unprintable);
    operation.problems.push((Form::Trustee(TrusteeStage::Resource), unprintable.into()));
    operation
}

/// A resource of Trustee's guests, behind these parameters.
fn of_trustees(id: &'static str, mut parameters: Vec<Value>) -> Operation {
    let named = ["repository", "type", "tag"].into_iter().zip(RESOURCE_PATH.split('/'));
    parameters.extend(named.map(|(name, part)| path_parameter(name, &path_part(), part)));
    parameters.push(session_cookie(Dialect::Trustee, false));
    let mut problems = refusals_of_a_session();
    problems.extend([
        Invalid::Authorization.into(),
        Invalid::ResourceName.into(),
        Invalid::Path.into(),
        Error::NoSecret { id: ID }.into(),
    ]);
    let text = |text: &[u8]| BASE64URL_NOPAD.encode(text);
    let example = json!({
        "protected": text(br#"{"alg":"RSA1_5","enc":"A256GCM"}"#),
        "encrypted_key": text(&[0xAB; 256]),
        "iv": text(&[0x1C; 12]),
        "ciphertext": text(&[0xAB; 32]),
        "tag": text(&[0x7A; 16]),
    });
    Operation {
        id,
        summary: "Releases a resource to a guest of Trustee's that has attested",
        description: "The guest shows the cookie of its session, or as Bearer its attestation result; both at once \
                      are refused. It can fetch the resource again until the session expires, always under the same \
                      key."
            .to_owned(),
        parameters,
        request: None,
        success: answers::success(
            "The resource, sealed to the key that attested.",
            &reference("TrusteeJwe"),
            &example,
            &[],
        ),
        problems: told(Form::Trustee(TrusteeStage::Resource), problems),
        security: vec![json!({}), json!({ "result": [] })],
        schemas: Map::new(),
    }
}

pub(crate) fn result_keys() -> Operation {
    let key = object(&[
        ("crv", json!({ "type": "string", "const": "P-256" })),
        ("kty", json!({ "type": "string", "const": "EC" })),
        ("x", base64url(32)),
        ("y", base64url(32)),
        ("kid", described("The key's thumbprint (RFC 7638).", base64url(32))),
        ("alg", json!({ "type": "string", "const": "ES256" })),
        ("use", json!({ "type": "string", "const": "sig" })),
    ]);
    let keys = json!({ "type": "array", "items": described("A public key.", key), "minItems": 1 });
    let number = |byte: u8| BASE64URL_NOPAD.encode(&[byte; 32]);
    let example = json!({ "keys": [{
        "crv": "P-256", "kty": "EC", "x": number(0x1D), "y": number(0x2D), "kid": number(0x3D),
        "alg": "ES256", "use": "sig",
    }] });
    Operation {
        id: "resultKeys",
        summary: "Shows the public keys that attestation results are signed with",
        description: "A JWK Set (RFC 7517): every key whose signatures count, and the next one. The keys are replaced \
                      every week. A third party that verifies a result must also let its bearer prove that it has the \
                      key in `cnf`."
            .to_owned(),
        parameters: Vec::new(),
        request: None,
        success: answers::success("The keys.", &object(&[("keys", keys)]), &example, &[]),
        problems: told(Form::Text, vec![
            Error::Internal { id: None }.into(),
            Error::Unavailable { id: None, retry_after: 5 }.into(),
        ]),
        security: Vec::new(),
        schemas: Map::new(),
    }
}

/// The schemas of a resource of Trustee's guests.
fn trustee_schemas() -> Map<String, Value> {
    let members = |of: [Value; 5]| {
        let names = ["protected", "encrypted_key", "iv", "ciphertext", "tag"];
        object(&names.into_iter().zip(of).collect::<Vec<_>>())
    };
    let text = any_base64url;
    named(json!({
        "TrusteeJwe": {
            "description": "A resource, as a flattened JWE.",
            "anyOf": [reference("FlattenedJwe"), reference("EarlyJwe")],
        },
        "FlattenedJwe": described(
            "From 0.2.0 on: RFC 7516, 7.2.2, by the key's `alg` and A256GCM.",
            members([text(), text(), base64url(12), text(), base64url(16)]),
        ),
        "EarlyJwe": described(
            "0.1.0 and 0.1.1: not RFC 7516. `protected` is the JSON text itself and not authenticated, and the tag \
             stands at the end of the ciphertext.",
            members([
                json!({ "type": "string", "const": r#"{"alg":"RSA1_5","enc":"A256GCM"}"# }),
                text(),
                base64url(12),
                text(),
                json!({ "type": "string", "const": "" }),
            ]),
        ),
    }))
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
