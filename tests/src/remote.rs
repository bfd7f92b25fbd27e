//! A broker that is already deployed, in place of a process that the test starts.
//!
//! | variable | is |
//! |---|---|
//! | `KEYBROKER_TEST_URL` | the deployment's base URL, plain http; without it every suite starts `keybroker serve` |
//! | `KEYBROKER_TEST_SETUP` | a shell command, run once per suite before anything else: it has the deployment use the KDS at `$KDS_URL`, trust the roots in the PEM file `$TRUST_ANCHORS`, and accept the provider `$CSP_ID` |
//! | `KEYBROKER_TEST_LISTENER` | `cargo-lambda` if that is what listens: see [`decides`] |
//! | `KEYBROKER_TEST_AUDIT` | a shell command that prints the audit record with the id `$ID` as one JSON line, or nothing |
//!
//! Each suite makes its own simulated AMD with new keys, so the suite has to tell the deployment about it. If
//! `KEYBROKER_SIMULATOR_KEYS` names a directory, all suites share its keys, and the deployment can be told
//! before they start.

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

/// Whether a listener that is not the deployment's own decides about `what` before the broker sees it. If so,
/// this part of the suite does not run, and a line says so. The functions' own tests cover all payloads.
pub fn decides(what: &str) -> bool {
    let foreign =
        url().is_some() && env::var("KEYBROKER_TEST_LISTENER").is_ok_and(|name| name == "cargo-lambda");
    if foreign {
        skip(&format!("{what}: cargo-lambda decides"));
    }
    foreign
}

/// Makes the deployment use this KDS and trust these roots.
pub(crate) fn set_up(kds_url: &str, anchors: &str) {
    let Ok(command) = env::var("KEYBROKER_TEST_SETUP") else { return };
    // The file is kept: the deployment may read it whenever one of its parts starts.
    let (mut file, path) = NamedTempFile::new().and_then(|file| Ok(file.keep()?)).expect("a file");
    file.write_all(anchors.as_bytes()).expect("a file");
    let mut command = shell(&command);
    command.env("KDS_URL", kds_url).env("TRUST_ANCHORS", path).env("CSP_ID", CSP_ID);
    assert!(command.status().expect("a shell").success(), "KEYBROKER_TEST_SETUP failed");
}

/// The audit record with this id. `None` if the deployment shows no records.
pub(crate) fn audit(id: &str) -> Option<Value> {
    let command = env::var("KEYBROKER_TEST_AUDIT").ok()?;
    let until = Instant::now() + DEADLINE;
    loop {
        let output = shell(&command).env("ID", id).output().expect("a shell");
        if let Ok(record) = serde_json::from_slice(&output.stdout) {
            return Some(record);
        }
        assert!(Instant::now() < until, "there is no audit record {id}");
        // The deployment decides where records go and how long that takes.
        thread::sleep(Duration::from_millis(200));
    }
}

fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]);
    shell
}
