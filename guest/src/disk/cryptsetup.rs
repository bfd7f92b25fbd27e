//! Opening by the program `cryptsetup`.

use std::{
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{ChildStderr, Command, Stdio},
    thread,
    time::Duration,
};

use keybroker_initdata::{Disk, volume_key::VolumeKeyDigest};

use crate::{
    child,
    disk::{DiskError, Header, Opener},
    failure::Failure,
    root::Root,
};

/// Where systems have the program.
const PLACES: [&str; 4] =
    ["/usr/sbin/cryptsetup", "/sbin/cryptsetup", "/usr/bin/cryptsetup", "/bin/cryptsetup"];
/// How much of its complaints is passed on.
const MAX_WORDS: u64 = 512;

/// How long it may take. The host chooses what a keyslot's key costs, in the header that is its to write.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program.
#[derive(Debug)]
pub struct Cryptsetup {
    program: PathBuf,
    patience: Duration,
}

impl Cryptsetup {
    /// Its exit code for a passphrase that opens nothing.
    const NO_KEY: i32 = 2;

    /// The program of this machine.
    pub fn find(root: &Root) -> Result<Self, Failure> {
        let program = PLACES.into_iter().map(|place| root.path(place)).find(|place| place.exists());
        program
            .map(Self::at)
            .ok_or_else(|| Failure::NotDone("the program cryptsetup is not there".to_owned()))
    }

    /// The program at `path`.
    pub fn at(program: PathBuf) -> Self {
        Self { program, patience: PATIENCE }
    }

    /// The same, which waits for so long.
    pub fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }
}

impl Opener for Cryptsetup {
    fn open(&self, disk: &Disk, device: &Path, header: &Header, key: &[u8]) -> Result<(), DiskError> {
        let failed = |error: io::Error| DiskError::Cryptsetup(error.to_string());
        let kind = match disk.volume_key {
            VolumeKeyDigest::Luks1 { .. } => "luks1",
            VolumeKeyDigest::Luks2 { .. } => "luks2",
        };
        let mut child = Command::new(&self.program)
            .env_clear()
            .env("LC_ALL", "C")
            // A token of the header could name a library to load: the header is the host's.
            .args(["open", "--batch-mode", "--disable-external-tokens", "--tries", "1"])
            // All of its input is the key: it does not stop at a line feed, and none ends it.
            .args(["--key-file", "-", "--type", kind, "--header"])
            .arg(header.path())
            .arg("--")
            .arg(device)
            .arg(&disk.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        // A pipe holds more than any passphrase, so this does not wait for the reader. The pipe closes here.
        let written = child.stdin.take().map(|mut input| input.write_all(key));
        let complaints = child.stderr.take().map(|output| thread::spawn(|| words(output)));
        let Some(status) = child::ended(&mut child, self.patience).map_err(failed)? else {
            return Err(DiskError::Slow(self.patience.as_secs()));
        };
        let complaints = complaints.and_then(|thread| thread.join().ok()).unwrap_or_default();
        match status.code() {
            Some(0) => written.transpose().map(|_| ()).map_err(failed),
            Some(Self::NO_KEY) => Err(DiskError::Passphrase),
            _ => {
                let words = complaints.lines().next().unwrap_or_default().trim();
                Err(DiskError::Cryptsetup(format!("{status}: {words}")))
            }
        }
    }
}

/// The beginning of what the program complains of. All of it is read, so that the program does not wait.
fn words(output: ChildStderr) -> String {
    let (mut words, mut output) = (Vec::new(), output.take(MAX_WORDS));
    let _ = output.read_to_end(&mut words);
    let _ = io::copy(&mut output.into_inner(), &mut io::sink());
    String::from_utf8_lossy(&words).into_owned()
}
