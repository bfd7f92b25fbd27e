//! The key file: one line, `keybroker-key-v1:` and the key in 64 lower-case hex digits.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::LocalKey;

/// Says what the file is and how to read it.
const HEADER: &str = "keybroker-key-v1:";
/// Length of a whole file, with the newline at its end.
const FILE_LEN: usize = HEADER.len() + 2 * LocalKey::LEN + 1;

/// Why a key file could not be used. Says nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// There is no such file.
    #[error("there is no key file")]
    Missing,
    /// A new key was to go where something is already.
    #[error("a file is there already; a key is never overwritten")]
    Exists,
    /// Others than its owner may use the file.
    #[error("others than its owner may use the key file (mode {mode:04o}); it must be 0600 or less")]
    Exposed {
        /// The file's permissions.
        mode: u32,
    },
    /// The file is not a key file: cut off, garbage, or of another form.
    #[error("it is not one line of `keybroker-key-v1:` and 64 hex digits")]
    Malformed,
    /// The operating system refused.
    #[error("the key file cannot be used: {0}")]
    Io(io::ErrorKind),
    /// The cryptographic library failed, or the system gave no randomness.
    #[error("the cryptographic library failed")]
    Library,
}

impl From<io::Error> for KeyFileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::AlreadyExists => Self::Exists,
            kind => Self::Io(kind),
        }
    }
}

/// Reads the key.
pub(super) fn read(path: &Path) -> Result<Zeroizing<[u8; LocalKey::LEN]>, KeyFileError> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(KeyFileError::Malformed);
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { mode });
    }
    if metadata.len() == 0 {
        return Err(KeyFileError::Missing);
    }
    // One byte more than a key file has tells a longer file apart, and no file is read beyond it.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_LEN + 1));
    file.take(FILE_LEN as u64 + 1).read_to_end(&mut bytes)?;
    parse(&bytes).ok_or(KeyFileError::Malformed)
}

/// The newline may be missing: some editors and secret stores take it away.
fn parse(bytes: &[u8]) -> Option<Zeroizing<[u8; LocalKey::LEN]>> {
    let digits = bytes.strip_prefix(HEADER.as_bytes())?;
    let digits = digits.strip_suffix(b"\n").unwrap_or(digits);
    let mut key = Zeroizing::new([0; LocalKey::LEN]);
    if HEXLOWER.decode_len(digits.len()).ok()? != key.len() {
        return None;
    }
    HEXLOWER.decode_mut(digits, key.as_mut_slice()).ok()?;
    Some(key)
}

/// Writes the key to a file that is not there yet, in a directory that is made if need be. It has its name
/// once it is whole: a process that is killed meanwhile leaves none, or the key.
pub(super) fn create(path: &Path, key: &[u8; LocalKey::LEN]) -> Result<(), KeyFileError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let workshop = workshop(path);
    // A file that a killed process left: no store knows it.
    remove(fs::remove_file(&workshop))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&workshop)?;
    let written = write(&mut file, key).and_then(|()| named(&workshop, path));
    let removed = fs::remove_file(&workshop);
    written.and(removed)?;
    // A file is on disk for good when its entry in the directory is.
    Ok(File::open(directory)?.sync_all()?)
}

/// The name of the file until it holds the key.
fn workshop(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Gives the whole file its name, which must not be another's. An empty file that has it is what earlier
/// releases left when they were killed.
fn named(workshop: &Path, path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0) {
        fs::remove_file(path)?;
    }
    fs::hard_link(workshop, path)
}

/// Nothing to remove is as well.
fn remove(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn write(file: &mut File, key: &[u8; LocalKey::LEN]) -> io::Result<()> {
    let mut line = Zeroizing::new(String::with_capacity(FILE_LEN));
    line.push_str(HEADER);
    HEXLOWER.encode_append(key, &mut line);
    line.push('\n');
    file.write_all(line.as_bytes())?;
    file.sync_all()
}
