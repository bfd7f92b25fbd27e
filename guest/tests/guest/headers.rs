//! A device with a LUKS1 header, and how its header is copied.

use std::{fs, os::unix::fs::PermissionsExt as _};

use keybroker_guest::{
    disk::{self, DiskError, Header},
    private::PrivateError,
};
use keybroker_initdata::luks::{self, DiskRefused, HeaderError};
use keybroker_simulator::disk::luks1_header;

use crate::world::World;

/// Where the data begins.
pub(crate) const DATA_OFFSET: u64 = 4096 * 512;

/// A device whose volume key has a digest of `byte`, with some data.
pub(crate) fn device(byte: u8) -> Vec<u8> {
    let mut device: Vec<u8> = (0..DATA_OFFSET).map(|at| (at % 251) as u8).collect();
    let header = luks1_header(&[byte; 20]);
    device[..header.len()].copy_from_slice(&header);
    device.extend([0xDA; 8192]);
    device
}

/// Whether the copy has the bytes of the device, as many as its header says: key material included, and no
/// data.
fn is_copy_of(header: &Header, device: &[u8]) -> bool {
    let length = usize::try_from(luks::Header::parse(device).unwrap().copy_len()).unwrap();
    assert!(length as u64 <= DATA_OFFSET && length > 592 + 64 * 4000);
    fs::read(header.path()).unwrap() == device[..length]
}

fn copy(world: &World) -> Result<Header, DiskError> {
    disk::copy(&world.root, &world.settings.disks[0], &world.path("/dev/root"))
}

#[test]
fn the_copy_is_the_header_with_its_key_material_and_goes_with_its_owner() {
    let world = World::new();
    let header = copy(&world).unwrap();
    assert_eq!(header.path(), world.path("/run/keybroker/root.header"));
    assert!(is_copy_of(&header, &device(4)));
    let mode = |path| fs::metadata(world.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("/run/keybroker"), mode("/run/keybroker/root.header")), (0o700, 0o600));
    drop(header);
    assert_eq!(world.copies(), 0);
}

/// The host's device may answer a second read differently: there is none. A FIFO cannot be read twice.
#[test]
fn every_byte_is_read_once() {
    let world = World::new();
    let path = world.path("/dev/root");
    fs::remove_file(&path).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let writer = std::thread::spawn(move || {
        // The reader is gone before the data comes.
        let _ = fs::write(path, device(4));
    });
    let header = copy(&world).unwrap();
    assert!(is_copy_of(&header, &device(4)));
    writer.join().unwrap();
}

#[test]
fn a_copy_that_an_earlier_run_left_is_replaced() {
    let world = World::new();
    fs::create_dir_all(world.path("/run/keybroker")).unwrap();
    fs::write(world.path("/run/keybroker/root.header"), "another header").unwrap();
    let header = copy(&world).unwrap();
    assert!(is_copy_of(&header, &device(4)));
}

#[test]
fn a_disk_that_is_not_the_documents_is_refused_and_no_copy_stays() {
    let alter = |at: usize, bytes: &[u8]| {
        let mut device = device(4);
        device[at..at + bytes.len()].copy_from_slice(bytes);
        device
    };
    let rows = [
        (vec![0; 8192], DiskRefused::Header(HeaderError::NotLuks)),
        (device(4)[..8192].to_vec(), DiskRefused::Header(HeaderError::Truncated)),
        (device(4)[..300].to_vec(), DiskRefused::Header(HeaderError::Truncated)),
        (alter(8, b"cipher_null\0"), DiskRefused::Header(HeaderError::NullCipher)),
        (alter(4, b"\xde\xad"), DiskRefused::Header(HeaderError::Reencryption)),
        (device(5), DiskRefused::VolumeKey),
        (alter(40, b"cbc-essiv:sha256\0"), DiskRefused::Cipher),
    ];
    for (device, expected) in rows {
        let world = World::new();
        world.write_device("root", &device);
        match copy(&world) {
            Err(DiskError::Refused(refused)) => assert_eq!(refused, expected),
            other => panic!("{expected:?}: {other:?}"),
        }
        assert_eq!(world.copies(), 0, "{expected:?}");
    }
}

#[test]
fn a_copy_on_a_disk_is_refused() {
    // A disk, unless this tree is in memory itself.
    let kind = rustix::fs::statfs(env!("CARGO_MANIFEST_DIR")).unwrap().f_type;
    if [0x0102_1994, 0x8584_58f6].contains(&kind) {
        println!("skipped: a copy of a header on a disk: this tree is in memory");
        return;
    }
    let mut world = World::new();
    world.directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    world.root = keybroker_guest::root::Root::at(world.directory.path());
    fs::create_dir_all(world.path("/run")).unwrap();
    fs::create_dir_all(world.path("/dev")).unwrap();
    world.write_device("root", &device(4));
    assert!(matches!(copy(&world), Err(DiskError::Copy(PrivateError::NotInMemory(_)))));
    assert_eq!(world.copies(), 0);
}

#[test]
fn a_device_that_cannot_be_read_is_no_disk() {
    let world = World::new();
    fs::remove_file(world.path("/dev/root")).unwrap();
    fs::create_dir(world.path("/dev/root")).unwrap();
    assert!(matches!(copy(&world), Err(DiskError::Device { .. })));
}
