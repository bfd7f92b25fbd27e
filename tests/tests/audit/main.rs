//! `keybroker audit`, and that every decision has a record: on each kind of store, and with many clients at
//! once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

mod log;
mod strangers;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    audit::{AuditRecord, Decision, FailedCheck, Operation},
    ids::WorkloadId,
};
use keybroker_simulator::{
    Product,
    guest::{Error, PoliteGuest},
};
use keybroker_tests::{
    operator::{Contents, Operator, record},
    program, unique,
    world::{World, audit_id},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

fn decisions(document: &Value) -> Vec<String> {
    let records = document["records"].as_array().unwrap().iter();
    records.map(|record| record["decision"].as_str().unwrap().to_owned()).collect()
}

/// A request of the broker's own protocol: one record for the attestation and all its secrets.
#[tokio::test]
async fn a_release_of_several_secrets_is_listed_and_explained() {
    let (w, hours) = (WorkloadId::new("w").unwrap(), SignedDuration::from_hours);
    let release = |decision, hour| AuditRecord {
        operation: Operation::Release,
        secrets: ["tls.key", "passphrase"].map(str::to_owned).to_vec(),
        ..record(&w, decision, hours(hour))
    };
    let failed = FailedCheck { check: "init-data".to_owned(), cause: "HOST_DATA is 00".to_owned() };
    let (released, refused) = (release(Decision::Released, 1), release(Decision::Refused, 2));
    let refused = AuditRecord { failed: Some(failed), ..refused };
    let records = vec![released.clone(), refused.clone()];
    for operator in Operator::everywhere(&Contents { records, ..Contents::default() }).await {
        let kind = operator.kind;
        let table = operator.out(&["audit", "--workload", "w"]);
        let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        let id = refused.id.to_string();
        assert_eq!(lines[1][1..], ["refused", "w", "guest", "init-data", &id], "{kind}: {table}");
        let id = released.id.to_string();
        assert_eq!(
            lines[2][1..],
            ["released", "w", "guest", "tls.key", "passphrase", &id],
            "{kind}: {table}"
        );
        let text = operator.out(&["audit", &id]);
        for part in
            ["secrets", "tls.key, passphrase", "The broker released \"tls.key\", \"passphrase\" to it"]
        {
            assert!(text.contains(part), "{kind}: {text}");
        }
        let document = operator.json(&["audit", &id]);
        assert_eq!(document["record"], serde_json::to_value(&released).unwrap(), "{kind}");
        let refusal = operator.out(&["audit", &refused.id.to_string()]);
        assert!(refusal.contains("another init data document than was registered"), "{kind}: {refusal}");
    }
}

#[tokio::test]
async fn records_are_found_by_id_workload_and_time() {
    let id = |text: &str| WorkloadId::new(text).unwrap();
    let (w, hours) = (id("w"), SignedDuration::from_hours);
    let failed =
        FailedCheck { check: "guest-policy-debug".to_owned(), cause: "policy \u{1b}[31m0xb0000".to_owned() };
    let refused = AuditRecord { failed: Some(failed), ..record(&w, Decision::Refused, hours(2)) };
    let records = vec![
        record(&w, Decision::Released, hours(1)),
        record(&id("other"), Decision::Attested, hours(3)),
        record(&w, Decision::Attested, hours(30)),
        AuditRecord {
            operation: Operation::Operate,
            principal: Some("uid/7".to_owned()),
            ..record(&id("other"), Decision::Revoked, hours(40))
        },
        refused.clone(),
    ];
    for operator in Operator::everywhere(&Contents { records, ..Contents::default() }).await {
        let kind = operator.kind;
        // Far enough from the records' times: making the stores takes a while.
        let ago = |minutes| (Timestamp::now() - SignedDuration::from_mins(minutes)).to_string();
        for (arguments, expected) in [
            (vec!["--workload", "w"], vec!["attested", "refused", "released"]),
            (vec!["--workload", "w", "--since", "24h"], vec!["refused", "released"]),
            (vec!["--workload", "w", "--since", "1d 12h", "--until", "90m"], vec!["attested", "refused"]),
            (vec!["--workload", "w", "--since", &ago(24 * 60), "--until", &ago(90)], vec!["refused"]),
            (vec!["--since", "1d"], vec!["attested", "refused", "released"]),
            (vec!["--until", "150m"], vec!["revoked", "attested", "attested"]),
            (vec!["--workload", "nobody"], vec![]),
            (vec!["--since", "48h", "--decision", "attested"], vec!["attested", "attested"]),
            (vec!["--since", "48h", "--decision", "keys-turned"], vec![]),
            (vec!["--since", "48h", "--check", "guest-policy-debug"], vec!["refused"]),
            (vec!["--since", "48h", "--check", "guest-policy"], vec![]),
            (vec!["--since", "48h", "--principal", "uid/7"], vec!["revoked"]),
            (vec!["--workload", "w", "--principal", "uid/7"], vec![]),
        ] {
            let document = operator.json(&[&["audit"], &arguments[..]].concat());
            assert_eq!(decisions(&document), expected, "{kind} {arguments:?}");
        }
        let table = operator.out(&["audit", "--workload", "w"]);
        let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["TIME", "DECISION", "WORKLOAD", "BY", "DETAIL", "ID"]);
        let refusal = ["refused", "w", "guest", "guest-policy-debug", &refused.id.to_string()];
        assert_eq!(lines[2][1..], refusal, "{kind}: {table}");

        let id = refused.id.to_string();
        let text = operator.out(&["audit", &id]);
        assert!(text.contains(&format!("id        {id}\n")), "{kind}: {text}");
        assert!(
            text.contains("decision  refused (attest)\n") && text.contains("guest-policy-debug\n"),
            "{text}"
        );
        assert!(text.contains("0xb0000") && !text.contains('\u{1b}'), "{text}");
        let document = operator.json(&["audit", &id]);
        assert_eq!(document["record"], serde_json::to_value(&refused).unwrap(), "{kind}");
        assert!(!document["explanation"].as_array().unwrap().is_empty(), "{kind}");

        let missing = operator.run(&["audit", "019387a2-6f3c-7c41-9d2e-0b6a5f1c2d3e"]);
        assert_eq!((missing.code, missing.out.as_str()), (Some(1), ""), "{kind}");
        assert!(missing.log.contains("there is no audit record 019387a2"), "{}", missing.log);
        let backwards = operator.run(&["audit", "--since", "1h", "--until", "2h"]);
        assert_eq!(backwards.code, Some(2), "{backwards:?}");
    }
}

