//! An upgrade in place: tables that the template of 0.1 made, with rows as 0.1 wrote them, under this
//! release's template and its broker.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use jiff::SignedDuration;
use keybroker_aws::{
    dynamodb::{AllTables, DynamoStore},
    kms::KmsWrap,
};
use keybroker_common::{
    audit::{AuditRecord, Decision},
    broker::Error,
    clock::Clock as _,
    ids::{AuditId, RegistrationDigest, SessionId},
    secret::{EncryptionContext, Secret, Wrap as _},
    store::{AuditQuery, OperatorStore as _, RegistrationStore as _, TokenStore as _, WorkloadStore as _},
};
use keybroker_testing::{
    guest::KEY,
    moto::{self, Store},
    rounds::Counted,
    sample,
    world::{PASSPHRASE, SECRET, World, named, stranger, workload_id},
};
use serde_json::json;
use uuid::Uuid;

use super::{release::broker_over, rewrap::moved_to_another_key};

type Item = HashMap<String, AttributeValue>;

const TABLES: [&str; 6] = ["workloads", "tokens", "challenges", "sessions", "endorsements", "audit"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Deploys the storage stack of `prefix` by this template: makes it, or updates it.
fn deploy(prefix: &str, template: &Path) {
    // moto was started before, and with it the environment was made.
    let output = Command::new(root().join("target/localstack/venv/bin/python"))
        .arg(root().join("localstack/provision.py"))
        .args(["--prefix", prefix, "--template"])
        .arg(template)
        .envs([("AWS_ENDPOINT_URL", moto::endpoint()), ("AWS_REGION", "us-east-1")])
        .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn number(number: i128) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// An item as 0.1 wrote each: a format, and a mark of the call that was text.
fn item<const N: usize>(attributes: [(&str, AttributeValue); N]) -> Item {
    let own = [("format", number(1)), ("write", text(Uuid::new_v4().to_string()))];
    own.into_iter().chain(attributes).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// All items of a table, in an order that does not depend on the table.
async fn items(table: &str) -> BTreeSet<String> {
    let answer = moto::dynamodb().scan().table_name(table).consistent_read(true).send().await.unwrap();
    let sorted = |item: &Item| format!("{:?}", item.iter().collect::<BTreeMap<_, _>>());
    answer.items.unwrap_or_default().iter().map(sorted).collect()
}

/// A deployment of 0.1.
struct Before {
    world: World,
    prefix: String,
    /// The items of each table.
    items: BTreeMap<&'static str, BTreeSet<String>>,
    records: Vec<AuditId>,
    /// A session of a guest that attested with 0.1, as its cookie had it.
    session: String,
}

/// A workload that was registered and attested as with 0.1, with the records of it, a token that made it, an
/// endorsement, an open challenge and a session.
async fn before() -> Before {
    let (world, prefix) = (World::new().await, format!("upgrade-{}", Uuid::new_v4().simple()));
    deploy(&prefix, &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dynamodb/storage-0.1.yaml"));
    let now = world.hardware.clock.now();
    let (nanoseconds, seconds) = (now.as_nanosecond(), i128::from(now.as_second()));

    let measurement = "4d".repeat(48);
    let registration = format!(
        r#"{{"format":1,"serial":"8f14e45f-ceea-467f-a8f6-5b1c2d3e4f50","dialect":"v0","owner":null,"reference_values":{{"measurements":["{measurement}"]}},"policy":{{"forbid_smt":false,"require_single_socket":false,"require_ciphertext_hiding":false,"minimum_abi":null,"minimum_tcb":null,"minimum_committed_tcb":null,"minimum_launch_tcb":null,"host_data":null,"id_key_digest":null,"author_key_digest":null,"family_id":null,"image_id":null,"minimum_guest_svn":null}}}}"#
    );
    let digest = RegistrationDigest::of(registration.as_bytes());
    let context =
        EncryptionContext { workload_id: workload_id("w"), secret: SECRET.to_owned(), registration: digest };
    let wrap = KmsWrap::new(moto::kms(), format!("alias/{prefix}"));
    let wrapped = wrap.wrap_secret(&context, &Secret::new(PASSPHRASE.into())).await.unwrap();

    let session = "00112233445566778899aabbccddeeff".to_owned();
    let times = ["registered", "attested", "released"];
    let records: Vec<_> = times.iter().map(|_| AuditId(Uuid::now_v7())).collect();
    let record = |index: usize, operation: &str, decision: &str| {
        let time = now - SignedDuration::from_secs(30 - i64::try_from(index).unwrap());
        let mut json = json!({
            "id": records[index], "time": time, "operation": operation, "decision": decision,
            "workload_id": "w", "registration": digest,
        });
        if decision == "released" {
            json["secret"] = SECRET.into();
            json["attestation"] = json!(records[1]);
        }
        item([
            ("id", text(records[index].to_string())),
            ("record", text(json.to_string())),
            ("time", number(time.as_nanosecond())),
            ("workload_id", text("w")),
        ])
    };
    let key = json!({"modulus": KEY.texts.modulus, "exponent": KEY.texts.exponent});
    let expires_at = now + SignedDuration::from_secs(200);
    let sessions = json!({
        "session_id": session, "workload_id": "w", "registration": digest, "guest_key": key,
        "attestation": records[1], "expires_at": expires_at,
    });
    let challenge = json!({
        "session_id": "ff".repeat(16), "nonce": "ab".repeat(32), "dialect": "v0", "workload_id": "w",
        "expires_at": expires_at,
    });
    let until = |id: &str, name: &'static str, json: &serde_json::Value| {
        item([
            ("session_id", text(id)),
            (name, text(json.to_string())),
            ("expires_at", number(expires_at.as_nanosecond())),
            ("expires", number(seconds + 200)),
        ])
    };
    for (table, item) in [
        (
            "workloads",
            item([
                ("workload_id", text("w")),
                ("registration", AttributeValue::B(Blob::new(registration))),
                ("digest", text(digest.to_string())),
                ("secrets", text(json!({SECRET: wrapped}).to_string())),
                ("first_registered_at", number(nanoseconds)),
                ("released_at", number(nanoseconds + 1)),
            ]),
        ),
        (
            "tokens",
            item([
                ("token", text("0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60")),
                ("created_at", number(nanoseconds)),
                ("expires_at", number(nanoseconds + 1_000_000_000)),
                ("bound_to", text("w")),
                ("bound_at", number(nanoseconds)),
            ]),
        ),
        (
            "endorsements",
            item([
                ("name", text("Milan/vcek/chain")),
                ("bytes", AttributeValue::B(Blob::new(b"unreadable, and so fetched again"))),
                ("fetched_at", number(nanoseconds)),
                ("edition", number(0)),
            ]),
        ),
        ("audit", record(0, "register", "registered")),
        ("audit", record(1, "attest", "attested")),
        ("audit", record(2, "key", "released")),
        ("challenges", until(&"ff".repeat(16), "challenge", &challenge)),
        ("sessions", until(&session, "session", &sessions)),
    ] {
        let put = moto::dynamodb().put_item().table_name(format!("{prefix}-{table}")).set_item(Some(item));
        put.send().await.unwrap();
    }
    let mut all = BTreeMap::new();
    for table in TABLES {
        all.insert(table, items(&format!("{prefix}-{table}")).await);
    }
    Before { world, prefix, items: all, records, session }
}

async fn listed(store: &Store, query: &AuditQuery) -> Vec<AuditRecord> {
    let (mut records, mut after) = (Vec::new(), None);
    loop {
        let page = store.audit_records(query, after.as_ref()).await.unwrap();
        assert_eq!(page.unreadable, []);
        records.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return records;
        }
    }
}

#[tokio::test]
async fn an_upgrade_in_place_loses_no_item_and_boots() {
    let Before { world, prefix, items: before, records, session } = before().await;
    let tables = AllTables::with_prefix(&prefix);
    let store = Arc::new(DynamoStore::new(moto::dynamodb(), tables.clone()));
    // The functions may be replaced first by mistake. Then a table is missing, and nothing leaves.
    let broker = broker_over(&world, &store, &Counted::new(), &format!("alias/{prefix}"));
    let Err(Error::Unavailable { .. }) = broker.auth.challenge(named("w")).await else {
        panic!("a challenge without a table of keys");
    };

    deploy(&prefix, &root().join("infra/storage.yaml"));
    for table in TABLES {
        assert_eq!(items(&format!("{prefix}-{table}")).await, before[table], "{table}");
    }
    world.hardware.clock.advance(SignedDuration::from_mins(1));
    // Once more, as every later deployment: nothing is made anew.
    deploy(&prefix, &root().join("infra/storage.yaml"));
    for table in TABLES {
        assert_eq!(items(&format!("{prefix}-{table}")).await, before[table], "{table}");
    }

    // A guest of 0.1 is turned away, and begins again: its cookie is no session id of this release.
    assert_eq!(SessionId::parse(&session), None);
    let fetched = broker.fetch(&stranger(), "w", &KEY).await;
    assert_eq!(fetched, Err(Error::NoSession { id: None }));
    let attested = broker.attested(&world.hardware, "w").await;
    assert_eq!(broker.fetch(&attested, "w", &KEY).await, Ok(PASSPHRASE.to_owned()));

    // The records of both releases are listed, and found by their ids.
    let workload = AuditQuery { workload: Some(workload_id("w")), ..AuditQuery::default() };
    for query in [AuditQuery::default(), workload] {
        let mut listed = listed(&store, &query).await;
        listed.sort_by_key(|record| record.time);
        let decisions: Vec<_> = listed.iter().map(|record| record.decision).collect();
        let of_0_1 = [Decision::Registered, Decision::Attested, Decision::Released];
        assert_eq!(decisions[..3], of_0_1);
        assert_eq!(decisions[3..], [Decision::Attested, Decision::Released]);
        assert_eq!(listed[..3].iter().map(|record| record.id).collect::<Vec<_>>(), records);
        for record in &listed {
            assert_eq!(store.audit_record(record.id).await, Ok(Some(record.clone())));
        }
    }
    // A secret that 0.1 wrapped moves to another key as all others do.
    moved_to_another_key(&store, &workload_id("w")).await;
    let attested = broker.attested(&world.hardware, "w").await;
    assert_eq!(broker.fetch(&attested, "w", &KEY).await, Ok(PASSPHRASE.to_owned()));
    let token = &store.tokens(None).await.unwrap().rows[0];
    assert_eq!(token.bound.as_ref().map(|bound| &bound.workload_id), Some(&workload_id("w")));
    assert!(store.workload(&workload_id("w")).await.unwrap().unwrap().released_at.is_some());
    // The items that select workloads have a place in the table that is there.
    let init_data = sample::init_data();
    let selected = sample::selected_by(&init_data);
    store.create(&selected, &sample::registered(), None).await.unwrap();
    assert_eq!(store.selected(&init_data.host_data()).await, Ok(Some(selected.id)));
    assert_eq!(store.workloads(None).await.unwrap().rows.len(), 2);
}
