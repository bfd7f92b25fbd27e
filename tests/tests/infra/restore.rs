//! `infra/restore` on a local AWS. Its point-in-time recovery always gives the present rows, so the test
//! restores first and does the damage afterwards. It cannot show how long AWS takes or which permissions AWS
//! asks for.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, BackupStatus, PointInTimeRecoveryStatus},
};
use jiff::{SignedDuration, Timestamp};
use keybroker_aws::dynamodb::{AllTables, DynamoStore};
use keybroker_common::{
    audit::Decision,
    keyring::{Keyring, Purpose},
    secret::WrappedSecret,
    store::{AuditStore as _, KeyringStore as _, StoredKeyring},
};
use keybroker_tests::{
    local_aws::dynamodb,
    operator::{Contents, Operator, record, selected, workload},
    program::Ended,
};
use serde_json::Value;

type Row = HashMap<String, AttributeValue>;

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// The rows of a table of workloads, by their ids.
async fn rows(client: &Client, table: &str) -> BTreeMap<String, Row> {
    let items = client.scan().table_name(table).send().await.unwrap().items.unwrap();
    items.into_iter().map(|row| (row["workload_id"].as_s().unwrap().clone(), row)).collect()
}

/// The name of the table of each complete backup.
async fn backed_up(client: &Client, prefix: &str) -> Vec<String> {
    let backups = client.list_backups().send().await.unwrap().backup_summaries.unwrap();
    let backups = backups.into_iter().filter(|one| one.table_name().unwrap().starts_with(prefix));
    let backups = backups.inspect(|one| assert_eq!(one.backup_status(), Some(&BackupStatus::Available)));
    backups.map(|one| one.table_name.unwrap()).collect()
}

fn done(ended: Ended) -> String {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.out
}

fn not_done(ended: Ended, because: &str) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.log.contains(because), "{ended:?}");
}

/// Asserts that `first` comes before `then` in `out`.
fn assert_order(out: &str, first: &str, then: &str) {
    let at = |text: &str| out.find(text).unwrap_or_else(|| panic!("no {text:?}: {out}"));
    assert!(at(first) < at(then), "{out}");
}

#[tokio::test]
async fn restore_brings_rows_back_and_backs_up_before_any_change() {
    let day = SignedDuration::from_hours(24);
    let workloads = ["lost", "altered", "revoked", "kept", "set"].map(|id| workload(id, None, day));
    let (revoked, set) = (workloads[2].id.clone(), workloads[4].id.clone());
    let aws = Operator::aws(&Contents { workloads: workloads.into(), ..Contents::default() }).await;
    let (client, table) = (dynamodb(), aws.table("workloads"));
    let prefix = table.strip_suffix("workloads").unwrap();
    let before = rows(&client, &table).await;

    not_done(aws.restore(&["beside", "workloads"]), "has no point-in-time recovery");
    done(aws.restore(&["settings", "workloads"]));
    not_done(aws.restore(&["beside", "workloads", "--at", "2020-01-01T00:00:00Z"]), "can be restored from");
    assert!(done(aws.restore(&["beside", "workloads", "--dry-run"])).starts_with("would restore "));
    let out = done(aws.restore(&["beside", "workloads"]));
    assert!(out.contains(" has 5 rows, ") && out.contains("not as the broker writes them: 0"), "{out}");
    let copy = out.lines().last().unwrap().split("--from ").nth(1).unwrap().split(' ').next().unwrap();
    let described = client.describe_table().table_name(copy).send().await.unwrap().table.unwrap();
    assert_eq!(described.deletion_protection_enabled, Some(true), "until it is dropped");

    // The damage.
    let key = |id: &str| Row::from([("workload_id".to_owned(), text(id))]);
    client.delete_item().table_name(&table).set_key(Some(key("lost"))).send().await.unwrap();
    client.delete_item().table_name(&table).set_key(Some(key("revoked"))).send().await.unwrap();
    client.delete_item().table_name(&table).set_key(Some(key("set"))).send().await.unwrap();
    let mut altered = before["altered"].clone();
    altered.insert("digest".to_owned(), text("other"));
    client.put_item().table_name(&table).set_item(Some(altered.clone())).send().await.unwrap();
    let mut broken = altered.clone();
    broken.insert("workload_id".to_owned(), text("broken"));
    client.put_item().table_name(copy).set_item(Some(broken)).send().await.unwrap();
    let store = DynamoStore::new(client.clone(), AllTables::with_prefix(prefix.trim_end_matches('-')));
    store.append(&record(&revoked, Decision::Revoked, SignedDuration::ZERO)).await.unwrap();
    store.append(&record(&set, Decision::ResourceSet, SignedDuration::ZERO)).await.unwrap();
    let damaged = rows(&client, &table).await;

    let out = done(aws.restore(&["copy", "workloads", "--from", copy, "--dry-run"]));
    assert!(out.contains("would put lost\n"), "{out}");
    assert_eq!((rows(&client, &table).await, backed_up(&client, prefix).await), (damaged, vec![]));

    let out = done(aws.restore(&["copy", "workloads", "--from", copy]));
    assert!(out.contains("another than in the copy, and left as it is: altered\n"), "{out}");
    assert!(out.contains("not as the broker writes it, and left out: broken\n"), "{out}");
    assert!(out.contains("decided since, and left out: revoked: revoked at "), "{out}");
    assert!(out.contains("decided since, and left out: set: resource_set at "), "{out}");
    assert_order(&out, "back ", "put lost\n");
    let mut expected = before.clone();
    expected.insert("altered".to_owned(), altered);
    expected.remove("revoked");
    expected.remove("set");
    assert_eq!(rows(&client, &table).await, expected);
    assert_eq!(backed_up(&client, prefix).await, [table.as_str()]);

    assert!(done(aws.restore(&["copy", "workloads", "--from", copy])).ends_with("nothing to bring back\n"));
    done(aws.restore(&["copy", "workloads", "--from", copy, "--undo-decisions"]));
    for id in ["revoked", "set"] {
        expected.insert(id.to_owned(), before[id].clone());
    }
    assert_eq!(rows(&client, &table).await, expected);

    not_done(aws.restore(&["drop", &table]), "it deletes nothing else");
    let out = done(aws.restore(&["drop", copy, "--dry-run"]));
    assert!(out.contains("would delete ") && client.describe_table().table_name(copy).send().await.is_ok());
    let out = done(aws.restore(&["drop", copy]));
    assert_order(&out, "back ", "delete ");
    assert!(client.describe_table().table_name(copy).send().await.is_err());
    assert!(backed_up(&client, prefix).await.contains(&copy.to_owned()));
    assert_eq!(rows(&client, &table).await, expected, "the table itself is never deleted");
}

