//! The files below a directory, by handles that follow no symbolic link.
//!
//! Each name is opened in the directory that it was read from. So nobody who can write there leads the
//! command out of the directory, not even by exchanging a name while the command runs.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, Dir, FileType, Mode, OFlags, fstat, openat},
    io::Errno,
};

/// The deepest directory that is entered.
const DEPTH: usize = 8;
/// The most names that are looked at.
const NAMES: usize = 10_000;

/// The thing that a name leads to.
pub(super) enum Met {
    /// A file, open.
    File(File),
    /// A symbolic link, which is not followed.
    Link,
    /// Neither a file nor a directory.
    Other,
    /// Something that cannot be opened.
    Unreadable(io::Error),
    /// A directory that is not entered: too deep.
    Deep,
}

/// The directory that a person named, which may be a symbolic link.
pub(super) fn directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// Whether `parts` lead to a directory below `directory`.
pub(super) fn has(directory: &OwnedFd, parts: &[&str]) -> bool {
    let mut held: Option<OwnedFd> = None;
    parts.iter().all(|part| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        held = openat(held.as_ref().unwrap_or(directory), *part, flags, Mode::empty()).ok();
        held.is_some()
    })
}

/// Visits everything below `directory` but directories, in the order of the names. `false` if there are more
/// names than are looked at.
pub(super) fn visit(directory: &OwnedFd, mut visitor: impl FnMut(&[String], Met)) -> io::Result<bool> {
    let mut walk = Walk { left: NAMES, path: Vec::new(), visitor: &mut visitor };
    walk.below(directory)
}

struct Walk<'a> {
    left: usize,
    path: Vec<String>,
    visitor: &'a mut dyn FnMut(&[String], Met),
}

impl Walk<'_> {
    fn below(&mut self, directory: &OwnedFd) -> io::Result<bool> {
        let mut names = Vec::new();
        for entry in Dir::read_from(directory)? {
            let name = entry?.file_name().to_owned();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Some(left) = self.left.checked_sub(1) else { return Ok(false) };
            self.left = left;
            names.push(name);
        }
        names.sort();
        let mut whole = true;
        for name in names {
            self.path.push(name.to_string_lossy().into_owned());
            match open(directory, &name) {
                Ok(Opened::Directory(_)) if self.path.len() >= DEPTH => self.met(Met::Deep),
                Ok(Opened::Directory(inner)) => match self.below(&inner) {
                    Ok(all) => whole &= all,
                    Err(error) => self.met(Met::Unreadable(error)),
                },
                Ok(Opened::Met(met)) => self.met(met),
                Err(error) => self.met(Met::Unreadable(error)),
            }
            self.path.pop();
        }
        Ok(whole)
    }

    fn met(&mut self, met: Met) {
        (self.visitor)(&self.path, met);
    }
}

enum Opened {
    Directory(OwnedFd),
    Met(Met),
}

fn open(directory: &OwnedFd, name: &CStr) -> io::Result<Opened> {
    // Without blocking: a named pipe would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = match openat(directory.as_fd(), name, flags, Mode::empty()) {
        Err(Errno::LOOP) => return Ok(Opened::Met(Met::Link)),
        Err(Errno::NXIO) => return Ok(Opened::Met(Met::Other)),
        opened => opened?,
    };
    Ok(match FileType::from_raw_mode(fstat(&opened)?.st_mode) {
        FileType::Directory => Opened::Directory(opened),
        FileType::RegularFile => Opened::Met(Met::File(opened.into())),
        _ => Opened::Met(Met::Other),
    })
}
