//! The deployment's name: random, drawn anew for a store that was restored or copied.
//!
//! A backup does not know the decisions that were taken after it was made. If it is restored, the guests'
//! challenges of that time must count for nothing, or some could be answered a second time. So the store
//! holds, beside the name, which file `keybroker.start` is: a file that each start makes anew. A tool that
//! copies a data directory makes another file of it, and an older store remembers an older one.

use std::{fs::Metadata, io, os::unix::fs::MetadataExt as _, path::Path};

use data_encoding::HEXLOWER;
use keybroker_common::challenge::Deployment;
use redb::Database;

use super::{
    OpenError, file,
    meta::{META, entry},
};
use crate::files;

/// Name of the file in the data directory.
pub(super) const NAME: &str = "keybroker.start";
/// Holds the deployment's name.
const DEPLOYMENT_NAME: &str = "deployment";
/// Holds which file the last start made.
const START_NAME: &str = "start";
/// Bytes of a name.
const LEN: usize = 16;

/// The name of the deployment whose store `database` is: the one that it has, if the last start was here.
pub(super) fn named(database: &Database, data_dir: Option<&Path>) -> Result<Deployment, OpenError> {
    let transaction = database.begin_write()?;
    let mut meta = transaction.open_table(META)?;
    let last = entry(&meta, START_NAME)?;
    let was_here = last.is_some() && last == found(data_dir)?;
    let name = match entry(&meta, DEPLOYMENT_NAME)? {
        Some(name) if was_here => name,
        Some(_) => {
            tracing::warn!(
                "the store was copied or restored: challenges and sessions from before do not count"
            );
            drawn()?
        }
        None => drawn()?,
    };
    // First the file: a start that is cut off here is one that the store does not know.
    let start = made(data_dir)?;
    meta.insert(DEPLOYMENT_NAME, name.as_str())?;
    meta.insert(START_NAME, start.as_str())?;
    drop(meta);
    transaction.commit()?;
    Ok(Deployment::new(name))
}

/// A name for a store that takes no other: for this process alone, so no challenge outlives it.
pub(super) fn unwritten() -> Result<Deployment, OpenError> {
    tracing::error!("the disk is full: challenges of this start will end with it");
    drawn().map(Deployment::new)
}

fn drawn() -> Result<String, OpenError> {
    let mut bytes = [0; LEN];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| OpenError::Io(io::ErrorKind::Other))?;
    Ok(HEXLOWER.encode(&bytes))
}

/// Which file is there, if any. In memory there is one for the store's life.
fn found(data_dir: Option<&Path>) -> io::Result<Option<String>> {
    let Some(data_dir) = data_dir else { return Ok(Some(IN_MEMORY.to_owned())) };
    match data_dir.join(NAME).symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => Ok(Some(identity(data_dir, &found?)?)),
    }
}

/// Makes the file anew, on disk for good.
fn made(data_dir: Option<&Path>) -> io::Result<String> {
    let Some(data_dir) = data_dir else { return Ok(IN_MEMORY.to_owned()) };
    let start = files::make_anew(&data_dir.join(NAME), 0o600)?;
    start.sync_all()?;
    files::sync(data_dir)?;
    identity(data_dir, &start.metadata()?)
}

/// Stands for the file of a store in memory.
const IN_MEMORY: &str = "memory";

/// Tells the file of a start from every other, and from each that had its place before: no tool that copies
/// one can set the time of its last change. The store's own file belongs to it: a copy of that alone is
/// another, too, unless it was written over the old one.
fn identity(data_dir: &Path, start: &Metadata) -> io::Result<String> {
    let store = data_dir.join(file::NAME).symlink_metadata()?;
    let nanoseconds = i128::from(start.ctime()) * 1_000_000_000 + i128::from(start.ctime_nsec());
    Ok(format!("{}:{}:{nanoseconds}:{}", start.dev(), start.ino(), store.ino()))
}
