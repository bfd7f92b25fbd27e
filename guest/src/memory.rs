//! Keeps secrets out of swap and of core files.

use std::fs;

use rustix::{
    io::Errno,
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
    locked(mlockall(flags), root)
}

/// Whether the outcome of locking will do.
fn locked(outcome: Result<(), Errno>, root: &Root) -> Result<(), Failure> {
    match outcome {
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
    const DISK: &str = "/dev/vda3                               partition\t1048572\t\t0\t\t-2\n";

    /// A machine with this table of what it swaps to.
    fn machine(table: Option<&str>) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        if let Some(table) = table {
            fs::create_dir(directory.path().join("proc")).unwrap();
            fs::write(directory.path().join("proc/swaps"), table).unwrap();
        }
        let root = Root::at(directory.path());
        (directory, root)
    }

    #[test]
    fn memory_that_is_not_locked_will_do_only_where_nothing_is_swapped_to() {
        let swapping = format!("{HEAD}{DISK}");
        for (table, will_do) in [(Some(HEAD), true), (Some(&swapping), false), (None, false)] {
            let (_directory, root) = machine(table);
            let outcome = locked(Err(Errno::NOMEM), &root).map_err(|failure| failure.to_string());
            let refused = "not done: memory cannot be locked, and this machine swaps: Cannot allocate memory \
                           (os error 12)";
            assert_eq!(outcome, if will_do { Ok(()) } else { Err(refused.to_owned()) }, "{table:?}");
            locked(Ok(()), &root).unwrap();
        }
    }
}
