//! A local AWS for one test binary, ended with it.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
};

use aws_sdk_dynamodb::{
    config::{BehaviorVersion, Credentials, Region},
    operation::create_table::builders::CreateTableFluentBuilder,
    types::{
        AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
        Projection, ProjectionType, ScalarAttributeType,
    },
};
use keybroker_aws::dynamodb::{AllTables, DynamoStore};
use uuid::Uuid;

/// The server's address. Started by the first test that asks for it, ended when this process does, however it
/// ends.
pub fn endpoint() -> &'static str {
    static ENDPOINT: OnceLock<String> = OnceLock::new();
    ENDPOINT.get_or_init(|| {
        // Beside `deps`, where cargo puts the tests.
        let test = env::current_exe().unwrap();
        let state = test.ancestors().nth(3).unwrap().join(format!("tmp/moto-{}", Uuid::new_v4()));
        let up = Path::new(env!("CARGO_MANIFEST_DIR")).join("../localstack/up");
        let output = Command::new(&up)
            .args(["--moto", "--bare", "--end-with", &std::process::id().to_string(), "--state"])
            .arg(state)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{} cannot be run: {error}", up.display()));
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success(),
            "the suite needs a local AWS, and localstack/up could not start one:\n{stderr}"
        );
        let endpoint = stdout.lines().find_map(|line| line.strip_prefix("export AWS_ENDPOINT_URL="));
        endpoint.expect("the address").to_owned()
    })
}

fn credentials() -> Credentials {
    Credentials::new("test", "test", None, None, "test")
}

/// A client of the local DynamoDB.
pub fn dynamodb() -> aws_sdk_dynamodb::Client {
    aws_sdk_dynamodb::Client::from_conf(
        aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(credentials())
            .endpoint_url(endpoint())
            .build(),
    )
}

/// A client of the local KMS.
pub fn kms() -> aws_sdk_kms::Client {
    aws_sdk_kms::Client::from_conf(
        aws_sdk_kms::Config::builder()
            .behavior_version(aws_sdk_kms::config::BehaviorVersion::latest())
            .region(aws_sdk_kms::config::Region::new("us-east-1"))
            .credentials_provider(credentials())
            .endpoint_url(endpoint())
            .build(),
    )
}

/// Six empty tables that nobody else has.
pub async fn tables(client: &aws_sdk_dynamodb::Client) -> AllTables {
    let tables = AllTables::with_prefix(&format!("test-{}", Uuid::new_v4()));
    for (name, key) in [
        (&tables.workloads, "workload_id"),
        (&tables.tokens, "token"),
        (&tables.decisions, "id"),
        (&tables.keys, "name"),
        (&tables.endorsements, "name"),
        (&tables.audit, "id"),
    ] {
        let table = client
            .create_table()
            .table_name(name)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute(key, ScalarAttributeType::S))
            .key_schema(schema(key, KeyType::Hash));
        let table = match name {
            name if *name == tables.audit => indexed(table, ProjectionType::All),
            name if *name == tables.decisions => indexed(table, ProjectionType::KeysOnly),
            _ => table,
        };
        table.send().await.unwrap();
    }
    tables
}

fn attribute(name: &str, kind: ScalarAttributeType) -> AttributeDefinition {
    AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
}

fn schema(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
}

/// The tables of records have an index, as `infra/storage.yaml` makes it.
fn indexed(table: CreateTableFluentBuilder, projection: ProjectionType) -> CreateTableFluentBuilder {
    let index = GlobalSecondaryIndex::builder()
        .index_name("workload")
        .key_schema(schema("workload_id", KeyType::Hash))
        .key_schema(schema("time", KeyType::Range))
        .projection(Projection::builder().projection_type(projection).build())
        .build()
        .unwrap();
    table
        .attribute_definitions(attribute("workload_id", ScalarAttributeType::S))
        .attribute_definitions(attribute("time", ScalarAttributeType::N))
        .global_secondary_indexes(index)
}

/// The stores that a test has to itself.
pub type Store = DynamoStore<AllTables>;

/// A store over six empty tables.
pub async fn store() -> Store {
    let client = dynamodb();
    let tables = tables(&client).await;
    DynamoStore::new(client, tables)
}

/// A key that nobody else has: its id, and its alias.
pub async fn key() -> (String, String) {
    let client = kms();
    let key = client.create_key().send().await.unwrap().key_metadata.unwrap().key_id;
    let alias = format!("alias/test-{}", Uuid::new_v4());
    client.create_alias().alias_name(&alias).target_key_id(&key).send().await.unwrap();
    (key, alias)
}

/// Every key of a table, which only a test may ask for.
pub async fn keys(table: &str, key: &str) -> Vec<String> {
    let items = dynamodb().scan().table_name(table).consistent_read(true).send().await.unwrap().items;
    items.unwrap_or_default().iter().map(|item| item[key].as_s().unwrap().clone()).collect()
}

/// Sets an attribute as the broker never would.
pub async fn set(table: &str, key: &str, id: &str, name: &str, value: AttributeValue) {
    dynamodb()
        .update_item()
        .table_name(table)
        .key(key, AttributeValue::S(id.to_owned()))
        .update_expression("SET #name = :value")
        .expression_attribute_names("#name", name)
        .expression_attribute_values(":value", value)
        .send()
        .await
        .unwrap();
}
