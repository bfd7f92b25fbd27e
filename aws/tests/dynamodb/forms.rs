//! The forms of all items. The release before must read what this one writes: both run while a release is
//! deployed, and the one before alone when it is taken back. So no form changes unnoticed.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use aws_sdk_dynamodb::types::AttributeValue;
use keybroker_common::{
    keyring::Purpose,
    store::{
        AuditStore as _, DecisionStore as _, EndorsementStore as _, KeyringStore as _, OperatorStore as _,
        RegistrationStore as _, ReleaseStore as _, RevocationStore as _, TokenStore as _,
    },
};
use keybroker_testing::{
    forms::describe,
    moto::{self, Store},
    sample,
};
use serde_json::Value;

/// Set, it has the test write the file anew.
const WRITE: &str = "KEYBROKER_WRITE_FORMS";

/// Adds the lines of an attribute. Bytes and text that are JSON are described as JSON.
fn describe_attribute(path: &str, value: &AttributeValue, lines: &mut BTreeSet<String>) {
    let json = |bytes: &[u8], lines: &mut BTreeSet<String>| {
        if let Ok(value @ Value::Object(_)) = serde_json::from_slice(bytes) {
            describe(&format!("{path} as JSON"), &value, lines);
        }
    };
    let kind = match value {
        AttributeValue::S(text) => {
            json(text.as_bytes(), lines);
            "S"
        }
        AttributeValue::B(bytes) => {
            json(bytes.as_ref(), lines);
            "B"
        }
        AttributeValue::N(_) => "N",
        AttributeValue::Bool(_) => "BOOL",
        AttributeValue::Null(_) => "NULL",
        AttributeValue::M(members) => {
            for (name, member) in members {
                describe_attribute(&format!("{path}.{name}"), member, lines);
            }
            "M"
        }
        other => panic!("{path}: {other:?}"),
    };
    lines.insert(format!("{path}: {kind}"));
}

async fn lines_of(name: &str, table: &str, lines: &mut BTreeSet<String>) {
    let answer = moto::dynamodb().scan().table_name(table).consistent_read(true).send().await.unwrap();
    let items = answer.items.unwrap_or_default();
    assert!(!items.is_empty(), "{name} has no item to look at");
    for item in items {
        for (attribute, value) in item {
            describe_attribute(&format!("{name}: {attribute}"), &value, lines);
        }
    }
}

/// An item of each kind in every table, with all that it can have.
async fn fill(store: &Store) {
    let token = sample::token();
    store.put_token(&token, &sample::token_made()).await.unwrap();
    let workload = sample::selected_by(&sample::init_data());
    store.create(&workload, &sample::registered(), Some(&token.id)).await.unwrap();
    store.revoke_token(&token.id, &sample::revoked(1)).await.unwrap();
    store.mark_released(&workload.id, workload.digest(), sample::at(1)).await.unwrap();
    store.revoke(&workload.id, &sample::revoked(2)).await.unwrap();
    store.restore(&workload.id, workload.digest(), &sample::restored(3)).await.unwrap();
    store.revoke(&workload.id, &sample::revoked(4)).await.unwrap();

    store.put_keyring(Purpose::Challenge, None, &sample::ring()).await.unwrap();
    store.put_keyring(Purpose::Signature, None, &sample::signing_ring()).await.unwrap();

    for decision in [sample::attest_decision(1), sample::refusal(2)].into_iter().chain(sample::releases(3)) {
        store.decide(&decision).await.unwrap();
    }
    store.record(&sample::released(5)).await.unwrap();

    for record in [sample::amended(6), sample::rewrapped(7), sample::deleted(8)] {
        store.append(&record).await.unwrap();
    }

    let key = sample::endorsement_key();
    store.put_endorsement(&key, &sample::endorsement(1)).await.unwrap();
    store.lease(&key, &sample::lease(60)).await.unwrap();
}

#[tokio::test]
async fn the_forms_of_all_items_are_those_that_the_release_before_reads() {
    let store = moto::store().await;
    fill(&store).await;
    let tables = store.tables();
    let mut lines = BTreeSet::new();
    for (name, table) in [
        ("workloads", &tables.workloads),
        ("tokens", &tables.tokens),
        ("keys", &tables.keys),
        ("decisions", &tables.decisions),
        ("audit", &tables.audit),
        ("endorsements", &tables.endorsements),
    ] {
        lines_of(name, table, &mut lines).await;
    }
    let mut found = String::new();
    lines.iter().for_each(|line| writeln!(found, "{line}").unwrap());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dynamodb/forms-0.2.txt");
    if std::env::var_os(WRITE).is_some() {
        fs::write(&file, &found).unwrap();
    }
    let known = fs::read_to_string(&file).unwrap();
    assert!(
        found == known,
        "the form of an item changed. docs/upgrading.md says what the release before must be able to read. With \
         {WRITE}=1 this test writes tests/dynamodb/forms-0.2.txt anew: read the difference before you commit it"
    );
}
