//! A local AWS for the suites of one process: its address, tables and faults, and the record of its calls.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use serde_json::json;

use crate::{
    calls::{Call, Part},
    connection::Connection,
    permissions,
    program::workspace,
    unique,
};

/// The variables with the address and credentials of a local AWS.
pub(crate) const VARIABLES: [&str; 4] =
    ["AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// Makes the local AWS answer the next call of `operation` with this error, if the access key `by` signed it.
pub fn refuse(by: &str, operation: &str, error: &str) {
    refuse_times(by, operation, error, 1);
}

/// The same of as many calls.
pub fn refuse_times(by: &str, operation: &str, error: &str, times: u32) {
    let (_, url) = environment().iter().find(|(name, _)| name == "AWS_ENDPOINT_URL").expect("an address");
    let authority = url.trim_start_matches("http://");
    let fault = json!([{
        "by": by, "operation": operation, "fault": "refused", "status": 400, "type": error, "times": times,
    }]);
    let (body, mut connection) = (fault.to_string(), Connection::open(authority));
    connection.send(format!(
        "PUT /faults HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(connection.response().expect("a response").status, 200);
}

/// A row of `infra/operator-permissions.txt`: command, operation, IAM action, and what it is on.
pub type Row = (String, String, String, String);

/// The rows of `infra/operator-permissions.txt` that the local AWS records: DynamoDB's and KMS's.
pub fn listed() -> BTreeSet<Row> {
    let recorded = |action: &str| ["dynamodb:", "kms:"].iter().any(|service| action.starts_with(service));
    let rows = permissions::operator_permissions().filter(|row| recorded(row.action));
    rows.map(|row| [row.command, row.operation, row.action, row.on].map(str::to_owned).into()).collect()
}

/// The rows that commands called on the local AWS of this process until now, of the access keys that `by`
/// holds for.
pub fn called(by: impl Fn(&str) -> bool) -> BTreeSet<Row> {
    let record = fs::read_to_string(recorded()).unwrap_or_default();
    let calls = record.lines().map(Call::read).filter(|call| !call.app.is_empty() && by(&call.by));
    let row = |call: &Call, part: &Part| {
        (call.app.replace('.', " "), call.operation.clone(), part.action.clone(), on(part))
    };
    calls.flat_map(|call| call.parts.iter().map(|part| row(&call, part)).collect::<Vec<_>>()).collect()
}

/// `key`, or a table or an index without the prefix.
fn on(part: &Part) -> String {
    if part.action.starts_with("kms:") {
        return "key".to_owned();
    }
    let (table, index) = part.on.split_at(part.on.find('/').unwrap_or(part.on.len()));
    format!("{}{index}", table.rsplit('-').next().unwrap_or_default())
}

/// Where the local AWS of this process leaves its files.
fn state() -> &'static Path {
    static STATE: OnceLock<PathBuf> = OnceLock::new();
    STATE.get_or_init(|| env::temp_dir().join(unique("keybroker-moto")))
}

/// Its record of calls.
fn recorded() -> PathBuf {
    state().join("calls")
}

/// The environment of a local AWS for this process. It ends when this process does.
pub(crate) fn environment() -> &'static [(String, String)] {
    static ENVIRONMENT: OnceLock<Vec<(String, String)>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let output = Command::new(workspace().join("localstack/up"))
            .args(["--moto", "--bare", "--state"])
            .arg(state())
            .arg("--calls")
            .arg(recorded())
            .args(["--end-with", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .output()
            .expect("localstack/up");
        let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "localstack/up could not start a local AWS:\n{log}");
        let exported = out.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        exported.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    })
}

/// Python with boto3, for the local AWS.
pub fn python() -> Command {
    let mut command = Command::new(workspace().join("target/localstack/venv/bin/python"));
    command.envs(environment().iter().cloned()).stdin(Stdio::null());
    command
}

/// Creates the tables of the template.
pub(crate) fn provision(prefix: &str) {
    let mut command = python();
    command.arg(workspace().join("localstack/provision.py")).args(["--prefix", prefix]);
    let output = command.output().expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A client of the local DynamoDB.
pub fn dynamodb() -> aws_sdk_dynamodb::Client {
    let environment = environment();
    let value = |name: &str| environment.iter().find(|(known, _)| known == name).expect(name).1.clone();
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(value("AWS_REGION")))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(value("AWS_ENDPOINT_URL"));
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

/// A client of the local KMS, and the ARN of a new key there.
pub async fn kms() -> (aws_sdk_kms::Client, String) {
    let environment = environment();
    let value = |name: &str| environment.iter().find(|(known, _)| known == name).expect(name).1.clone();
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(aws_sdk_kms::config::BehaviorVersion::latest())
        .region(aws_sdk_kms::config::Region::new(value("AWS_REGION")))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(value("AWS_ENDPOINT_URL"));
    let client = aws_sdk_kms::Client::from_conf(config.build());
    let made = client.create_key().send().await.expect("a key");
    let arn = made.key_metadata.and_then(|key| key.arn).expect("its ARN");
    (client, arn)
}
