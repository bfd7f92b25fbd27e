//! A broker that somebody else deployed, in place of a process of ours.
//!
//! | variable | is |
//! |---|---|
//! | `KEYBROKER_TEST_URL` | the deployment's base URL, plain http; without it every suite starts `keybroker serve` |
//! | `KEYBROKER_TEST_SETUP` | a shell command, run once per suite before anything else: it has the deployment use the KDS at `$KDS_URL`, trust the roots in the PEM file `$TRUST_ANCHORS`, and accept the provider `$CSP_ID` |
//! | `KEYBROKER_TEST_LISTENER` | `cargo-lambda` if that is what listens: see [`decides`] |
//! | `KEYBROKER_TEST_AUDIT` | a shell command that prints the audit record with the id `$ID` as one JSON line, or nothing |
//!
//! The simulated AMD is made anew by every suite, keys and all: that is why the deployment is told, and does
//! not tell. Or it is the same for all, by the keys that `KEYBROKER_SIMULATOR_KEYS` names, and the deployment
//! is told before they start.
#![allow(clippy::expect_used, reason = "a fixture that cannot be made has nothing better to do")]

use std::{
    env,
    io::Write,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use keybroker_simulator::pki::CSP_ID;
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::{DEADLINE, skip};

/// The base URL of the deployment, if the environment names one.
pub fn url() -> Option<String> {
    Some(env::var("KEYBROKER_TEST_URL").ok()?.trim_end_matches('/').to_owned())
}

/// Whether what becomes of `what` is decided by a listener that is not the deployment's own, before the
/// broker sees any of it: that part of a suite does not run then, and this says so. What can be put in a
/// payload is among the functions' tests.
pub fn decides(what: &str) -> bool {
    let foreign =
        url().is_some() && env::var("KEYBROKER_TEST_LISTENER").is_ok_and(|name| name == "cargo-lambda");
    if foreign {
        skip(&format!("{what}: cargo-lambda decides"));
    }
    foreign
}

/// Has the deployment use this KDS and trust these roots.
pub(crate) fn set_up(kds_url: &str, anchors: &str) {
    let Ok(command) = env::var("KEYBROKER_TEST_SETUP") else { return };
    // Kept: the deployment may read it whenever one of its parts starts anew.
    let (mut file, path) = NamedTempFile::new().and_then(|file| Ok(file.keep()?)).expect("a file");
    file.write_all(anchors.as_bytes()).expect("a file");
    let mut command = shell(&command);
    command.env("KDS_URL", kds_url).env("TRUST_ANCHORS", path).env("CSP_ID", CSP_ID);
    assert!(command.status().expect("a shell").success(), "KEYBROKER_TEST_SETUP failed");
}

/// The audit record with this id. `None` if the deployment shows none to anybody.
pub(crate) fn audit(id: &str) -> Option<Value> {
    let command = env::var("KEYBROKER_TEST_AUDIT").ok()?;
    let until = Instant::now() + DEADLINE;
    loop {
        let output = shell(&command).env("ID", id).output().expect("a shell");
        if let Ok(record) = serde_json::from_slice(&output.stdout) {
            return Some(record);
        }
        assert!(Instant::now() < until, "there is no audit record {id}");
        // Where the records go, and how long it takes them, is the deployment's own affair.
        thread::sleep(Duration::from_millis(200));
    }
}

fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]);
    shell
}
