//! The broker on a full disk, and after it was killed during its first start.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use keybroker_simulator::guest::Error;
use keybroker_tests::{
    DEADLINE,
    program::{self, Ended},
    server::Home,
    skip, unique,
    world::{World, anchors, kds},
};
use serde_json::Value;

/// A separate file system of `mib` MiB for a data directory. It is unmounted when this is dropped.
struct Mount(PathBuf);

impl Mount {
    fn of(directory: &Path, mib: u32) -> Option<Self> {
        fs::create_dir_all(directory).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "keybroker-tests"])
            .arg(directory);
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        if !mounted {
            skip("a full disk under a broker: this user can mount no file system here");
        }
        mounted.then(|| Self(directory.to_owned()))
    }

    /// Fills the space that is left.
    fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.filler()).unwrap();
        while filler.write_all(&[b'x'; 4096]).is_ok() {}
    }

    /// Frees the space that [`Self::fill`] took.
    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    fn reserved(&self) -> bool {
        self.0.join("keybroker.reserve").exists()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn status<T: std::fmt::Debug>(answer: Result<T, Error>) -> u16 {
    match answer {
        Ok(_) => 200,
        Err(Error::Refused(said)) => said.status,
        Err(other) => panic!("{other:?}"),
    }
}

fn health(world: &World) -> u16 {
    world.ask("GET", "/healthz", &[], None).status
}

/// Waits until the broker reports that it is healthy.
fn well(world: &World) {
    let until = Instant::now() + DEADLINE;
    while health(world) != 200 {
        assert!(Instant::now() < until, "the broker does not recover:\n{}", world.server().log_until_now());
        sleep(Duration::from_millis(50));
    }
}

fn operator(world: &World, arguments: &[&str]) -> Ended {
    let mut command = program::keybroker();
    command.args(arguments).arg("--data-dir").arg(world.home().data_dir()).output().unwrap().into()
}

/// The exit code of `keybroker doctor`, and its verdicts on the disk and the store.
fn examined(world: &World) -> (Option<i32>, String, String) {
    let (key, anchors, kds) = (world.home().key_file(), world.home().anchors(), world.kds.url());
    let (key, anchors) = (key.to_str().unwrap(), anchors.to_str().unwrap());
    let arguments = ["doctor", "--json", "--kds-url", &kds, "--key-file", key, "--trust-anchor", anchors];
    let ended = operator(world, &arguments);
    let document: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    let verdict = |check: &str| {
        let findings = document["findings"].as_array().unwrap();
        let found = findings.iter().find(|one| one["check"] == check);
        found.unwrap_or_else(|| panic!("{document}"))["verdict"].as_str().unwrap().to_owned()
    };
    (ended.code, verdict("disk"), verdict("health"))
}

#[tokio::test]
async fn a_broker_whose_disk_was_full_goes_on_in_the_same_process() {
    let home = Home::new(&anchors());
    let Some(disk) = Mount::of(&home.data_dir(), 32) else { return };
    let world = World::over(home, Arc::new(kds()), &[]);
    let (kept, revoked) = (unique("w"), unique("w"));
    let passphrase = world.register(&kept).await;
    world.register(&revoked).await;
    let mut attested = world.polite(&kept, world.milan());
    attested.auth().await.unwrap();
    attested.attest().await.unwrap();
    let mut challenged = world.polite(&kept, world.milan());
    challenged.auth().await.unwrap();
    assert!(disk.reserved(), "the broker decides only while its reserve is complete");
    assert_eq!((health(&world), examined(&world)), (200, (Some(0), "warn".to_owned(), "ok".to_owned())));

    // Another program fills the disk. The broker starts nothing new, and `healthz` and `doctor` report it.
    disk.fill();
    assert_eq!(status(world.polite(&kept, world.milan()).auth().await), 200, "a challenge needs no room");
    assert_eq!(status(challenged.attest().await), 503);
    let registered = world.build(&unique("w"), "open sesame").register().await.unwrap();
    assert_eq!((registered.status, health(&world)), (503, 503));
    assert_eq!(examined(&world), (Some(1), "fail".to_owned(), "fail".to_owned()));
    // Guests that have attested get their secrets, and revocation works: the records take more space than the
    // file had free.
    let mut records = 0;
    while disk.reserved() {
        assert_eq!(attested.key().await.as_deref(), Ok(passphrase.as_bytes()));
        records += 1;
        assert!(records < 5000, "the reserve is never needed");
    }
    let ended = operator(&world, &["workload", "revoke", &revoked]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(attested.key().await.as_deref(), Ok(passphrase.as_bytes()));
    records += 1;

    // Another program takes the reserve too. The broker releases nothing that it cannot record.
    disk.fill();
    let last = loop {
        match status(attested.key().await) {
            200 => records += 1,
            other => break other,
        }
        assert!(records < 5000, "the disk never fills up");
    };
    assert_eq!((last, health(&world)), (503, 503));

    disk.make_room();
    well(&world);
    challenged.attest().await.expect("its challenge was open all the time");
    assert_eq!(attested.key().await.as_deref(), Ok(passphrase.as_bytes()));
    records += 1;
    world.boots_a_guest(&unique("w")).await;
    assert!(disk.reserved(), "the broker makes the reserve again");
    assert_eq!(
        status(world.polite(&revoked, world.milan()).boot().await),
        403,
        "a revoked workload stays revoked"
    );
    assert_eq!(examined(&world), (Some(0), "warn".to_owned(), "ok".to_owned()));
    let ended = operator(&world, &["audit", "--workload", &kept, "--json"]);
    let (server, _home, _kds) = world.into_parts();
    let log = server.log_until_now();
    assert_eq!(server.terminate().code, Some(0));
    assert!(log.contains("the store was opened anew"), "{log}");
    let compact: String = ended.out.split_whitespace().collect();
    let on_record = compact.matches(r#""decision":"released""#).count();
    assert!(on_record >= records, "{on_record} of {records}: {}", ended.log);
}

/// Kills the broker at some moment of its first start. The next start finds no store, or a complete one.
#[test]
fn a_first_start_that_was_killed_leaves_nothing_in_the_way() {
    const KILLS: u32 = 30;
    for kill in 0..KILLS {
        let home = Home::new(&anchors());
        let mut first = home.command("http://127.0.0.1:9", &[]);
        let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Each round kills at another moment; nothing has to happen before it.
        sleep(Duration::from_millis(60) * kill / KILLS);
        first.kill().unwrap();
        first.wait().unwrap();
        let ended = home.serve("http://127.0.0.1:9", &[]).terminate();
        assert_eq!(ended.code, Some(0), "kill {kill}: {}", ended.log);
    }
}
