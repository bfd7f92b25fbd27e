//! What the end-to-end suites stand on: the broker as a process, or as a deployment that the environment
//! names, with a simulated AMD around it.
//!
//! | module | gives |
//! |---|---|
//! | [`world`] | a broker and the chips, builds and guests around it; most suites need nothing else |
//! | [`server`] | `keybroker serve`: files, signals, exit codes, what it wrote |
//! | [`connection`] | a raw connection, for what no proper client sends |
//! | [`hostile`] | a crowd of connections that give a server nothing to do, and do not go |
//! | [`remote`] | a broker that was deployed by somebody else |
//! | [`operator`] | the operator's commands, over each kind of store |
//! | [`relay`] | `keybroker relay` as a process |
//! | [`tls`] | TLS before a broker that has none |
//! | [`upstream`] | a broker that answers as a test wants it to, and what it was asked |
//! | [`program`] | the `keybroker` program and how it ends |
//! | [`secrets`] | a search for secrets where they must not be |
//! | [`genuine`] | genuine AMD evidence, where there is any |
//! | [`permissions`] | what each function calls on AWS, and the IAM actions that it needs for that |
//! | [`metrics`] | what the functions measure |
//!
//! Suites that take their broker from [`World::start`](world::World::start) run against a deployment too. A
//! suite, or a part of one, that cannot prints a line that begins with `skipped: `.

pub mod connection;
pub mod genuine;
pub mod hostile;
pub mod metrics;
pub mod operator;
pub mod permissions;
pub mod program;
pub mod relay;
pub mod remote;
pub mod secrets;
pub mod server;
pub mod tls;
pub mod upstream;
pub mod world;

use std::{
    io::{self, Write},
    time::Duration,
};

/// How long anything that must happen may take, on a machine that is busy with other things.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Says that a part of a suite does not run here, and why: on a line of its own, past the test harness, which
/// would keep what a test that passes prints to itself.
pub fn skip(why: &str) {
    // Nobody may be reading.
    let _ = io::stdout().write_all(format!("\nskipped: {why}\n").as_bytes());
}

/// A name of a few characters that no other test, and no earlier run, has.
pub fn unique(prefix: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{prefix}-{}", random.get(..12).unwrap_or(&random))
}

/// A passphrase as buildah makes one: 64 hex digits.
pub fn passphrase() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}
