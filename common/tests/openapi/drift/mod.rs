//! The schemas of bodies beside the functions that read bodies. Both judge what clients send, and everything
//! that differs from it in one thing.

mod bodies;
mod mutants;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::LazyLock,
};

use keybroker_common::{
    broker,
    policy::PolicyRefused,
    problem::Problem,
    secret::{
        Secret,
        seal::{GuestKey, JweForm, RsaKey},
    },
    wire::{Fault, Invalid, keybroker, libkrun, trustee},
};
use serde_json::{Value, json};

use bodies::{Body, Reader, bodies};
use mutants::{BOUNDS, Change, Mutator, Place, UNKNOWN, place};

use crate::{document, judge::Judge};

static JUDGE: LazyLock<Judge> = LazyLock::new(|| Judge::new(document()));

/// Rules of the wire that the schemas have in words alone: where a value is refused that its schema allows,
/// and how it was changed.
const IN_WORDS: [(&str, Change); 22] = [
    // A cookie carries fewer ids than can be registered.
    ("/extra-params/workload_id", Change::Sized),
    // An RSA key's modulus and exponent are odd.
    ("/tee-pubkey/n", Change::Edited),
    ("/tee-pubkey/e", Change::Edited),
    ("/runtime-data/tee-pubkey/n", Change::Edited),
    ("/runtime-data/tee-pubkey/e", Change::Edited),
    // Init data has a digest if it is a document.
    ("/init-data/body", Change::Edited),
    ("/init-data/body", Change::Replaced),
    // A challenge is opaque, and the broker knows its own form.
    ("/challenge", Change::Edited),
    // A document is init data for keybroker-guest, and names the workload.
    ("/init_data/document", Change::Edited),
    ("/init_data/document", Change::Replaced),
    ("/workload_id", Change::Edited),
    ("/workload_id", Change::Replaced),
    ("/workload_id", Change::Sized),
    // Without `reference_values`, these name a launch measurement.
    ("/measurements", Change::Removed),
    // A module comes with a query, and both are Rego.
    ("/policy", Change::Edited),
    ("/policy", Change::Replaced),
    ("/query", Change::Removed),
    ("/query", Change::Replaced),
    ("/query/0", Change::Edited),
    ("/query/0", Change::Replaced),
    // Without `measurements`, these name a launch measurement.
    ("/reference_values", Change::Removed),
    ("/reference_values", Change::Replaced),
];

/// The object, and the one member of it, that the wire knows so that it can say why such a key is not served.
const NOT_SERVED: (Option<&str>, &str) = (Some("tee-pubkey"), "pub");

/// A mutant, and how schema and reader judged it.
struct Outcome {
    body: &'static str,
    at: String,
    change: Change,
    text: String,
    edge: Option<Place>,
    names: Vec<String>,
    allowed: bool,
    /// How its body is read.
    reader: Reader,
    read: Result<(), Problem>,
}

struct Outcomes {
    all: Vec<Outcome>,
    /// The properties that were changed.
    met: BTreeSet<Place>,
}

static OUTCOMES: LazyLock<Outcomes> = LazyLock::new(|| {
    let mut mutator = Mutator { judge: &JUDGE, met: BTreeSet::new() };
    let mut all = Vec::new();
    for Body { path, read, sent } in bodies() {
        for body in sent {
            for mutant in mutator.mutants(schema(path), &serde_json::from_str(&body).unwrap()) {
                // To a schema, an object has a name once.
                let value = serde_json::from_str(&mutant.text).unwrap();
                let allowed = mutant.change != Change::Twice && JUDGE.allows(schema(path), &value);
                let (reader, read) = (read, read(mutant.text.as_bytes()));
                let mutants::Mutant { at, change, text, edge, names } = mutant;
                all.push(Outcome { body: path, at, change, text, edge, names, allowed, reader, read });
            }
        }
    }
    Outcomes { all, met: mutator.met }
});

/// The schema of what a route takes.
fn schema(path: &str) -> &'static Value {
    &JUDGE.document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
}

/// Calls `look` with every schema that one leads to.
fn every(schema: &'static Value, look: &mut impl FnMut(&'static Value)) {
    look(schema);
    if let Some(reference) = schema.get("$ref") {
        every(JUDGE.referred(reference), look);
    }
    let one =
        ["items", "contentSchema", "additionalProperties"].into_iter().filter_map(|key| schema.get(key));
    let several = schema["anyOf"].as_array().into_iter().flatten();
    let properties = schema["properties"].as_object().into_iter().flat_map(|properties| properties.values());
    for schema in one.chain(several).chain(properties).filter(|schema| schema.is_object()) {
        every(schema, look);
    }
}

