//! The writes of a boot, in DynamoDB's write units, counted over the very items that are sent: an item costs
//! a unit for each KB that is begun, and so does its entry in each index. The sizes are computed by
//! DynamoDB's published rules.

use std::sync::Arc;

use aws_sdk_dynamodb::types::{ProjectionType, TableDescription};
use data_encoding::BASE64;
use jiff::SignedDuration;
use keybroker_aws::dynamodb::DynamoStore;
use keybroker_common::{
    ids::WorkloadId,
    store::{OperatorStore as _, RegistrationStore as _, RevocationStore as _, WorkloadStore as _},
    workload::Workload,
};
use keybroker_testing::{
    guest::{KEY, evidence},
    moto,
    rounds::Counted,
    sample,
    world::{PASSPHRASE, World, workload_id},
};
use serde_json::{Map, Value};

use super::release::broker_over;

/// Bytes of a write unit.
const UNIT: usize = 1024;

/// An item as it is sent: attributes by name, each an object of its type and value.
type Item = Map<String, Value>;

/// The size of an attribute's value.
fn size_of_value(value: &Value) -> usize {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    match (kind.as_str(), value) {
        ("S", Value::String(text)) => text.len(),
        ("B", Value::String(text)) => BASE64.decode(text.as_bytes()).unwrap().len(),
        // A byte for two significant digits, and one more. Zeros at either end are none.
        ("N", Value::String(number)) => {
            let digits = number.trim_start_matches('-').trim_start_matches('0').trim_end_matches('0');
            digits.len().div_ceil(2) + 1 + usize::from(number.starts_with('-'))
        }
        ("BOOL" | "NULL", _) => 1,
        ("L", Value::Array(members)) => {
            3 + members.iter().map(|member| 1 + size_of_value(member)).sum::<usize>()
        }
        ("M", Value::Object(members)) => {
            3 + members.iter().map(|(name, member)| 1 + name.len() + size_of_value(member)).sum::<usize>()
        }
        other => panic!("{other:?}"),
    }
}

fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + size_of_value(value)).sum()
}

/// The costs of writing `item` into `table` and all of its indexes: of each, the size and the units.
fn costs(table: &TableDescription, item: &Item) -> Vec<(String, usize, usize)> {
    let keys = |schema: &[aws_sdk_dynamodb::types::KeySchemaElement]| {
        schema.iter().map(|key| key.attribute_name.clone()).collect::<Vec<_>>()
    };
    let name = table.table_name().unwrap().rsplit('-').next().unwrap().to_owned();
    let mut written = vec![(name.clone(), size(item))];
    for index in table.global_secondary_indexes() {
        let key = keys(index.key_schema());
        if !key.iter().all(|name| item.contains_key(name)) {
            continue;
        }
        let projected = match index.projection().unwrap().projection_type().unwrap() {
            ProjectionType::All => item.clone(),
            ProjectionType::KeysOnly => {
                let key: Vec<_> = key.into_iter().chain(keys(table.key_schema())).collect();
                item.iter()
                    .filter(|(name, _)| key.contains(name))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect()
            }
            other => panic!("{other:?}"),
        };
        written.push((format!("{name}/{}", index.index_name().unwrap()), size(&projected)));
    }
    written.into_iter().map(|(name, size)| (name, size, size.div_ceil(UNIT))).collect()
}

/// The longest id that a cookie carries, as buildah makes them; a registration that was revoked and restored;
/// a retention of the audit log; a root that is not AMD's: all that makes the items larger.
#[tokio::test]
async fn a_boot_writes_four_units() {
    let (world, counted) = (World::new().await, Counted::new());
    let tables = moto::tables(&counted.dynamodb()).await;
    let store = DynamoStore::new(counted.dynamodb(), tables);
    let store = Arc::new(store.keep_audit_for(SignedDuration::from_hours(24 * 365)));
    let broker = broker_over(&world, &store, &counted, &moto::key().await.1);
    let id = "0123456789abcdef".repeat(4);
    broker.registered(&id).await;
    let workload = store.workload(&workload_id(&id)).await.unwrap().unwrap();
    store.revoke(&workload.id, &sample::revoked(0)).await.unwrap();
    store.restore(&workload.id, workload.digest(), &sample::restored(0)).await.unwrap();
    // The first boot ends the build window, which costs a unit more.
    broker.attested(&world.hardware, &id).await;
    let units = units_sent(&counted, async {
        let challenge = broker.challenge(&id).await;
        let evidence = evidence(&world.hardware.chip, &KEY, &challenge);
        broker.attest.attest(&challenge.session_id, evidence).await.unwrap();
        let fetched = broker.fetch(&challenge.session_id, &id, &KEY).await;
        assert_eq!(fetched, Ok(PASSPHRASE.to_owned()));
    });
    let units = units.await;
    assert_eq!(units, 4);
    assert_eq!(CostTable::of("A boot in libkrun's dialect").units("writes"), units, "docs/aws.md");
}

