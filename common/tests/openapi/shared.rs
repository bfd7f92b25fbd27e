//! Parts that several routes have in common: refusals, parameters, and the values of samples.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use keybroker_embedded::{key::LocalKey, store::EmbeddedStore};
use keybroker_testing::{
    clock::{BEGIN, ManualClock},
    forged,
    world::{self, TTL},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::schema::hex;

use keybroker_common::{
    broker::Error,
    challenge::{Challenge, Challenges, Deployment},
    dialect::Dialect,
    ids::{AuditId, Claim, HostData},
    keyring::Purpose,
    keys::Keys,
    problem::Problem,
    wire::{Fault, FieldName, Invalid, Part, manners},
};

/// The sample's audit record.
pub(crate) const ID: AuditId = AuditId(Uuid::from_u128(0x01a2_0cf2_4b21_71e9_a90e_2c4a_6a19_4b4b));
/// The form of a session id: opaque characters of a cookie.
pub(crate) const SESSION_ID: &str = "[!#-+\\--:<-\\[\\]-~]{35,99}";
/// The sample's workload.
pub(crate) const WORKLOAD: &str = "my-app";
/// The sample's resource.
pub(crate) const RESOURCE_NAME: &str = "passphrase";

/// The sample's resource of Trustee's guests.
pub(crate) const RESOURCE_PATH: &str = "default/key/tls";

/// The sample's attestation result. Its signature is none.
pub(crate) fn attestation_result() -> String {
    let [header, claims] = [
        json!({ "typ": "JWT", "alg": "ES256" }),
        json!({ "iss": "sample", "submods": { "cpu0": { "ear.status": "affirming" } } }),
    ]
    .map(|part| BASE64URL_NOPAD.encode(part.to_string().as_bytes()));
    format!("{header}.{claims}.{}", BASE64URL_NOPAD.encode(&[0x51; 64]))
}

/// The refusals of any body of at most `limit` bytes; `unknown` is a field that one might expect in
/// it.
pub(crate) fn refusals_of_a_body(limit: usize, unknown: FieldName) -> Vec<Problem> {
    let fault = |fault| Problem::Invalid(Invalid::Json { part: Part::Body, fault });
    vec![
        fault(Fault::Syntax),
        fault(Fault::UnknownField(unknown)),
        Problem::Truncated,
        Problem::Timeout,
        Problem::TooLarge(limit),
        Problem::MediaType,
    ]
}

/// The refusals of a registration, whatever its body says.
pub(crate) fn refusals_of_a_registration() -> Vec<Problem> {
    vec![
        Error::Unauthenticated { id: ID }.into(),
        Error::TooMany { retry_after: 3 }.into(),
        Error::Internal { id: Some(ID) }.into(),
        Error::Internal { id: None }.into(),
        Error::Unavailable { id: Some(ID), retry_after: 5 }.into(),
        Error::Unavailable { id: None, retry_after: 5 }.into(),
    ]
}

/// The refusals of a guest that names a session.
pub(crate) fn refusals_of_a_session() -> Vec<Problem> {
    vec![
        Invalid::Cookies.into(),
        Problem::NoCookie,
        Error::NoSession { id: Some(ID) }.into(),
        Error::NoSession { id: None }.into(),
        Error::TooMany { retry_after: 3 }.into(),
        Error::Refused { id: ID }.into(),
        Error::Internal { id: Some(ID) }.into(),
        Error::Internal { id: None }.into(),
        Error::Unavailable { id: Some(ID), retry_after: 5 }.into(),
        Error::Unavailable { id: None, retry_after: 5 }.into(),
    ]
}

/// The name of a dialect's cookie.
pub(crate) fn cookie_name(dialect: Dialect) -> &'static str {
    manners(dialect).session.expect("a dialect with sessions").cookie
}

/// The cookie of a dialect.
pub(crate) fn session_cookie(dialect: Dialect, required: bool) -> Value {
    let whose = manners(dialect).guest;
    let mut parameter = json!({
        "name": cookie_name(dialect),
        "in": "cookie",
        "description": format!("The session of {whose}, as `auth` gave it."),
        "required": required,
        "schema": { "type": "string", "pattern": format!("^{SESSION_ID}$") },
    });
    // With an example of each, tools would send two sessions at once.
    if required || dialect != Dialect::Keybroker {
        parameter["example"] = sample_challenge().session_id.expose().into();
    }
    parameter
}

/// A segment of the path.
pub(crate) fn path_parameter(name: &str, schema: &Value, example: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": schema, "example": example })
}

/// An answer's body with the id of its audit record.
pub(crate) fn on_record() -> Value {
    object(&[("id", json!({ "description": "The audit record.", "type": "string", "format": "uuid" }))])
}

/// The digest of a guest's init data, or the document, beside these members.
pub(crate) fn init_data(description: &str, beside: &[(&str, Value)]) -> Value {
    let of = |algorithm: &str, bytes| {
        let members = json!({ "algorithm": { "const": algorithm }, "digest": hex(bytes) });
        json!({ "properties": members })
    };
    let mut properties = json!({
        "algorithm": {
            "type": "string",
            "description": "The algorithm of the digest.",
            "enum": ["sha256", "sha384", "sha512"],
        },
        "digest": { "type": "string", "description": "The document's digest, in hex." },
        "document": {
            "type": "string",
            "description": "The whole document, in TOML, instead of its digest.",
        },
    });
    for (name, schema) in beside {
        properties[name] = schema.clone();
    }
    let required: Vec<_> = beside.iter().map(|(name, _)| *name).collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "required": required,
        "description": description,
        "oneOf": [
            { "required": ["document"], "properties": { "algorithm": false, "digest": false } },
            { "required": ["algorithm", "digest"], "properties": { "document": false } },
        ],
        // Without an algorithm, the first is no requirement.
        "anyOf": [of("sha256", 32), of("sha384", 48), of("sha512", 64)],
    })
}

/// An object of exactly these members.
pub(crate) fn object(members: &[(&str, Value)]) -> Value {
    let names: Vec<_> = members.iter().map(|(name, _)| *name).collect();
    let properties: Value =
        members.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "properties": properties, "required": names, "additionalProperties": false })
}

/// An answer's body as a value.
pub(crate) fn read(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

/// A challenge, the same each time: of keys, a time and random bytes that are known.
pub(crate) fn sample_challenge() -> Challenge {
    sample_challenge_of(world::named(WORKLOAD))
}

/// The same of a guest that claims this.
pub(crate) fn sample_challenge_of(claim: Claim) -> Challenge {
    let clock = Arc::new(ManualClock::new());
    let store = Arc::new(EmbeddedStore::in_memory(clock.clone()).unwrap());
    let wrap = Arc::new(LocalKey::in_memory().unwrap()).keyring(Purpose::Challenge);
    let id = forged::session_id_of("sample", BEGIN, *b"sample bytes", claim);
    Runtime::new().unwrap().block_on(async {
        forged::plant(store.as_ref(), Purpose::Challenge, &wrap, BEGIN).await;
        let keys = Keys::new(Purpose::Challenge, store, Arc::new(wrap), clock, TTL);
        let challenges = Challenges::new(Arc::new(keys), Deployment::new("sample"), TTL);
        challenges.recognise(&id, BEGIN).await.unwrap()
    })
}

/// HOST_DATA as a registration answers with it.
pub(crate) fn sample_host_data() -> HostData {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(ID.0.as_bytes());
    HostData::from_report(&bytes).unwrap()
}
