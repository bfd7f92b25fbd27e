//! The operator's commands where AWS does not answer, or refuses; how they log in; and `doctor` on AWS.

mod deployment;
mod errors;
mod lists;
mod login;
mod network;

use std::{
    io::Write as _,
    net::TcpListener,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use keybroker_tests::{
    program::{self, Ended},
    upstream::{Upstream, field, response},
};
use serde_json::json;

/// A command that asks AWS at `url`, with a key in its environment.
fn asking(url: &str, arguments: &[&str]) -> Command {
    let mut command = program::keybroker();
    command.args(arguments).arg("--aws").env("HOME", "/nonexistent").env("AWS_ENDPOINT_URL", url);
    command.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "s3cret");
    command.env("AWS_REGION", "eu-west-1").env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// One command for each way to the store, and one for the key in KMS.
const COMMANDS: [&[&str]; 4] = [
    &["workload", "list"],
    &["audit", "--since", "1h"],
    &["token", "create", "--url", "https://k.example.org"],
    &["keys", "prepare"],
];

/// AWS, where every call but GetItem ends with this error. GetItem finds nothing.
fn failing(status: u16, code: &str, message: &str) -> Upstream {
    let error = json!({"__type": format!("com.amazon.coral#{code}"), "message": message}).to_string();
    Upstream::start(move |request, stream| {
        let found = field(request, "x-amz-target") == ["DynamoDB_20120810.GetItem"];
        let answer = if found { response(200, "", "{}") } else { response(status, "", &error) };
        let _ = stream.write_all(&answer);
    })
}

/// Runs each of `commands` at once, and returns how they ended and how long they took, in their order.
fn at_once(commands: Vec<Command>) -> Vec<(Ended, Duration)> {
    let run = |mut one: Command| {
        let begun = Instant::now();
        (Ended::from(one.output().unwrap()), begun.elapsed())
    };
    let running: Vec<_> = commands.into_iter().map(|one| thread::spawn(move || run(one))).collect();
    running.into_iter().map(|one| one.join().unwrap()).collect()
}

const DENIED: &str = "User: arn:aws:sts::123456789012:assumed-role/ops/eve is not authorized to perform: dynamodb:Scan on \
                      resource: arn:aws:dynamodb:eu-west-1:123456789012:table/keybroker-workloads because no \
                      identity-based policy allows the dynamodb:Scan action";

/// A listener that accepts nothing. The system completes its connections, and nobody answers.
fn black_hole() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// A port on which nothing listens. The system gives it to no program that asks for a free one.
fn closed() -> String {
    "http://127.0.0.1:9".to_owned()
}
