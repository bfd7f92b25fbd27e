//! How long processes wait for the processor: on a busy machine, most of the time that anything takes.

use std::{collections::BTreeMap, ffi::OsString, fs, process, time::Duration};

/// The waits of a process and of this one, from a moment on.
#[derive(Debug)]
pub struct Starved(Vec<(u32, BTreeMap<OsString, u64>)>);

impl Starved {
    /// Begins with `process`, which the test talks to.
    pub fn begin(process: u32) -> Self {
        Self([process, process::id()].map(|process| (process, waits(process))).into())
    }

    /// How long the two were kept from what they had to do: each by its thread that waited longest.
    pub fn since(&self) -> Duration {
        let longest = |(process, before): &(u32, BTreeMap<OsString, u64>)| {
            // The number of a thread that has ended may be another's by now.
            let begun = |thread: &OsString| before.get(thread).copied().unwrap_or_default();
            let waited = |(thread, now): (OsString, u64)| now.saturating_sub(begun(&thread));
            waits(*process).into_iter().map(waited).max().unwrap_or_default()
        };
        Duration::from_nanos(self.0.iter().map(longest).sum())
    }
}

/// How long each thread has waited, in nanoseconds; nothing where the system does not say.
fn waits(process: u32) -> BTreeMap<OsString, u64> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let wait = |thread: fs::DirEntry| {
        // Its time on the processor, its time in the queue for one, and how often it had one.
        let told = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        Some((thread.file_name(), told.split(' ').nth(1)?.parse().ok()?))
    };
    threads.filter_map(wait).collect()
}