#[test]
fn bodies_of_clients_are_allowed_and_read() {
    for Body { path, read, sent } in bodies() {
        for body in sent {
            assert!(JUDGE.allows(schema(path), &serde_json::from_str(&body).unwrap()), "{path}: {body}");
            assert_eq!(read(body.as_bytes()), Ok(()), "{path}: {body}");
        }
    }
}

#[test]
fn a_body_that_a_schema_forbids_is_refused() {
    let forbidden: Vec<_> = OUTCOMES.all.iter().filter(|outcome| !outcome.allowed).collect();
    assert!(forbidden.len() > 1000, "{}", forbidden.len());
    for Outcome { body, at, change, text, read, .. } in forbidden {
        assert!(read.is_err(), "{body}: {at} {change:?}: {text:.2000}");
    }
}

#[test]
fn unknown_and_duplicate_fields_are_refused_as_such() {
    for Outcome { body, at, change, read, .. } in &OUTCOMES.all {
        let Err(Problem::Invalid(Invalid::Json { fault, .. })) = read else {
            assert!(![Change::Twice, Change::Extended].contains(change), "{body}: {at} {change:?}: {read:?}");
            continue;
        };
        match change {
            Change::Twice => assert!(matches!(fault, Fault::DuplicateField(_)), "{body}: {at}: {fault:?}"),
            Change::Extended => assert!(matches!(fault, Fault::UnknownField(_)), "{body}: {at}: {fault:?}"),
            _ => {}
        }
    }
}

#[test]
fn a_body_that_a_schema_allows_is_read_but_for_rules_in_words() {
    let mut refused = BTreeMap::new();
    for Outcome { at, change, allowed, text, read, .. } in &OUTCOMES.all {
        if let (true, Err(problem)) = (allowed, read) {
            refused.entry((at.as_str(), *change)).or_insert_with(|| format!("{problem}: {text:.2000}"));
        }
    }
    for (at, change) in IN_WORDS {
        assert!(refused.remove(&(at, change)).is_some(), "{at} {change:?} is no rule of the wire's");
    }
    assert!(refused.is_empty(), "{refused:#?}");
}

/// One beyond a bound is [forbidden](a_body_that_a_schema_forbids_is_refused).
#[test]
fn every_bound_of_a_schema_is_the_wires() {
    let kept = OUTCOMES.all.iter().filter(|outcome| outcome.allowed && outcome.read.is_ok());
    let kept: BTreeSet<_> = kept.filter_map(|outcome| outcome.edge).collect();
    for Body { path, .. } in bodies() {
        every(schema(path), &mut |schema| {
            for (keyword, _) in BOUNDS.into_iter().filter(|(keyword, _)| schema.get(keyword).is_some()) {
                assert!(kept.contains(&place(schema, keyword)), "{path}: {keyword} of {schema}");
            }
        });
    }
}

#[test]
fn every_field_of_a_schema_is_one_that_some_client_sends() {
    for Body { path, .. } in bodies() {
        every(schema(path), &mut |schema| {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                // A form that only tells two guests apart names no field.
                let field = schema["type"] == "object";
                assert!(!field || OUTCOMES.met.contains(&place(property, "properties")), "{path}: {name}");
            }
        });
    }
}

/// Every word of the sources that may name a field.
fn words(directory: &Path, words: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            self::words(&path, words);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            let split = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
            words.extend(split.filter(|word| !word.is_empty()).map(str::to_owned));
        }
    }
}

/// The source of a reader names every field that the reader knows. If a schema lacks one of these names, the
/// reader must refuse it as unknown.
#[test]
fn a_field_that_a_schema_lacks_is_not_read() {
    let mut named = BTreeSet::new();
    for directory in ["wire", "requirements", "encoding"] {
        words(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(directory), &mut named);
    }
    let mut looked_at = BTreeSet::new();
    let extended = OUTCOMES.all.iter().filter(|one| one.change == Change::Extended);
    for Outcome { body, at, text, names, reader, .. } in extended {
        if !looked_at.insert((body, at, *reader as usize)) {
            continue;
        }
        for name in names {
            assert!(named.contains(name), "{name} is read elsewhere");
        }
        for word in named.iter().filter(|word| !names.contains(word)) {
            let refused = reader(text.replace(UNKNOWN, word).as_bytes());
            if (at.rsplit('/').next(), word.as_str()) == NOT_SERVED {
                assert!(matches!(refused, Err(Problem::Invalid(_))), "{body}: {at}/{word}: {refused:?}");
                continue;
            }
            let fault = match &refused {
                Err(Problem::Invalid(Invalid::Json { fault, .. })) => fault,
                other => panic!("{body}: {at}/{word}: {other:?}"),
            };
            assert!(matches!(fault, Fault::UnknownField(_)), "{body}: {at}/{word}: {fault:?}");
        }
    }
}

