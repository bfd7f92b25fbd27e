//! The audit records of `keybroker serve`: one JSON line per decision, written before the answer, and the
//! same record in the store.

use std::{fs, fs::File, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use keybroker_common::clock::SystemClock;
use keybroker_embedded::store::EmbeddedStore;
use keybroker_simulator::{Product, guest::Error};
use keybroker_tests::{
    program::Ended,
    server::{Home, Server},
    unique,
    world::{World, anchors, audit_id, kds},
};
use serde_json::Value;
use uuid::Uuid;

fn records(ended: &Ended) -> Vec<Value> {
    ended.out.lines().map(|line| serde_json::from_str(line).expect("a line is a record")).collect()
}

/// Makes one decision of each kind. Returns the ids that the clients were told: registered, replaced,
/// refused.
async fn one_of_each(world: &World, id: &str) -> Vec<String> {
    let mut told = Vec::new();
    for passphrase in ["first", "second"] {
        told.push(audit_id(&world.build(id, passphrase).register().await.unwrap().text()));
    }
    world.polite(id, world.machine(Product::Genoa, 7)).boot().await.unwrap();
    let mut machine = world.machine(Product::Turin, 7);
    machine.fields.policy |= 1 << 19;
    match world.polite(id, machine).boot().await {
        Err(Error::Refused(said)) => told.push(audit_id(&said.body)),
        other => panic!("{other:?}"),
    }
    told
}

#[tokio::test]
async fn every_decision_is_one_line_with_all_its_fields() {
    let world = World::serve(&[]);
    let id = unique("w");
    let before = Timestamp::now();
    let told = one_of_each(&world, &id).await;
    let (server, _home, _kds) = world.into_parts();
    let ended = server.terminate();
    let records = records(&ended);

    let decisions: Vec<_> = records.iter().map(|record| record["decision"].as_str().unwrap()).collect();
    assert_eq!(decisions, ["registered", "replaced", "attested", "released", "refused"], "{}", ended.out);
    let operations: Vec<_> = records.iter().map(|record| record["operation"].as_str().unwrap()).collect();
    assert_eq!(operations, ["register", "register", "attest", "key", "attest"]);
    let ids: Vec<_> = records.iter().map(|record| record["id"].as_str().unwrap()).collect();
    assert_eq!([ids[0], ids[1], ids[4]], told[..], "each client was told the id of its record");
    // The id of a decision about a challenge has the challenge's time, in whole seconds.
    let made_at = |id: &str| {
        let (seconds, nanoseconds) = id.parse::<Uuid>().unwrap().get_timestamp().unwrap().to_unix();
        Timestamp::new(i64::try_from(seconds).unwrap(), i32::try_from(nanoseconds).unwrap()).unwrap()
    };
    for (record, id) in records.iter().zip(&ids) {
        let time: Timestamp = record["time"].as_str().unwrap().parse().unwrap();
        let (earliest, whole) = (before - SignedDuration::from_secs(1), made_at(id).subsec_nanosecond() == 0);
        assert!(earliest < made_at(id) && made_at(id) <= time + SignedDuration::from_millis(1), "{record}");
        assert!(record["operation"] != "attest" || whole, "{record}");
    }
    for record in &records {
        assert_eq!(record["workload_id"], id.as_str(), "{record}");
        let time: Timestamp = record["time"].as_str().unwrap().parse().unwrap();
        assert!(before <= time && time <= Timestamp::now(), "{record}");
        assert_eq!(record["registration"].as_str().unwrap().len(), 64, "{record}");
    }
    let [registered, replaced, attested, released, refused] = records.as_slice() else { panic!() };
    assert_ne!(registered["registration"], replaced["registration"]);
    assert_eq!(attested["registration"], replaced["registration"]);
    assert_eq!((&released["attestation"], &released["secret"]), (&attested["id"], &"passphrase".into()));
    assert_eq!(released["registration"], replaced["registration"]);

    let evidence = &attested["evidence"];
    assert_eq!(evidence["verified"], true, "{evidence}");
    assert_eq!(evidence["measurement"], "4d".repeat(48));
    assert_eq!(evidence["chip_id"].as_str().unwrap().len(), 128);
    assert_eq!((&evidence["product"], &evidence["endorsement"]), (&"genoa".into(), &"vcek".into()));
    assert_eq!(
        evidence["reported_tcb"],
        serde_json::json!({"boot_loader": 10, "tee": 0, "snp": 23, "microcode": 84})
    );
    assert_eq!(
        (&evidence["policy"], &evidence["vmpl"], &evidence["report_version"]),
        (&"0x30000".into(), &0.into(), &3.into())
    );

    let evidence = &refused["evidence"];
    assert_eq!(evidence["verified"], false, "it was not verified: {evidence}");
    assert_eq!((&evidence["product"], &evidence["policy"]), (&"turin".into(), &"0xb0000".into()));
    assert_eq!(refused["failed"]["check"], "guest-policy-debug");
    assert!(refused["failed"]["cause"].as_str().unwrap().contains("0xb0000"), "{refused}");
    for record in [registered, replaced, attested, released] {
        assert!(record.get("failed").is_none(), "{record}");
    }
}

#[tokio::test]
async fn the_store_holds_the_records_that_were_printed() {
    let world = World::serve(&[]);
    one_of_each(&world, &unique("w")).await;
    world.polite("nobody", world.milan()).boot().await.unwrap_err();
    let (server, home, _kds) = world.into_parts();
    let ended = server.terminate();
    let store = EmbeddedStore::open(&home.data_dir(), Arc::new(SystemClock)).unwrap();
    let mut stored: Vec<_> = store.audit_records().unwrap().map(Result::unwrap).collect();
    stored.sort_by_key(|record| record.time);
    let stored: Vec<_> = stored.iter().map(|record| serde_json::to_value(record).unwrap()).collect();
    assert_eq!(stored.len(), 6);
    assert_eq!(stored, records(&ended));
}

#[tokio::test]
async fn challenges_and_malformed_requests_leave_no_record() {
    let world = World::serve(&[]);
    world.polite("w", world.milan()).auth().await.unwrap();
    world.ask("POST", "/kbs/v0/register_workload", &[], Some("{}"));
    world.ask("GET", "/kbs/v0/key/w", &[], None);
    world.ask("GET", "/nowhere", &[], None);
    let (server, _home, _kds) = world.into_parts();
    assert_eq!(server.terminate().out, "");
}

/// Standard output is a file here. It holds the record when the answer arrives, because the broker writes the
/// record first.
#[tokio::test]
async fn a_record_is_written_before_the_answer_is_sent() {
    let (home, kds) = (Home::new(&anchors()), kds());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let server = Server::start_into(home.command(&kds.url(), &[]), File::create(&path).unwrap());
    let world = World::of(server, home, Arc::new(kds));
    let last = || {
        let text = fs::read_to_string(&path).unwrap();
        let record: Value =
            text.lines().last().map_or(Value::Null, |line| serde_json::from_str(line).unwrap());
        record["decision"].as_str().unwrap_or_default().to_owned()
    };
    let id = unique("w");
    for _ in 0..10 {
        let id = unique("w");
        world.register(&id).await;
        assert_eq!(last(), "registered");
    }
    world.register(&id).await;
    for _ in 0..10 {
        let mut guest = world.polite(&id, world.milan());
        guest.auth().await.unwrap();
        guest.key().await.unwrap_err();
        assert_eq!(last(), "refused");
        guest.attest().await.unwrap();
        assert_eq!(last(), "attested");
        guest.key().await.unwrap();
        assert_eq!(last(), "released");
    }
}

#[tokio::test]
async fn no_filter_of_the_log_silences_the_audit() {
    let world = World::serve(&["--log", "off,keybroker::serve=info", "--log-format", "json"]);
    world.register(&unique("w")).await;
    let (server, _home, _kds) = world.into_parts();
    assert_eq!(server.terminate().out.lines().count(), 1);
}
