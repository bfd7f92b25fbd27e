//! The initrd of one workload: the guest's program as `/init`, the workload's document, and cryptsetup.
//!
//! There is no shell in it, and nothing else that a host could have run.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    num::NonZeroU64,
};

use flate2::{Compression, GzBuilder};
use object::{elf, read::elf::ProgramHeader as _};
use zopfli::{Format, Options};

use crate::{LibraryError, cpio::Archive, image::Image};

/// Where the guest's program looks for its document.
pub const DOCUMENT: &str = "etc/keybroker/initdata.toml";

/// Where the guest's program finds cryptsetup.
pub const CRYPTSETUP: &str = "sbin/cryptsetup";

/// The files of the initrd.
#[derive(Debug)]
pub struct Parts<'a> {
    /// `keybroker-guest`, a static program.
    pub init: &'a [u8],
    /// The text of the workload's document.
    pub document: &'a str,
    /// cryptsetup.
    pub cryptsetup: &'a [u8],
    /// The dynamic linker and the libraries of cryptsetup, each with its path from the root: none if it is
    /// static.
    pub libraries: Vec<(String, Vec<u8>)>,
}

impl Parts<'_> {
    /// The initrd in the form of gzip: the kernel of libkrunfw-sev knows no other.
    ///
    /// If it takes more than `room` bytes, it is compressed once more, as small as gzip can be, which takes
    /// most of a minute. It may still be too long.
    pub fn initrd(&self, room: u64) -> io::Result<Vec<u8>> {
        let archive = self.archive();
        let mut gzip = GzBuilder::new().write(Vec::new(), Compression::best());
        gzip.write_all(&archive)?;
        let initrd = gzip.finish()?;
        if initrd.len() as u64 <= room {
            return Ok(initrd);
        }
        let once = Options { iteration_count: NonZeroU64::MIN, ..Options::default() };
        let mut smaller = Vec::new();
        zopfli::compress(once, Format::Gzip, archive.as_slice(), &mut smaller)?;
        Ok(smaller)
    }

    fn archive(&self) -> Vec<u8> {
        let mut archive = Archive::default();
        let mut directories = BTreeSet::new();
        for empty in ["dev", "proc", "sys", "run", "newroot"] {
            directories.insert(empty.to_owned());
        }
        let libraries = self.libraries.iter().map(|(path, _)| path.as_str());
        for path in libraries.chain([DOCUMENT, CRYPTSETUP]) {
            let parents = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
            directories.extend(parents.map(str::to_owned));
        }
        directories.iter().for_each(|directory| archive.directory(directory));
        archive.character_device("dev/console", (5, 1));
        archive.file("init", 0o755, self.init);
        archive.file(DOCUMENT, 0o644, self.document.as_bytes());
        archive.file(CRYPTSETUP, 0o755, self.cryptsetup);
        for (path, bytes) in &self.libraries {
            archive.file(path, 0o755, bytes);
        }
        archive.finish()
    }
}

/// The files that a program needs beside itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// The dynamic linker, if it is not static.
    pub interpreter: Option<String>,
    /// The names of libraries.
    pub libraries: Vec<String>,
}

/// Tells what a program or a library for x86-64 needs beside itself.
pub fn needed(bytes: &[u8]) -> Result<Needed, LibraryError> {
    let image = Image::library_or_program(bytes)?;
    let file = image.file();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let interpreter = file
        .elf_program_headers()
        .iter()
        .find_map(|header| header.interpreter(file.endian(), bytes).ok().flatten())
        .map(text);
    let table = file.elf_dynamic_table().map_err(|_| LibraryError::NotElf)?;
    let libraries = table.iter().filter(|entry| entry.tag == elf::DT_NEEDED);
    let libraries = libraries.map(|entry| table.string(entry).map(text).map_err(|_| LibraryError::NotElf));
    Ok(Needed { interpreter, libraries: libraries.collect::<Result<_, _>>()? })
}