/// With the longest id that there is. DynamoDB counts what a transaction writes twice.
#[tokio::test]
async fn what_selects_a_workload_is_a_unit_of_the_registration() {
    let counted = Counted::new();
    let store = DynamoStore::new(counted.dynamodb(), moto::tables(&counted.dynamodb()).await);
    let workload = Workload {
        id: workload_id(&"i".repeat(WorkloadId::MAX_LEN)),
        ..sample::selected_by(&sample::init_data())
    };
    store.create(&workload, &sample::registered(), None).await.unwrap();
    let sent = counted.sent("TransactWriteItems").pop().unwrap();
    let mut written = Vec::new();
    for part in sent["TransactItems"].as_array().unwrap() {
        let name = part["Put"]["TableName"].as_str().unwrap();
        let table = moto::dynamodb().describe_table().table_name(name).send().await.unwrap().table.unwrap();
        written.extend(costs(&table, part["Put"]["Item"].as_object().unwrap()));
    }
    println!("{written:?}");
    let (_, size, units) = written.pop().unwrap();
    assert!(size < UNIT / 2, "{size} bytes");
    assert_eq!((units, written.len()), (1, 2), "the row and the record are the others");
}

/// The write units of `work`, which puts items and writes nothing else.
pub(crate) async fn units_sent<T>(counted: &Counted, work: impl Future<Output = T>) -> usize {
    let writes = ["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"];
    let sent = || writes.map(|operation| counted.sent(operation));
    let before = sent().map(|sent| sent.len());
    work.await;
    let [puts, others @ ..] = sent();
    assert_eq!(others.map(|sent| sent.len())[..], before[1..], "nothing but puts");
    let mut units = 0;
    for put in &puts[before[0]..] {
        let name = put["TableName"].as_str().unwrap();
        let table = moto::dynamodb().describe_table().table_name(name).send().await.unwrap().table.unwrap();
        for (name, size, cost) in costs(&table, put["Item"].as_object().unwrap()) {
            println!("{name}: {size} bytes, {cost} write units");
            units += cost;
        }
    }
    println!("{units} write units");
    units
}

/// A cost table in docs/aws.md. Its rows: what, per boot, price, per million.
pub(crate) struct CostTable(Vec<[String; 4]>);

impl CostTable {
    /// The table under the heading that begins so.
    pub(crate) fn of(heading: &str) -> Self {
        let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/aws.md")).unwrap();
        let section = manual.split("\n## Cost\n").nth(1).unwrap().split("\n## ").next().unwrap();
        let under = section.split("\n### ").find(|part| part.starts_with(heading)).unwrap();
        let rows = under.lines().filter(|line| line.starts_with("| ")).skip(1);
        let cells =
            |row: &str| row.split('|').skip(1).take(4).map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
        Self(rows.map(|row| cells(row).try_into().unwrap()).collect())
    }

    /// The units of all rows that are about `what`.
    pub(crate) fn units(&self, what: &str) -> usize {
        let units = |per_boot: &str| per_boot.split(' ').next().unwrap().parse::<usize>().unwrap();
        let rows = self.0.iter().filter(|[named, ..]| named.contains(what));
        rows.map(|[_, per_boot, ..]| units(per_boot)).sum()
    }

    /// The sum of the rows in cents, which the last row must say.
    pub(crate) fn checked_cents(&self) -> u64 {
        let (total, rows) = self.0.split_last().unwrap();
        let cents = |cost: &str| (cost.trim_matches('*').parse::<f64>().unwrap() * 100.0).round() as u64;
        let sum: u64 = rows.iter().map(|[.., cost]| cents(cost)).sum();
        assert_eq!(sum, cents(&total[3]));
        sum
    }
}

#[test]
fn the_cost_table_adds_up_to_less_than_12_50_usd() {
    let cents = CostTable::of("A boot in libkrun's dialect").checked_cents();
    assert!(cents <= 1250, "{cents}");
}