#[test]
fn audit_without_a_choice_is_refused() {
    let id = "019387a2-6f3c-7c41-9d2e-0b6a5f1c2d3e";
    for arguments in [
        &["audit"][..],
        &["audit", "--json"],
        &["audit", "w"],
        &["audit", id, "--workload", "w"],
        &["audit", id, "--since", "1h"],
        &["audit", "--since", "yesterday"],
        &["audit", "--workload", "a b"],
        &["audit", "--csv"],
        &["audit", "--decision", "guessed"],
        &["audit", "--since", "1h", "--decision", "guessed"],
        &["audit", "--since", "1h", "--decision", "keys_turned"],
        &["audit", id, "--check", "measurement"],
    ] {
        let ended = program::run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
    }
}

/// An operator needs only the id on a guest's console.
#[tokio::test]
async fn the_id_that_a_guest_is_told_leads_to_the_cause() {
    let world = World::start();
    let id = unique("w");
    world.register(&id).await;
    let mut machine = world.machine(Product::Milan, 1);
    machine.fields.policy |= 1 << 19;
    let told = match world.polite(&id, machine).boot().await {
        Err(Error::Refused(said)) => audit_id(&said.body),
        other => panic!("{other:?}"),
    };
    let operator = Operator::of(&world);
    let document = operator.json(&["audit", &told]);
    assert_eq!(document["record"]["failed"]["check"], "guest-policy-debug", "{document}");
    assert_eq!(document["record"]["workload_id"], id.as_str());
    assert!(operator.out(&["audit", &told]).contains("0xb0000"));
    assert_eq!(
        decisions(&operator.json(&["audit", "--workload", &id, "--since", "1h"])),
        ["registered", "refused"]
    );
}

/// The record of an attestation names the evidence. The record of a release refers to that record.
#[tokio::test]
async fn audit_shows_the_evidence_behind_a_release() {
    let world = World::start();
    let operator = Operator::of(&world);
    let id = unique("w");
    world.register(&id).await;
    world.polite(&id, world.milan()).boot().await.unwrap();
    let records = operator.json(&["audit", "--workload", &id]);
    assert_eq!(decisions(&records), ["registered", "attested", "released"]);
    for (index, has_basis) in [(0, false), (1, true), (2, true)] {
        let record = &records["records"][index];
        let text = operator.out(&["audit", record["id"].as_str().unwrap()]);
        for told in [
            "SIMULATED: nothing proves that the hardware is genuine.",
            "The key that signed the report has the certificate with SHA-256 ",
            "Revocation was looked up in the ARK's list number ",
            "The guest's key has the JWK thumbprint ",
            "The operator's demands on every guest have the SHA-256 ",
        ] {
            assert_eq!(text.contains(told), has_basis, "{told}: {text}");
        }
    }
    assert_eq!(records["records"][1]["basis"]["simulated"], true);
}

