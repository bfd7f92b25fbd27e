//! The store of a broker on one machine: every table in one redb file of one process.
//!
//! Each method is one transaction, synced to disk before it is acknowledged; redb has one writer at a time,
//! so the conditions of a write hold until it is committed. A store that failed is opened anew in its place
//! (`disk`), and room is kept for what ends or records something when the disk is full (`room`).

mod disk;
mod errors;
mod expiry;
mod file;
mod leases;
mod meta;
mod operator;
pub mod room;
mod rows;
mod stores;
mod tables;

use std::{fmt, path::Path, sync::Arc};

use async_trait::async_trait;
use keybroker_common::{
    audit::AuditRecord,
    clock::Clock,
    ids::AuditId,
    store::{Health, StoreError},
};
use redb::{ReadTransaction, WriteTransaction};
use tokio::{runtime::Handle, task::spawn_blocking};

use self::{
    disk::{Disk, Use},
    leases::Leases,
};

pub use errors::OpenError;

/// All five stores over one file in a data directory.
pub struct EmbeddedStore {
    disk: Arc<Disk>,
    /// Tells what has expired and can be swept; no condition depends on it.
    clock: Arc<dyn Clock>,
    leases: Leases,
}

impl EmbeddedStore {
    /// Opens the store in `data_dir`, or makes an empty one, directory included, for its owner alone.
    ///
    /// The whole file is read and its checksums compared, so that damage is found here and not under a
    /// request. They are no signatures: someone who alters the file and computes them anew is not found out.
    /// `clock` tells which rows are due for removal.
    pub fn open(data_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Ok(Self::over(Disk::open(data_dir)?, clock))
    }

    /// The same of a store that is there: makes nothing. [`OpenError::Missing`] if there is none.
    pub fn open_existing(data_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        if file::exists(data_dir)? { Self::open(data_dir, clock) } else { Err(OpenError::Missing) }
    }

    /// An empty store in memory, that is gone when it is dropped: for the demo and for tests.
    pub fn in_memory(clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Ok(Self::over(Disk::in_memory()?, clock))
    }

    fn over(disk: Disk, clock: Arc<dyn Clock>) -> Self {
        Self { disk: Arc::new(disk), clock, leases: Leases::default() }
    }

    /// Fingerprint of the wrapping key that the store belongs to; `None` before [`Self::bind_key`]. A store
    /// that has one can be used with that key only: a caller without a key at hand must not make a new one
    /// for it.
    pub fn bound_key(&self) -> Result<Option<String>, OpenError> {
        self.disk.with(meta::bound_key)
    }

    /// Ties the store to the wrapping key with this fingerprint, for good. [`OpenError::OtherKey`] if it
    /// belongs to another: its secrets could not be opened, and new ones would be lost to the owner of the
    /// first key.
    pub fn bind_key(&self, key_id: &str) -> Result<(), OpenError> {
        self.disk.with(|database| meta::bind_key(database, key_id))
    }

    /// The audit record with this id.
    pub fn audit_record(&self, id: AuditId) -> Result<Option<AuditRecord>, StoreError> {
        self.read(id.0.as_bytes())
    }

    /// All audit records, oldest first, as they are now: what is written meanwhile is not among them.
    pub fn audit_records(
        &self,
    ) -> Result<impl Iterator<Item = Result<AuditRecord, StoreError>> + use<>, StoreError> {
        self.reading(rows::all)
    }

    /// The row under `key`.
    ///
    /// Done in place: a read takes a page or two out of redb's cache, or else the file, and waits for no
    /// writer's sync.
    fn read<R: rows::Row>(&self, key: &[u8]) -> Result<Option<R>, StoreError> {
        self.reading(|transaction| rows::get(transaction, key))
    }

    /// Runs `work` in one read transaction.
    fn reading<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let done = self.disk.read(work);
        // Opening anew reads the whole file: not on a thread that others wait for.
        if self.disk.is_broken()
            && let Ok(runtime) = Handle::try_current()
        {
            let disk = Arc::clone(&self.disk);
            runtime.spawn_blocking(move || disk.mend());
        }
        done
    }

    /// Runs `work` in a write transaction of its own, and commits it unless it changed nothing. If it fails,
    /// all that it wrote until then is undone. It may run twice, in two transactions of which one is undone.
    /// For what ends or records something: it may use up the reserve.
    ///
    /// Done on a thread that may block: it waits for the writer before it, and for the disk. A caller that
    /// goes away does not stop it.
    async fn write(
        &self,
        work: impl Fn(&WriteTransaction) -> Result<Change, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.commit(Use::Ends, work).await
    }

    /// The same, for what begins something, and for what can be done without: [`StoreError::Full`] while
    /// there is no room for what will end it.
    async fn write_if_room(
        &self,
        work: impl Fn(&WriteTransaction) -> Result<Change, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.commit(Use::Begins, work).await
    }

    async fn commit(
        &self,
        what: Use,
        work: impl Fn(&WriteTransaction) -> Result<Change, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let disk = Arc::clone(&self.disk);
        let ended = spawn_blocking(move || disk.write(what, work)).await;
        ended.unwrap_or_else(|lost| Err(StoreError::Unavailable(lost.to_string())))
    }
}

#[async_trait]
impl Health for EmbeddedStore {
    async fn check(&self) -> Result<(), StoreError> {
        let disk = Arc::clone(&self.disk);
        let ended = spawn_blocking(move || disk.check()).await;
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
