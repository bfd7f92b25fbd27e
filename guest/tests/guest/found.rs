//! Where a document is found, and what binds it.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use jiff::Timestamp;
use keybroker_guest::{
    command_line,
    console::Kept,
    document::{self, Bond, FindError, Place},
    exit::Exit,
    failure::Failure,
    look::LookError,
    report::{self, ReportError},
    time::{DRIVERS, Time},
    unbound,
    unlock::unlock,
};
use keybroker_initdata::{Binding, Document, DocumentError};

use crate::{
    doubles::{ManualTime, Processor},
    world::World,
};

fn put(world: &World, place: Place, bytes: &[u8]) {
    let path = world.path(place.path());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn refused(world: &World) -> FindError {
    let error = document::find(&world.root).unwrap_err();
    assert_eq!(Failure::from(document::find(&world.root).unwrap_err()).exit(), Exit::NotTrusted);
    error
}

#[test]
fn a_document_is_found_in_each_place() {
    for place in Place::ALL {
        let world = World::new();
        let found = world.found(place);
        assert_eq!(found.document, world.document());
        assert_eq!(found.digest, world.document().digest());
    }
}

#[test]
fn a_built_in_document_cannot_be_replaced_from_outside() {
    let mut world = World::new();
    world.found(Place::BuiltIn);
    let built_in = world.document();
    world.settings.workload = "evil".to_owned();
    for place in [Place::FwCfg, Place::Partition, Place::Disk] {
        put(&world, place, world.document().text().as_bytes());
    }
    let found = document::find(&world.root).unwrap();
    assert_eq!((found.place, found.document), (Place::BuiltIn, built_in));
}

#[test]
fn on_a_disk_the_text_ends_at_the_first_zero() {
    let world = World::new();
    let mut bytes = world.document().text().as_bytes().to_vec();
    bytes.resize(1024 * 1024, 0);
    put(&world, Place::Partition, &bytes);
    assert_eq!(document::find(&world.root).unwrap().digest, world.document().digest());
}

#[test]
fn without_a_document_nothing_is_done() {
    let error = refused(&World::new());
    assert!(matches!(error, FindError::Absent));
    assert_eq!(
        Failure::from(error).to_string(),
        "not trusted here: there is no init data document: not in the initrd, not in fw_cfg, not on a disk"
    );
}

/// After the boot the initrd is gone, and with it a document that was built in. The host's is not followed.
#[test]
fn the_document_of_the_boot_is_kept_for_the_programs_after_it() {
    for binding in [Binding::Measured, Binding::HostData] {
        let mut world = World::new();
        world.settings.binding = binding;
        let (booted, found) = (world.document(), world.found(Place::BuiltIn));
        let processor = world.processor();
        unlock(&world.root, &world.asker(&found, &processor), &world.cabinet).unwrap();
        fs::remove_file(world.path(Place::BuiltIn.path())).unwrap();
        world.settings.workload = "evil".to_owned();
        put(&world, Place::FwCfg, world.document().text().as_bytes());
        let found = document::find(&world.root).unwrap();
        assert_eq!((found.place, &found.document), (Place::Kept, &booted));
        let kept = fs::metadata(world.path(Place::Kept.path())).unwrap();
        assert_eq!(kept.permissions().mode() & 0o777, 0o600);
        // It is looked at like any other, and kept as it is.
        world.asker(&found, &processor).look().unwrap();
        document::keep(&world.root, &found).unwrap();
        assert_eq!(document::find(&world.root).unwrap().document, booted);
    }
}

#[test]
fn a_document_that_the_guest_is_not_bound_to_is_not_kept() {
    let world = World::new();
    let found = world.found(Place::FwCfg);
    let processor = Processor::new([1; 32]);
    let error = unlock(&world.root, &world.asker(&found, &processor), &world.cabinet).unwrap_err();
    assert!(matches!(error, Failure::Look(LookError::HostData)), "{error:?}");
    assert!(!world.path(Place::Kept.path()).exists());
}

/// The boot must go on from a disk of the document, and from nothing of that sort that the host could make.
#[test]
fn every_root_of_the_command_line_is_a_disk_of_the_document() {
    let world = World::new();
    fs::remove_file(world.path("/proc")).unwrap();
    fs::create_dir(world.path("/proc")).unwrap();
    let found = world.found(Place::BuiltIn);
    let checked = |line: &str| {
        fs::write(world.path("/proc/cmdline"), line).unwrap();
        command_line::check(&world.root, &found).map_err(|error| error.0)
    };
    for line in
        ["", "console=ttyS0 quiet\n", "ro root=/dev/mapper/root\n", "root=\"/dev/mapper/data\" rd.shell=0"]
    {
        assert_eq!(checked(line), Ok(()), "{line}");
    }
    for (line, value) in [
        ("root=/dev/mapper/cr-root", "/dev/mapper/cr-root"),
        ("root=/dev/mapper/root root=/dev/vdb", "/dev/vdb"),
        ("root=UUID=0199c5c2", "UUID=0199c5c2"),
        ("root=/dev/mapper/", "/dev/mapper/"),
        ("root=/dev/mapper/root/../cr-root", "/dev/mapper/root/../cr-root"),
        ("quiet \"root=/dev/vdb\"", "/dev/vdb"),
    ] {
        assert_eq!(checked(line), Err(value.to_owned()), "{line}");
    }
    let failure = Failure::from(command_line::check(&world.root, &found).unwrap_err());
    assert_eq!(failure.exit(), Exit::NotTrusted);
    assert_eq!(
        failure.to_string(),
        "not trusted here: the kernel command line has root=/dev/vdb, and the document has no disk of that name"
    );
}

/// A driver brings the host's document after this program began.
#[test]
fn a_document_and_an_interface_that_come_late_are_waited_for_within_bounds() {
    struct Late<'a>(&'a World, ManualTime);
    impl Time for Late<'_> {
        fn elapsed(&self) -> Duration {
            self.1.elapsed()
        }
        fn now(&self) -> Timestamp {
            self.1.now()
        }
        fn sleep(&self, pause: Duration) {
            self.1.sleep(pause);
            if self.1.elapsed() >= Duration::from_secs(9) {
                put(self.0, Place::FwCfg, self.0.document().text().as_bytes());
                fs::create_dir_all(self.0.path("/sys/kernel/config/tsm/report")).unwrap();
            }
        }
    }
    let world = World::new();
    let late = || Late(&world, ManualTime::default());
    let brief = Duration::from_secs(8);
    assert!(matches!(document::wait(&world.root, &late(), brief), Err(FindError::Absent)));
    assert!(matches!(report::wait(&world.root, &late(), brief), Err(ReportError::Absent(_))));
    assert!(report::wait(&world.root, &late(), DRIVERS).is_ok());
    assert_eq!(document::wait(&world.root, &late(), DRIVERS).unwrap().place, Place::FwCfg);
    // A document that is there and cannot be used is not waited for.
    put(&world, Place::FwCfg, b"version = 1");
    let time = late();
    assert!(matches!(document::wait(&world.root, &time, DRIVERS), Err(FindError::Malformed { .. })));
    assert_eq!(time.elapsed(), Duration::ZERO);
}

