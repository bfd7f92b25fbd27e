//! A data directory in which somebody put links under the names of the store's files. Root may have it open.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use keybroker_common::secret::WrappedSecret;
use keybroker_testing::earlier;
use rustix::fs::{CWD, Mode, mkfifoat};
use tempfile::TempDir;

use super::{mode, reopen};
use crate::store::{EmbeddedStore, OpenError, deployment, file, room, upgrade};

const VICTIM: &str = "a file of root's";

/// A data directory, and beside it the file that a link in it leads to.
struct Planted {
    dir: TempDir,
}

impl Planted {
    fn new(link: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let planted = Self { dir };
        fs::create_dir(planted.data_dir()).unwrap();
        fs::write(planted.victim(), VICTIM).unwrap();
        fs::set_permissions(planted.victim(), Permissions::from_mode(0o644)).unwrap();
        symlink(planted.victim(), planted.data_dir().join(link)).unwrap();
        planted
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn victim(&self) -> PathBuf {
        self.dir.path().join("victim")
    }

    #[track_caller]
    fn assert_victim_is_as_it_was(&self) {
        assert_eq!(fs::read_to_string(self.victim()).unwrap(), VICTIM);
        assert_eq!(mode(&self.victim()), 0o644);
    }
}

fn is_file(path: &Path) -> bool {
    path.symlink_metadata().unwrap().is_file()
}

#[test]
fn a_link_for_the_store_is_not_followed() {
    for link in [file::NAME, file::WORKSHOP] {
        let planted = Planted::new(link);
        assert_eq!(reopen(&planted.data_dir()).unwrap_err(), OpenError::NotAFile, "{link}");
        planted.assert_victim_is_as_it_was();
    }
    // Nor does a link to a store lead to it.
    let (real, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(reopen(real.path()).unwrap());
    symlink(real.path().join(file::NAME), dir.path().join(file::NAME)).unwrap();
    assert_eq!(reopen(dir.path()).unwrap_err(), OpenError::NotAFile);
    assert_eq!(EmbeddedStore::compact(dir.path()).unwrap_err(), OpenError::NotAFile);
}

#[test]
fn a_pipe_for_the_store_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    mkfifoat(CWD, dir.path().join(file::NAME), Mode::RUSR | Mode::WUSR).unwrap();
    assert_eq!(reopen(dir.path()).unwrap_err(), OpenError::NotAFile);
}

#[test]
fn links_for_reserve_and_start_are_taken_away_and_the_files_made() {
    for link in [room::NAME, deployment::NAME] {
        let planted = Planted::new(link);
        let store = reopen(&planted.data_dir()).unwrap();
        store.deployment().unwrap();
        store.disk.check().unwrap();
        planted.assert_victim_is_as_it_was();
        assert!(is_file(&planted.data_dir().join(link)), "{link}");
    }
}

/// A link to a file of the reserve's length keeps no room.
#[test]
fn a_link_is_no_reserve() {
    let planted = Planted::new(room::NAME);
    fs::File::create(planted.victim()).unwrap().set_len(room::RESERVE).unwrap();
    assert_eq!(room::reserved(&planted.data_dir()), 0);
}

#[test]
fn a_link_for_the_copy_of_an_old_store_is_taken_away() {
    let planted = Planted::new(&format!("{}.new", upgrade::BACKUP));
    let sealed =
        WrappedSecret { key_id: "local:0123456789abcdef".to_owned(), ciphertext: b"sealed".to_vec() };
    earlier::store_of_0_1(&planted.data_dir().join(file::NAME), b"{}", &sealed);
    drop(reopen(&planted.data_dir()).unwrap());
    planted.assert_victim_is_as_it_was();
    assert!(is_file(&planted.data_dir().join(upgrade::BACKUP)));
}
