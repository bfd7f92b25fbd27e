use std::{fs, num::NonZeroU8};

use keybroker_snp::measurement::krun::{Fpu, measure};
use keybroker_testing::krunfw::{Krunfw, loaded};
use tempfile::tempdir;

use super::*;

/// The ways in which a compiler may write the functions.
fn builds() -> Vec<Krunfw> {
    let flags: [&[&str]; 6] = [
        &[],
        &["-O1"],
        &["-O2"],
        &["-Os"],
        &["-O2", "-fcf-protection=full"],
        &["-O0", "-fomit-frame-pointer"],
    ];
    let with = |variables: bool, version: u32| {
        flags.map(|flags| Krunfw { variables, version, flags: flags.to_vec(), ..Krunfw::default() })
    };
    [with(false, 5), with(true, 4)].concat()
}

#[test]
fn a_library_is_read_as_the_dynamic_linker_and_its_own_code_hand_it_out() {
    let directory = tempdir().unwrap();
    for stand_in in builds() {
        let path = stand_in.build(directory.path());
        let bytes = fs::read(&path).unwrap();
        let library = Library::parse(&bytes).unwrap_or_else(|error| panic!("{:?}: {error}", stand_in.flags));
        let firmware = library.firmware;
        assert!(firmware.qboot == stand_in.qboot && firmware.kernel == stand_in.kernel);
        assert!(firmware.initrd == stand_in.initrd);
        assert_eq!(firmware.kernel_address, stand_in.kernel_address);
        assert_eq!(library.soname(), stand_in.soname());
        let (qboot, kernel, initrd, address) = loaded(&path, directory.path());
        assert!(qboot == firmware.qboot && kernel == firmware.kernel && initrd == firmware.initrd);
        assert_eq!(address, firmware.kernel_address);
    }
}

#[test]
fn a_linked_library_differs_in_the_initrd_alone() {
    let directory = tempdir().unwrap();
    let initrd: Vec<u8> = (0..300_001).map(|i: u32| (i * 7 / 5) as u8).collect();
    for stand_in in builds() {
        let path = stand_in.build(directory.path());
        let original = fs::read(&path).unwrap();
        let bytes = relink(&original, &initrd).unwrap();
        let library = Library::parse(&bytes).unwrap();
        assert!(library.firmware.qboot == stand_in.qboot && library.firmware.kernel == stand_in.kernel);
        assert_eq!(library.firmware.kernel_address, stand_in.kernel_address);
        assert_eq!(library.soname(), stand_in.soname());
        let (data, padding) = library.firmware.initrd.split_at(initrd.len());
        assert!(data == initrd && padding.iter().all(|byte| *byte == 0));
        assert_eq!(library.firmware.initrd.len(), 303_104);

        let linked = directory.path().join("linked.so");
        fs::write(&linked, &bytes).unwrap();
        let (qboot, kernel, handed_out, address) = loaded(&linked, directory.path());
        assert!(
            qboot == stand_in.qboot && kernel == stand_in.kernel && handed_out == library.firmware.initrd
        );
        assert_eq!(address, stand_in.kernel_address);
        // The soname is in the bytes that were there before, of which three places changed.
        let changed = original.iter().zip(&bytes).filter(|(before, after)| before != after).count();
        assert!(changed <= 16 + 56, "{changed}");
    }
}

#[test]
fn a_linked_library_can_be_linked_again() {
    let directory = tempdir().unwrap();
    let original = fs::read(Krunfw::default().build(directory.path())).unwrap();
    let once = relink(&original, &[1; 5000]).unwrap();
    match relink(&once, &[2; 9000]) {
        Ok(twice) => assert_eq!(Library::parse(&twice).unwrap().firmware.initrd[..9000], [2; 9000]),
        Err(error) => assert_eq!(error, LibraryError::NoHeader),
    }
}

#[test]
fn two_initrds_give_two_measurements() {
    let directory = tempdir().unwrap();
    let original = fs::read(Krunfw::default().build(directory.path())).unwrap();
    let measured = |bytes: &[u8]| {
        let library = Library::parse(bytes).unwrap();
        measure(&library.firmware, NonZeroU8::new(2).unwrap(), 512, Fpu::Zero).unwrap()
    };
    let (web, db) = (relink(&original, b"web").unwrap(), relink(&original, b"db").unwrap());
    assert_ne!(measured(&web), measured(&db));
    assert_ne!(measured(&web), measured(&original));
    assert_eq!(measured(&web), measured(&relink(&original, b"web").unwrap()));
}

#[test]
fn what_is_no_such_library_is_refused_by_name() {
    assert_eq!(Library::parse(b"").unwrap_err(), LibraryError::NotElf);
    assert_eq!(Library::parse(&fs::read("/proc/self/exe").unwrap()[..64]).unwrap_err(), LibraryError::NotElf);
    let directory = tempdir().unwrap();
    let path = Krunfw::default().build(directory.path());
    let bytes = fs::read(&path).unwrap();
    let renamed = |from: &str, to: &str| {
        let mut bytes = bytes.clone();
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    let without = renamed("krunfw_get_initrd", "krunfw_get_initr_");
    assert_eq!(Library::parse(&without).unwrap_err(), LibraryError::Missing("krunfw_get_initrd"));
    assert_eq!(relink(&without, b"web").unwrap_err(), LibraryError::Missing("krunfw_get_initrd"));
    // Cut off in the middle of the blobs.
    assert_ne!(Library::parse(&bytes[..bytes.len() / 2]).err(), None);

    // A function that asks somebody else is not followed.
    let source = directory.path().join("other.c");
    let text = "#include <stddef.h>\nextern char *other(size_t *);\nchar *krunfw_get_qboot(size_t *s) { return other(s) + 1; }\n";
    fs::write(&source, text).unwrap();
    let library = directory.path().join("other.so");
    let built =
        std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(built.unwrap().success());
    let refused = Library::parse(&fs::read(&library).unwrap()).unwrap_err();
    assert!(matches!(refused, LibraryError::Code { function: "krunfw_get_qboot", .. }), "{refused}");
}

/// A library may be anybody's: whatever its bytes are, it is read, or refused by name.
#[test]
fn no_bytes_make_the_reader_panic() {
    let directory = tempdir().unwrap();
    let small = |seed: u8, pages: usize| vec![seed; pages * 4096];
    let stand_in =
        Krunfw { qboot: small(1, 1), kernel: small(2, 1), initrd: small(3, 1), ..Krunfw::default() };
    let original = fs::read(stand_in.build(directory.path())).unwrap();
    // Headers, tables and code: everything but the blobs.
    let structure: Vec<usize> =
        (0..original.len()).filter(|at| original[*at] != 0 && ![1, 2, 3].contains(&original[*at])).collect();
    let mut state = 7_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    let mut refused = 0;
    for _ in 0..5_000 {
        let mut bytes = original.clone();
        for _ in 0..=random(3) {
            let at = structure[random(structure.len())];
            let length = 1 + random(8);
            let value = if random(2) == 0 { 0xFF } else { random(256) as u8 };
            bytes.iter_mut().skip(at).take(length).for_each(|byte| *byte = value);
        }
        if random(10) == 0 {
            bytes.truncate(random(original.len()));
        }
        refused += usize::from(Library::parse(&bytes).is_err());
        let _ = relink(&bytes, b"initrd");
    }
    assert!(refused > 500, "{refused}");
}
