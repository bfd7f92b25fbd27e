//! A Debian in a directory.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// The suite.
const SUITE: &str = "bookworm";

/// Its packages beside the essential ones: the kernel, both makers of initrds, systemd, and what they need.
const PACKAGES: [&str; 19] = [
    "busybox-static",
    "cpio",
    "cryptsetup-bin",
    "dbus",
    "dmsetup",
    "dracut-core",
    "dracut-network",
    "e2fsprogs",
    "initramfs-tools",
    "iproute2",
    "iputils-arping",
    "kmod",
    "libgcc-s1",
    "linux-image-cloud-amd64",
    "procps",
    "systemd",
    "systemd-sysv",
    "udev",
    "zstd",
];

/// Runs a script in a Debian, with /proc, /sys and /dev of namespaces that end with it.
const INSIDE: &str = "\
    set -e; root=$1; shift; \
    mount -t proc proc $root/proc; mount -t sysfs -o ro sysfs $root/sys; \
    mount --rbind /dev $root/dev; mount -t tmpfs tmpfs $root/run; \
    exec chroot $root sh -ec \"$@\"";

/// A Debian with a kernel. It is made once and then only read.
#[derive(Debug)]
pub struct Debian {
    /// Where what was made from it is kept, too.
    pub kept: PathBuf,
    root: PathBuf,
}

impl Debian {
    /// The Debian of today's versions, kept below `cache`.
    pub fn get(cache: &Path) -> Self {
        let policy = Command::new("apt-cache").arg("policy").args(PACKAGES).output().expect("apt-cache");
        let versions = String::from_utf8_lossy(&policy.stdout);
        let versions = versions.lines().filter(|line| line.contains("Candidate:"));
        let versions: Vec<&str> = versions.chain([SUITE]).chain(PACKAGES).collect();
        let kept = cache.join(format!("debian-{}", short_digest(versions.join("\n").as_bytes())));
        let root = kept.join("root");
        fs::create_dir_all(&kept).expect("a directory");
        let _alone = alone(&kept);
        if !root.exists() {
            make(&root);
        }
        Self { kept, root }
    }

    /// A copy to change.
    pub fn copy(&self) -> Copy {
        let directory = tempfile::Builder::new().prefix("copy-").tempdir_in(&self.kept).expect("a directory");
        let root = directory.path().join("root");
        must(Command::new("cp").args(["--archive", "--reflink=auto"]).arg(&self.root).arg(&root));
        Copy { root, _directory: directory }
    }
}

/// A Debian that may be changed. It is removed when this is dropped.
#[derive(Debug)]
pub struct Copy {
    root: PathBuf,
    _directory: TempDir,
}

impl Copy {
    /// A path in it, as seen from outside.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Writes a file in it.
    pub fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, contents).expect("a file");
    }

    /// Runs a script in it, however that ends.
    pub fn try_run(&self, script: &str) -> Output {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", INSIDE, "sh"]);
        command.arg(&self.root).arg(script).env_clear();
        command.envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C"), ("HOME", "/root")]);
        command.env("DEBIAN_FRONTEND", "noninteractive").output().expect("unshare")
    }

    /// Runs a script in it, which must end well.
    pub fn run(&self, script: &str) -> String {
        let output = self.try_run(script);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}\n{text}\n{words}");
        text
    }
}

fn make(root: &Path) {
    let unfinished = root.with_extension("new");
    let _ = fs::remove_dir_all(&unfinished);
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--mode=root", "--variant=minbase", "--skip=check/empty"]);
    command.args(["--aptopt=APT::Install-Recommends \"false\"", "--dpkgopt=force-unsafe-io"]);
    command.arg("--dpkgopt=path-exclude=/usr/share/{doc,info,locale,man}/*");
    command.arg(format!("--include={}", PACKAGES.join(","))).arg(SUITE).arg(&unfinished);
    must(&mut command);
    fs::rename(unfinished, root).expect("the Debian's place");
}

/// Waits until no other process makes something in `directory`. It is over when the file is closed.
pub(crate) fn alone(directory: &Path) -> File {
    let file = File::create(directory.join("lock")).expect("a file");
    file.lock().expect("a lock");
    file
}

/// The first digits of a digest, for names.
pub(crate) fn short_digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes)).chars().take(16).collect()
}

/// Runs a command, which must end well.
pub(crate) fn must(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}
