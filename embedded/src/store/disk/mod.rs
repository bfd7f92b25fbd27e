//! The database of a running broker: opened anew in its place when it failed.
//!
//! redb refuses everything after one failed read or write, for good: what it has in memory may not be what
//! the disk has. So it is closed, and opened from the disk as it would be after a restart: the last
//! transaction that was acknowledged is there, and of the one that failed all or nothing.

mod view;

use std::{
    fmt,
    path::Path,
    slice,
    sync::{Mutex, MutexGuard, PoisonError, RwLock, TryLockError},
    time::{Duration, Instant},
};

use keybroker_common::{panics::caught_here, store::StoreError};
use redb::{Builder, Database, ReadTransaction, ReadableDatabase as _, backends::InMemoryBackend};

use super::{
    OpenError,
    errors::failed,
    file::{self, Check},
    meta,
    opening::{caught_opening, open},
    room::Room,
};

pub(super) use view::{Edit, View};

/// Each attempt to open it reads the whole file. The next is made after so many times as long as the last one
/// took,
const PAUSE: u32 = 10;
/// and after this long at the latest.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The purpose of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It begins something, and needs room for what will end it.
    Begins,
    /// It ends something or records it, and may use up the reserve.
    Ends,
}

/// A write: what it is for, and what it changes.
pub(super) struct Write {
    what: Use,
    work: Box<Work>,
}

