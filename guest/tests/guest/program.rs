//! The program itself, above a kernel that is loaded before the C library: the real system calls of
//! configfs-tsm and of the crate `sev`, and every error that the kernel documents for them.

use std::{
    fs,
    os::unix::{fs::symlink, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
    thread,
};

use keybroker_guest::report::table::{self, Certificate, Kind};
use keybroker_simulator::{Product, pki::Chip, report::ReportFields};
use keybroker_snp::report::Report;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_keybroker-guest");

/// The kernel, as a library.
fn preload() -> &'static Path {
    static LIBRARY: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = LIBRARY.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("preload.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guest/preload.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([library.as_os_str(), source.as_ref()])
            .arg("-ldl")
            .status()
            .unwrap();
        assert!(built.success());
        (directory, library)
    });
    library
}

/// A machine that has an interface, and fails as it is told.
struct Machine {
    directory: TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Machine {
    fn new(interface: &str, fail: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let mut report = ReportFields::new(&Chip::new(Product::Milan, 1)).encode().to_vec();
        report.resize(1184, 0);
        fs::write(path("report"), report).unwrap();
        fs::write(path("table"), []).unwrap();
        let mut environment = vec![
            ("FAKE_REPORT", path("report")),
            ("FAKE_TABLE", path("table")),
            ("FAKE_COUNT", path("count")),
            ("FAKE_FAIL", fail.to_owned()),
        ];
        match interface {
            "tsm" => {
                fs::create_dir(path("tsm")).unwrap();
                environment.push(("FAKE_TSM", path("tsm")));
            }
            "sev" => environment.push(("FAKE_SEV", "1".to_owned())),
            _ => {}
        }
        Self { directory, environment }
    }

    fn with_table(self, table: &[u8]) -> Self {
        fs::write(self.directory.path().join("table"), table).unwrap();
        self
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM)
            .args(arguments)
            .env("LD_PRELOAD", preload())
            .envs(self.environment.iter().cloned())
            .output()
            .unwrap()
    }

    fn report(&self) -> (Option<i32>, String) {
        let out = self.directory.path().join("out");
        let data = "5a".repeat(64);
        let output = self.run(&["report", "--out", out.to_str().unwrap(), "--report-data", &data]);
        assert_eq!(output.status.signal(), None);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    fn written(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.directory.path().join("out").join(name)).ok()
    }

    /// A report is written, at VMPL 0 over what was asked, with these certificates beside it.
    fn succeeds(&self, files: &str) {
        let (code, line) = self.report();
        let out = self.directory.path().join("out");
        let told = line.strip_prefix(&format!("keybroker-guest: wrote {files} to {}, from ", out.display()));
        assert!(matches!(told, Some("configfs-tsm\n" | "/dev/sev-guest\n")), "{line}");
        assert_eq!(code, Some(0));
        let report = Report::parse(&self.written("report.bin").unwrap()).unwrap();
        assert_eq!((report.report_data(), report.vmpl()), (&[0x5A; 64], 0));
        let tsm = self.directory.path().join("tsm");
        assert_eq!(fs::read_dir(tsm).map_or(0, Iterator::count), 0, "a directory is left in configfs");
    }
}

fn certificates() -> Vec<Certificate> {
    let certificate = |kind, byte| Certificate { kind, der: vec![byte; 1400] };
    vec![certificate(Kind::Vcek, 1), certificate(Kind::Ask, 2), certificate(Kind::Ark, 3)]
}

#[test]
fn each_interface_gives_a_report_and_the_hosts_certificates() {
    // The crate `sev` sorts the certificates by their kind.
    for (interface, files) in [("tsm", "vcek.der, ask.der, ark.der"), ("sev", "ark.der, vcek.der, ask.der")] {
        Machine::new(interface, "").succeeds("report.bin");
        let machine = Machine::new(interface, "").with_table(&table::write(&certificates()));
        machine.succeeds(&format!("report.bin, {files}"));
        assert_eq!(machine.written("ask.der").unwrap(), certificates()[1].der);
    }
    Machine::new("sev", "busy-once").succeeds("report.bin");
}

/// Others may be able to write in the directory.
#[test]
fn a_report_is_written_through_no_link() {
    let machine = Machine::new("tsm", "");
    let (out, victim) = (machine.directory.path().join("out"), machine.directory.path().join("victim"));
    fs::create_dir(&out).unwrap();
    fs::write(&victim, "somebody's").unwrap();
    symlink(&victim, out.join("report.bin")).unwrap();
    machine.succeeds("report.bin");
    machine.succeeds("report.bin");
    assert_eq!(fs::read_to_string(victim).unwrap(), "somebody's");
}

