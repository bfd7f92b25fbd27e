//! The initrd of a workload, unpacked.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{fs, io::Read as _};

use keybroker_krun::initrd::{CRYPTSETUP, DOCUMENT, Needed, Parts, needed};

/// An entry of an archive: path, mode, device, content.
type Entry = (String, u32, (u32, u32), Vec<u8>);

/// Reads "newc" as the kernel does.
fn unpacked(initrd: &[u8]) -> Vec<Entry> {
    let mut archive = Vec::new();
    flate2::read::GzDecoder::new(initrd).read_to_end(&mut archive).unwrap();
    let mut entries = Vec::new();
    let mut at = 0;
    loop {
        assert_eq!(archive[at..at + 6], *b"070701");
        let field = |index: usize| {
            let start = at + 6 + index * 8;
            u32::from_str_radix(std::str::from_utf8(&archive[start..start + 8]).unwrap(), 16).unwrap()
        };
        let name = at + 110..at + 110 + field(11) as usize;
        let start = name.end.next_multiple_of(4);
        let end = start + field(6) as usize;
        let path = String::from_utf8(archive[name.start..name.end - 1].to_vec()).unwrap();
        assert_eq!(archive[name.end - 1], 0);
        if path == "TRAILER!!!" {
            assert_eq!(end, archive.len());
            return entries;
        }
        entries.push((path, field(1), (field(9), field(10)), archive[start..end].to_vec()));
        at = end.next_multiple_of(4);
    }
}

fn parts() -> Parts<'static> {
    let linker = ("lib64/ld-linux-x86-64.so.2".to_owned(), b"linker".to_vec());
    let library = ("lib/libcryptsetup.so.12".to_owned(), b"library".to_vec());
    Parts {
        init: b"init!",
        document: "version = 1\n",
        cryptsetup: b"cryptsetup",
        libraries: vec![linker, library],
    }
}

#[test]
fn the_initrd_has_what_a_guest_needs_and_no_more() {
    let entries = unpacked(&parts().initrd(u64::MAX).unwrap());
    let files: Vec<_> = entries.iter().filter(|(_, mode, ..)| mode & 0o170_000 == 0o100_000).collect();
    let names: Vec<&str> = files.iter().map(|(path, ..)| path.as_str()).collect();
    assert_eq!(
        names,
        ["init", DOCUMENT, CRYPTSETUP, "lib64/ld-linux-x86-64.so.2", "lib/libcryptsetup.so.12"]
    );
    assert_eq!((files[0].1, files[0].3.as_slice()), (0o100_755, b"init!".as_slice()));
    assert_eq!((files[1].1, files[1].3.as_slice()), (0o100_644, b"version = 1\n".as_slice()));

    let of_type = |bits: u32| entries.iter().filter(move |entry| entry.1 & 0o170_000 == bits);
    let directories: Vec<&str> = of_type(0o040_000).map(|entry| entry.0.as_str()).collect();
    assert_eq!(
        directories,
        ["dev", "etc", "etc/keybroker", "lib", "lib64", "newroot", "proc", "run", "sbin", "sys"]
    );
    let devices: Vec<&Entry> = of_type(0o020_000).collect();
    assert_eq!(devices, [&("dev/console".to_owned(), 0o020_600, (5, 1), Vec::new())]);
    assert_eq!(entries.len(), files.len() + directories.len() + devices.len());
    // The kernel makes no directory by itself: each comes before what is in it.
    for (index, (path, ..)) in entries.iter().enumerate() {
        if let Some((parent, _)) = path.rsplit_once('/') {
            assert!(entries[..index].iter().any(|(above, ..)| above == parent), "{path}");
        }
    }
}

#[test]
fn the_same_parts_give_the_same_initrd_and_every_part_counts() {
    assert_eq!(parts().initrd(u64::MAX).unwrap(), parts().initrd(u64::MAX).unwrap());
    let other = Parts { document: "version = 2\n", ..parts() };
    assert_ne!(other.initrd(u64::MAX).unwrap(), parts().initrd(u64::MAX).unwrap());
    let other = Parts { init: b"init?", ..parts() };
    assert_ne!(other.initrd(u64::MAX).unwrap(), parts().initrd(u64::MAX).unwrap());
}

/// libkrun has room for six megabytes in front of its kernel.
#[test]
fn an_initrd_that_does_not_fit_is_compressed_harder() {
    let text: String = (0..20_000).map(|number: u32| format!("{}\n", number.pow(2))).collect();
    let parts = Parts { document: &text, ..parts() };
    let (quick, small) = (parts.initrd(u64::MAX).unwrap(), parts.initrd(0).unwrap());
    assert!(small.len() < quick.len(), "{} {}", small.len(), quick.len());
    assert_eq!(unpacked(&small), unpacked(&quick));
    assert_eq!(parts.initrd(quick.len() as u64).unwrap(), quick);
}

#[test]
fn what_a_program_needs_is_read_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let (source, program) = (directory.path().join("main.c"), directory.path().join("main"));
    fs::write(&source, "int main(void) { return 0; }").unwrap();
    let built = |arguments: &[&str]| {
        let mut cc = std::process::Command::new("cc");
        assert!(cc.args(["-o"]).args([&program, &source]).args(arguments).status().unwrap().success());
        needed(&fs::read(&program).unwrap()).unwrap()
    };
    let dynamic = built(&[]);
    assert!(dynamic.interpreter.is_some_and(|path| path.starts_with("/lib64/ld-linux")));
    assert_eq!(dynamic.libraries, ["libc.so.6"]);
    assert_eq!(built(&["-static"]), Needed { interpreter: None, libraries: Vec::new() });
    assert!(needed(b"#!/bin/sh\n").is_err());
}
