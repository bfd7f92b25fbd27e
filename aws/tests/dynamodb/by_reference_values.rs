//! Registrations by reference values over DynamoDB and KMS: the largest one, and an attacker who can write
//! the table.

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use keybroker_aws::kms::KmsUnwrap;
use keybroker_common::{
    audit::Decision,
    broker::{Error, RegisterRequest},
    http::REFERENCE_VALUES_LIMIT,
    ids::{HostData, RegistrationDigest, SessionId},
    policy::{MAX_MODULE, MAX_QUERIES, MAX_QUERY, MAX_REFERENCE_VALUES, PolicyText},
    secret::{EncryptionContext, Unwrap as _, seal::Sealed},
    store::{OperatorStore as _, WorkloadStore as _},
    wire::keybroker::register_request,
    workload::Workload,
};
use keybroker_testing::{
    moto,
    rvp::{attested, by_reference_values, registered, resource},
};
use serde_json::{Value, json};

use super::release::Aws;

/// DynamoDB's limit.
const ITEM_LIMIT: usize = 400 << 10;

/// The size of the item under `id`, as DynamoDB counts it: names and values.
async fn item_size(aws: &Aws, id: &str) -> usize {
    let key = AttributeValue::S(id.to_owned());
    let table = &aws.store.tables().workloads;
    let answer = moto::dynamodb().get_item().table_name(table).key("workload_id", key).send().await.unwrap();
    let size = |value: &AttributeValue| match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        // As large as a number can be.
        AttributeValue::N(_) => 21,
        other => panic!("{other:?}"),
    };
    answer.item.unwrap().iter().map(|(name, value)| name.len() + size(value)).sum()
}

/// Text of `len` bytes that JSON doubles, since it must escape each of them.
fn escaped(len: usize) -> String {
    "\"".repeat(len)
}

/// The body of a registration that fills whatever may be filled, up to the limit of the body: 16 resources of
/// 4,000 bytes; module and reference values, most of them characters that are escaped; queries; and then
/// measurements.
fn largest_body() -> String {
    let resources: Value = (0..16).map(|index| (format!("r{index}"), json!("s".repeat(4000)))).collect();
    let values = json!({"filler": escaped(MAX_REFERENCE_VALUES / 2 - 100)});
    let module = format!("package p\n# {}\nallow := true", escaped(MAX_MODULE - 40));
    let queries = vec![format!("data.p.allow # {}", "x".repeat(MAX_QUERY - 20)); MAX_QUERIES];
    let mut measurements = vec!["4d".repeat(48)];
    let body = |measurements: &[String]| {
        json!({
            "resources": &resources, "measurements": measurements, "reference_values": &values,
            "policy": &module, "query": &queries,
        })
        .to_string()
    };
    let each = r#""","#.len() + 96;
    let room = (REFERENCE_VALUES_LIMIT - body(&measurements).len()) / each;
    measurements.extend((0..room).map(|index| format!("{index:096x}").replacen('0', "e", 1)));
    let body = body(&measurements);
    assert!((REFERENCE_VALUES_LIMIT - each..=REFERENCE_VALUES_LIMIT).contains(&body.len()), "{}", body.len());
    body
}

#[tokio::test]
async fn the_largest_registration_fits_into_an_item() {
    let aws = Aws::new().await;
    let host_data = HostData::random();
    let registration = register_request(largest_body().as_bytes(), host_data).unwrap();
    aws.broker.register.register(registration.0).await.unwrap();
    let size = item_size(&aws, host_data.workload_id().as_str()).await;
    println!("{size} bytes of {ITEM_LIMIT}");
    assert!(size < ITEM_LIMIT * 3 / 4, "{size}");
    let session = attested(&aws.world, &aws.broker, host_data).await;
    let released = aws.broker.attest.resource(&session, "r15").await.unwrap();
    assert!(matches!(released.sealed(), Sealed::Jwe(_)));
}

