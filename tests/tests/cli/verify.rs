//! `keybroker verify` on genuine evidence and on false evidence.

use std::{fs, path::Path, process::Command};

use keybroker_simulator::{
    Product,
    guest::Machine,
    pki::{Chip, CrlOptions},
};
use keybroker_tests::{
    genuine,
    program::{self, Ended},
    server::{Home, Server},
    skip, unique,
    world::{World, amd, anchors, kds},
};
use serde_json::Value;

/// A time at which the certificates of the genuine evidence are valid, except the VLEK.
const AT: &str = "2026-06-01T00:00:00Z";

fn verify(arguments: &[&str]) -> Ended {
    program::run(&[&["verify"], arguments].concat())
}

/// The exit code, and the checks that failed, as `--json` has them.
fn failed(arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let ended = verify(&[arguments, &["--json"]].concat());
    let verdict: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    let checks = verdict["checks"].as_array().unwrap();
    let names = |result: &str| -> Vec<String> {
        let with = checks.iter().filter(|check| check["result"] == result);
        with.map(|check| check["check"].as_str().unwrap().to_owned()).collect()
    };
    let counts = ["passed", "failed", "not_checked"].map(|result| names(result).len());
    assert_eq!(
        [&verdict["passed"], &verdict["failed"], &verdict["not_checked"]],
        counts.map(Value::from).each_ref()
    );
    for check in checks.iter().filter(|check| check["result"] == "failed") {
        assert!(!check["cause"].as_str().unwrap().is_empty(), "{check}");
    }
    (ended.code, names("failed"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_sev_packages_sample_is_verified() {
    let (report, vcek) = genuine::sev_sample();
    let ended = verify(&["--report", text(&report), "--endorsement", text(&vcek), "--at", AT]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.ends_with("24 passed, 0 failed, 4 not checked\n"), "{}", ended.out);
    assert!(!ended.out.contains('\u{1b}'), "no colours in a pipe: {:?}", ended.out);
}

/// The arguments for the vector `name`. If there is no such vector, `None`, and a line that says so.
fn vector(name: &str, endorsements: &[&str]) -> Option<Vec<String>> {
    let Some(directory) = genuine::vector(name) else {
        skip(&format!("genuine evidence {name}: not beside this clone"));
        return None;
    };
    let file = |name: &str| text(&directory.join(name)).to_owned();
    let mut arguments = vec!["--report".to_owned(), file("report.bin")];
    for name in endorsements {
        arguments.extend(["--endorsement".to_owned(), file(name)]);
    }
    Some(arguments)
}

fn failed_vector(arguments: &[String], further: &[&str]) -> (Option<i32>, Vec<String>) {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).chain(further.iter().copied()).collect();
    failed(&arguments)
}

#[test]
fn genuine_reports_of_every_product_and_version_are_verified() {
    for name in ["sev-milan", "trustee-milan", "trustee-e2e-siena-v3", "ms-turin"] {
        if let Some(arguments) = vector(name, &["vcek.der"]) {
            assert_eq!(failed_vector(&arguments, &["--at", AT]), (Some(0), vec![]), "{name}");
        }
    }
}

#[test]
fn a_genuine_report_with_debug_fails_for_that_alone() {
    let Some(arguments) = vector("go-milan", &["vcek.der"]) else { return };
    assert_eq!(failed_vector(&arguments, &["--at", AT]), (Some(3), vec!["guest-policy-debug".to_owned()]));
}

#[test]
fn a_vlek_is_valid_in_its_year_and_its_report_is_of_vmpl_1() {
    let Some(arguments) = vector("trustee-milan-vlek", &["vlek.der", "asvk.der"]) else { return };
    let in_its_year = ["--at", "2025-06-01T00:00:00Z"];
    assert_eq!(failed_vector(&arguments, &in_its_year), (Some(3), vec!["vmpl".to_owned()]));
    let accepted = [&in_its_year[..], &["--accept-csp-id", "CN=cc-us-east-2.amazonaws.com"]].concat();
    assert_eq!(failed_vector(&arguments, &accepted), (Some(3), vec!["vmpl".to_owned()]));
    let other = [&in_its_year[..], &["--accept-csp-id", "CN=cc-us-east-1.amazonaws.com"]].concat();
    assert_eq!(failed_vector(&arguments, &other).1, ["chip-or-provider", "vmpl"]);
    assert_eq!(
        failed_vector(&arguments, &[]),
        (Some(3), vec!["certificate-validity".to_owned(), "vmpl".to_owned()])
    );
    // Without the ASVK, no chain leads from the VLEK to AMD.
    let without = vector("trustee-milan-vlek", &["vlek.der"]).unwrap();
    assert!(failed_vector(&without, &in_its_year).1.contains(&"certificate-chain".to_owned()));
}

#[test]
fn a_forged_certificate_is_denied_and_a_broken_one_unreadable() {
    if let Some(arguments) = vector("NEG-trustee-vcek-invalid-legacy", &["vcek.der"]) {
        let (code, failed) = failed_vector(&arguments, &["--at", AT]);
        assert_eq!(code, Some(3));
        assert!(failed.contains(&"certificate-chain".to_owned()), "{failed:?}");
    }
    if let Some(arguments) = vector("NEG-trustee-vcek-invalid-new", &["vcek.der"]) {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let ended = verify(&arguments);
        assert_eq!((ended.code, ended.out.as_str()), (Some(5), ""), "{ended:?}");
        assert!(ended.log.contains("no valid value in AMD's extension HWID"), "{ended:?}");
    }
}

#[test]
fn expectations_are_checked_only_where_given() {
    let (report, vcek) = genuine::sev_sample();
    let all = ["--report", text(&report), "--endorsement", text(&vcek), "--at", AT];
    let verdict: Value = serde_json::from_str(&verify(&[&all[..], &["--json"]].concat()).out).unwrap();
    let measurement = verdict["evidence"]["measurement"].as_str().unwrap();
    assert_eq!(failed(&[&all[..], &["--measurement", measurement]].concat()), (Some(0), vec![]));
    let (other, data) = ("66".repeat(48), "66".repeat(64));
    assert_eq!(failed(&[&all[..], &["--measurement", &other]].concat()).1, ["measurement"]);
    assert_eq!(
        failed(&[&all[..], &["--measurement", &other, "--measurement", measurement]].concat()),
        (Some(0), vec![])
    );
    assert_eq!(failed(&[&all[..], &["--report-data", &data]].concat()).1, ["challenge"]);
    // A digest as snpguest prints it.
    let prefixed = format!("0x{measurement}");
    assert_eq!(failed(&[&all[..], &["--measurement", &prefixed]].concat()), (Some(0), vec![]));
    let host_data = "00".repeat(32);
    assert_eq!(failed(&[&all[..], &["--host-data", &host_data]].concat()), (Some(0), vec![]));
    let other = format!("0x{}", "66".repeat(32));
    assert_eq!(failed(&[&all[..], &["--host-data", &other]].concat()).1, ["host-data"]);
    let early = [&all[..4], &["--at", "2019-01-01T00:00:00Z"]].concat();
    assert_eq!(failed(&early).1, ["certificate-validity"]);
}

#[test]
fn an_unreadable_file_is_a_failure_and_never_denied() {
    let (report, vcek) = genuine::sev_sample();
    let (report, vcek) = (text(&report), text(&vcek));
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        text(&path).to_owned()
    };
    let (junk, empty) = (write("junk", b"junk"), write("empty", b""));
    let short = write("short", &[&[2, 0, 0, 0][..], &[2; 1179]].concat());
    let half = write("half.der", &fs::read(vcek).unwrap()[..700]);
    let gone = text(&directory.path().join("gone")).to_owned();
    let crl = write("foreign.crl", &amd(Product::Milan).crl(&CrlOptions::default()));
    let pem = write("half.pem", b"-----BEGIN CERTIFICATE-----\nMIIB\n");
    let tls = write("tls.pem", &fs::read(program::workspace().join("tests/src/tls.rs")).unwrap());
    let rows: [(&[&str], i32, &str); 17] = [
        (&["--report", &gone, "--endorsement", vcek], 5, "gone"),
        (&["--report", report, "--endorsement", &gone], 5, "gone"),
        (&["--report", report, "--endorsement", vcek, "--crl", &gone], 5, "gone"),
        (&["--report", report], 1, "--endorsement"),
        (&["--report", &junk, "--endorsement", vcek], 5, "it is text, but neither PEM"),
        (&["--report", &empty, "--endorsement", vcek], 5, "it is empty"),
        (&["--report", &short, "--endorsement", vcek], 5, "1183 bytes"),
        (&["--report", vcek, "--endorsement", vcek], 5, "but no report"),
        (&["--report", report, "--endorsement", &junk], 5, "it is text, but neither PEM"),
        (&["--report", report, "--endorsement", &half], 5, "begins as DER"),
        (&["--report", report, "--endorsement", &pem], 5, "a PEM block"),
        (&["--report", report, "--endorsement", report], 5, "without a certificate"),
        (&["--report", report, "--endorsement", &tls], 5, "it is text"),
        (&["--report", report, "--endorsement", vcek, "--endorsement", &pem], 5, "a PEM block"),
        (&["--report", report, "--endorsement", vcek, "--endorsement", &empty], 5, "it is empty"),
        (&["--report", report, "--endorsement", vcek, "--crl", &crl], 3, "revocation"),
        (&["--report", report, "--endorsement", vcek, "--crl", &junk], 5, "it is text, but neither PEM"),
    ];
    for (arguments, code, word) in rows {
        let ended = verify(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        assert!(code == 3 || !ended.out.contains("failed "), "no verdict: {arguments:?}: {ended:?}");
        assert!(ended.out.contains(word) || ended.log.contains(word), "{arguments:?}: {ended:?}");
        assert!(!ended.log.contains("panicked"), "{ended:?}");
    }
}

/// If the command took the last one, or one that fits, nobody could tell which was verified.
#[test]
fn several_certificates_of_signing_keys_end_with_2() {
    let (report, vcek) = genuine::sev_sample();
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("other.der");
    fs::write(&other, amd(Product::Milan).vcek(&Chip::new(Product::Milan, 1)).certificate).unwrap();
    let (report, vcek, other) = (text(&report), text(&vcek), text(&other));
    for [first, second] in [[vcek, other], [other, vcek]] {
        let ended = verify(&["--report", report, "--endorsement", first, "--endorsement", second]);
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.log.contains("more than one VCEK or VLEK"), "{ended:?}");
    }
    let twice = ["--report", report, "--endorsement", vcek, "--endorsement", vcek];
    assert_eq!(verify(&twice).code, verify(&twice[..4]).code);
}

#[test]
fn a_command_line_that_cannot_be_understood_ends_with_2() {
    let (report, _) = genuine::sev_sample();
    let report = text(&report);
    let rows: [&[&str]; 9] = [
        &[],
        &["--report"],
        &["--report", report, "--at", "yesterday"],
        &["--report", report, "--measurement", "66"],
        &["--report", report, "--report-data", "xx"],
        &["--report", report, "--host-data", "66"],
        &["--report", report, "--trust-anchor", report],
        &["--report", report, "--insecure"],
        &[report],
    ];
    for arguments in rows {
        let ended = verify(arguments);
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{arguments:?}: {ended:?}");
    }
}

/// The files that the examples name.
fn examples_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (report, vcek) = genuine::sev_sample();
    let hex = fs::read_to_string(report).unwrap();
    let digits: String = hex.split_whitespace().collect();
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).unwrap();
    fs::write(directory.path().join("report.bin"), bytes).unwrap();
    fs::copy(vcek, directory.path().join("vcek.der")).unwrap();
    directory
}