#[tokio::test]
async fn a_workload_comes_back_with_what_selects_it() {
    let workloads = ["lost", "unselected", "taken", "kept"].map(selected);
    let keys = workloads.clone().map(|(_, key)| key);
    let contents =
        Contents { workloads: workloads.map(|(workload, _)| workload).into(), ..Contents::default() };
    let aws = Operator::aws(&contents).await;
    let (client, table) = (dynamodb(), aws.table("workloads"));
    let before = rows(&client, &table).await;
    assert_eq!(before.len(), 8);
    done(aws.restore(&["settings", "workloads"]));
    let out = done(aws.restore(&["beside", "workloads"]));
    assert!(out.contains(" has 8 rows, ") && out.contains("not as the broker writes them: 0"), "{out}");
    let copy = out.lines().last().unwrap().split("--from ").nth(1).unwrap().split(' ').next().unwrap();

    for lost in ["lost", &keys[0], &keys[1], "taken"] {
        let key = Row::from([("workload_id".to_owned(), text(lost))]);
        client.delete_item().table_name(&table).set_key(Some(key)).send().await.unwrap();
    }
    let others = Row::from([
        ("workload_id".to_owned(), text(&keys[2])),
        ("format".to_owned(), AttributeValue::N("1".to_owned())),
        ("selects".to_owned(), text("other")),
    ]);
    client.put_item().table_name(&table).set_item(Some(others.clone())).send().await.unwrap();

    let out = done(aws.restore(&["copy", "workloads", "--from", copy]));
    assert!(out.contains(&format!("put lost with {}\n", keys[0])), "{out}");
    assert!(out.contains(&format!("put {}\n", keys[1])), "{out}");
    assert!(out.contains("its HOST_DATA selects another workload by now, and left out: taken\n"), "{out}");
    let mut expected = before;
    expected.remove("taken");
    expected.insert(keys[2].clone(), others);
    assert_eq!(rows(&client, &table).await, expected);
    assert!(done(aws.restore(&["copy", "workloads", "--from", copy])).ends_with("nothing to bring back\n"));
}

