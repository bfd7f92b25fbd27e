//! The package, and a system to install it in.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use keybroker_boots::{debian::Debian, system::System};
use keybroker_simulator::kds::Kds;
use keybroker_tests::{
    DEADLINE, program, skip,
    world::{World, anchors, kds},
};

/// Where the package is in a system.
pub(crate) const PACKAGE: &str = "/keybroker.deb";

/// Where the package of an earlier release is.
pub(crate) const EARLIER: &str = "/earlier.deb";

fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../boots")
}

/// The package of the program as the tests have it. `None`, after a line, where none can be made.
pub(crate) fn package() -> Option<PathBuf> {
    static PACKAGE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let make = || {
        if let Some(why) = keybroker_boots::no_debian() {
            skip(&format!("packages: {why}"));
            return None;
        }
        let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("keybroker.deb");
        let mut build = Command::new(program::workspace().join("cli/debian/build"));
        // Compressing takes longer than all the rest.
        build.arg(program::path()).arg(&package).env("DEB_COMPRESSION", "none");
        assert!(build.status().expect("cli/debian/build").success());
        Some(package)
    };
    PACKAGE.get_or_init(make).clone()
}

/// The same files under a lower version.
fn earlier(package: &Path, earlier: &Path) {
    let files = tempfile::tempdir().expect("a directory");
    let dpkg = |arguments: &[&str], paths: [&Path; 2]| {
        let mut dpkg = Command::new("dpkg-deb");
        dpkg.args(arguments).args(paths).stdout(Stdio::null());
        assert!(dpkg.status().expect("dpkg-deb").success());
    };
    dpkg(&["--raw-extract"], [package, files.path()]);
    let control = files.path().join("DEBIAN/control");
    let text = fs::read_to_string(&control).expect("the control file");
    let version = format!("\nVersion: {}\n", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&version), "{text}");
    fs::write(control, text.replace(&version, "\nVersion: 0.0.1\n")).expect("a file");
    dpkg(&["-Znone", "--build"], [files.path(), earlier]);
}

/// A system with the packages' files in it, not yet installed. `None`, after a line, where none runs.
pub(crate) fn systemd() -> Option<System> {
    let package = package()?;
    let files = Debian::get(&cache()).copy();
    earlier(&package, &files.path(EARLIER));
    fs::copy(package, files.path(PACKAGE)).expect("a file");
    match System::start(files) {
        Ok(system) => Some(system),
        Err(why) => {
            skip(&format!("packages: no systemd runs here: {why}"));
            None
        }
    }
}

/// The broker of a system.
pub(crate) struct Package {
    kds: Arc<Kds>,
}

impl Package {
    /// Puts AMD's roots, which are simulated, into the system.
    pub(crate) fn in_system(system: &System) -> Self {
        system.files.write("/etc/anchors.pem", anchors());
        Self { kds: Arc::new(kds()) }
    }

    /// The broker of the unit, started anew with the package's settings and these.
    pub(crate) fn serves(&self, system: &System, settings: &[&str]) -> World {
        let conf = fs::read_to_string(system.files.path("/etc/keybroker/serve.conf")).expect("the settings");
        let (packaged, _) = conf.split_once("# of the test").unwrap_or((&conf, ""));
        let kds = format!("KEYBROKER_KDS_URL={}", self.kds.url());
        let ours = ["KEYBROKER_LISTEN=127.0.0.1:0", "KEYBROKER_TRUST_ANCHORS=/etc/anchors.pem", &kds];
        let lines: Vec<_> = ours.iter().chain(settings).copied().collect();
        let conf = format!("{packaged}# of the test\n{}\n", lines.join("\n"));
        system.files.write("/etc/keybroker/serve.conf", conf);
        system.run("systemctl restart keybroker || { journalctl --unit keybroker --no-pager; exit 1; }");
        World::at(listening(system, "keybroker"), Arc::clone(&self.kds))
    }
}

/// The log of a unit's last start.
fn log(system: &System, unit: &str) -> String {
    let invocation = system.run(&format!("systemctl show -P InvocationID {unit}"));
    let invocation = invocation.trim();
    system.run(&format!("journalctl --no-pager --output=cat _SYSTEMD_INVOCATION_ID={invocation}"))
}

/// The URL at which a unit listens.
pub(crate) fn listening(system: &System, unit: &str) -> String {
    logged(system, unit, "listening on http", 1);
    let log = log(system, unit);
    let (_, url) = log.rsplit_once("listening on ").expect("a line");
    url.lines().next().expect("a line").to_owned()
}

/// Waits until a unit has said so, `count` times since it started.
pub(crate) fn logged(system: &System, unit: &str, words: &str, count: usize) {
    let until = Instant::now() + DEADLINE;
    while log(system, unit).matches(words).count() < count {
        assert!(Instant::now() < until, "{words}: {}", log(system, unit));
        thread::sleep(Duration::from_millis(50));
    }
}

/// Every path that a person or another package looks for.
pub(crate) fn contents(package: &Path) {
    let listed = Command::new("dpkg-deb").arg("--contents").arg(package).output().expect("dpkg-deb");
    let listed = String::from_utf8(listed.stdout).expect("text");
    for (mode, path) in [
        ("-rwxr-xr-x", "usr/bin/keybroker"),
        ("-rw-r--r--", "etc/keybroker/serve.conf"),
        ("-rw-r--r--", "etc/keybroker/relay.conf"),
        ("-rw-r--r--", "usr/lib/systemd/system/keybroker.service"),
        ("-rw-r--r--", "usr/lib/systemd/system/keybroker-relay.service"),
        ("-rw-r--r--", "usr/lib/sysusers.d/keybroker.conf"),
        ("-rw-r--r--", "usr/share/man/man1/keybroker.1.gz"),
        ("-rw-r--r--", "usr/share/man/man1/keybroker-workload-list.1.gz"),
        ("-rw-r--r--", "usr/share/bash-completion/completions/keybroker"),
        ("-rw-r--r--", "usr/share/zsh/vendor-completions/_keybroker"),
        ("-rw-r--r--", "usr/share/fish/vendor_completions.d/keybroker.fish"),
        ("-rwxr-xr-x", "usr/share/doc/keybroker/examples/deploy-hook"),
        ("-rw-r--r--", "usr/share/doc/keybroker/README.Debian"),
        ("-rw-r--r--", "usr/share/doc/keybroker/copyright"),
        ("-rw-r--r--", "usr/share/doc/keybroker/NEWS.md.gz"),
    ] {
        let found = listed.lines().find(|line| line.ends_with(&format!(" ./{path}")));
        let found = found.unwrap_or_else(|| panic!("no {path}: {listed}"));
        assert!(found.starts_with(&format!("{mode} root/root ")), "{found}");
    }
    // Every unit's page and every page's command exist.
    assert!(listed.contains("man1/keybroker-serve.1.gz") && listed.contains("man1/keybroker-relay.1.gz"));
}

/// Lintian finds nothing that no override explains.
pub(crate) fn judged(package: &Path) {
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning", "--suppress-tags"]);
    // These tests have no time to compress.
    lintian.arg("uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball").arg(package);
    match lintian.output() {
        Err(_) => skip("packages: lintian is not installed"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.trim().is_empty(), "{said}");
        }
    }
}
