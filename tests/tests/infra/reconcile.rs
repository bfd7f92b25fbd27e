//! `infra/reconcile` over the records of real boots. Through the functions, the events are the calls that the
//! local AWS's KMS got from `attest`; elsewhere they are made of the records.

use std::{env, fs, path::Path, process::Command};

use keybroker_simulator::Product;
use keybroker_tests::{
    operator::Operator,
    program::{Ended, workspace},
    unique,
    world::World,
};
use serde_json::{Value, json};

const ATTEST: &str = "arn:aws:sts::123456789012:assumed-role/keybroker-attest/keybroker-attest";
const OTHER: &str = "arn:aws:sts::123456789012:assumed-role/keybroker-attest/mine";

/// CloudTrail's event of a Decrypt.
fn event(id: usize, time: &Value, context: &Value) -> Value {
    json!({
        "eventVersion": "1.11",
        "userIdentity": {"type": "AssumedRole", "arn": ATTEST},
        "eventTime": format!("{}Z", &time.as_str().unwrap()[.."2026-11-29T12:00:00".len()]),
        "eventSource": "kms.amazonaws.com",
        "eventName": "Decrypt",
        "sourceIPAddress": "192.0.2.1",
        "requestParameters": {"encryptionContext": context, "encryptionAlgorithm": "SYMMETRIC_DEFAULT"},
        "eventID": format!("event-{id}"),
        "readOnly": true,
        "eventCategory": "Management",
    })
}

/// The encryption context of the secret that a record names.
fn context(record: &Value) -> Value {
    json!({
        "purpose": "keybroker/v1",
        "workload_id": record["workload_id"],
        "secret": record["secret"],
        "registration": record["registration"],
    })
}

/// The events of what was decrypted for this workload.
fn events(workload: &str, records: &[Value]) -> Vec<Value> {
    let Ok(calls) = env::var("KEYBROKER_TEST_CALLS") else {
        let released = records.iter().filter(|record| record["decision"] == "released").enumerate();
        return released.map(|(id, record)| event(id, &record["time"], &context(record))).collect();
    };
    let calls = fs::read_to_string(calls).unwrap();
    let calls = calls.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = |call: &Value| call["operation"] == "Decrypt" && call["context"]["workload_id"] == workload;
    calls.filter(ours).enumerate().map(|(id, call)| event(id, &call["time"], &call["context"])).collect()
}

/// Reconciles them, and gives what is left over: its kind, and the event or the record.
fn left(directory: &Path, events: &[Value], records: &[Value]) -> Vec<(String, String)> {
    let ended = reconcile(directory, &json!({"Records": events}), records, &["--json"]);
    let document: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let left: Vec<_> = document["left"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(&one["kind"]), text(&one["event"]) + &text(&one["record"])))
        .collect();
    assert_eq!(ended.code, Some(if left.is_empty() { 0 } else { 3 }), "{ended:?}");
    left
}

fn reconcile(directory: &Path, trail: &Value, records: &[Value], arguments: &[&str]) -> Ended {
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    let (trail_file, records_file) = (directory.join("trail.json"), directory.join("records.jsonl"));
    fs::write(&trail_file, trail.to_string()).unwrap();
    fs::write(&records_file, lines).unwrap();
    let mut command = Command::new("python3");
    command.arg(workspace().join("infra/reconcile")).args(arguments);
    command.arg("--records").arg(records_file).arg(trail_file).output().unwrap().into()
}

