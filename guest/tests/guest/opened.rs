//! The opener, with programs in cryptsetup's place, and with cryptsetup itself.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use keybroker_guest::disk::{self, Cryptsetup, DiskError, Opener as _};
use keybroker_initdata::{Disk, luks, volume_key::VolumeKeyDigest};

use crate::{headers, world::World};

const KEY: &[u8] = b"correct horse\n\0battery";

/// A program of the shell in cryptsetup's place.
fn program(world: &World, script: &str) -> PathBuf {
    let (text, path) = (world.path("/cryptsetup.sh"), world.path("/cryptsetup"));
    fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
    // This process does not write the file itself: a child that another test starts meanwhile would hold it
    // open, and what is open for writing cannot be run.
    let installed = Command::new("install").args(["-m", "700"]).args([&text, &path]).status().unwrap();
    assert!(installed.success());
    path
}

fn open(world: &World, script: &str) -> Result<(), DiskError> {
    let disk = &world.settings.disks[0];
    let device = world.path("/dev/root");
    let header = disk::copy(&world.root, disk, &device).unwrap();
    Cryptsetup::at(program(world, script)).open(disk, &device, &header, KEY)
}

#[test]
fn the_key_goes_by_descriptor_alone_and_as_it_is() {
    let world = World::new();
    let here = world.path("/").display().to_string();
    let script = format!("printf '%s\\n' \"$@\" >{here}/arguments; env >{here}/environment; cat >{here}/key");
    open(&world, &script).unwrap();
    assert_eq!(fs::read(world.path("/key")).unwrap(), KEY);
    let arguments = fs::read_to_string(world.path("/arguments")).unwrap();
    let (header, device) = (world.path("/run/keybroker/root.header"), world.path("/dev/root"));
    let expected = format!(
        "open --batch-mode --disable-external-tokens --tries 1 --key-file - --type luks1 --header {} -- {} root",
        header.display(),
        device.display()
    );
    assert_eq!(arguments.split_whitespace().collect::<Vec<_>>().join(" "), expected);
    let environment = fs::read_to_string(world.path("/environment")).unwrap();
    for line in environment.lines() {
        assert!(["LC_ALL=C", "PWD=", "_=", "SHLVL="].iter().any(|known| line.starts_with(known)), "{line}");
    }
}

#[test]
fn what_cryptsetup_says_becomes_an_error() {
    let world = World::new();
    assert!(matches!(open(&world, "cat >/dev/null; exit 2"), Err(DiskError::Passphrase)));
    let failed = open(&world, "cat >/dev/null; echo 'Device is in use.' >&2; echo more >&2; exit 5");
    match failed {
        Err(DiskError::Cryptsetup(words)) => assert_eq!(words, "exit status: 5: Device is in use."),
        other => panic!("{other:?}"),
    }
    assert!(
        matches!(open(&world, "kill -9 $$"), Err(DiskError::Cryptsetup(words)) if words.contains("signal"))
    );
    let talkative = "cat >/dev/null; head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 2";
    assert!(matches!(open(&world, talkative), Err(DiskError::Passphrase)));
    // It ends without reading the key, and says that all is well.
    match open(&world, "exec 0<&-; sleep 0.1; exit 0") {
        Ok(()) | Err(DiskError::Cryptsetup(_)) => {}
        other => panic!("{other:?}"),
    }
}

/// The host writes the header, and so chooses what a keyslot's key costs.
#[test]
fn a_cryptsetup_that_does_not_end_is_ended() {
    let world = World::new();
    let disk = &world.settings.disks[0];
    let header = disk::copy(&world.root, disk, &world.path("/dev/root")).unwrap();
    let program = program(&world, "cat >/dev/null; exec sleep 60 2>/dev/null");
    let opener = Cryptsetup::at(program).within(Duration::from_secs(1));
    let error = opener.open(disk, &world.path("/dev/root"), &header, KEY).unwrap_err();
    assert!(matches!(error, DiskError::Slow(1)));
    assert_eq!(error.to_string(), "cryptsetup took longer than 1 s: the header may ask for too costly a key");
}

/// A disk of cryptsetup's own making, in a file; nothing if there is no cryptsetup.
fn formatted(world: &World, kind: &str) -> Option<Disk> {
    let device = world.path("/dev/root");
    fs::File::create(&device).unwrap().set_len(40 * 1024 * 1024).unwrap();
    let mut child = Command::new("cryptsetup")
        .args(["luksFormat", "--batch-mode", "--type", kind, "--pbkdf", "pbkdf2"])
        .args(["--pbkdf-force-iterations", "1000", "--key-file", "-"])
        .arg(&device)
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|_| crate::skip("disks that cryptsetup opens, for want of it"))
        .ok()?;
    child.stdin.take().unwrap().write_all(KEY).unwrap();
    assert!(child.wait().unwrap().success());
    let header = luks::Header::parse(&fs::read(&device).unwrap()).unwrap();
    let (volume_key, segment) = (header.volume_key().clone(), header.segment().clone());
    Some(Disk { volume_key, segment, ..world.settings.disks[0].clone() })
}

/// Without a device mapper a mapping cannot be made. That the key opens the disk by the copy of its header
/// can be tried all the same.
#[test]
fn cryptsetup_takes_the_copy_of_the_header_and_the_key() {
    for kind in ["luks1", "luks2"] {
        let world = World::new();
        let Some(disk) = formatted(&world, kind) else { return };
        assert_eq!(matches!(disk.volume_key, VolumeKeyDigest::Luks1 { .. }), kind == "luks1");
        let device = world.path("/dev/root");
        let header = disk::copy(&world.root, &disk, &device).unwrap();
        // The host's second answer is another header: nobody asks for it.
        fs::write(&device, headers::device(9)).unwrap();
        let opener = Cryptsetup::at(program(&world, "exec /usr/sbin/cryptsetup --test-passphrase \"$@\""));
        opener.open(&disk, &device, &header, KEY).unwrap();
        for wrong in [&b"another"[..], b"correct horse", b"correct horse\n\0battery\n"] {
            assert!(
                matches!(opener.open(&disk, &device, &header, wrong), Err(DiskError::Passphrase)),
                "{kind}"
            );
        }
    }
}
