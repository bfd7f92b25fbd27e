//! The store of a broker on one machine: every table in one redb file of one process.
//!
//! Each method is one transaction, synced to disk before it is acknowledged; redb has one writer at a time, so the
//! conditions of a write hold until it is committed. After a failed write redb refuses every other until the store is
//! opened anew: a disk that lost a write is not trusted with the next.

mod errors;
mod expiry;
mod file;
mod leases;
mod meta;
mod operator;
mod rows;
mod stores;

use std::{fmt, path::Path, sync::Arc};

use redb::{Database, ReadableDatabase as _, WriteTransaction};

pub use errors::OpenError;

use self::leases::Leases;
use super::StoreError;
use crate::{
    audit::{AuditId, AuditRecord},
    clock::Clock,
};

/// All five stores over one file in a data directory.
pub struct EmbeddedStore {
    database: Arc<Database>,
    /// Tells what has expired and can be swept; no condition depends on it.
    clock: Arc<dyn Clock>,
    leases: Leases,
}

impl EmbeddedStore {
    /// Opens the store in `data_dir`, or makes an empty one, directory included, for its owner alone.
    ///
    /// The whole file is read and its checksums compared, so that damage is found here and not under a request. They
    /// are no signatures: someone who alters the file and computes them anew is not found out. `clock` tells which rows
    /// are due for removal.
    pub fn open(data_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let database = file::open(data_dir)?;
        meta::adopt(&database)?;
        Ok(Self { database: Arc::new(database), clock, leases: Leases::default() })
    }

    /// The same of a store that is there: makes nothing. [`OpenError::Missing`] if there is none.
    pub fn open_existing(data_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        match file::exists(data_dir) {
            Ok(true) => Self::open(data_dir, clock),
            Ok(false) => Err(OpenError::Missing),
            Err(error) => Err(error.into()),
        }
    }

    /// Fingerprint of the wrapping key that the store belongs to; `None` before [`Self::bind_key`]. A store that has one
    /// can be used with that key only: whoever has no key at hand must not make a new one for it.
    pub fn bound_key(&self) -> Result<Option<String>, OpenError> {
        meta::bound_key(&self.database)
    }

    /// Ties the store to the wrapping key with this fingerprint, for good. [`OpenError::OtherKey`] if it belongs to
    /// another: its secrets could not be opened, and new ones would be lost to whoever has the first key.
    pub fn bind_key(&self, key_id: &str) -> Result<(), OpenError> {
        meta::bind_key(&self.database, key_id)
    }

    /// The audit record with this id.
    pub fn audit_record(&self, id: AuditId) -> Result<Option<AuditRecord>, StoreError> {
        self.read(id.0.as_bytes())
    }

    /// All audit records, oldest first, as they are now: what is written meanwhile is not among them.
    pub fn audit_records(
        &self,
    ) -> Result<impl Iterator<Item = Result<AuditRecord, StoreError>> + use<>, StoreError> {
        rows::all(&self.database.begin_read()?)
    }

    /// The row under `key`.
    ///
    /// Done in place: a read takes a page or two out of redb's cache, or else the file, and waits for no writer's sync.
    fn read<R: rows::Row>(&self, key: &[u8]) -> Result<Option<R>, StoreError> {
        rows::get(&self.database.begin_read()?, key)
    }

    /// Runs `work` in a write transaction of its own, and commits it unless it changed nothing. If it fails, all that it
    /// wrote until then is undone.
    ///
    /// Done on a thread that may block: it waits for the writer before it, and for the disk. A caller that goes away does
    /// not stop it.
    async fn write(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<Change, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let database = Arc::clone(&self.database);
        let commit = move || {
            let transaction = database.begin_write()?;
            match work(&transaction)? {
                Change::Made => transaction.commit()?,
                Change::None => transaction.abort()?,
            }
            Ok(())
        };
        let ended = tokio::task::spawn_blocking(commit).await;
        ended.unwrap_or_else(|lost| Err(StoreError::Unavailable(lost.to_string())))
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmbeddedStore")
    }
}

/// Whether a write transaction has anything to commit.
enum Change {
    Made,
    None,
}

#[cfg(test)]
mod tests;
