//! Keeps secrets out of swap and of core files.

use std::fs;

use rustix::{
    mm::{MlockAllFlags, mlockall},
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit},
};

use crate::{failure::Failure, root::Root};

/// Locks all memory of this process, that it has and that it will have, and forbids core files and debuggers.
/// Pages that are never touched take up no memory by that.
///
/// If the memory cannot be locked and the machine swaps, this fails: the swap of a guest is its host's disk.
pub fn protect(root: &Root) -> Result<(), Failure> {
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, no_core)
        .map_err(|error| Failure::doing("core files cannot be forbidden", error))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| Failure::doing("core files cannot be forbidden", error))?;
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    match mlockall(flags) {
        Err(error) if swaps(root) => {
            Err(Failure::doing("memory cannot be locked, and this machine swaps", error))
        }
        _ => Ok(()),
    }
}

/// Whether anything is swapped to: the table has a line for each, below its head. Yes if that is not known.
fn swaps(root: &Root) -> bool {
    fs::read_to_string(root.path("/proc/swaps")).map_or(true, |table| table.lines().count() > 1)
}
