//! What each route is for, takes, answers and refuses.

use std::time::Duration;

use schemars::SchemaGenerator;
use serde_json::{Value, json};

use super::{
    super::{
        ATTEST, AUTH, BODY_LIMIT, HEALTH, KEY, REFERENCE_VALUES, REFERENCE_VALUES_LIMIT, REGISTER, RESOURCE,
        Route,
    },
    answers,
    operation::{Operation, Request},
    shared::{
        ID, RESOURCE_NAME, WORKLOAD, object, on_record, path_parameter, read, refusals_of_a_body,
        refusals_of_a_registration, refusals_of_a_session, sample_challenge, sample_host_data, schema,
        session_cookie,
    },
};
use crate::{
    broker::{Error, Registered},
    dialect::Dialect,
    ids::{WorkloadId, WorkloadIdError},
    policy::{MAX_QUERIES, PolicyRefused},
    problem::Problem,
    secret::seal::{GuestKey, Jwe, Sealed},
    wire::{Fault, FieldName, Invalid, Part, handshake, keybroker, libkrun, manners},
};

/// Every route with its description, in the order of the table.
pub(super) fn operations(schemas: &mut SchemaGenerator) -> Vec<(Route, Operation)> {
    vec![
        (REGISTER, register_workload(schemas)),
        (REFERENCE_VALUES, register_reference_values(schemas)),
        (AUTH, auth(schemas)),
        (ATTEST, attest(schemas)),
        (KEY, key(schemas)),
        (RESOURCE, resource(schemas)),
        (HEALTH, health()),
    ]
}

/// How whoever registers may authenticate itself.
pub(super) fn security_schemes() -> Value {
    json!({
        "basic": {
            "type": "http",
            "scheme": "basic",
            "description": "A token of `keybroker token create`, as user or as password: what buildah makes of `https://x:TOKEN@host`.",
        },
        "bearer": { "type": "http", "scheme": "bearer", "description": "A token of `keybroker token create`." },
    })
}

/// A token, or nothing where the broker takes registrations from whoever reaches it.
fn token_or_nothing() -> Vec<Value> {
    vec![json!({}), json!({ "basic": [] }), json!({ "bearer": [] })]
}

fn register_workload(schemas: &mut SchemaGenerator) -> Operation {
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
        Error::Registered { id: ID }.into(),
    ]);
    problems.extend(refusals_of_a_registration());
    Operation {
        id: "registerWorkload",
        summary: "Registers a workload",
        description: "What buildah sends. The same id may be registered again within 30 minutes of the first time, with the \
                      same measurement and `tee_config`, until a guest has attested as it: the last passphrase wins."
            .to_owned(),
        parameters: Vec::new(),
        request: Some(Request {
            schema: schema::<libkrun::RegisterBody>(schemas),
            limit: BODY_LIMIT,
            examples: vec![("buildah", body)],
        }),
        success,
        problems,
        security: token_or_nothing(),
    }
}

fn register_reference_values(schemas: &mut SchemaGenerator) -> Operation {
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
    let host_data = "HOST_DATA to launch the guest with: 32 bytes in standard base64.";
    let form = json!({ "type": "string", "pattern": "^[A-Za-z0-9+/]{43}=$", "contentEncoding": "base64" });
    let example = read(&keybroker::registered(sample_host_data()));
    let mut problems = refusals_of_a_body(REFERENCE_VALUES_LIMIT, FieldName::new("measurement"));
    problems.push(Invalid::Registration(keybroker::RegistrationFault::Unbound).into());
    problems.push(Error::Policy(PolicyRefused(format!("more than {MAX_QUERIES} queries"))).into());
    problems.extend(refusals_of_a_registration());
    Operation {
        id: "registerReferenceValues",
        summary: "Registers reference values, policy and resources",
        description: "The same body sent twice makes two registrations, with a HOST_DATA each. None is ever replaced. What \
                      would require nothing is refused, and so are measurements and digests of zeros."
            .to_owned(),
        parameters: Vec::new(),
        request: Some(Request {
            schema: schema::<keybroker::RegisterBody>(schemas),
            limit: REFERENCE_VALUES_LIMIT,
            examples: vec![("short", short), ("long", long)],
        }),
        success: answers::success(host_data, &form, &example, &[]),
        problems,
        security: token_or_nothing(),
    }
}