/// Reads in the transaction, and gives the changes, of which all are made or none. It may be called several
/// times, in transactions of which one is committed.
type Work = dyn Fn(&mut View<'_>) -> Result<Vec<Edit>, StoreError> + Send;

/// The outcome of a write.
pub(super) type Outcome = Result<(), StoreError>;

impl Write {
    pub(super) fn new(
        what: Use,
        work: impl Fn(&mut View<'_>) -> Result<Vec<Edit>, StoreError> + Send + 'static,
    ) -> Self {
        Self { what, work: Box::new(work) }
    }
}

/// How a database is opened again.
type Open = Box<dyn Fn() -> Result<Database, OpenError> + Send + Sync>;

/// A database, and whether it can be used.
pub(super) struct Disk {
    /// `None` after it failed, until it could be opened again. Every user holds the lock to read: it is never
    /// opened again under a transaction.
    database: RwLock<Option<Database>>,
    open: Open,
    /// `None` in memory: there is none to keep.
    room: Option<Room>,
    state: Mutex<State>,
}

/// The outcome of the last operations.
#[derive(Debug, Default)]
struct State {
    /// Why the last write failed, or a read since. A read alone does not show that the disk can be written to
    /// again.
    failed: Option<StoreError>,
    /// Whether the database must be opened anew.
    broken: bool,
    /// When that may be tried next, if it was tried.
    next: Option<Instant>,
}

impl Disk {
    /// The store in `data_dir`, made if there is none.
    pub(super) fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let room = Room::of(data_dir);
        let open = || caught_opening(|| open(data_dir, Check::AfterUncleanStop));
        let (file, database) = match open() {
            // Some file systems need room even for what is changed in its place.
            Err(error) if error.is_full() && room.release() => open()?,
            opened => opened?,
        };
        // This very file again, and no other that may have its name by then.
        let open = move || {
            let database = file::database(&file, Check::Always)?;
            meta::check(&database)?;
            Ok(database)
        };
        Ok(Self::over(database, Box::new(open), Some(room)))
    }

    /// A store in memory. There is nothing to open anew: one that failed stays closed.
    pub(super) fn in_memory() -> Result<Self, OpenError> {
        let database = Builder::new().create_with_backend(InMemoryBackend::new())?;
        meta::adopt(&database)?;
        Ok(Self::over(database, Box::new(|| Err(OpenError::Missing)), None))
    }

    /// `database`, to be opened anew by `open`.
    pub(super) fn over(database: Database, open: Open, room: Option<Room>) -> Self {
        Self { database: RwLock::new(Some(database)), open, room, state: Mutex::default() }
    }

    /// Runs `work` on the database, while the store is set up.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, OpenError>,
    ) -> Result<T, OpenError> {
        let held = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = held.as_ref().ok_or(OpenError::Io(std::io::ErrorKind::NotConnected))?;
        caught_opening(|| work(database))
    }

    /// Runs `work` in a read transaction. Does not wait while the database is opened again, which may take a
    /// while.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let held = match self.database.try_read() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(unavailable("the store is being opened anew")),
        };
        let done = caught(|| work(&held.as_ref().ok_or_else(closed)?.begin_read().map_err(failed)?));
        drop(held);
        self.note(&done, false);
        done
    }

    /// Commits `writes` together, in this order, with one sync. Each sees what those before it changed. One
    /// that fails changes nothing, and the others go on. Blocks.
    ///
    /// If the database itself fails, all of it is undone. Then each write is done alone, with an outcome of
    /// its own.
    pub(super) fn write(&self, writes: &[Write]) -> Vec<Outcome> {
        self.mend();
        match (self.attempt(writes), writes) {
            (Ok(outcomes), _) => outcomes,
            (Err(first), [write]) => vec![self.again(write, first)],
            (Err(first), _) => {
                self.mend();
                let mut outcomes = vec![Err(first.clone()); writes.len()];
                // If one that begins something finds no room, none that ends something suffers by it.
                for what in [Use::Ends, Use::Begins] {
                    let each = writes.iter().zip(&mut outcomes).filter(|(write, _)| write.what == what);
                    each.for_each(|(write, outcome)| *outcome = once(&first, self.alone(write)));
                }
                outcomes
            }
        }
    }

    fn alone(&self, write: &Write) -> Outcome {
        self.attempt_one(write).unwrap_or_else(|first| self.again(write, first))
    }

    /// The second attempt at a write that ends or records something, if the database could be opened again,
    /// or the reserve makes room.
    fn again(&self, write: &Write, first: StoreError) -> Outcome {
        let released = write.what == Use::Ends
            && matches!(first, StoreError::Full(_))
            && self.room.as_ref().is_some_and(Room::release);
        if released {
            self.state().next = None;
        }
        self.mend();
        let again = match &first {
            StoreError::Full(_) => released,
            // It may have been another's write that failed, and this one that was not begun.
            StoreError::Unavailable(_) => write.what == Use::Ends && !self.is_broken(),
            _ => false,
        };
        if again { once(&first, self.attempt_one(write).unwrap_or_else(Err)) } else { Err(first) }
    }

    /// Whether it can be used: there is room, and the last operation succeeded, or one does now. Blocks.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.has_room()?;
        if self.state().failed.is_none() {
            return Ok(());
        }
        self.mend();
        self.attempt(&[]).map(drop)
    }

    fn has_room(&self) -> Result<(), StoreError> {
        self.room.as_ref().map_or(Ok(()), Room::check)
    }

    /// Gives the reserve to what starts the broker, where a write of that found no room.
    pub(super) fn release_room(&self) {
        if let Some(room) = &self.room {
            room.release();
        }
        {
            let mut state = self.state();
            (state.broken, state.next) = (true, None);
        }
        self.mend();
    }

    /// Whether it failed, and waits to be opened anew.
    pub(super) fn is_broken(&self) -> bool {
        self.state().broken
    }

    /// Opens the database anew if it failed, unless that was tried just now. Waits for those who use it, and
    /// blocks.
    pub(super) fn mend(&self) {
        if !self.is_broken() {
            return;
        }
        let mut held = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        {
            let state = self.state();
            if !state.broken || state.next.is_some_and(|next| began < next) {
                return;
            }
        }
        // One that panicked has poisoned locks, and may panic once more on its way out.
        let closing = held.take();
        let _ = caught_here(move || drop(closing));
        let opened = caught(|| Ok((self.open)()));
        let took = began.elapsed();
        let mut state = self.state();
        state.next = Some(began + took + (took * PAUSE).min(LONGEST_PAUSE));
        match opened {
            Ok(Ok(database)) => {
                *held = Some(database);
                state.broken = false;
                tracing::info!("the store was opened anew");
            }
            Ok(Err(cause)) => tracing::error!(%cause, "the store cannot be opened anew"),
            Err(cause) => tracing::error!(%cause, "the store cannot be opened anew"),
        }
    }

    fn attempt_one(&self, write: &Write) -> Result<Outcome, StoreError> {
        self.attempt(slice::from_ref(write)).map(|outcomes| outcomes.into_iter().collect())
    }

    /// Does `writes` in one transaction. An error is the database's: nothing is known to be written then. If
    /// there are none, it shows that the disk can be written to.
    fn attempt(&self, writes: &[Write]) -> Result<Vec<Outcome>, StoreError> {
        let begins = writes.iter().any(|write| write.what == Use::Begins);
        let room = if begins { self.has_room() } else { Ok(()) };
        let held = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let done = caught(|| {
            let transaction = held.as_ref().ok_or_else(closed)?.begin_write().map_err(failed)?;
            let mut view = View::of(&transaction);
            let mut changes = writes.is_empty();
            let mut outcomes = Vec::with_capacity(writes.len());
            for write in writes {
                outcomes.push(match (write.what, &room) {
                    (Use::Begins, Err(full)) => Err(full.clone()),
                    _ => made(write, &mut view)?.map(|changed| changes |= changed),
                });
            }
            drop(view);
            if changes {
                transaction.commit().map_err(failed)?;
            } else {
                transaction.abort().map_err(failed)?;
            }
            Ok(outcomes)
        });
        drop(held);
        self.note(&done, true);
        done
    }

    fn note<T>(&self, done: &Result<T, StoreError>, written: bool) {
        let mut state = self.state();
        match done {
            Err(cause @ (StoreError::Unavailable(_) | StoreError::Full(_))) => {
                if !state.broken {
                    tracing::error!(%cause, "the store failed: it is opened anew");
                }
                state.broken = true;
                state.failed = Some(cause.clone());
            }
            // The disk works: if it fails again, there is reason to open it at once.
            _ if written && !state.broken => (state.failed, state.next) = (None, None),
            _ => {}
        }
    }

    // Its fields are assigned and nothing else: no panic comes between.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("state", &self.state).finish_non_exhaustive()
    }
}