#[tokio::test]
async fn each_decrypt_is_a_release_and_each_release_a_decrypt() {
    let world = World::start();
    let id = unique("reconciled");
    world.boots_a_guest(&id).await;
    world.polite(&id, world.milan()).boot().await.unwrap();
    // A guest that is refused opens nothing.
    let mut other = world.machine(Product::Milan, 2);
    other.fields.measurement = [7; 48];
    world.polite(&id, other).boot().await.unwrap_err();

    let operator = Operator::of(&world);
    let listed = operator.json(&["audit", "--workload", &id]);
    let records = listed["records"].as_array().unwrap().clone();
    let events = events(&id, &records);
    let released: Vec<_> = records.iter().filter(|record| record["decision"] == "released").collect();
    assert_eq!((events.len(), released.len()), (2, 2), "{records:?}");

    let directory = tempfile::tempdir().unwrap();
    let left = |events: &[Value], records: &[Value]| left(directory.path(), events, records);
    let found = |kind: &str, id: &Value| vec![(kind.to_owned(), id.as_str().unwrap().to_owned())];
    let none = Vec::<(String, String)>::new();
    assert_eq!(left(&events, &records), none);
    // CloudTrail may deliver an event twice. A call that is refused, or has another purpose, opens no secret.
    let but = |name: &str, value: Value| {
        let mut event = events[0].clone();
        event["eventID"] = json!("another");
        *event.pointer_mut(name).unwrap_or(&mut Value::Null) = value.clone();
        if name == "/errorCode" {
            event["errorCode"] = value;
        }
        event
    };
    let denied = but("/errorCode", json!("AccessDenied"));
    let challenge = but("/requestParameters/encryptionContext", json!({"purpose": "keybroker/challenge"}));
    let encrypted = but("/eventName", json!("Encrypt"));
    let more = |event: &Value| [events.as_slice(), std::slice::from_ref(event)].concat();
    for harmless in [&events[0], &denied, &challenge, &encrypted] {
        assert_eq!(left(&more(harmless), &records), none, "{harmless}");
    }

    // Somebody used attest's role: a Decrypt more than releases, of another registration, or long after.
    let again = but("/eventID", json!("another"));
    assert_eq!(left(&more(&again), &records).len(), 1);
    let of_another = but("/requestParameters/encryptionContext/registration", json!("00"));
    assert_eq!(left(&more(&of_another), &records), found("unrecorded", &json!("another")));
    let late = but("/eventTime", json!("2036-01-01T00:00:00Z"));
    assert_eq!(left(&more(&late), &records), found("unrecorded", &json!("another")));
    // A release accounts for no Decrypt of another time.
    let mut later = events.clone();
    later[0]["eventTime"] = json!("2036-01-01T00:00:00Z");
    let kinds: Vec<_> = left(&later, &records).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["unrecorded", "unopened"]);
    // A session that Lambda did not name, in the place of the function's.
    let mut taken = events.clone();
    taken[0]["userIdentity"]["arn"] = json!(OTHER);
    assert_eq!(left(&taken, &records), found("stranger", &events[0]["eventID"]));

    // A record of no release, or a trail with a gap.
    let release = records.iter().position(|record| record["decision"] == "released").unwrap();
    let mut forged = records[release].clone();
    forged["id"] = json!("forged");
    forged["registration"] = json!("00");
    let and_forged = [records.as_slice(), &[forged]].concat();
    assert_eq!(left(&events, &and_forged), found("unopened", &json!("forged")));
    assert_eq!(left(&[], &records).len(), 2);

    // The record could not be written, or what was opened did not leave.
    let instead = |decision: &str, check: &str| {
        let mut records = records.clone();
        records[release]["decision"] = json!(decision);
        records[release]["failed"] = json!({"check": check, "cause": "because"});
        records
    };
    for (decision, check) in [("unavailable", "store"), ("withheld", "workload"), ("refused", "guest-key")] {
        assert_eq!(left(&events, &instead(decision, check)), none, "{decision}");
    }
    // A stranger's bad request is on record as well, and hides nothing.
    assert_eq!(left(&events, &instead("refused", "measurement")).len(), 1);
    // The release is on record, and KMS was out.
    let mut out = records.clone();
    out.push(instead("unavailable", "wrapping-key")[release].clone());
    assert_eq!(left(&events, &out), none);
    let opened = context(&records[release]);
    let others: Vec<_> = events
        .iter()
        .filter(|event| event["requestParameters"]["encryptionContext"] != opened)
        .cloned()
        .collect();
    let expected = events.len() - others.len();
    assert_eq!(left(&others, &out).len(), expected - 1);

    // A release of several secrets at once has one record.
    let mut both = records[release].clone();
    both["operation"] = json!("release");
    both["secrets"] = json!(["tls.key", "passphrase"]);
    both.as_object_mut().unwrap().remove("secret");
    let opened = ["tls.key", "passphrase"].map(|secret| {
        let mut opened = event(secret.len(), &both["time"], &context(&both));
        opened["requestParameters"]["encryptionContext"]["secret"] = json!(secret);
        opened
    });
    assert_eq!(left(&opened, &[both.clone()]), none);
    assert_eq!(left(&opened[..1], &[both]).len(), 1);
}

