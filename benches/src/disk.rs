//! The disk that is measured along with the broker.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::figure::{at, ms};

/// Magic numbers of file systems in memory (statfs(2)).
const IN_MEMORY: [(u64, &str); 2] = [(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs")];
/// Writes that are timed.
const WRITES: usize = 200;
/// Bytes of each: a page of the store.
const PAGE: usize = 4096;

/// Makes `directory`. Refuses a file system in memory: syncing costs nothing there, and most of a boot is
/// waiting for the disk.
pub(crate) fn prepare(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let kind = u64::try_from(rustix::fs::statfs(directory)?.f_type)?;
    if let Some((_, name)) = IN_MEMORY.iter().find(|(magic, _)| *magic == kind & 0xFFFF_FFFF) {
        bail!(
            "{} is on {name}, which is memory: name a directory on a disk with --directory",
            directory.display()
        );
    }
    Ok(())
}

/// The median time in milliseconds for writing a page of a file anew and syncing it.
pub(crate) fn sync_time(directory: &Path) -> Result<f64> {
    let file = tempfile::tempfile_in(directory)?;
    // The file is there whole before anything is timed: the store's file grows seldom, too.
    file.write_all_at(&[0x5A; WRITES * PAGE], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    for write in 0..WRITES {
        let begin = Instant::now();
        file.write_all_at(&[0xA5; PAGE], u64::try_from(write * PAGE)?)?;
        file.sync_data()?;
        times.push(ms(begin.elapsed()));
    }
    at(&mut times, 50).context("no write")
}

/// Lets the system forget what it holds of `path` in memory, so that the next reader waits for the disk.
pub(crate) fn forget(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    file.sync_all()?;
    Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
}