/// After a revocation, guests of the workload get nothing from their next request on, whether they hold a
/// challenge or a session. After a restore, guests that attest again get the secret; earlier sessions do not.
#[tokio::test]
async fn revocation_takes_effect_at_the_next_request() {
    let world = World::start();
    let operator = Operator::of(&world);
    let id = unique("w");
    let passphrase = world.register(&id).await.into_bytes();
    let (mut challenged, mut attested) = (world.polite(&id, world.milan()), world.polite(&id, world.milan()));
    challenged.auth().await.unwrap();
    attested.auth().await.unwrap();
    attested.attest().await.unwrap();
    assert_eq!(attested.key().await, Ok(passphrase.clone()));

    operator.out(&["workload", "revoke", &id]);
    world.assert_refused(attested.key().await, (403, "workload"));
    world.assert_refused(challenged.attest().await, (403, "workload"));

    operator.out(&["workload", "restore", &id]);
    world.assert_refused(attested.key().await, (403, "workload"));
    assert_eq!(world.polite(&id, world.milan()).boot().await, Ok(passphrase));

    operator.out(&["workload", "delete", &id, "--yes"]);
    attested.key().await.unwrap_err();
    let records = operator.json(&["audit", "--workload", &id]);
    let expected = [
        "registered",
        "attested",
        "released",
        "revoked",
        "refused",
        "refused",
        "restored",
        "refused",
        "attested",
        "released",
        "deleted",
        "refused",
    ];
    assert_eq!(decisions(&records), expected);
}

/// 20 hosts at a time, each with ten workloads. Each workload is registered, one guest attests and fetches
/// the passphrase twice, and one guest is refused: 1,000 decisions.
#[tokio::test]
async fn a_thousand_decisions_leave_a_thousand_records() {
    const HOSTS: usize = 20;
    const EACH: usize = 10;
    const WORKLOADS: usize = HOSTS * EACH;
    let world = Arc::new(World::start());
    let run = unique("a");
    // The guests make their keys first: meanwhile no connection of a neighbour waits on this thread.
    let hosts: Vec<_> = (0..HOSTS)
        .map(|host| {
            let mut refusing = world.milan();
            refusing.fields.vmpl = 1;
            let name = format!("{run}-{host}");
            let guests = (world.polite(&name, world.milan()), world.polite(&name, refusing));
            (name, guests)
        })
        .collect();
    let begin = Timestamp::now();
    let mut told = BTreeSet::new();
    let mut crowd = JoinSet::new();
    for (name, mut guests) in hosts {
        let world = Arc::clone(&world);
        crowd.spawn(async move {
            let mut told = Vec::new();
            for index in 0..EACH {
                told.extend(five_decisions(&world, &mut guests, &format!("{name}-{index}")).await);
            }
            told
        });
    }
    while let Some(ids) = crowd.join_next().await {
        told.extend(ids.unwrap());
    }

    let document = Operator::of(&world).json(&["audit", "--since", &begin.to_string()]);
    let records: BTreeMap<_, _> = document["records"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|record| record["workload_id"].as_str().is_some_and(|id| id.starts_with(&run)))
        .map(|record| (record["id"].as_str().unwrap().to_owned(), record.clone()))
        .collect();
    assert_eq!(records.len(), 5 * WORKLOADS);
    let count = |decision: &str| records.values().filter(|record| record["decision"] == decision).count();
    let counts = ["registered", "attested", "released", "refused"].map(count);
    assert_eq!(counts, [WORKLOADS, WORKLOADS, 2 * WORKLOADS, WORKLOADS]);
    assert!(told.iter().all(|id| records.contains_key(id)), "each id that a client was told has a record");
    for released in records.values().filter(|record| record["decision"] == "released") {
        let attestation = &records[released["attestation"].as_str().unwrap()];
        assert_eq!(attestation["decision"], "attested");
        for same in ["workload_id", "registration"] {
            assert_eq!(released[same], attestation[same], "{released}");
        }
        let time = |record: &Value| record["time"].as_str().unwrap().parse::<Timestamp>().unwrap();
        assert!(time(attestation) <= time(released), "{released}");
    }
    assert_eq!(document["unreadable"], json!([]));
}

/// The audit ids that clients were told: of the registration and of the refusal.
async fn five_decisions(
    world: &World,
    (admitted, refused): &mut (PoliteGuest, PoliteGuest),
    id: &str,
) -> [String; 2] {
    let response = world.build(id, "the passphrase").register().await.unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
    for guest in [&mut *admitted, &mut *refused] {
        id.clone_into(&mut guest.state.workload_id);
    }
    assert_eq!(admitted.boot().await.as_deref(), Ok(b"the passphrase".as_slice()));
    assert_eq!(admitted.key().await.as_deref(), Ok(b"the passphrase".as_slice()));
    let refused = match refused.boot().await {
        Err(Error::Refused(said)) => audit_id(&said.body),
        other => panic!("{other:?}"),
    };
    [audit_id(&response.text()), refused]
}
