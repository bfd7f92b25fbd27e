//! The requirements of a registration by reference values, as a table: for each one, which guest is admitted
//! and which is denied where it is there, what its absence leaves open, and which forms of it are no
//! requirement at all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod platform;

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use keybroker_common::{
    appraisal::{AppraisalCheck, Fleet, appraise},
    broker::RegisterRequest,
    ids::HostData,
    policy::{NotEvaluated, PolicyEngine as _},
    requirements::EvidenceForm,
    wire::{Invalid, keybroker},
    workload::{Registration, Workload},
};
use keybroker_rego::RegoEngine;
use keybroker_simulator::report::ReportFields;
use keybroker_snp::{product::Product::Turin, verify::VerifiedReport};
use keybroker_testing as support;
use serde_json::{Value, json};
use support::Attempt;
use uuid::Uuid;

/// One requirement.
struct Row {
    /// Where it stands in the body.
    at: &'static str,
    /// As the guest satisfies it.
    satisfied: Value,
    /// Makes the guest satisfy it.
    launched: fn(&mut ReportFields),
    /// Makes the guest miss it, with the check that then fails; or another value that this guest misses.
    missed: Missed,
    /// Values that are refused at the registration, with a part of the reason.
    malformed: Vec<(Value, &'static str)>,
}

enum Missed {
    Guest(&'static str, fn(&mut ReportFields)),
    Value(&'static str, Value),
}

fn hex(byte: u8, length: usize) -> Value {
    format!("{byte:02x}").repeat(length).into()
}

fn key(
    (at, byte): (&'static str, u8),
    launched: fn(&mut ReportFields),
    name: &'static str,
    missed: fn(&mut ReportFields),
) -> Row {
    let malformed = vec![
        (hex(0, 48), "all zeros"),
        (hex(byte, 47), "is not 96 hex digits"),
        (json!(""), "is not 96 hex digits"),
        (json!(7), "wrong type"),
    ];
    Row { at, satisfied: hex(byte, 48), launched, missed: Missed::Guest(name, missed), malformed }
}

fn rows() -> Vec<Row> {
    platform::rows().into_iter().chain(own_rows()).collect()
}

/// The rows of the workload itself, and of its ID block and guest policy.
fn own_rows() -> Vec<Row> {
    use Missed::{Guest, Value as Other};
    let id = |at, byte, launched, name, missed| Row {
        at,
        satisfied: hex(byte, 16),
        launched,
        missed: Guest(name, missed),
        malformed: vec![(hex(byte, 15), "is not 32 hex digits"), (json!("x"), "is not 32 hex digits")],
    };
    let flag = |at, satisfied: bool, launched, name, missed| Row {
        at,
        satisfied: satisfied.into(),
        launched,
        missed: Guest(name, missed),
        malformed: vec![((!satisfied).into(), "would require nothing"), (json!("yes"), "wrong type")],
    };
    vec![
        Row {
            at: "/measurements",
            satisfied: json!([hex(0x11, 48), hex(0x4D, 48)]),
            launched: |guest| guest.measurement = [0x4D; 48],
            missed: Guest("measurement", |guest| guest.measurement[47] ^= 1),
            malformed: vec![
                (json!([]), "is not one or more measurements"),
                (json!([hex(0x4D, 32)]), "is not one or more measurements"),
                (json!([hex(0, 48)]), "all zeros"),
                (json!([hex(0x22, 48)]), "nothing in common"),
                (hex(0x4D, 48), "wrong type"),
            ],
        },
        Row {
            at: "/reference_values/measurement",
            satisfied: hex(0x4D, 48),
            launched: |guest| guest.measurement = [0x4D; 48],
            missed: Guest("measurement", |guest| guest.measurement[0] ^= 1),
            malformed: vec![
                (json!([]), "is not one or more measurements"),
                (json!("4d"), "is not one or more measurements"),
                (json!(true), "is not one or more measurements"),
                (hex(0, 48), "all zeros"),
            ],
        },
        key(
            ("/require/id_key_digest", 0x1D),
            |guest| guest.id_key_digest = [0x1D; 48],
            "id-key-digest",
            |guest| guest.id_key_digest = [0; 48],
        ),
        Row {
            at: "/require/id_key_digest",
            satisfied: json!([hex(0x1E, 48), hex(0x1D, 48)]),
            launched: |guest| guest.id_key_digest = [0x1D; 48],
            missed: Guest("id-key-digest", |guest| guest.id_key_digest = [0xA0; 48]),
            malformed: vec![
                (json!([]), "is not 1 to 16 digests"),
                (json!([hex(0x1D, 48), hex(0x1D, 48)]), "is not 1 to 16 digests"),
                (json!([hex(0x1D, 48), hex(0, 48)]), "all zeros"),
                (json!([hex(0x1D, 47)]), "is not 96 hex digits"),
                (json!([7]), "wrong type"),
            ],
        },
        key(
            ("/require/author_key_digest", 0xA0),
            |guest| (guest.author_key_en, guest.author_key_digest) = (true, [0xA0; 48]),
            "author-key-digest",
            |guest| guest.author_key_en = false,
        ),
        id(
            "/require/family_id",
            0xFA,
            |guest| guest.family_id = [0xFA; 16],
            "family-id",
            |guest| guest.family_id = [0; 16],
        ),
        id(
            "/require/image_id",
            0x1A,
            |guest| guest.image_id = [0x1A; 16],
            "image-id",
            |guest| guest.image_id = [0; 16],
        ),
        Row {
            at: "/require/minimum_guest_svn",
            satisfied: json!(7),
            launched: |guest| guest.guest_svn = 7,
            missed: Guest("guest-svn", |guest| guest.guest_svn = 6),
            malformed: vec![
                (json!(0), "would require nothing"),
                (json!(-1), "wrong type"),
                (json!("7"), "wrong type"),
            ],
        },
        flag(
            "/require/single_socket",
            true,
            |guest| guest.policy |= 1 << 20,
            "guest-policy-single-socket",
            |guest| guest.policy &= !(1 << 20),
        ),
        flag(
            "/require/smt",
            false,
            |guest| guest.policy &= !(1 << 16),
            "guest-policy-smt",
            |guest| guest.policy |= 1 << 16,
        ),
        flag(
            "/require/ciphertext_hiding",
            true,
            |guest| guest.policy |= 1 << 24,
            "guest-policy-ciphertext-hiding",
            |guest| guest.policy &= !(1 << 24),
        ),
        Row {
            at: "/query",
            satisfied: json!(["input.snp.guest_svn == 7", "data.allow == input.snp.policy.single_socket"]),
            launched: unaltered,
            missed: Other("policy", json!(["true", "input.snp.guest_svn == 8"])),
            malformed: vec![
                (json!(["input. == 7"]), "query 0, line 1, column "),
                (json!(["http.send({})"]), "http.send"),
                (json!(["7"]), "not a boolean"),
                (json!("true"), "wrong type"),
            ],
        },
    ]
}

/// The requirements of registrations with init data, in whose place the broker draws no HOST_DATA.
fn rows_with_init_data() -> Vec<Row> {
    use Missed::{Guest, Value as Other};
    vec![
        Row {
            at: "/init_data",
            satisfied: init_data(),
            launched: |guest| guest.host_data = [0xD0; 32],
            missed: Guest("init-data", |guest| guest.host_data[31] ^= 1),
            malformed: vec![
                (json!({"bound_by": "host_data"}), "is not a document, or an algorithm"),
                (json!({"bound_by": "host_data", "document": ""}), "is not init data for keybroker-guest"),
                (json!({"algorithm": "sha256", "digest": hex(0xD0, 32)}), "missing field bound_by"),
                (json!({"bound_by": "hope"}), "wrong type"),
                (json!("d0"), "wrong type"),
            ],
        },
        Row {
            at: "/require/host_data",
            satisfied: hex(0xD0, 32),
            launched: |guest| guest.host_data = [0xD0; 32],
            // HOST_DATA must not bind the init data: if it does, this is refused.
            missed: Other("host-data", hex(0xD1, 32)),
            malformed: vec![(hex(0xD0, 31), "is not 64 hex digits"), (json!(7), "wrong type")],
        },
    ]
}

fn init_data() -> Value {
    json!({"bound_by": "host_data", "algorithm": "sha256", "digest": hex(0xD0, 32)})
}

/// A body that requires init data that is bound so.
fn bound_by(bound_by: &str) -> Value {
    let mut body = strict();
    (body["workload_id"], body["init_data"]) = (json!("web"), init_data());
    body["init_data"]["bound_by"] = bound_by.into();
    body
}

/// A body that requires everything in the table at once, as the guest satisfies it.
fn strict() -> Value {
    let mut body = json!({"resources": {}, "reference_values": {"allow": true}, "require": {}});
    for Row { at, satisfied, .. } in rows() {
        put(&mut body, at, satisfied);
    }
    body
}

/// A body that requires `value` at `at`, and no more than every registration must.
fn alone(at: &str, value: Value) -> Value {
    let mut body = json!({"resources": {}, "measurements": [hex(0x4D, 48)], "require": {}});
    // The fields of an ID block need a key, and a query may look at reference values.
    if matches!(at, "/require/family_id" | "/require/image_id" | "/require/minimum_guest_svn") {
        body["require"]["id_key_digest"] = hex(0x1D, 48);
    }
    if matches!(at, "/query" | "/reference_values/measurement") {
        body["reference_values"] = json!({"allow": true});
        body["query"] = json!(["data.allow"]);
    }
    put(&mut body, at, value);
    body
}

fn put(body: &mut Value, at: &str, value: Value) {
    let (parent, field) = at.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[field] = value;
}

/// A guest that satisfies [`strict`].
fn guest(host_data: [u8; 32], alter: fn(&mut ReportFields)) -> VerifiedReport {
    let attempt = Attempt::vcek(Turin).fields(|fields| {
        fields.policy = 1 << 17;
        fields.host_data = host_data;
        rows().iter().for_each(|row| (row.launched)(fields));
        alter(fields);
    });
    attempt.verify().unwrap()
}

/// The registration, and HOST_DATA of its guests.
fn read(body: &Value) -> Result<(RegisterRequest, [u8; 32]), Invalid> {
    keybroker::register_request(body.to_string().as_bytes(), HostData::random())
}

/// The check that denies this guest under this registration, if one does.
async fn denied(body: &Value, alter: fn(&mut ReportFields)) -> Option<&'static str> {
    let (request, host_data) = read(body).unwrap_or_else(|error| panic!("{body}: {error}"));
    let said = request.policy.init_data.as_ref().map(|required| required.digest.clone());
    let registration = Registration {
        serial: Uuid::from_u128(1),
        dialects: request.dialects.clone(),
        owner: None,
        reference_values: request.reference_values,
        policy: request.policy,
        rego: request.rego,
    };
    let workload = Workload {
        id: request.workload_id,
        registration: registration.to_bytes().unwrap(),
        secrets: BTreeMap::new(),
        first_registered_at: Timestamp::UNIX_EPOCH,
        revoked_at: None,
        released_at: None,
        restored_by: None,
        revocation: None,
    };
    let (guest, registered) = (guest(host_data, alter), workload.read().unwrap());
    match appraise(&guest, EvidenceForm::Snp, &Fleet::default(), &registered, said.as_ref()) {
        Err((check, _)) => Some(check.name()),
        Ok(appraised) => match appraised.consent(&RegoEngine::default()).await {
            Ok(_) => None,
            Err(NotEvaluated::Denied(_)) => Some("policy"),
            Err(other) => panic!("{other}"),
        },
    }
}

/// Why a body is refused at its registration.
async fn refusal(body: &Value) -> String {
    match read(body) {
        Err(error) => error.to_string(),
        Ok((request, _)) => match RegoEngine::default().check(&request.rego.unwrap()).await {
            Err(NotEvaluated::Policy(refused)) => refused.to_string(),
            other => panic!("{body}: {other:?}"),
        },
    }
}

fn unaltered(_: &mut ReportFields) {}

#[tokio::test]
async fn everything_at_once_admits_the_guest_that_satisfies_it() {
    assert_eq!(denied(&strict(), unaltered).await, None);
}

#[tokio::test]
async fn each_requirement_satisfied_missed_and_absent() {
    for Row { at, satisfied, missed, .. } in rows() {
        let required = alone(at, satisfied);
        assert_eq!(denied(&required, unaltered).await, None, "{at}: satisfied");
        let absent = json!({"resources": {}, "require": {"id_key_digest": hex(0x1D, 48)}});
        match missed {
            Missed::Guest(check, alter) => {
                assert_eq!(denied(&required, alter).await, Some(check), "{at}: missed");
                assert_eq!(denied(&strict(), alter).await, Some(check), "{at}: missed among all");
                if check != "id-key-digest" {
                    assert_eq!(denied(&absent, alter).await, None, "{at}: not required");
                }
            }
            Missed::Value(check, value) => {
                assert_eq!(denied(&alone(at, value.clone()), unaltered).await, Some(check), "{at}: missed");
                let mut all = strict();
                put(&mut all, at, value);
                assert_eq!(denied(&all, unaltered).await, Some(check), "{at}: missed among all");
            }
        }
    }
}

#[tokio::test]
async fn each_requirement_malformed() {
    for Row { at, mut malformed, .. } in rows() {
        if !at.starts_with("/reference_values") {
            malformed.push((Value::Null, "wrong type"));
        }
        for (value, says) in malformed {
            let mut body = strict();
            put(&mut body, at, value.clone());
            let refusal = refusal(&body).await;
            assert!(refusal.contains(says), "{at}: {value}: {refusal}");
        }
    }
}

#[tokio::test]
async fn each_requirement_beside_init_data() {
    for Row { at, satisfied, missed, mut malformed, launched } in rows_with_init_data() {
        let mut required = bound_by("host_data");
        put(&mut required, at, satisfied);
        assert_eq!(denied(&required, launched).await, None, "{at}: satisfied");
        match missed {
            Missed::Guest(check, alter) => {
                assert_eq!(denied(&required, alter).await, Some(check), "{at}: missed");
                assert_eq!(denied(&bound_by("nothing"), alter).await, None, "{at}: not required");
            }
            Missed::Value(check, value) => {
                let mut other = bound_by("nothing");
                put(&mut other, at, value.clone());
                assert_eq!(denied(&other, launched).await, Some(check), "{at}: missed");
                put(&mut required, at, value);
                assert!(refusal(&required).await.contains("is not the digest of init_data"), "{at}");
            }
        }
        malformed.push((Value::Null, "wrong type"));
        for (value, says) in malformed {
            let mut body = bound_by("host_data");
            put(&mut body, at, value.clone());
            let refusal = refusal(&body).await;
            assert!(refusal.contains(says), "{at}: {value}: {refusal}");
        }
    }
}

/// A requirement that has no row here is one that nobody tried.
#[test]
fn every_check_that_a_policy_demands_has_a_row() {
    let missed = rows().into_iter().chain(rows_with_init_data()).map(|row| match row.missed {
        Missed::Guest(check, _) | Missed::Value(check, _) => check,
    });
    // The ABI is demanded by no registration of this dialect. The form of the evidence is demanded by none
    // whose HOST_DATA the broker draws: tests/broker/azure.rs tries it.
    let tried: HashSet<_> = missed.chain(["guest-policy-abi", "evidence-form"]).collect();
    let demanded = AppraisalCheck::all().filter(|check| !check.is_floor());
    let untried: Vec<_> = demanded.filter(|check| !tried.contains(check.name())).collect();
    assert_eq!(untried, []);
}

/// Without init data, HOST_DATA selects. That it is the registration's own is looked at once more, and is not
/// the client's to say.
#[tokio::test]
async fn host_data_is_the_brokers_to_choose() {
    assert_eq!(denied(&strict(), |guest| guest.host_data[0] ^= 1).await, Some("host-data"));
    let mut body = strict();
    put(&mut body, "/require/host_data", hex(0xD0, 32));
    assert!(refusal(&body).await.contains("require.host_data"));
}

/// No query is a query that refuses nothing, as long as something else is required.
#[tokio::test]
async fn an_empty_list_of_queries_leaves_the_other_requirements() {
    let body = json!({"resources": {}, "query": [], "measurements": [hex(0x4D, 48)]});
    assert_eq!(denied(&body, unaltered).await, None);
    assert_eq!(denied(&body, |guest| guest.measurement[0] ^= 1).await, Some("measurement"));
    let nothing = json!({"resources": {}, "query": []});
    assert!(refusal(&nothing).await.contains("any genuine SNP guest"));
}