#[tokio::test]
async fn a_restored_table_gets_the_settings_of_the_template() {
    let aws = Operator::aws(&Contents::default()).await;
    let (client, table) = (dynamodb(), aws.table("decisions"));
    let arn =
        client.describe_table().table_name(&table).send().await.unwrap().table.unwrap().table_arn.unwrap();
    let policy = async || -> Value {
        let answer = client.get_resource_policy().resource_arn(&arn).send().await.unwrap();
        serde_json::from_str(&answer.policy.unwrap()).unwrap()
    };
    let by_template = policy().await;
    client.delete_resource_policy().resource_arn(&arn).send().await.unwrap();
    client.update_table().table_name(&table).deletion_protection_enabled(false).send().await.unwrap();
    let of_decisions = |word: &str| {
        let ended = aws.run(&["doctor", "--json"]);
        let document: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
        let findings = document["findings"].as_array().unwrap();
        let found = findings.iter().filter(|one| one["finding"].as_str().unwrap().contains(&table));
        let verdicts: Vec<_> = found.map(|one| one["verdict"].clone()).collect();
        assert!(verdicts.contains(&word.into()), "{document}");
        verdicts
    };
    of_decisions("fail");
    let out = done(aws.restore(&["settings", "decisions", "--dry-run"]));
    assert!(out.contains("would let attest alone write decisions\n"), "{out}");
    of_decisions("fail");
    done(aws.restore(&["settings", "decisions"]));
    // `doctor` checks the same settings of the template.
    assert_eq!(of_decisions("ok"), ["ok", "ok"]);
    // Which `infra/policies` evaluates.
    assert_eq!(policy().await, by_template);
    let backups = client.describe_continuous_backups().table_name(&table).send().await.unwrap();
    let recovery =
        backups.continuous_backups_description.unwrap().point_in_time_recovery_description.unwrap();
    assert_eq!(recovery.point_in_time_recovery_status, Some(PointInTimeRecoveryStatus::Enabled));
    assert!(!done(aws.restore(&["settings", "decisions"])).contains("turn on"), "nothing is left to do");
}

/// A table of the past lacks the newest decisions, or has keys that were given up: so nothing from before may
/// count. The first function that needs a key makes it, under the next number.
#[tokio::test]
async fn a_restored_table_of_decisions_or_keys_ends_every_challenge() {
    let aws = Operator::aws(&Contents::default()).await;
    let table = aws.table("decisions");
    let prefix = table.strip_suffix("-decisions").unwrap();
    let store = DynamoStore::new(dynamodb(), AllTables::with_prefix(prefix));
    assert!(done(aws.restore(&["settings", "decisions"])).contains("there is no ring challenge"));
    let rings = async || {
        let mut rings = Vec::new();
        for purpose in Purpose::ALL {
            rings.push(store.keyring(purpose).await.unwrap().unwrap());
        }
        rings
    };
    let wrapped = WrappedSecret { key_id: "arn:".to_owned(), ciphertext: b"ciphertext".to_vec() };
    let ring = Keyring::default().with(wrapped, Timestamp::UNIX_EPOCH);
    let emptied = StoredKeyring { edition: 1, ring: ring.emptied() };
    let whole = StoredKeyring { edition: 0, ring };
    for purpose in Purpose::ALL {
        store.put_keyring(purpose, None, &whole.ring).await.unwrap();
    }
    let out = done(aws.restore(&["settings", "decisions", "--dry-run"]));
    assert!(out.contains("would empty the ring of keys challenge\n"), "{out}");
    done(aws.restore(&["settings", "workloads", "tokens", "endorsements", "audit"]));
    assert_eq!(rings().await, [0; 4].map(|_| whole.clone()));
    done(aws.restore(&["settings", "decisions"]));
    assert_eq!(rings().await, [&emptied, &whole, &whole, &whole].map(Clone::clone));
    done(aws.restore(&["settings", "keys"]));
    // Guests know the signing keys: those of the past are theirs, too.
    let challenge = StoredKeyring { edition: 2, ..emptied.clone() };
    assert_eq!(rings().await, [challenge, emptied.clone(), emptied, whole]);
}

#[tokio::test]
async fn a_deleted_table_is_left_to_its_backup() {
    let aws = Operator::without_tables();
    not_done(aws.restore(&["beside", "workloads"]), "$DeletedTableBackup");
    not_done(aws.restore(&["settings", "audit"]), "there is no ");
    assert_eq!(
        aws.restore(&["copy", "decisions", "--from", "x"]).code,
        Some(2),
        "only attest can write them"
    );
}
