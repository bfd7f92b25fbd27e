//! The header's copy in the guest's memory.
//!
//! The host serves the device, and can answer a second read differently. So every byte of the header is read
//! once, in one pass; what is judged is what cryptsetup gets.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use keybroker_initdata::{
    Disk,
    luks::{self, HeaderError},
};

use crate::{
    disk::DiskError,
    private::{self, PrivateError},
    root::Root,
};

/// How much is copied at once.
const CHUNK: usize = 64 * 1024;

/// A header that was judged, in a file that only root can read. The file goes when this does.
#[derive(Debug)]
pub struct Header {
    path: PathBuf,
}

impl Header {
    /// Where the copy of the header of the disk `name` is.
    pub fn place(root: &Root, name: &str) -> PathBuf {
        root.path(private::DIRECTORY).join(Self::file_name(name))
    }

    fn file_name(name: &str) -> String {
        format!("{name}.header")
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Header {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Copies the header of `device` into memory, and judges the copy by what the document says of `disk`.
pub fn copy(root: &Root, disk: &Disk, device: &Path) -> Result<Header, DiskError> {
    let unreadable = |error| DiskError::Device { device: device.to_owned(), error };
    let mut source = File::open(device).map_err(unreadable)?;
    let (header, mut file) = create(root, &disk.name)?;
    let unwritable = |error| DiskError::Copy(PrivateError::Io { path: header.path.clone(), error });

    let mut metadata = Vec::new();
    read_more(&mut source, &mut metadata, luks::PREFIX_LEN).map_err(unreadable)?;
    let length = luks::metadata_len(&metadata).map_err(refused)?;
    read_more(&mut source, &mut metadata, length).map_err(unreadable)?;
    let judged = luks::judge(&luks::Header::parse(&metadata).map_err(refused)?, disk)?;
    file.write_all(&metadata).map_err(unwritable)?;

    let already = metadata.len() as u64;
    drop(metadata);
    let mut left = judged.copy_len().saturating_sub(already);
    let mut chunk = vec![0; CHUNK];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let part = chunk.get_mut(..wanted).unwrap_or_default();
        source.read_exact(part).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => refused(HeaderError::Truncated),
            _ => unreadable(error),
        })?;
        file.write_all(part).map_err(unwritable)?;
        left = left.saturating_sub(wanted as u64);
    }
    Ok(header)
}

/// Reads until there are `length` bytes, or no more.
fn read_more(source: &mut File, bytes: &mut Vec<u8>, length: usize) -> io::Result<()> {
    let missing = length.saturating_sub(bytes.len()) as u64;
    io::Read::take(&mut *source, missing).read_to_end(bytes).map(|_| ())
}

fn refused(error: HeaderError) -> DiskError {
    DiskError::Refused(error.into())
}

/// The new file.
fn create(root: &Root, name: &str) -> Result<(Header, File), DiskError> {
    let (path, file) = private::create(root, &Header::file_name(name))?;
    Ok((Header { path }, file))
}