#[test]
fn documents_that_cannot_be_used_are_refused() {
    let world = World::new();
    put(&world, Place::FwCfg, b"version = \"0.2.0\"\n");
    assert!(matches!(refused(&world), FindError::Malformed { error: DocumentError::Version, .. }));
    put(&world, Place::FwCfg, b"\xff");
    assert!(matches!(refused(&world), FindError::NotText(_)));
    put(&world, Place::FwCfg, &[b' '; Document::MAX_LEN + 1]);
    assert!(matches!(refused(&world), FindError::TooLarge(_)));
    fs::create_dir_all(world.path(Place::BuiltIn.path())).unwrap();
    // A place that cannot be read does not give way to the next one, which is the host's.
    assert!(matches!(refused(&world), FindError::Unreadable { .. }));
}

#[test]
fn a_document_says_what_binds_it() {
    let rows = [
        (Binding::HostData, Place::BuiltIn, Bond::HostData),
        (Binding::HostData, Place::FwCfg, Bond::HostData),
        (Binding::Measured, Place::BuiltIn, Bond::Measured),
        // The guest does not take it: see `looks`.
        (Binding::Measured, Place::FwCfg, Bond::Measured),
        (Binding::Nothing, Place::BuiltIn, Bond::Nothing),
        (Binding::Nothing, Place::Partition, Bond::Nothing),
    ];
    for (binding, place, bond) in rows {
        let mut world = World::new();
        world.settings.binding = binding;
        assert_eq!(world.found(place).bond(), bond, "{binding:?} {place:?}");
    }
}

#[test]
fn the_console_says_at_every_run_what_is_not_bound() {
    let mut world = World::new();
    let warned = |world: &World| {
        let kept = Kept::default();
        unbound::warn(&world.root, &world.found(Place::FwCfg), &kept);
        kept.lines()
    };
    assert_eq!(warned(&world), [""; 0]);
    world.settings.binding = Binding::Nothing;
    let unbound = "keybroker-guest: warning: nothing binds this guest to its document: the host can put another \
                   in its place";
    assert_eq!(warned(&world), [unbound]);
    fs::create_dir_all(world.path("/run/keybroker")).unwrap();
    fs::write(world.path(unbound::UNMEASURED), "").unwrap();
    let unmeasured = "keybroker-guest: warning: the command line is not measured: a host that withholds the disk \
                      can get a shell";
    assert_eq!(warned(&world), [unbound, unmeasured]);
}