/// Makes the changes of a write, and says whether there are any. The outer error is the database's: the
/// transaction must be undone.
fn made(write: &Write, view: &mut View<'_>) -> Result<Result<bool, StoreError>, StoreError> {
    match (write.work)(view).and_then(|edits| view.admit(&edits).map(|()| edits)) {
        Ok(edits) => {
            view.make(&edits)?;
            Ok(Ok(!edits.is_empty()))
        }
        Err(cause @ (StoreError::Unavailable(_) | StoreError::Full(_))) => Err(cause),
        Err(cause) => Ok(Err(cause)),
    }
}

/// The outcome of a write that is done again after `first`. The first attempt may have landed after all, and
/// stand in the way of the second.
fn once(first: &StoreError, second: Outcome) -> Outcome {
    match (first, second) {
        (StoreError::Unavailable(_) | StoreError::Full(_), Err(StoreError::Conflict)) => Err(first.clone()),
        (_, second) => second,
    }
}

fn unavailable(cause: &str) -> StoreError {
    StoreError::Unavailable(cause.to_owned())
}

fn closed() -> StoreError {
    unavailable("the store failed, and could not be opened anew")
}

/// A panic within redb leaves its locks poisoned: to the caller it is one more way to fail.
fn caught<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    caught_here(work).unwrap_or_else(|panicked| Err(unavailable(&panicked.to_string())))
}

#[cfg(test)]
mod tests;