fn auth(schemas: &mut SchemaGenerator) -> Operation {
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
    let names = Dialect::ALL.map(|dialect| manners(dialect).cookie).join("|");
    let set_cookie = json!({
        "description": format!(
            "`{}` for whom names a workload, `{}` for whom does not. The challenge can be answered once, for `Max-Age` seconds.",
            manners(Dialect::Libkrun).cookie,
            manners(Dialect::Keybroker).cookie
        ),
        "required": true,
        "schema": {
            "type": "string",
            "pattern": format!("^({names})=[0-9a-f]{{32}}; Path=/; HttpOnly; Max-Age=[0-9]+$"),
        },
        "example": handshake::set_cookie(&challenge, Duration::from_secs(300)),
    });
    let example = read(&handshake::challenge(&challenge));
    let mut problems = refusals_of_a_body(BODY_LIMIT, FieldName::new("init-data"));
    problems.extend([
        Invalid::Tee.into(),
        Invalid::Version.into(),
        Invalid::Json { part: Part::ExtraParams, fault: Fault::MissingField(FieldName::new("workload_id")) }
            .into(),
        Error::Internal { id: None }.into(),
        Error::Unavailable { id: None, retry_after: 5 }.into(),
    ]);
    Operation {
        id: "auth",
        summary: "Gives a guest a challenge",
        description: "Nothing is looked up: whether a workload is registered cannot be learnt here. With a workload id in \
                      `extra-params` the guest names its registration; without, HOST_DATA of its report does."
            .to_owned(),
        parameters: Vec::new(),
        request: Some(Request {
            schema: schema::<handshake::AuthBody>(schemas),
            limit: BODY_LIMIT,
            examples: vec![("libkrun", libkrun), ("keybroker", keybroker)],
        }),
        success: answers::success("A challenge.", &form, &example, &[("Set-Cookie", set_cookie)]),
        problems,
        security: Vec::new(),
    }
}

fn attest(schemas: &mut SchemaGenerator) -> Operation {
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
        description: "One of the two cookies names the challenge that is answered; both at once are refused. A refusal with 403 \
                      spends the challenge."
            .to_owned(),
        parameters: Dialect::ALL.map(|dialect| session_cookie(dialect, false)).into(),
        request: Some(Request {
            schema: schema::<handshake::AttestBody>(schemas),
            limit: BODY_LIMIT,
            examples: vec![("libkrun", libkrun), ("keybroker", keybroker)],
        }),
        success: answers::empty(
            "The guest is what it claims to be, and the session is open. Without a body: libkrun's guest takes any for a failure.",
        ),
        problems,
        security: Vec::new(),
    }
}

fn key(schemas: &mut SchemaGenerator) -> Operation {
    let digits = |bits: usize| bits / 4;
    let form = json!({
        "type": "string",
        "pattern": "^([0-9a-f]{2})+$",
        "minLength": digits(GuestKey::MIN_BITS),
        "maxLength": digits(GuestKey::MAX_BITS),
    });
    let sealed = "The passphrase by RSAES-PKCS1-v1_5 to the key that attested, in hex.";
    let example = read(&libkrun::released(&[0xAB; 256], false));
    let mut problems = refusals_of_a_session();
    problems.extend([Invalid::WorkloadId(WorkloadIdError::Unprintable).into(), Invalid::Path.into()]);
    Operation {
        id: "key",
        summary: "Releases the passphrase of a workload to a guest that has attested as it",
        description: "Can be fetched again until the session expires, always under the same key. To a client that sends no \
                      `User-Agent` one NUL byte follows the closing quote: libkrun's guest needs it."
            .to_owned(),
        parameters: vec![
            path_parameter("workload_id", &schema::<WorkloadId>(schemas), WORKLOAD),
            session_cookie(Dialect::Libkrun, true),
        ],
        request: None,
        success: answers::success(sealed, &form, &example, &[]),
        problems,
        security: Vec::new(),
    }
}

fn resource(schemas: &mut SchemaGenerator) -> Operation {
    let sealed = "The resource, sealed to the key that attested: `ciphertext` by RSAES-PKCS1-v1_5 in hex, with the other \
                  members empty; one that is too long for that as a flattened JWE (RFC 7516) with RSA-OAEP-256 and A256GCM.";
    let example = read(&keybroker::released(&Sealed::Pkcs1(vec![0xAB; 256])));
    let mut problems = refusals_of_a_session();
    problems.push(Invalid::ResourceName.into());
    Operation {
        id: "resource",
        summary: "Releases a resource to a guest that HOST_DATA has selected the registration of",
        description: "Can be fetched again until the session expires, always under the same key.".to_owned(),
        parameters: vec![
            path_parameter("name", &keybroker::name_schema().to_value(), RESOURCE_NAME),
            session_cookie(Dialect::Keybroker, true),
        ],
        request: None,
        success: answers::success(sealed, &schema::<Jwe>(schemas), &example, &[]),
        problems,
        security: Vec::new(),
    }
}

fn health() -> Operation {
    let form = object(&[("status", json!({ "type": "string", "const": "ok" }))]);
    Operation {
        id: "health",
        summary: "Says whether the broker can serve",
        description: "`keybroker serve` looks at its store: whether the last operation succeeded, or one does now, and whether \
                      there is room for more. Wrapping keys and AMD's service are not looked at."
            .to_owned(),
        parameters: Vec::new(),
        request: None,
        success: answers::success("It can.", &form, &json!({ "status": "ok" }), &[]),
        problems: vec![Error::Internal { id: None }.into(), Problem::Unhealthy],
        security: Vec::new(),
    }
}
