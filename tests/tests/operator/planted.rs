//! Files that are not the program's, under names that it could take for its own: links that another user put
//! into the data directory, and a person's own files.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use keybroker_common::clock::SystemClock;
use keybroker_embedded::store::EmbeddedStore;
use keybroker_tests::{
    operator::Operator,
    program::{self, Ended},
    server::Home,
    world::anchors,
};
use tempfile::TempDir;

use crate::socket::{list, serve, socket};

const VICTIM: &str = "a file of root's";

/// A file that a link leads to, with a mode that the program gives no file of its own.
struct Victim(PathBuf);

impl Victim {
    fn behind(link: &Path, directory: &Path) -> Self {
        let file = directory.join("victim");
        fs::write(&file, VICTIM).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        symlink(&file, link).unwrap();
        Self(file)
    }

    #[track_caller]
    fn assert_as_it_was(&self, ended: &Ended) {
        assert_eq!(fs::read_to_string(&self.0).unwrap(), VICTIM, "{ended:?}");
        assert_eq!(fs::metadata(&self.0).unwrap().permissions().mode() & 0o7777, 0o644, "{ended:?}");
    }
}

#[test]
fn a_command_follows_no_link_in_the_data_directory() {
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().join("data");
    drop(EmbeddedStore::open(&data_dir, Arc::new(SystemClock)).unwrap());
    let operator = Operator::of_directory(&data_dir, "file");
    // The reserve is made in the link's place.
    let victim = Victim::behind(&data_dir.join("keybroker.reserve"), dir.path());
    let ended = operator.run(&["token", "create"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    victim.assert_as_it_was(&ended);

    fs::remove_file(data_dir.join("keybroker.redb")).unwrap();
    symlink(&victim.0, data_dir.join("keybroker.redb")).unwrap();
    let ended = operator.run(&["workload", "list"]);
    let said = ended.log.contains("the store's file is a link") && ended.log.contains("\nhint: no link");
    assert!(ended.code == Some(5) && said, "{ended:?}");
    victim.assert_as_it_was(&ended);
}

#[test]
fn a_link_to_the_brokers_socket_is_not_followed() {
    let home = Home::new(&anchors());
    let server = serve(&home);
    assert_eq!(list(&home).code, Some(0));
    let real = home.data_dir().join("real.sock");
    fs::rename(socket(&home), &real).unwrap();
    symlink(&real, socket(&home)).unwrap();
    let ended = list(&home);
    assert!(ended.code == Some(6) && ended.log.contains("is a link, or no socket"), "{ended:?}");
    server.terminate();
}

#[test]
fn a_manual_page_replaces_a_link_and_not_what_it_leads_to() {
    let dir = TempDir::new().unwrap();
    let pages = dir.path().join("man");
    fs::create_dir(&pages).unwrap();
    let victim = Victim::behind(&pages.join("keybroker.1"), dir.path());
    let ended = program::run(&["man", "--dir", pages.to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    victim.assert_as_it_was(&ended);
    assert!(fs::read_to_string(pages.join("keybroker.1")).unwrap().contains("keybroker"));
}
