//! The key file: one line, `keybroker-key-v1:` and the key in 64 lower-case hex digits.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::LocalKey;
use crate::files::{self, Beside, NotAFile};

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
    /// A new key was to go where no directory is.
    #[error("its directory is not there")]
    NoDirectory,
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
            _ if error.get_ref().is_some_and(|inner| inner.is::<NotAFile>()) => Self::Malformed,
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::AlreadyExists => Self::Exists,
            kind => Self::Io(kind),
        }
    }
}

/// Reads the key.
pub(super) fn read(file: File) -> Result<Zeroizing<[u8; LocalKey::LEN]>, KeyFileError> {
    let metadata = file.metadata()?;
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

/// Writes the key to a file that is not there yet. It has its name once it is whole: a process that is killed
/// meanwhile leaves none, or the key. It belongs to the owner of `like`. Without `like` it is this user's,
/// and its directory is made if need be. With `like` that is not done: a directory in one of another user's
/// could be given away only by a name, which leads where that user likes.
pub(super) fn create(
    path: &Path,
    key: &[u8; LocalKey::LEN],
    like: Option<&Metadata>,
) -> Result<(), KeyFileError> {
    if like.is_none() {
        files::make_directory(files::directory(path))?;
    } else if !files::directory(path).is_dir() {
        return Err(KeyFileError::NoDirectory);
    }
    let mut beside = Beside::of(path, 0o600)?;
    write(beside.file(), key)?;
    like.map_or(Ok(()), |like| files::give(beside.file(), like))?;
    // An empty file is what releases before 0.2 left when they were killed.
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0) {
        fs::remove_file(path)?;
    }
    Ok(beside.link()?)
}

fn write(file: &mut File, key: &[u8; LocalKey::LEN]) -> io::Result<()> {
    let mut line = Zeroizing::new(String::with_capacity(FILE_LEN));
    line.push_str(HEADER);
    HEXLOWER.encode_append(key, &mut line);
    line.push('\n');
    file.write_all(line.as_bytes())
}