/// The output of `aws cloudtrail lookup-events`, and the files of a trail as CloudTrail lays them out.
#[test]
fn events_and_records_are_read_in_each_form() {
    let directory = tempfile::tempdir().unwrap();
    let record = json!({
        "id": "r", "time": "2026-11-29T12:00:00.123456789Z", "operation": "key", "decision": "released",
        "workload_id": "w", "secret": "passphrase", "registration": "00",
    });
    let opened = event(1, &record["time"], &context(&record));
    let records = [record];
    let looked_up = json!({"Events": [{"EventId": "1", "CloudTrailEvent": opened.to_string()}]});
    let ended = reconcile(directory.path(), &looked_up, &records, &[]);
    assert_eq!((ended.code, ended.log.as_str()), (Some(0), "1 Decrypts, 1 releases, 0 left over\n"));
    let ended = reconcile(directory.path(), &json!({"Records": []}), &records, &[]);
    let line =
        "unopened    2026-11-29T12:00:00.123456Z workload_id=w secret=passphrase registration=00 record=r\n";
    assert_eq!((ended.code, ended.out.as_str()), (Some(3), line));
    for (limit, time, code) in [
        ("--since", "2026-11-29T12:00:01Z", 0),
        ("--since", "2026-11-29T12:00:00Z", 3),
        ("--until", "2026-11-29T12:00:00Z", 0),
        ("--until", "2026-11-29T12:00:01Z", 3),
    ] {
        let ended = reconcile(directory.path(), &json!({"Records": []}), &records, &[limit, time]);
        assert_eq!(ended.code, Some(code), "{limit} {time}: {ended:?}");
    }
    let ended = reconcile(directory.path(), &json!({"Other": []}), &[], &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.log.contains("neither a trail's file nor the output of lookup-events"), "{ended:?}");

    let trail = directory.path().join("AWSLogs/123456789012/CloudTrail/us-east-1/2026/11/29");
    fs::create_dir_all(&trail).unwrap();
    fs::write(trail.join("a.json"), json!({"Records": [opened]}).to_string()).unwrap();
    assert!(Command::new("gzip").arg(trail.join("a.json")).status().unwrap().success());
    let document = directory.path().join("records.json");
    fs::write(&document, json!({"schema": 1, "records": records}).to_string()).unwrap();
    let mut command = Command::new("python3");
    command.arg(workspace().join("infra/reconcile")).arg(directory.path().join("AWSLogs"));
    let ended: Ended = command.arg("--records").arg(document).output().unwrap().into();
    assert_eq!((ended.code, ended.log.as_str()), (Some(0), "1 Decrypts, 1 releases, 0 left over\n"));
}

/// CloudTrail's event of a ReEncrypt.
fn moved(keys: [&str; 2], contexts: [&Value; 2]) -> Value {
    let mut event = event(1, &json!("2026-11-29T12:00:00.5Z"), contexts[0]);
    event["eventName"] = json!("ReEncrypt");
    event["userIdentity"]["arn"] = json!("arn:aws:sts::123456789012:assumed-role/keybroker-rewrap/mine");
    event["requestParameters"] = json!({
        "sourceEncryptionContext": contexts[0],
        "destinationKeyId": "b",
        "destinationEncryptionContext": contexts[1],
    });
    event["resources"] = json!(keys.map(|key| json!({"type": "AWS::KMS::Key", "ARN": key})));
    event
}

