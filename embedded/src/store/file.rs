//! The database file: where it is, that it is its owner's alone, and that it is there whole or not at all.

use std::{
    fs::{File, OpenOptions, Permissions, TryLockError, rename},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use redb::{Builder, Database, backends::FileBackend};
use rustix::fs::{Advice, fadvise};

use super::{OpenError, meta};
use crate::files;

/// Name of the file in the data directory.
pub(super) const NAME: &str = "keybroker.redb";
/// The file's name until there is a store in it.
pub(super) const WORKSHOP: &str = "keybroker.redb.new";

/// The bytes that redb may hold in memory: enough for the inner pages of millions of rows. The system caches
/// the file besides.
const CACHE_SIZE: usize = 16 << 20;
/// Bytes of the first page: redb's own, and whether the file is a database stands in its first bytes.
const HEADER: usize = 4096;
/// Those first bytes, which redb writes last.
const MAGIC: usize = 9;
/// The bit of the byte behind them that says that a file was not closed in order.
const RECOVERY_REQUIRED: u8 = 2;

/// Whether there is a store in `data_dir`.
pub(super) fn exists(data_dir: &Path) -> Result<bool, OpenError> {
    Ok(found(data_dir)?.is_some())
}

/// When every byte of a database is read and compared with its checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Only if it was not closed in order: then redb does so to repair it.
    AfterUncleanStop,
    /// Now.
    Always,
}

/// The database in an open file, which it locks.
///
/// redb trusts a file that was closed in order: one that was altered since gives errors or panics, later or
/// here.
pub(super) fn database(file: &File, check: Check) -> Result<Database, OpenError> {
    if check == Check::Always || !closed_in_order(file)? {
        forget(file);
    }
    let mut builder = Builder::new();
    builder.set_check_integrity_on_open(check == Check::Always).set_cache_size(CACHE_SIZE);
    Ok(builder.create_with_backend(FileBackend::new(file.try_clone()?)?)?)
}

/// Tells the system to forget the cached pages of the file. After a write that did not reach the disk, the
/// cache may hold data that the disk does not. A transaction that is built on such data is lost with the
/// power.
fn forget(file: &File) {
    // A file system that takes no advice remembers nothing, or is memory itself.
    let _ = fadvise(file, 0, None, Advice::DontNeed);
}

/// Whether redb noted that it closed the file, which it does once all else is on the disk.
fn closed_in_order(file: &File) -> io::Result<bool> {
    let mut bytes = [0; MAGIC + 1];
    let read = file.read_at(&mut bytes, 0)?;
    Ok(read == bytes.len() && bytes.last().is_some_and(|flags| flags & RECOVERY_REQUIRED == 0))
}

/// The file, closed to anyone but its owner, if it holds more than the beginning of a database.
pub(super) fn found(data_dir: &Path) -> Result<Option<File>, OpenError> {
    let file = match files::open(&data_dir.join(NAME), OpenOptions::new().read(true).write(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    if half_made(&file)? {
        // Earlier releases make it in place: one may be at it now.
        lock(&file)?;
        return Ok(None);
    }
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(Some(file))
}

/// Whether redb never got as far as its first bytes. Such a file is empty beyond its header: no row was ever
/// written to it, and nobody was told of one.
fn half_made(file: &File) -> io::Result<bool> {
    let mut bytes = [0; HEADER];
    let mut at = 0;
    loop {
        let read = match file.read_at(&mut bytes, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let must_be_empty = if at == 0 { MAGIC.min(read) } else { read };
        if bytes.iter().take(must_be_empty).any(|byte| *byte != 0) {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
        at += read as u64;
    }
}

/// Makes an empty store. It has its name only once it is one, and is on disk for good with it.
pub(super) fn make(data_dir: &Path) -> Result<(File, Database), OpenError> {
    let (workshop, path) = (data_dir.join(WORKSHOP), data_dir.join(NAME));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = files::open(&workshop, &mut options)?;
    // If several processes come together, one makes it. The lock is the file's, not the name's: the database
    // takes it over.
    lock(&file)?;
    if found(data_dir)?.is_some() || !same(&file, &workshop)? {
        return Err(OpenError::Locked);
    }
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.set_len(0)?;
    let database = database(&file, Check::AfterUncleanStop)?;
    meta::adopt(&database)?;
    rename(workshop, path)?;
    files::sync(data_dir)?;
    Ok((file, database))
}

pub(super) fn lock(file: &File) -> Result<(), OpenError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::Locked,
        TryLockError::Error(error) => error.into(),
    })
}

/// Whether `path` still leads to the file.
fn same(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match path.symlink_metadata() {
        Ok(named) => Ok((held.dev(), held.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
