//! The store of a broker on one machine: every table in one redb file of one process.
//!
//! A write is acknowledged when it is synced to disk. One thread writes (`writer`), so the conditions of a
//! write hold until it is committed; writes that wait for it at the same time share a transaction. Reads wait
//! for nothing. A store that failed is opened anew in its place (`disk`), and room is kept for what ends or
//! records something when the disk is full (`room`).

mod audit;
mod deployment;
mod disk;
mod errors;
mod file;
mod leases;
mod meta;
mod opening;
mod operator;
mod rewrap;
pub mod room;
mod rows;
mod stores;
mod tables;
mod upgrade;
mod upkeep;
mod writer;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use async_trait::async_trait;
use keybroker_common::{
    challenge::Deployment,
    clock::Clock,
    store::{Health, StoreError},
};
use redb::ReadTransaction;
use tokio::{runtime::Handle, task::spawn_blocking};

use self::{
    disk::{Disk, Edit, Use, View, Write},
    leases::Leases,
    writer::Writer,
};

pub use errors::OpenError;
pub use rewrap::Moved;

/// All stores over one file in a data directory.
pub struct EmbeddedStore {
    disk: Arc<Disk>,
    writer: Writer,
    /// `None` in memory.
    data_dir: Option<PathBuf>,
    /// Tells which decisions may go; no condition depends on it.
    clock: Arc<dyn Clock>,
    leases: Leases,
    /// Once it was asked for.
    deployment: Mutex<Option<Deployment>>,
}

impl EmbeddedStore {
    /// Opens the store in `data_dir`, or makes an empty one, directory included, for its owner alone.
    ///
    /// If it was not closed in order, the whole file is read first. One in the format of release 0.1 is
    /// brought to this release's, with a copy beside it. `clock` tells which decisions may be deleted.
    pub fn open(data_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Self::over(Disk::open(data_dir)?, Some(data_dir.to_owned()), clock)
    }

    /// The same of a store that is there: makes nothing. [`OpenError::Missing`] if there is none.
    pub fn open_existing(data_dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        if file::exists(data_dir)? { Self::open(data_dir, clock) } else { Err(OpenError::Missing) }
    }

    /// When the file in `data_dir` last changed; also opening and closing it changes it.
    pub fn changed_at(data_dir: &Path) -> io::Result<SystemTime> {
        data_dir.join(file::NAME).symlink_metadata()?.modified()
    }

    /// An empty store in memory, that is gone when it is dropped: for the demo and for tests.
    pub fn in_memory(clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Self::over(Disk::in_memory()?, None, clock)
    }

    fn over(disk: Disk, data_dir: Option<PathBuf>, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let disk = Arc::new(disk);
        let writer = Writer::start(Arc::clone(&disk))?;
        Ok(Self { disk, writer, data_dir, clock, leases: Leases::default(), deployment: Mutex::default() })
    }

    /// The name of this deployment: random, and another one after the store was restored from a backup or
    /// copied. A backup does not know the answers to challenges that came after it, so none of these
    /// challenges may count again.
    ///
    /// Each start that gives challenges must ask for it. On a full disk the name is this process's alone.
    pub fn deployment(&self) -> Result<Deployment, OpenError> {
        let mut held = self.deployment.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(deployment) = &*held {
            return Ok(deployment.clone());
        }
        let named = || self.disk.with(|database| deployment::named(database, self.data_dir.as_deref()));
        let deployment = match named() {
            Err(full) if full.is_full() => {
                self.disk.release_room();
                named().or_else(|error| if error.is_full() { deployment::unwritten() } else { Err(error) })
            }
            named => named,
        }?;
        Ok(held.insert(deployment).clone())
    }

    /// Fingerprint of the wrapping key that the store belongs to; `None` before [`Self::bind_key`]. A store
    /// that has one can be used with that key only: a caller without a key at hand must not make a new one
    /// for it.
    pub fn bound_key(&self) -> Result<Option<String>, OpenError> {
        self.disk.with(meta::bound_key)
    }

    /// Ties the store to the wrapping key with this fingerprint, until [`Self::move_to_key`].
    /// [`OpenError::OtherKey`] if it belongs to another: its secrets could not be opened, and new ones would
    /// be lost to the owner of the first key.
    pub fn bind_key(&self, key_id: &str) -> Result<(), OpenError> {
        self.disk.with(|database| meta::bind_key(database, key_id))
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

    /// Makes the changes that `work` asks for, all of them or none, in one transaction with those of others
    /// who write at the same time; on disk when this returns. For what ends or records something: it may use
    /// up the reserve.
    ///
    /// A caller that goes away does not stop it. `work` may be called several times, in transactions of which
    /// one is committed.
    async fn write(
        &self,
        work: impl Fn(&mut View<'_>) -> Result<Vec<Edit>, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.writer.write(Write::new(Use::Ends, work)).await
    }

    /// The same, for what begins something, and for what can be done without: [`StoreError::Full`] while
    /// there is no room for what will end it.
    async fn write_if_room(
        &self,
        work: impl Fn(&mut View<'_>) -> Result<Vec<Edit>, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.writer.write(Write::new(Use::Begins, work)).await
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

#[cfg(test)]
mod tests;
