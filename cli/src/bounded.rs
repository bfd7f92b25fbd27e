//! Files that are read whole: none longer than such a file can be. A device, or a disk in place of an image,
//! would take all memory otherwise.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read},
    mem,
    path::Path,
};

use anyhow::anyhow;
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};

/// Longest file that holds text, in bytes.
pub(crate) const TEXT: u64 = 16 << 20;
/// Longest firmware, kernel or initrd, in bytes.
pub(crate) const IMAGE: u64 = 1 << 30;

/// Room for every secret and every registration, whatever it is read from: a pipe has no length.
const ROOM: u64 = 256 << 10;

/// The bytes of a file that has `longest` at most.
pub(crate) fn read(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    within(length, longest)?;
    whole(file, length, longest)
}

/// Whether `path` is written `-`: standard input.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// The bytes of a file, or with `-` of standard input: [`TEXT`] at most. There may be a secret among them.
pub(crate) fn given(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let read = if is_stdin(path) { whole(io::stdin().lock(), 0, TEXT) } else { read(path, TEXT) };
    read.map(Zeroizing::new)
}

/// Refuses to read standard input from a terminal, where others see a secret being typed.
pub(crate) fn check_piped() -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Ok(());
    }
    let seen = Failure::new(Exit::Usage, anyhow!("- is for a pipe: a terminal shows what you type"));
    Err(seen.hint("pipe it in, and give --yes"))
}

/// Reads `longest` bytes at most, of which `expected` are known of.
fn whole(from: impl Read, expected: u64, longest: u64) -> io::Result<Vec<u8>> {
    // All the room at once: growing would leave copies of a secret behind.
    let room = usize::try_from(expected.max(ROOM)).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    from.take(longest + 1).read_to_end(&mut bytes)?;
    within(bytes.len() as u64, longest)?;
    Ok(mem::take(&mut *bytes))
}

fn within(length: u64, longest: u64) -> io::Result<()> {
    if length <= longest {
        return Ok(());
    }
    let most = longest >> 20;
    Err(io::Error::other(format!("it has more than {most} MiB: no such file is that long")))
}

/// The text of a file, of [`TEXT`] bytes at most.
pub(crate) fn text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path, TEXT)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

#[cfg(test)]
mod tests {
    use keybroker_common::http::REFERENCE_VALUES_LIMIT;

    use super::*;

    #[test]
    fn a_secret_from_a_pipe_is_read_without_a_copy() {
        let longest = REFERENCE_VALUES_LIMIT;
        let bytes = whole(&vec![1; longest][..], 0, TEXT).unwrap();
        assert_eq!((bytes.len(), bytes.capacity() as u64), (longest, ROOM + 1), "it did not grow");
    }

    #[test]
    fn a_file_without_an_end_is_not_read_to_the_end() {
        let refused = |path: &Path| read(path, TEXT).unwrap_err().to_string();
        assert!(refused(Path::new("/dev/zero")).contains("more than 16 MiB"));
        let sparse = tempfile::NamedTempFile::new().unwrap();
        sparse.as_file().set_len(TEXT + 1).unwrap();
        assert!(refused(sparse.path()).contains("more than 16 MiB"));
        sparse.as_file().set_len(TEXT).unwrap();
        assert_eq!(read(sparse.path(), TEXT).unwrap().len() as u64, TEXT);
    }
}