/// By a ReEncrypt a secret leaves without any Decrypt under the broker's key.
#[test]
fn each_secret_stays_with_the_deployments_keys_and_its_registration() {
    let directory = tempfile::tempdir().unwrap();
    let [old, new, other] = ["a", "b", "c"].map(|id| format!("arn:aws:kms:us-east-1:123456789012:key/{id}"));
    let named = ["--json", "--key", &old, "--key", &new];
    let secret = json!({"purpose": "keybroker/v1", "workload_id": "w", "secret": "s", "registration": "00"});
    let bound = |name: &str, value: &str| {
        let mut context = secret.clone();
        context[name] = json!(value);
        context
    };
    let anew = bound("registration", "11");
    let changed = json!({
        "id": "r", "time": "2026-11-29T12:00:01Z", "operation": "operate", "decision": "resource_set",
        "workload_id": "w", "registration": "11", "secret": "other", "act": {"amended": {"replaced": "00"}},
    });
    let left = |event: &Value, records: &[Value], arguments: &[&str]| {
        let ended = reconcile(directory.path(), &json!({"Records": [event]}), records, arguments);
        let document: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
        let left = document["left"].as_array().unwrap();
        assert_eq!(ended.code, Some(if left.is_empty() { 0 } else { 3 }), "{ended:?}");
        left.iter().map(|one| one["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let session = json!({"purpose": "keybroker/session"});
    let strange = json!({"purpose": "mine"});
    for (keys, contexts, expected) in [
        // A move to the deployment's next key, of a secret and of a key of the broker's own.
        ([&old, &new], [&secret, &secret], None),
        ([&old, &new], [&session, &session], None),
        // To a key of somebody's own, and from one.
        ([&old, &other], [&secret, &secret], Some("carried")),
        ([&old, &other], [&session, &strange], Some("carried")),
        ([&other, &new], [&strange, &secret], Some("carried")),
        // Under a key of the deployment, whatever the contexts are.
        ([&old, &other], [&strange, &strange], Some("carried")),
        ([&other, &other], [&strange, &strange], None),
        // The changes that `resource set` makes to the workload's other secrets, and those that it does not.
        ([&old, &old], [&secret, &anew], None),
        ([&old, &old], [&anew, &secret], Some("rebound")),
        ([&old, &old], [&secret, &bound("registration", "22")], Some("rebound")),
        ([&old, &old], [&secret, &bound("workload_id", "mine")], Some("rebound")),
        ([&old, &old], [&bound("secret", "t"), &anew], Some("rebound")),
        ([&old, &new], [&secret, &bound("registration", "22")], Some("rebound")),
    ] {
        let event = moved(keys.map(String::as_str), contexts);
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(left(&event, std::slice::from_ref(&changed), &named), expected, "{event}");
        let mut refused = event;
        refused["errorCode"] = json!("AccessDenied");
        assert!(left(&refused, &[], &named).is_empty(), "{refused}");
    }
    assert_eq!(left(&moved([&old, &old], [&secret, &anew]), &[], &named), ["rebound"], "without its record");
    // An event that does not list both keys has the names that the caller gave.
    let mut unlisted = moved([&old, &new], [&secret, &secret]);
    unlisted["resources"].as_array_mut().unwrap().pop();
    assert_eq!(left(&unlisted, &[], &named), ["carried"]);
    unlisted["requestParameters"]["sourceKeyId"] = json!(old);
    unlisted["requestParameters"]["destinationKeyId"] = json!(new);
    assert!(left(&unlisted, &[], &named).is_empty());
    // Where nobody says which keys are the deployment's, each move is told.
    assert_eq!(left(&moved([&old, &new], [&secret, &secret]), &[], &["--json"]), ["carried"]);
}

/// A record may be forged, and so may each text in it.
#[test]
fn no_text_of_a_record_or_an_event_steers_the_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let forged = json!({
        "id": "r", "time": "2026-11-29T12:00:00Z", "operation": "key", "decision": "released",
        "workload_id": "w\u{1b}[2K\nall\u{202e}", "secret": "s", "registration": "00",
    });
    let ended = reconcile(directory.path(), &json!({"Records": []}), &[forged], &[]);
    assert_eq!((ended.code, ended.out.lines().count()), (Some(3), 1), "{ended:?}");
    assert!(ended.out.contains("workload_id=w\\x1b[2K\\nall\\u202e secret=s"), "{ended:?}");
}
