//! Shared parts of the end-to-end suites: the broker as a process, or as a deployment that the environment
//! names, with a simulated AMD.
//!
//! | module | gives |
//! |---|---|
//! | [`world`] | a broker with chips, builds and guests; most suites need nothing else |
//! | [`server`] | `keybroker serve`: files, signals, exit codes, output |
//! | [`connection`] | a raw connection, for requests that no proper client sends |
//! | [`starved`] | how long processes wait for the processor |
//! | [`hostile`] | a crowd of connections that occupy a server |
//! | [`altered`] | the reports that a hostile host can have made |
//! | [`remote`] | a broker that is already deployed |
//! | [`operator`] | the operator's commands, on each kind of store |
//! | [`relay`] | `keybroker relay` as a process |
//! | [`tls`] | TLS in front of a broker that has none |
//! | [`upstream`] | a broker that answers as a test wants, and the requests that it got |
//! | [`program`] | the `keybroker` program, and how it ends |
//! | [`secrets`] | a search for secrets in places where they must not be |
//! | [`genuine`] | genuine AMD evidence, if there is any |
//! | [`permissions`] | what each function and each command calls on AWS, and the IAM actions for that |
//! | [`calls`] | what a local AWS was called for |
//! | [`metrics`] | what the functions measure |
//!
//! Modules of suites that take their broker from [`World::start`](world::World::start) run against a
//! deployment too. If a part of a suite cannot run, it prints a line that begins with `skipped: `.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a fixture that cannot be made has to stop the test"
)]

pub mod altered;
pub mod calls;
pub mod connection;
pub mod genuine;
pub mod hostile;
pub mod local_aws;
pub mod metrics;
pub mod operator;
pub mod permissions;
pub mod program;
pub mod relay;
pub mod remote;
pub mod secrets;
pub mod server;
pub mod starved;
pub mod tls;
pub mod upstream;
pub mod world;

use std::{
    io::{self, Write},
    time::Duration,
};

/// How long a test waits for an event that must happen, on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Prints why a part of a suite does not run here. The line goes around the test harness, which would hide
/// the output of a test that passes.
pub fn skip(why: &str) {
    // It is no fault if nobody reads it.
    let _ = io::stdout().write_all(format!("\nskipped: {why}\n").as_bytes());
}

/// A short name that no other test and no earlier run uses.
pub fn unique(prefix: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{prefix}-{}", random.get(..12).unwrap_or(&random))
}

/// A passphrase like those that buildah makes: 64 hex digits.
pub fn passphrase() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}