/// Runs a line in a shell, as people type it.
fn run_example(line: &str, directory: &Path) -> Ended {
    let mut shell = Command::new("/bin/sh");
    shell.env_clear().env("PATH", program::path().parent().unwrap()).env("MEASUREMENT", "66".repeat(48));
    shell.current_dir(directory).args(["-c", line]).output().unwrap().into()
}

#[test]
fn the_readmes_example_runs_and_ends_as_it_says() {
    let readme = fs::read_to_string(program::workspace().join("README.md")).unwrap();
    let (_, example) = readme.split_once("$ keybroker verify").expect("an example");
    let (arguments, rest) = example.split_once('\n').unwrap();
    let said = rest.split_once("```").unwrap().0.trim_end().lines().last().unwrap();
    let ended = run_example(&format!("keybroker verify{arguments} --at {AT}"), examples_directory().path());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.out.lines().last(), Some(said));
}

#[test]
fn the_examples_in_the_help_run_as_written() {
    let directory = examples_directory();
    fs::write(directory.path().join("crl.der"), amd(Product::Milan).crl(&CrlOptions::default())).unwrap();
    for name in ["vlek.der", "asvk.der", "auxblob"] {
        fs::copy(directory.path().join("vcek.der"), directory.path().join(name)).unwrap();
    }
    fs::copy(directory.path().join("report.bin"), directory.path().join("outblob")).unwrap();
    fs::write(
        directory.path().join("policy.rego"),
        "package policy\n\nallow if input.snp.vmpl == data.vmpl\n",
    )
    .unwrap();
    fs::write(directory.path().join("reference.json"), r#"{"vmpl": 0}"#).unwrap();
    let help = program::run(&["verify", "--help"]).out;
    let (_, examples) = help.split_once("Examples:").expect("examples");
    let examples = examples.replace("\\\n", " ");
    let lines = examples.lines().map(str::trim).filter(|line| line.starts_with("keybroker "));
    let codes: Vec<_> =
        lines.map(|line| run_example(&format!("{line} --at {AT}"), directory.path()).code).collect();
    // The third example gives a measurement and a revocation list that do not belong to this report.
    assert_eq!(codes, [Some(0), Some(0), Some(3), Some(0), Some(0), Some(0)], "{help}");
}

/// A simulated machine's report and VCEK, in files.
fn simulated(directory: &Path) -> [String; 2] {
    let machine = Machine::new(amd(Product::Milan), &Chip::new(Product::Milan, 1));
    let (report, vcek) = (directory.join("report.bin"), directory.join("vcek.der"));
    fs::write(&report, machine.report([0; 64])).unwrap();
    fs::write(&vcek, &machine.vek.certificate).unwrap();
    [report, vcek].map(|path| text(&path).to_owned())
}

#[test]
fn simulated_evidence_is_denied() {
    let directory = tempfile::tempdir().unwrap();
    let [report, vcek] = simulated(directory.path());
    let ask = directory.path().join("ask.der");
    let ark = directory.path().join("ark.pem");
    fs::write(&ask, amd(Product::Milan).ask()).unwrap();
    fs::write(&ark, amd(Product::Milan).ark_pem()).unwrap();
    for endorsements in [&[vcek.as_str()][..], &[&vcek, text(&ask), text(&ark)]] {
        let mut arguments = vec!["--report", &report];
        arguments.extend(endorsements.iter().flat_map(|path| ["--endorsement", path]));
        let (code, failed) = failed(&arguments);
        assert_eq!(code, Some(3));
        assert!(failed.iter().any(|check| check.starts_with("certificate")), "{failed:?}");
    }
}

#[tokio::test]
async fn serve_trusts_simulated_hardware_only_if_told_to() {
    let (home, kds) = (Home::new(&anchors()), kds());
    let mut command = home.untrusting(&kds.url());
    command.args(["--listen", "127.0.0.1:0"]);
    let world = World::of(Server::start(command), home, kds.into());
    let id = unique("w");
    world.register(&id).await;
    // One guest sends its certificate and chain; the KDS knows the chip of the other.
    let mut brought = Machine::new(amd(Product::Milan), &Chip::new(Product::Milan, 99));
    brought.certificates = [
        ("VCEK", brought.vek.certificate.clone()),
        ("ASK", amd(Product::Milan).ask().to_vec()),
        ("ARK", amd(Product::Milan).ark().to_vec()),
    ]
    .map(|(kind, der)| (kind.to_owned(), der))
    .into();
    world.assert_refused(world.polite(&id, brought).boot().await, (403, "endorsements"));
    let mut guest = world.polite(&id, world.milan());
    guest.auth().await.unwrap();
    let refused = guest.attest().await.unwrap_err();
    assert!(
        matches!(&refused, keybroker_simulator::guest::Error::Refused(said) if said.status == 503),
        "{refused:?}"
    );
    world.assert_refused(guest.key().await, (401, "session"));
    let (server, home, kds) = world.into_parts();
    assert!(!server.terminate().log.contains("SIMULATED"));

    let world = World::over(home, kds, &[]);
    assert!(world.server().log_until_now().contains("SIMULATED HARDWARE IS TRUSTED"));
    world.boots_a_guest(&unique("w")).await;
}
