//! Opens a store: made if there is none, and brought to this release's format.

use std::{fs::File, path::Path};

use keybroker_common::panics::caught_here;
use redb::Database;

use super::{
    OpenError,
    file::{self, Check},
    meta, upgrade,
};
use crate::files;

/// Opens the store in `data_dir`, and makes one where there is none. The file, to open it anew, and its
/// database.
pub(super) fn open(data_dir: &Path, check: Check) -> Result<(File, Database), OpenError> {
    files::make_directory(data_dir)?;
    match file::found(data_dir)? {
        Some(file) => {
            let database = upgrade::upgraded(data_dir, &file, file::database(&file, check)?)?;
            meta::adopt(&database)?;
            Ok((file, database))
        }
        None => file::make(data_dir),
    }
}

/// Runs `work`, which opens a store or sets it up: a file that was altered may make redb panic.
pub(super) fn caught_opening<T>(work: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    caught_here(work).unwrap_or_else(|panicked| Err(OpenError::Corrupt(panicked.to_string())))
}