/// The description's own examples, of what is sent and of what is answered.
#[test]
fn every_example_is_allowed_by_its_schema() {
    fn look(value: &Value, seen: &mut usize) {
        if let Some(schema) = value.get("schema") {
            let named = value["examples"].as_object().into_iter().flatten().map(|(_, one)| &one["value"]);
            for example in named.chain(value.get("example")) {
                assert!(JUDGE.allows(schema, example), "{example} is not {schema}");
                *seen += 1;
            }
        }
        match value {
            Value::Object(members) => members.values().for_each(|member| look(member, seen)),
            Value::Array(items) => items.iter().for_each(|item| look(item, seen)),
            _ => {}
        }
    }
    let mut seen = 0;
    look(&JUDGE.document, &mut seen);
    assert!(seen > 60, "{seen}");
}

/// The schema of what a route answers with this status.
fn answer(path: &str, status: &str) -> &'static Value {
    let operations = JUDGE.document["paths"][path].as_object().unwrap();
    let operation = operations.values().next().unwrap();
    &operation["responses"][status]["content"]["application/json"]["schema"]
}

#[test]
fn secrets_are_sealed_as_their_schemas_say() {
    let [passphrase, resource, named] = [
        "/kbs/v0/key/{workload_id}",
        "/kbs/v0/resource/{name}",
        "/kbs/v0/resource/{repository}/{type}/{tag}",
    ]
    .map(|path| answer(path, "200"));
    let form = |name: &str| &JUDGE.document["components"]["schemas"][name];
    let rsa = GuestKey::rsa(&[0xC3; 256], &[1, 0, 1]).unwrap();
    let oaep = GuestKey::rsa_oaep_256(&[0xC3; 256], &[1, 0, 1]).unwrap();
    let [x, y] = [
        "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    ]
    .map(|number| data_encoding::HEXLOWER.decode(number.as_bytes()).unwrap());
    let p256 = GuestKey::p256(&x, &y).unwrap();
    for (key, jwe, own, other) in [
        (&rsa, JweForm::BeforeRfc, "EarlyJwe", "FlattenedJwe"),
        (&rsa, JweForm::Rfc7516, "FlattenedJwe", "EarlyJwe"),
        (&oaep, JweForm::Rfc7516, "FlattenedJwe", "EarlyJwe"),
        (&p256, JweForm::Rfc7516, "FlattenedJwe", "EarlyJwe"),
    ] {
        for length in [1, 4000] {
            let sealed = key.seal_jwe(&Secret::new(vec![b's'; length]), jwe).unwrap();
            let body = serde_json::from_slice(&trustee::released(&sealed)).unwrap();
            assert!(JUDGE.allows(named, &body) && JUDGE.allows(form(own), &body), "{body}");
            assert!(!JUDGE.allows(form(other), &body), "{body}");
        }
    }
    for bits in [RsaKey::MIN_BITS, RsaKey::MAX_BITS] {
        let key = GuestKey::rsa(&vec![0xC3; bits / 8], &[1, 0, 1]).unwrap();
        let ciphertext = key.seal_pkcs1(&Secret::new(b"p".to_vec())).unwrap();
        let body: Value = serde_json::from_slice(&libkrun::released(&ciphertext, false)).unwrap();
        assert!(JUDGE.allows(passphrase, &body), "{body}");
        // A byte less than the shortest key has, or a byte more than the longest.
        let sealed = body.as_str().unwrap();
        let beyond = if bits == RsaKey::MIN_BITS { sealed[2..].to_owned() } else { format!("{sealed}00") };
        assert!(!JUDGE.allows(passphrase, &beyond.into()), "{bits}");
        for length in [1, 4000] {
            let sealed = key.seal(&Secret::new(vec![b's'; length])).unwrap();
            let body = serde_json::from_slice(&keybroker::released(&sealed)).unwrap();
            assert!(JUDGE.allows(resource, &body), "{body}");
        }
    }
}

#[test]
fn words_about_a_policy_are_as_long_as_their_schema_says() {
    let error = PolicyRefused("x".repeat(5000));
    let body: Value = serde_json::from_slice(&Problem::from(broker::Error::Policy(error)).body()).unwrap();
    let schema = answer("/rvp/register", "400");
    assert!(JUDGE.allows(schema, &body), "{body}");
    let longer = format!("{}x", body["error"].as_str().unwrap());
    assert!(!JUDGE.allows(schema, &json!({ "error": longer })), "the bound is not met");
}
