//! The database file: where it is, and that it is its owner's alone.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use redb::{Builder, Database, backends::FileBackend};

use super::OpenError;

/// Name of the file in the data directory.
pub(super) const NAME: &str = "keybroker.redb";

/// What redb may hold in memory, in bytes. Its default is 1 GiB, more than a broker's rows are worth.
const CACHE_SIZE: usize = 64 << 20;

/// Whether there is a file in `data_dir`.
pub(super) fn exists(data_dir: &Path) -> io::Result<bool> {
    data_dir.join(NAME).try_exists()
}

/// Opens the file in `data_dir`, and makes what is missing.
pub(super) fn open(data_dir: &Path) -> Result<Database, OpenError> {
    let file = FileBackend::new(owners_file(data_dir)?)?;
    let mut builder = Builder::new();
    // Without this redb trusts a file that was closed in order, and may panic at one that was altered since.
    builder.set_check_integrity_on_open(true).set_cache_size(CACHE_SIZE);
    Ok(builder.create_with_backend(file)?)
}

/// The open file: closed to anyone but its owner, and on disk for good as an entry of its directory.
fn owners_file(data_dir: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).mode(0o600).open(data_dir.join(NAME))?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    File::open(data_dir)?.sync_all()?;
    Ok(file)
}