#[tokio::test]
async fn the_longest_resource_is_wrapped_whole() {
    let aws = Aws::new().await;
    let longest = "s".repeat(4000);
    let host_data = registered(&aws.broker, &[("certificate", &longest)]).await;
    let workload = row(&aws, host_data).await;
    let context = EncryptionContext {
        workload_id: workload.id.clone(),
        secret: "certificate".to_owned(),
        registration: workload.digest(),
    };
    let wrapped = &workload.secrets["certificate"];
    let opened = KmsUnwrap::new(moto::kms()).unwrap_secret(&context, wrapped).await.unwrap();
    assert_eq!(opened.expose(), longest.as_bytes());
}

async fn row(aws: &Aws, host_data: HostData) -> Workload {
    aws.store.workload(&host_data.workload_id()).await.unwrap().expect("a row")
}

/// The release of `name` is refused because of its ciphertext.
async fn assert_mismatch(aws: &Aws, session: &SessionId, name: &str) {
    let outcome = resource(&aws.broker, session, name).await;
    let Err(Error::Refused { id }) = outcome else { panic!("{name}: {outcome:?}") };
    let record = aws.store.audit_record(id).await.unwrap().unwrap();
    assert_eq!(record.decision, Decision::Refused);
    assert_eq!(record.failed.unwrap().check, "wrapped-secret");
}

#[tokio::test]
async fn resources_that_were_swapped_do_not_open() {
    let aws = Aws::new().await;
    let host_data = registered(&aws.broker, &[("a", "1"), ("b", "2"), ("c", "3")]).await;
    let mut secrets = row(&aws, host_data).await.secrets;
    let (a, b) = (secrets["a"].clone(), secrets["b"].clone());
    secrets.extend([("a".to_owned(), b), ("b".to_owned(), a)]);
    let secrets = serde_json::to_string(&secrets).unwrap();
    aws.set(host_data.workload_id().as_str(), "secrets", AttributeValue::S(secrets)).await;
    let session = attested(&aws.world, &aws.broker, host_data).await;
    // Wrapped in the order of their names.
    for (name, made) in [("a", 1), ("b", 0)] {
        assert_mismatch(&aws, &session, name).await;
        let asked = aws.asked(made);
        assert_eq!(asked.opened_under, aws.context(&host_data.workload_id(), name).await);
        assert_ne!(asked.opened_under["secret"], asked.made_under["secret"]);
    }
    assert_eq!(resource(&aws.broker, &session, "c").await, Ok("3".to_owned()));
}

/// The guest attests under the policy that stands there; the resource was wrapped under another.
#[tokio::test]
async fn under_an_altered_policy_no_resource_opens() {
    let aws = Aws::new().await;
    let host_data = HostData::random();
    let id = host_data.workload_id();
    let queries = vec!["input.snp.vmpl == 3".to_owned()];
    let rego = PolicyText { module: None, queries, reference_values: "{}".to_owned() };
    let registration = by_reference_values(host_data, &[("disk", "secret")]);
    let registration = RegisterRequest { rego: Some(rego), ..registration };
    aws.broker.register.register(registration).await.unwrap();
    let made_under = aws.context(&id, "disk").await;
    let text = String::from_utf8(row(&aws, host_data).await.registration).unwrap();
    let altered = text.replace("input.snp.vmpl == 3", "input.snp.vmpl == 0");
    assert_ne!(altered, text);
    let digest = RegistrationDigest::of(altered.as_bytes()).to_string();
    aws.set(id.as_str(), "registration", AttributeValue::B(Blob::new(altered))).await;
    aws.set(id.as_str(), "digest", AttributeValue::S(digest)).await;
    let session = attested(&aws.world, &aws.broker, host_data).await;
    assert_mismatch(&aws, &session, "disk").await;
    let asked = aws.asked(0);
    assert_eq!(asked.made_under, made_under);
    assert_eq!(asked.opened_under, aws.context(&id, "disk").await);
    assert_ne!(asked.opened_under["registration"], asked.made_under["registration"]);
}
