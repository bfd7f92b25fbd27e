//! Files of this program's own, in memory: what the host cannot change between a look and a use.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::PathBuf,
};

use rustix::fs::fstatfs;

use crate::root::Root;

/// Where they are. It outlives the initrd.
pub const DIRECTORY: &str = "/run/keybroker";
/// TMPFS_MAGIC and RAMFS_MAGIC of the kernel.
const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58F6];

/// Why there is no such file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateError {
    /// It cannot be written.
    #[error("{path}: {error}")]
    Io {
        /// Where it should be.
        path: PathBuf,
        /// The kernel's error.
        error: io::Error,
    },
    /// The directory is on a disk.
    #[error("{0} is not in memory: the host could change what is there")]
    NotInMemory(PathBuf),
}

/// A new file of that name, which root alone can read, in place of one that an earlier run left.
pub fn create(root: &Root, name: &str) -> Result<(PathBuf, File), PrivateError> {
    let directory = root.path(DIRECTORY);
    let path = directory.join(name);
    let failed = |error| PrivateError::Io { path: path.clone(), error };
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
    let file = file.map_err(failed)?;
    let kind = fstatfs(&file).map_err(|error| failed(error.into()))?.f_type;
    if !IN_MEMORY.iter().any(|&memory| kind as u64 & 0xFFFF_FFFF == u64::from(memory)) {
        let _ = fs::remove_file(&path);
        return Err(PrivateError::NotInMemory(directory));
    }
    Ok((path, file))
}
