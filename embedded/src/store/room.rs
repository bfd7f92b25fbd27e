//! Room on the disk: what is kept aside for the writes that end something or record it, when there is none
//! for others.
//!
//! A disk fills up with what others write, too, so what is free is no reserve: a file of its own is.

use std::{
    fs::{File, remove_file},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use keybroker_common::store::StoreError;
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::errors;
use crate::files;

/// Name of the reserve in the data directory.
pub(super) const NAME: &str = "keybroker.reserve";
/// Bytes of the reserve: some thousand records.
pub const RESERVE: u64 = 8 << 20;
/// Bytes that must be free beside the reserve, or nothing begins.
pub const HEADROOM: u64 = 8 << 20;

/// Bytes that are free where `directory` is. `None` where the file system does not say.
pub fn free(directory: &Path) -> io::Result<Option<u64>> {
    let found = statvfs(directory)?;
    Ok((found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize)))
}

/// Bytes that the reserve in `data_dir` keeps aside: all of [`RESERVE`], or none.
pub fn reserved(data_dir: &Path) -> u64 {
    let found = data_dir.join(NAME).symlink_metadata();
    let whole = found.is_ok_and(|metadata| metadata.is_file() && metadata.len() == RESERVE);
    if whole { RESERVE } else { 0 }
}

/// Whether an error says that there is no room.
pub(super) fn full(error: &io::Error) -> bool {
    errors::full(error.kind())
}

/// Says what is free in a directory, as [`free`] does.
pub(super) type Free = fn(&Path) -> io::Result<Option<u64>>;

/// The room of a data directory.
#[derive(Debug)]
pub(super) struct Room {
    data_dir: PathBuf,
    /// The free space there.
    free: Free,
    /// Whether it was told that there is none.
    told: AtomicBool,
}

impl Room {
    pub(super) fn of(data_dir: &Path) -> Self {
        Self::with_free(data_dir, free)
    }

    /// The same, where `free` says what is free.
    pub(super) fn with_free(data_dir: &Path, free: Free) -> Self {
        Self { data_dir: data_dir.to_owned(), free, told: AtomicBool::new(false) }
    }

    /// [`StoreError::Full`] unless something may begin: the reserve is whole, or can be made so, and enough
    /// is free beside it.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let checked = self.look();
        let full = checked.is_err();
        if self.told.swap(full, Ordering::Relaxed) != full {
            match &checked {
                Err(cause) => {
                    tracing::error!(%cause, "nothing is registered, and no guest attests: make room")
                }
                Ok(()) => tracing::info!("there is room again in the data directory"),
            }
        }
        checked
    }

    fn look(&self) -> Result<(), StoreError> {
        let missing = RESERVE - reserved(&self.data_dir);
        let needed = HEADROOM + missing;
        // Where the file system says nothing of what is free, a write will find out.
        match (self.free)(&self.data_dir).ok().flatten() {
            Some(free) if free < needed => Err(StoreError::Full(format!(
                "{free} bytes are free in the data directory, and {needed} are needed"
            ))),
            _ if missing > 0 => match self.keep() {
                Err(cause) if full(&cause) => Err(StoreError::Full(format!("the reserve: {cause}"))),
                // A directory that takes no other file is no want of room.
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Makes the reserve, whole or not at all.
    fn keep(&self) -> io::Result<()> {
        let path = self.data_dir.join(NAME);
        let mut file = files::make_anew(&path, 0o600)?;
        let kept = fill(&mut file).and_then(|()| file.sync_all());
        kept.inspect_err(|_| drop(remove_file(path)))
    }

    /// Gives the reserve to the next write. Returns whether there was any.
    pub(super) fn release(&self) -> bool {
        let whole = reserved(&self.data_dir) > 0;
        let released = whole && remove_file(self.data_dir.join(NAME)).is_ok();
        if released {
            tracing::error!(
                "the disk is full: the reserve of {RESERVE} bytes is used up for records and revocations"
            );
        }
        released
    }
}

/// Has the file system set the reserve's blocks aside. One that cannot is given bytes that it cannot leave
/// out either.
fn fill(file: &mut File) -> io::Result<()> {
    match fallocate(&*file, FallocateFlags::empty(), 0, RESERVE) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        allocated => return Ok(allocated?),
    }
    let mut block = vec![0; 64 << 10];
    for _ in 0..RESERVE / block.len() as u64 {
        aws_lc_rs::rand::fill(&mut block).map_err(io::Error::other)?;
        file.write_all(&block)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(free: Free) -> (tempfile::TempDir, Room) {
        let directory = tempfile::tempdir().unwrap();
        let room = Room::with_free(directory.path(), free);
        (directory, room)
    }

    #[test]
    fn a_write_begins_only_with_a_whole_reserve_and_room() {
        let rows: [(Free, bool, bool); 5] = [
            (|_| Ok(Some(HEADROOM + RESERVE)), true, true),
            (|_| Ok(Some(HEADROOM + RESERVE - 1)), false, true),
            (|_| Ok(Some(HEADROOM - 1)), false, false),
            // A file system that does not say.
            (|_| Ok(None), true, true),
            (|_| Err(io::ErrorKind::Unsupported.into()), true, true),
        ];
        for (row, (free, without, with)) in rows.into_iter().enumerate() {
            let (directory, room) = room(free);
            assert_eq!(room.check().is_ok(), without, "row {row}");
            assert_eq!(reserved(directory.path()), if without { RESERVE } else { 0 }, "row {row}");
            room.keep().unwrap();
            let checked = room.check();
            assert_eq!(checked.is_ok(), with, "row {row}");
            assert!(with || matches!(checked, Err(StoreError::Full(_))), "{checked:?}");
        }
    }

    #[test]
    fn the_reserve_takes_up_its_room_and_is_released_once() {
        use std::os::unix::fs::MetadataExt as _;
        let (directory, room) = room(|_| Ok(None));
        assert!(!room.release(), "there is none yet");
        room.check().unwrap();
        let metadata = directory.path().join(NAME).metadata().unwrap();
        assert!(metadata.blocks() * 512 >= RESERVE, "{} blocks", metadata.blocks());
        assert_eq!(metadata.mode() & 0o777, 0o600);
        assert!(room.release());
        assert!(!room.release());
        // A file that a killed process left is no reserve.
        File::create(directory.path().join(NAME)).unwrap().set_len(RESERVE / 2).unwrap();
        assert_eq!(reserved(directory.path()), 0);
        room.check().unwrap();
        assert_eq!(reserved(directory.path()), RESERVE);
    }
}
