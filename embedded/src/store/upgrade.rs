//! The step from the format of release 0.1 to this release's.
//!
//! The rows stay as they are, for this release reads them. Challenges and sessions of 0.1 end with the step:
//! the guests that have one are refused and begin anew.

use std::{
    fs::{File, hard_link, remove_file},
    io::{self, Seek as _},
    path::Path,
};

use redb::{Database, TableHandle as _};

use super::{
    OpenError,
    file::{self, Check},
    meta,
    room::{self, Free, HEADROOM},
    tables,
};
use crate::files;

/// The format of release 0.1.
const OLD: &str = "1";
/// The tables that only it has.
const DROPPED: [&str; 4] = ["challenges", "challenges_by_expiry", "sessions", "sessions_by_expiry"];
/// Name of the copy in the data directory. If there is one already, the next has a number behind its name.
pub(super) const BACKUP: &str = "keybroker.redb.format-1";
/// The copy's name until it is whole.
const WORKSHOP: &str = "keybroker.redb.format-1.new";

/// The database of `file`, in this release's format if it was in the one of release 0.1. A copy of it as it
/// was is beside it then.
///
/// If this is cut off, the next start begins with it once more.
pub(super) fn upgraded(data_dir: &Path, file: &File, database: Database) -> Result<Database, OpenError> {
    if meta::format(&database)?.as_deref() != Some(OLD) {
        return Ok(database);
    }
    // A database that was closed in order can be opened by any release without a repair.
    database.close()?;
    file::lock(file)?;
    let copy = back_up(data_dir, file, room::free)?;
    let database = file::database(file, Check::AfterUncleanStop)?;
    convert(&database)?;
    tracing::warn!(%copy, "the store was of release 0.1: its format was changed, and a copy is kept");
    Ok(database)
}

/// Copies the file, which is locked: whole and on disk before it has its name. Gives the name. `free` says
/// what is free.
pub(super) fn back_up(data_dir: &Path, file: &File, free: Free) -> Result<String, OpenError> {
    let needed = file.metadata()?.len() + HEADROOM;
    let no_room = OpenError::NoRoomForBackup { needed };
    if free(data_dir).ok().flatten().is_some_and(|free| free < needed) {
        return Err(no_room);
    }
    let workshop = data_dir.join(WORKSHOP);
    let named = copy(file, &workshop).and_then(|()| named(data_dir, &workshop));
    let removed = remove_file(&workshop);
    let name = named.map_err(|error| if room::full(&error) { no_room } else { error.into() })?;
    removed?;
    files::sync(data_dir)?;
    Ok(name)
}

fn copy(file: &File, to: &Path) -> io::Result<()> {
    let mut copy = files::make_anew(to, 0o600)?;
    let mut from = file.try_clone()?;
    from.rewind()?;
    io::copy(&mut from, &mut copy)?;
    // The broker's user must be able to go back to 0.1, also if root makes the step.
    files::give(&copy, &file.metadata()?)?;
    copy.sync_all()
}

/// Gives the copy a name that is nothing else's: a copy of before is never overwritten.
fn named(data_dir: &Path, workshop: &Path) -> io::Result<String> {
    let mut name = BACKUP.to_owned();
    for number in 2_u32.. {
        match hard_link(workshop, data_dir.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => name = format!("{BACKUP}.{number}"),
            linked => return linked.map(|()| name),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Makes the step, in one transaction.
fn convert(database: &Database) -> Result<(), OpenError> {
    let transaction = database.begin_write()?;
    let tables: Vec<_> = transaction.list_tables()?.collect();
    for table in tables.into_iter().filter(|table| DROPPED.contains(&table.name())) {
        transaction.delete_table(table)?;
    }
    tables::create_tables(&transaction)?;
    meta::set_format(&transaction)?;
    Ok(transaction.commit()?)
}
