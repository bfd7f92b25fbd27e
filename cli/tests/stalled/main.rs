//! Readers of the broker's lines may stall or go away: guests get their keys all the same.

#![allow(clippy::unwrap_used, reason = "a test may panic, and so may what it is made of")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
};

use jiff::Timestamp;
use keybroker_simulator::{
    Product,
    build::Buildah,
    guest::{Machine, PoliteGuest},
    kds::Kds,
    pki::{Amd, Chip},
    report::ReportFields,
};
use tempfile::TempDir;

/// More than a pipe holds of audit records.
const REFUSALS: usize = 400;

struct Broker {
    child: Child,
    url: String,
    out: Option<ChildStdout>,
    log: Option<thread::JoinHandle<String>>,
}

impl Drop for Broker {
    /// A test that failed leaves no process behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A broker with a reader for its log and none for its audit records.
fn serve(home: &Path, amd: &Amd, kds: &Kds) -> Broker {
    let anchor = home.join("anchor.pem");
    fs::write(&anchor, amd.ark_pem()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keybroker"));
    command.env_clear().env("HOME", home).args(["serve", "--listen", "127.0.0.1:0"]);
    command.arg("--kds-url").arg(kds.url()).arg("--trust-anchor").arg(anchor);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening on ") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended");
    }
    let url = line.trim_end().split_once("listening on ").unwrap().1.to_owned();
    let out = child.stdout.take();
    let log = thread::spawn(move || {
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        rest
    });
    Broker { child, url, out, log: Some(log) }
}

impl Broker {
    /// The exit code, the log, and the unread audit records.
    fn terminate(mut self) -> (Option<i32>, String, Option<ChildStdout>) {
        let kill = format!("kill -s TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
        let code = self.child.wait().unwrap().code();
        (code, self.log.take().unwrap().join().unwrap(), self.out.take())
    }
}

/// Makes enough records to fill a pipe, and then boots a guest.
async fn refusals_and_a_boot(url: &str, amd: &Amd, chip: &Chip) {
    let measurement = ReportFields::new(chip).measurement;
    let first = Buildah::new(url, "web", &measurement, "open sesame").register().await.unwrap();
    assert!(Buildah::accepts(&first), "{}", first.text());
    for _ in 0..REFUSALS {
        let other = Buildah::new(url, "web", &[9; 48], "other").register().await.unwrap();
        assert_eq!(other.status, 409);
    }
    let mut guest = PoliteGuest::new(url, "web", Machine::new(amd, chip)).unwrap();
    assert_eq!(guest.boot().await.unwrap(), b"open sesame");
}

async fn hardware() -> (Amd, Chip, Kds) {
    let amd = Amd::new(Product::Milan, Timestamp::now());
    let chip = Chip::new(Product::Milan, 1);
    let kds = Kds::start([amd.clone()]).await.unwrap();
    kds.add(&chip);
    (amd, chip, kds)
}

#[tokio::test]
async fn a_reader_that_stalls_keeps_nobody_from_a_key() {
    let home = TempDir::new().unwrap();
    let (amd, chip, kds) = hardware().await;
    let broker = serve(home.path(), &amd, &kds);
    refusals_and_a_boot(&broker.url, &amd, &chip).await;
    let (code, _, out) = broker.terminate();
    assert_eq!(code, Some(0), "nor the broker from its end");
    // The lines that were taken before the reader stalled are whole.
    let lines = BufReader::new(out.unwrap()).lines().map(Result::unwrap).collect::<Vec<_>>();
    assert!(lines.len() > 10 && lines.len() < REFUSALS, "{}", lines.len());
    assert!(lines[..lines.len() - 1].iter().all(|line| line.starts_with('{') && line.ends_with('}')));
}

#[tokio::test]
async fn a_reader_that_goes_away_keeps_nobody_from_a_key() {
    let home = TempDir::new().unwrap();
    let (amd, chip, kds) = hardware().await;
    let mut broker = serve(home.path(), &amd, &kds);
    drop(broker.out.take());
    refusals_and_a_boot(&broker.url, &amd, &chip).await;
    assert_eq!(broker.terminate().0, Some(0));
}

#[tokio::test]
async fn a_reader_that_is_slow_gets_every_line() {
    let home = TempDir::new().unwrap();
    let (amd, chip, kds) = hardware().await;
    let mut broker = serve(home.path(), &amd, &kds);
    refusals_and_a_boot(&broker.url, &amd, &chip).await;
    let out = broker.out.take().unwrap();
    let reader = thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).count());
    let (code, log, _) = broker.terminate();
    assert_eq!((code, reader.join().unwrap()), (Some(0), 1 + REFUSALS + 2), "{log}");
    assert!(!log.contains("lines were lost"), "{log}");
}
