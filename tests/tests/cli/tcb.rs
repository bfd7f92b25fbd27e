//! `keybroker tcb`, and the table of AMD's bulletins that `verify` and `serve` judge by.

use std::{fs, io::Write as _, process::Stdio};

use keybroker_tests::{
    genuine,
    program::{self, Ended},
    skip,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

fn tcb(arguments: &[&str]) -> Ended {
    program::run(&[&["tcb"], arguments].concat())
}

fn document(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"))
}

/// A file of an operator who confirmed one row, with its digest.
fn own_table(home: &TempDir) -> (String, String) {
    let row = json!({
        "bulletin": "AMD-SB-3016", "published": "2026-04", "silicon": "milan-b1", "levels": {"snp": 27},
        "source": "AMD", "read_at_amd": "2026-11-28", "confirmed": "Ada, 2026-11-29",
    });
    let table = json!({"format": 1, "date": "2026-11-29", "rows": [row]}).to_string();
    let path = home.path().join("advisories.json");
    fs::write(&path, &table).unwrap();
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&table));
    (path.to_str().unwrap().to_owned(), digest)
}

#[test]
fn list_prints_the_table_or_one_silicon_s_rows() {
    let ended = tcb(&["list"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.starts_with("SILICON "), "{}", ended.out);
    assert!(ended.log.contains("rows unconfirmed: nobody read their numbers at AMD"), "{}", ended.log);
    let all = document(&tcb(&["list", "--json"]));
    assert_eq!((&all["schema"], &all["date"]), (&json!(1), &json!("2026-11-29")));
    let shipped = fs::read(program::workspace().join("common/src/advisories/table.json")).unwrap();
    assert_eq!(all["sha256"], data_encoding::HEXLOWER.encode(&Sha256::digest(&shipped)));
    let shipped: Value = serde_json::from_slice(&shipped).unwrap();
    assert_eq!(all["rows"], shipped["rows"]);
    for silicon in ["milan-x", "0x00A00F12"] {
        let rows = document(&tcb(&["list", "--silicon", silicon, "--json"]));
        let rows = rows["rows"].as_array().unwrap();
        assert!(rows.len() > 5 && rows.iter().all(|row| row["silicon"] == "milan-x"), "{rows:?}");
    }
    assert_eq!(tcb(&["list", "--silicon", "milan"]).code, Some(2));
}

#[test]
fn explain_judges_a_report_row_by_row() {
    let Some(directory) = genuine::vector("trustee-milan-vlek") else {
        skip("genuine evidence trustee-milan-vlek: not beside this clone");
        return;
    };
    let report = directory.join("report.bin");
    let report = report.to_str().unwrap();
    let ended = tcb(&["explain", report]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for words in [
        "milan-b1 (family 0x19, model 0x1, stepping 1)",
        "bl 4 tee 0 snp 24 ucode 217",
        "This platform is behind AMD-SB-3019, AMD-SB-3020, AMD-SB-3027, AMD-SB-3023, AMD-SB-3016 by a table of \
         2026-11-29, 8 of 8 rows unconfirmed.",
        "reports ucode 217, and 219 is the least",
        "makes reports without mitigation vectors, so that none shows bit 1",
        "cannot be judged",
    ] {
        assert!(ended.out.contains(words), "{words}: {}", ended.out);
    }
    assert!(ended.log.contains("`keybroker verify --report FILE` does that"), "{}", ended.log);
    let explained = document(&tcb(&["explain", report, "--json"]));
    assert_eq!(explained["verdict"]["verdict"], "behind");
    assert_eq!(explained["report"]["committed"], "bl 4 tee 0 snp 24 ucode 219");
    let misses: Vec<_> = explained["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["misses"].as_array().unwrap().len())
        .collect();
    assert_eq!(misses.iter().filter(|misses| **misses > 0).count(), 5, "{misses:?}");

    // From standard input it is the same.
    let mut command = program::keybroker();
    command.args(["tcb", "explain", "-", "--json"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&fs::read(report).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), explained);
}

#[test]
fn explain_says_what_it_cannot_know() {
    let (report, vcek) = genuine::sev_sample();
    let report = report.to_str().unwrap();
    let ended = tcb(&["explain", report]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.out.contains("of unknown silicon: a report of version 2 does not name it"),
        "{}",
        ended.out
    );
    let no_report = tcb(&["explain", vcek.to_str().unwrap()]);
    assert_eq!((no_report.code, no_report.out.as_str()), (Some(5), ""), "{no_report:?}");
}

#[test]
fn verify_prints_the_verdict_and_denies_nothing_for_it() {
    let (report, vcek) = genuine::sev_sample();
    let [report, vcek] = [&report, &vcek].map(|path| path.to_str().unwrap());
    let arguments = ["verify", "--report", report, "--endorsement", vcek, "--at", "2026-06-01T00:00:00Z"];
    let ended = program::run(&arguments);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains("The platform is of unknown silicon"), "{}", ended.out);
    let verdict = document(&program::run(&[&arguments[..], &["--json"]].concat()));
    assert_eq!(verdict["tcb"]["verdict"], "no-silicon");
    let checks = verdict["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["check"] != "tcb"), "it is no check");
}

/// The same for every command that has these arguments: a table is used with its digest, or not at all.
#[test]
fn a_table_of_ones_own_is_pinned() {
    let home = TempDir::new().unwrap();
    let (path, digest) = own_table(&home);
    let other = "0".repeat(64);
    let commands: [&[&str]; 2] = [&["tcb", "list"], &["serve", "--listen", "127.0.0.1:0"]];
    for command in commands {
        let run = |arguments: &[&str]| program::run(&[command, arguments].concat());
        let wrong = run(&["--advisories", &path, "--advisories-sha256", &other]);
        assert_eq!((wrong.code, wrong.out.as_str()), (Some(5), ""), "{wrong:?}");
        assert!(wrong.log.contains(&format!("its SHA-256 is {digest}, and {other} was given")), "{wrong:?}");
        assert_eq!(run(&["--advisories", &path]).code, Some(2));
        assert_eq!(run(&["--advisories-sha256", &digest]).code, Some(2));
        let missing = run(&["--advisories", "/nowhere.json", "--advisories-sha256", &digest]);
        assert_eq!(missing.code, Some(5), "{missing:?}");
    }
    let own = document(&tcb(&["list", "--json", "--advisories", &path, "--advisories-sha256", &digest]));
    assert_eq!((own["rows"].as_array().unwrap().len(), &own["sha256"]), (1, &json!(digest)));
}

#[test]
fn a_month_is_a_floor_by_confirmed_rows_alone() {
    let by_month = ["serve", "--listen", "127.0.0.1:0", "--minimum-tcb", "advisories=2026-05"];
    let none = program::run(&by_month);
    assert_eq!((none.code, none.out.as_str()), (Some(5), ""), "{none:?}");
    assert!(
        none.log.contains("the floor advisories=2026-05 is not set: no operator has confirmed a row "),
        "{none:?}"
    );
    assert!(none.log.contains(" that demands something (rows up to there: "), "{none:?}");
    assert_eq!(program::run(&["serve", "--minimum-tcb", "advisories=May"]).code, Some(2));

    // verify holds a report to the same floor: a Milan of version 2 is named by none.
    let home = TempDir::new().unwrap();
    let (path, digest) = own_table(&home);
    let (report, vcek) = genuine::sev_sample();
    let [report, vcek] = [&report, &vcek].map(|path| path.to_str().unwrap());
    let ended = program::run(&[
        "verify",
        "--report",
        report,
        "--endorsement",
        vcek,
        "--at",
        "2026-06-01T00:00:00Z",
        "--minimum-tcb",
        "advisories=2026-05",
        "--advisories",
        &path,
        "--advisories-sha256",
        &digest,
        "--json",
    ]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let checks = document(&ended)["checks"].clone();
    let failed: Vec<_> = checks
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["result"] == "failed")
        .map(|check| check["check"].clone())
        .collect();
    assert_eq!(failed, ["fleet-minimum-tcb"], "{checks}");
}

/// A registration has numbers, and the command says which.
#[test]
fn register_sends_the_numbers_of_a_month() {
    let home = TempDir::new().unwrap();
    let (path, digest) = own_table(&home);
    let secret = home.path().join("secret");
    fs::write(&secret, "open sesame").unwrap();
    let resource = format!("disk={}", secret.display());
    let arguments = [
        "register",
        "--resource",
        &resource,
        "--measurement",
        &"4d".repeat(48),
        "--minimum-tcb",
        "advisories=2026-05",
        "--minimum-tcb",
        "milan-b1:ucode=219",
    ];
    let dry = |more: &[&str]| {
        let data = home.path().join("data");
        program::run(&[&arguments[..], &["--dry-run", "--data-dir", data.to_str().unwrap()], more].concat())
    };
    let ended = dry(&["--advisories", &path, "--advisories-sha256", &digest]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told = "advisories=2026-05 stands for these numbers, by a table of 2026-11-29: --minimum-tcb \
        milan-b1:snp=27,ucode=219";
    assert!(ended.log.contains(told), "{}", ended.log);
    // Then it prints the registration, before anything is sent.
    assert!(ended.log.contains("reported TCB  milan-b1:snp=27,ucode=219;"), "{}", ended.log);
    let shipped = dry(&[]);
    assert_eq!(shipped.code, Some(5), "{shipped:?}");
}