#[test]
fn every_error_of_the_kernel_ends_with_its_own_line() {
    const SVSM: &str = "the guest's kernel is not at VMPL 0 (firmware error 0x16): an SVSM is below it";
    const NO_TSM: &str = "configfs-tsm is there and has no SEV-SNP firmware behind it (ENOTTY)";
    const NO_SEV: &str = "/dev/sev-guest is there and has no SEV-SNP firmware behind it (ENOTTY)";
    let nowhere = |tsm| {
        format!(
            "there is no SEV-SNP report to be had: configfs-tsm {tsm}; /dev/sev-guest is not there; the vTPM \
             (/dev/tpmrm0) is not there"
        )
    };
    let rows: [(_, _, &str); 16] = [
        ("none", "", &nowhere("is not there")),
        ("tsm", "provider", "reports come from tdx_guest, not from sev_guest"),
        ("tsm", "mkdir-enxio", &nowhere("is there, and no driver of a processor is behind it")),
        ("tsm", "outblob-enotty", NO_TSM),
        ("tsm", "outblob-einval", SVSM),
        ("tsm", "outblob-ebusy", "configfs-tsm was busy at every one of 5 attempts"),
        ("tsm", "outblob-eio", "configfs-tsm, outblob: Input/output error (os error 5)"),
        ("tsm", "inblob-lost", "configfs-tsm was busy at every one of 5 attempts"),
        ("sev", "enotty", NO_SEV),
        ("sev", "enotty-new", NO_SEV),
        ("sev", "enotty-old", NO_SEV),
        ("sev", "svsm-firmware", SVSM),
        ("sev", "svsm-status", SVSM),
        ("sev", "firmware", "the firmware answered error 0x5"),
        ("sev", "host", "the host answered error 0xffffffff in place of a report"),
        ("sev", "busy", "/dev/sev-guest was busy at every one of 5 attempts"),
    ];
    for (interface, fail, line) in rows {
        let machine = Machine::new(interface, fail);
        let (code, told) = machine.report();
        assert_eq!(told, format!("keybroker-guest: not trusted here: {line}\n"), "{interface} {fail}");
        assert_eq!(code, Some(5), "{interface} {fail}");
        assert!(machine.written("report.bin").is_none());
    }
}

/// The crate follows the host's offsets: the other process dies of it, and this one lives to say so.
#[test]
fn a_table_that_points_out_of_memory_ends_with_a_line() {
    let mut table = table::write(&certificates());
    table[16..20].copy_from_slice(&0xFFFF_0000_u32.to_le_bytes());
    let (code, line) = Machine::new("sev", "").with_table(&table).report();
    assert_eq!(code, Some(5));
    let begin =
        "keybroker-guest: not trusted here: the process that asks /dev/sev-guest ended early: signal: 11";
    assert!(line.starts_with(begin), "{line}");
    // configfs-tsm hands the bytes over, and this crate reads them.
    let (code, _) = Machine::new("tsm", "").with_table(&table).report();
    assert_eq!(code, Some(0));
}

#[test]
fn without_a_document_the_commands_end_with_5_and_say_why() {
    let commands = [&["unlock"][..], &["get", "passphrase"], &["serve-keys"]];
    // Each waits for drivers that could bring one.
    let runs = commands.map(|arguments| thread::spawn(move || Machine::new("tsm", "").run(arguments)));
    for (run, arguments) in runs.into_iter().zip(commands) {
        let output = run.join().unwrap();
        assert_eq!(output.status.code(), Some(5), "{arguments:?}");
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            "keybroker-guest: not trusted here: there is no init data document: not in the initrd, not in fw_cfg, \
             not on a disk\n"
        );
        assert_eq!(output.stdout, b"");
    }
}

#[test]
fn doctor_says_what_is_there_and_ends_with_the_first_fault() {
    let machine = Machine::new("tsm", "").with_table(&table::write(&certificates()));
    let output = machine.run(&["doctor"]);
    let told = String::from_utf8(output.stdout).unwrap();
    for row in ["interface     configfs-tsm\n", "VMPL          0\n", "DEBUG         off\n"] {
        assert!(told.contains(row), "{told}");
    }
    assert!(told.contains("certificates  VCEK, ASK, ARK\n"), "{told}");
    assert_eq!(output.status.code(), Some(5));
    assert!(told.contains("document      not trusted here: there is no init data document"), "{told}");
}

#[test]
fn a_wrong_command_line_ends_with_2_and_help_with_0() {
    let machine = Machine::new("none", "");
    for arguments in [&[][..], &["open"], &["get"], &["unlock", "--timeout", "0"], &["report", "--out"]] {
        assert_eq!(machine.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let output = machine.run(&["unlock", "--timeout", "0"]);
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "keybroker-guest: --timeout cannot be \"0\": see keybroker-guest --help\n"
    );
    let output = machine.run(&["--version"]);
    assert_eq!(output.stdout, concat!("keybroker-guest ", env!("CARGO_PKG_VERSION"), "\n").as_bytes());
    let output = machine.run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("6  disk refused: a disk is not the document's"), "{help}");
    assert!(help.contains("TLS is not what protects a secret"), "{help}");
    assert!(!help.contains("sev-guest"), "{help}");
}

#[test]
fn a_secret_is_not_written_to_a_terminal() {
    // util-linux's script gives the program a terminal.
    let command = format!("{PROGRAM} get passphrase");
    let output = Command::new("script").args(["-qec", &command, "/dev/null"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("not done: a secret is not written to a terminal without --force"), "{told}");
    let forced = format!("{PROGRAM} get --force passphrase");
    let output = Command::new("script").args(["-qec", &forced, "/dev/null"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "it goes on to look for the document");
}
