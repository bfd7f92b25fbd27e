//! A disk in a file, and cryptsetup at work on it.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use keybroker_initdata::luks::{Header, HeaderError};
use tempfile::TempDir;

/// Enough for a header of 16 MiB and some data; the file takes up less.
const LEN: u64 = 40 * 1024 * 1024;

/// Arguments for a keyslot that takes no seconds.
pub(crate) const FAST: [&str; 4] = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];

pub(crate) struct Disk {
    directory: TempDir,
}

impl Disk {
    /// A disk that `cryptsetup luksFormat` made; nothing if there is no cryptsetup.
    pub(crate) fn format(arguments: &[&str]) -> Option<Self> {
        if Command::new("cryptsetup").arg("--version").output().is_err() {
            // Around the test harness, which would hide the line. It is no fault if nobody reads it.
            let _ = std::io::stdout().write_all(b"\nskipped: headers of LUKS, for want of cryptsetup\n");
            return None;
        }
        let disk = Self { directory: TempDir::new().unwrap() };
        disk.write("key", "correct horse battery staple");
        disk.write("disk", "");
        let file = fs::OpenOptions::new().write(true).open(disk.directory.path().join("disk")).unwrap();
        file.set_len(LEN).unwrap();
        disk.run(&[&["luksFormat"], arguments, &FAST, &["disk", "key"]].concat());
        Some(disk)
    }

    /// The disk's bytes.
    pub(crate) fn read(&self) -> Vec<u8> {
        fs::read(self.directory.path().join("disk")).unwrap()
    }

    /// Writes a file beside the disk, or the disk.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.directory.path().join(name), bytes).unwrap();
    }

    pub(crate) fn parse(&self) -> Result<Header, HeaderError> {
        Header::parse(&self.read())
    }

    /// Runs cryptsetup beside the files `disk` and `key`, and returns its output.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments).unwrap_or_else(|error| panic!("cryptsetup {arguments:?}: {error}"))
    }

    /// Runs cryptsetup, and returns its output or its complaint.
    pub(crate) fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("cryptsetup");
        command.current_dir(self.directory.path()).stdin(Stdio::null()).arg("--batch-mode");
        let output = command.args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }
}
