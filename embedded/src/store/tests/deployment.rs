//! The deployment's name: kept by a restart, drawn anew by a copy or a restore.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use keybroker_common::challenge::Deployment;

use super::reopen;
use crate::store::{EmbeddedStore, deployment, file};

fn named(data_dir: &Path) -> Deployment {
    reopen(data_dir).unwrap().deployment().unwrap()
}

/// Copies a data directory as `cp -a` does.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copied = to.join(entry.file_name());
        let _ = fs::remove_file(&copied);
        fs::copy(entry.path(), &copied).unwrap();
        let times = entry.metadata().unwrap();
        let times = fs::FileTimes::new()
            .set_modified(times.modified().unwrap())
            .set_accessed(times.accessed().unwrap());
        fs::File::options().write(true).open(copied).unwrap().set_times(times).unwrap();
    }
}

/// Waits until a file that is made gets a later time than the start that stands in the directory. The clock
/// of a file system may have ticks of milliseconds, and people do not restore a store within one.
fn tick(data_dir: &Path) {
    let changed = |path: &Path| {
        let made = fs::metadata(path).unwrap();
        (made.ctime(), made.ctime_nsec())
    };
    let (start, probe) = (changed(&data_dir.join(deployment::NAME)), data_dir.join("probe"));
    while {
        fs::write(&probe, "").unwrap();
        changed(&probe) <= start
    } {}
    fs::remove_file(probe).unwrap();
}

#[test]
fn a_restart_keeps_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let first = named(dir.path());
    for _ in 0..3 {
        let store = reopen(dir.path()).unwrap();
        assert_eq!(store.deployment().unwrap(), first);
        assert_eq!(store.deployment().unwrap(), first, "the same if it is asked for again");
    }
    assert_ne!(named(tempfile::tempdir().unwrap().path()), first);
}

#[test]
fn a_copy_has_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let first = named(&ours);
    copy(&ours, &theirs);
    assert_ne!(named(&theirs), first);
    assert_eq!(named(&ours), first);
}

/// Whether the whole directory is put back in its place, or the database alone.
#[test]
fn a_restored_store_has_another_name() {
    for whole in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (ours, backup) = (dir.path().join("ours"), dir.path().join("backup"));
        let first = named(&ours);
        copy(&ours, &backup);
        // An operator's command between them changes nothing, and a start changes what was saved.
        drop(reopen(&ours).unwrap());
        assert_eq!(named(&ours), first);
        tick(&ours);
        if whole {
            copy(&backup, &ours);
        } else {
            fs::copy(backup.join(file::NAME), ours.join(file::NAME)).unwrap();
        }
        drop(reopen(&ours).unwrap());
        let second = named(&ours);
        assert_ne!(second, first, "whole: {whole}");
        assert_eq!(named(&ours), second);
    }
}

#[test]
fn a_start_that_is_lost_costs_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let first = named(dir.path());
    fs::remove_file(dir.path().join(deployment::NAME)).unwrap();
    assert_ne!(named(dir.path()), first);
    // Killed between the file and the row that says which file it is.
    let second = named(dir.path());
    tick(dir.path());
    fs::remove_file(dir.path().join(deployment::NAME)).unwrap();
    fs::write(dir.path().join(deployment::NAME), "").unwrap();
    assert_ne!(named(dir.path()), second);
}

#[test]
fn a_store_in_memory_has_a_name_of_its_own() {
    let open = || EmbeddedStore::in_memory(std::sync::Arc::new(super::SystemClock)).unwrap();
    let (one, other) = (open(), open());
    assert_eq!(one.deployment().unwrap(), one.deployment().unwrap());
    assert_ne!(one.deployment().unwrap(), other.deployment().unwrap());
}
