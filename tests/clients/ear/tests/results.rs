//! Attestation results, as ear 0.5.0 and 0.6.0 read them.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use clients_shared::transcripts;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

/// The part of a result that both releases can name.
#[derive(Debug, PartialEq)]
struct Read {
    profile: String,
    issued_at: i64,
    developer: String,
    /// The status of each submodule, and the worst tier of its vector.
    submodules: BTreeMap<String, [String; 2]>,
}

/// Reads a result with a release, as a client does. The release refuses a result that is over, and a
/// transcript may be that old. Then the signature is verified without regard to the time, and the release
/// reads the claims without their end.
macro_rules! release {
    ($name:ident, $ear:ident, $jsonwebtoken:ident) => {
        fn $name(token: &str) -> Result<Read, String> {
            let header = $jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
            assert_eq!(header.alg, $jsonwebtoken::Algorithm::ES256);
            let key = header.jwk.expect("a key");
            let mut rules = $jsonwebtoken::Validation::new(header.alg);
            rules.set_required_spec_claims::<&str>(&[]);
            rules.validate_exp = false;
            let decoding = $jsonwebtoken::DecodingKey::from_jwk(&key).map_err(|error| error.to_string())?;
            let decoded = $jsonwebtoken::decode::<Value>(token, &decoding, &rules);
            let mut claims = decoded.map_err(|error| error.to_string())?.claims;

            let mut result = if over(&claims) {
                claims.as_object_mut().expect("an object").remove("exp");
                serde_json::from_str(&claims.to_string()).map_err(|error| error.to_string())?
            } else {
                let key = serde_json::to_vec(&key).expect("JSON");
                let read = $ear::Ear::from_jwt_jwk(token, $ear::Algorithm::ES256, &key);
                read.map_err(|error| error.to_string())?
            };
            result.validate().map_err(|error| error.to_string())?;
            let mut worst = |(name, appraisal): (&String, &mut $ear::Appraisal)| {
                let written = std::mem::replace(&mut appraisal.status, $ear::TrustTier::None);
                appraisal.update_status_from_trust_vector();
                (name.clone(), [&written, &appraisal.status].map(|tier| format!("{tier:?}")))
            };
            Ok(Read {
                profile: result.profile.clone(),
                issued_at: result.iat,
                developer: result.vid.developer.clone(),
                submodules: result.submods.iter_mut().map(&mut worst).collect(),
            })
        }
    };
}

/// Whether the result is over, or will be before it is read.
fn over(claims: &Value) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    claims.get("exp").is_some_and(|exp| exp.as_u64().expect("a number of seconds") < now + 5)
}

release!(read_0_5, ear_0_5, jsonwebtoken_10);
release!(read_0_6, ear_0_6, jsonwebtoken_11);

/// The tokens that the broker gave.
fn given() -> Vec<(String, String)> {
    let transcripts = transcripts().into_iter().filter(|transcript| transcript.broker == "keybroker");
    let token = |response: &str| -> Option<String> {
        let answer: Value = serde_json::from_str(response).ok()?;
        Some(answer.get("token")?.as_str()?.to_owned())
    };
    let attested = transcripts.flat_map(|transcript| {
        let name = transcript.name.clone();
        transcript
            .exchanges
            .into_iter()
            .filter(|exchange| exchange.step == "attest" && exchange.status == 200)
            .map(move |exchange| {
                (name.clone(), token(&exchange.response).unwrap_or_else(|| panic!("{name}: no token")))
            })
    });
    attested.collect()
}

#[test]
fn both_releases_read_every_result_of_the_broker() {
    let given = given();
    for (name, token) in &given {
        let read = read_0_5(token).unwrap_or_else(|error| panic!("{name}, 0.5: {error}"));
        assert_eq!(read_0_6(token).as_ref(), Ok(&read), "{name}");
        assert_eq!(read.profile, "tag:github.com,2024:confidential-containers/Trustee", "{name}");
        let [(submodule, [status, worst])] = Vec::from_iter(&read.submodules)[..] else {
            panic!("{name}: {:?}", read.submodules)
        };
        assert_eq!((submodule.as_str(), status), ("cpu0", worst), "{name}: the status is the worst");
    }
    println!("{} results", given.len());
    assert!(!given.is_empty() || std::env::var_os("WITHOUT_BROKER").is_some(), "no results of the broker");
}

/// Claims under the names of both drafts.
fn both() -> Value {
    let (vector, verifier) =
        (json!({"executables": 3, "hardware": 2}), json!({"developer": "d", "build": "b"}));
    json!({
        "eat_profile": "tag:github.com,2024:confidential-containers/Trustee",
        "iat": 1,
        "ear.verifier-id": verifier,
        "ear_verifier_id": verifier,
        "submods": {"cpu0": {
            "ear.status": "affirming",
            "ear_status": "affirming",
            "ear.trustworthiness-vector": vector,
            "ear_trustworthiness_vector": vector,
        }},
        "unknown": {"members": ["do", "no", "harm"]},
    })
}

/// The claims, signed with a new key, which the header has.
fn signed(claims: &Value) -> String {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref()).expect("the same key");
    let [x, y] = [1..33, 33..65].map(|range| BASE64URL_NOPAD.encode(&pair.public_key().as_ref()[range]));
    let key = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y});
    let header = json!({"typ": "JWT", "alg": "ES256", "jwk": key});
    let part = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
    let text = format!("{}.{}", part(&header), part(claims));
    let signature = pair.sign(&random, text.as_bytes()).expect("a signature");
    format!("{text}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
}

/// Removes members whose name has this mark after `ear`.
fn without(claims: &Value, mark: char) -> Value {
    match claims {
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| !name.starts_with(&format!("ear{mark}")))
            .map(|(name, value)| (name.clone(), without(value, mark)))
            .collect(),
        plain => plain.clone(),
    }
}

#[test]
fn each_release_reads_its_own_names_and_neither_the_other_s() {
    let reads = |claims: &Value| [read_0_5, read_0_6].map(|read| read(&signed(claims)).is_ok());
    assert_eq!(reads(&both()), [true, true]);
    assert_eq!(reads(&without(&both(), '_')), [true, false]);
    assert_eq!(reads(&without(&both(), '.')), [false, true]);
}

#[test]
fn both_releases_refuse_what_the_broker_never_writes() {
    for (name, value) in
        [("aud", json!("somebody")), ("number", json!(1_u64 << 63)), ("eat_nonce", json!("AAAA"))]
    {
        let mut claims = both();
        claims[name] = value;
        let token = signed(&claims);
        assert_eq!([read_0_5, read_0_6].map(|read| read(&token).is_err()), [true, true], "{name}");
    }
}
