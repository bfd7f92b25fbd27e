//! From the document to opened disks.

use std::fs;

use keybroker_guest::{disk::DiskError, exit::Exit, failure::Failure};
use keybroker_initdata::luks::{DiskRefused, HeaderError};

use crate::{
    doubles::{Answer, Cabinet, DECISION, When, refusal},
    headers,
    world::World,
};

#[test]
fn every_disk_of_the_document_is_opened_with_the_judged_header() {
    let world = World::new();
    let (outcome, exit) = world.unlock(&world.processor());
    assert!(outcome.is_ok());
    assert_eq!(exit, Exit::Done);
    assert_eq!(world.console.lines(), [format!("keybroker-guest: opened root, data (decision {DECISION})")]);
    let opened = world.cabinet.opened.lock().unwrap();
    let [root, data] = &opened[..] else { panic!("{} disks", opened.len()) };
    assert_eq!((root.name.as_str(), &root.device), ("root", &world.path("/dev/root")));
    assert_eq!(
        (root.key.as_slice(), data.key.as_slice()),
        (&b"correct horse\n\0battery"[..], &b"another"[..])
    );
    assert!(headers::device(4).starts_with(&root.header) && headers::device(5).starts_with(&data.header));
    assert_eq!(world.network.releases().len(), 1, "one request for all disks");
    assert_eq!(world.copies(), 0, "a copy of a header is left");
}

#[test]
fn disks_may_share_a_secret_which_is_asked_for_once() {
    let mut world = World::new();
    world.settings.disks[1].secret = "passphrase".to_owned();
    assert_eq!(world.unlock(&world.processor()).1, Exit::Done);
    assert_eq!(world.network.releases()[0]["secrets"], serde_json::json!(["passphrase"]));
    let opened = world.cabinet.opened.lock().unwrap();
    assert_eq!(opened[0].key, opened[1].key);
}

/// Runs `unlock` with a disk that is refused before anybody is asked.
fn refused(world: &World, line: &str) -> DiskError {
    let (outcome, exit) = world.unlock(&world.processor());
    assert_eq!(exit, Exit::DiskRefused);
    assert_eq!(world.last_line(), format!("keybroker-guest: disk refused: {line}"));
    assert_eq!(world.network.urls(), [""; 0], "somebody was asked");
    assert_eq!(world.cabinet.opened.lock().unwrap().len(), 0);
    assert_eq!(world.copies(), 0);
    match outcome {
        Err(Failure::Disk { error, .. }) => error,
        other => panic!("{other:?}"),
    }
}

/// The host's swapped disk: another one than the document's, though it is a disk of this broker.
#[test]
fn another_disk_is_refused_before_anybody_is_asked() {
    let world = World::new();
    world.write_device("data", &headers::device(4));
    let line = "data: another volume key than the document's: another disk, or encrypted anew";
    assert!(matches!(refused(&world, line), DiskError::Refused(DiskRefused::VolumeKey)));
}

#[test]
fn the_null_cipher_is_refused_before_anybody_is_asked() {
    let world = World::new();
    let mut device = headers::device(4);
    device[8..20].copy_from_slice(b"cipher_null\0");
    world.write_device("root", &device);
    assert!(matches!(
        refused(&world, "root: the null cipher"),
        DiskError::Refused(DiskRefused::Header(HeaderError::NullCipher))
    ));
}

#[test]
fn a_disk_that_is_withheld_ends_the_boot() {
    let world = World::new();
    fs::remove_file(world.path("/dev/data")).unwrap();
    let line = "data: the device /dev/data did not come within 60 s";
    assert!(matches!(refused(&world, line), DiskError::Absent { seconds: 60, .. }));
    assert_eq!(world.console.lines()[0], "keybroker-guest: waiting for the device /dev/data");
}

/// A host's disk with volumes could have the name, and the boot would go on from it.
#[test]
fn a_mapping_of_that_name_that_is_there_already_is_refused() {
    let line = "data: /dev/mapper/data is there already, and this guest has not made it";
    for uuid in ["LVM-0123", "CRYPT-LUKS2-0123", ""] {
        let world = World::new();
        world.map("data", uuid);
        assert!(matches!(refused(&world, line), DiskError::Taken(name) if name == "data"));
    }
    let world = World::new();
    fs::write(world.path("/dev/mapper/data"), "").unwrap();
    assert!(matches!(refused(&world, line), DiskError::Taken(name) if name == "data"));
}

#[test]
fn a_refusal_opens_nothing() {
    let mut world = World::new();
    world.network = world.network.then([Answer::Sound, refusal(403, Some(DECISION))]);
    let (_, exit) = world.unlock(&world.processor());
    assert_eq!(exit, Exit::Refused);
    assert_eq!(
        world.last_line(),
        format!(
            "keybroker-guest: refused: the broker refused this guest: The evidence is refused. (decision {DECISION}; ask the \
             operator for: keybroker audit {DECISION})"
        )
    );
    assert_eq!((world.cabinet.opened.lock().unwrap().len(), world.copies()), (0, 0));
}

#[test]
fn an_opener_that_fails_before_or_after_ends_the_boot() {
    for when in [When::Before, When::After] {
        let mut world = World::new();
        world.cabinet = Cabinet { failure: Some((when, || DiskError::Passphrase)), ..Cabinet::default() };
        let (outcome, exit) = world.unlock(&world.processor());
        assert_eq!(exit, Exit::DiskRefused);
        assert!(matches!(outcome, Err(Failure::Disk { error: DiskError::Passphrase, .. })));
        assert_eq!(
            world.last_line(),
            "keybroker-guest: disk refused: root: the broker's secret opens no keyslot"
        );
        // The second disk is not opened behind the first one's failure.
        let opened = world.cabinet.opened.lock().unwrap().len();
        assert_eq!(opened, usize::from(when == When::After));
        assert_eq!(world.copies(), 0);
    }
}
