//! Files whose names somebody else may have chosen: the rule by which each is opened, made or removed.
//!
//! Root may act in a directory of another user, who can put there what they like under any name, a link to a
//! file of root's too. An operator can give a file any name, also one that a program would make up. So:
//!
//! - A file that has a fixed name is opened itself. No link is followed, and it is a regular file.
//! - A file is made where nothing is. One that is to replace another, or must be whole once it is seen, is
//!   made beside its place under a random name.
//! - Mode and owner are set through the open file, never by its name.
//! - Nothing is removed but what this process made, or what has a name of the data directory's own.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, io::Errno};
use uuid::Uuid;

/// There is something else under the name than a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no regular file")]
pub struct NotAFile;

/// Opens the file that has the name itself: a link is not followed. [`NotAFile`], inside of the error, for
/// anything but a regular file, which is never waited for.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    regular(path, options, OFlags::NOFOLLOW)
}

/// Opens, to read, the file that a person named, who may have named a link to it.
pub fn open_named(path: &Path) -> io::Result<File> {
    regular(path, OpenOptions::new().read(true), OFlags::empty())
}

fn regular(path: &Path, options: &mut OpenOptions, more: OFlags) -> io::Result<File> {
    // Without blocking: a named pipe would wait for its other end.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | more;
    let opened = options.custom_flags(flags.bits().cast_signed()).open(path);
    let not_a_file = || io::Error::other(NotAFile);
    let file = opened.map_err(|error| match Errno::from_io_error(&error) {
        // A link that is not followed, and a socket.
        Some(Errno::LOOP | Errno::NXIO) => not_a_file(),
        _ => error,
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_a_file()) }
}

/// Makes a file where nothing is, not even a link.
pub fn make(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

/// The same under a name of the data directory's own: what an earlier process left there goes.
pub fn make_anew(path: &Path, mode: u32) -> io::Result<File> {
    remove(path)?;
    make(path, mode)
}

/// Removes a file, or the link that has its name. Nothing to remove is as well.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The directory in which `path` is.
pub fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a directory for its owner alone, and each that it stands in, on disk for good as entries of theirs.
pub fn make_directory(path: &Path) -> io::Result<()> {
    let missing = |above: &&Path| !above.as_os_str().is_empty() && !above.exists();
    let missing: Vec<_> = path.ancestors().take_while(missing).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| match error.kind() {
        // A file has the name.
        io::ErrorKind::AlreadyExists => io::ErrorKind::NotADirectory.into(),
        _ => error,
    })?;
    missing.iter().try_for_each(|made| sync(directory(made)))
}

/// Has the entries of a directory on disk for good, where its file system can do that.
pub fn sync(directory: &Path) -> io::Result<()> {
    sync_opened(&File::open(directory)?)
}

fn sync_opened(directory: &File) -> io::Result<()> {
    match directory.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// Gives what this process made the owner and group of `like`, if that is another user's.
pub fn give(made: &File, like: &fs::Metadata) -> io::Result<()> {
    if made.metadata()?.uid() == like.uid() {
        return Ok(());
    }
    fchown(made, Some(like.uid()), Some(like.gid()))
}

/// Writes a file, all of it or nothing. It replaces what has its name; a link is replaced itself.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = Beside::of(path, 0o666)?;
    beside.file().write_all(bytes)?;
    beside.replace()
}

/// A file that is written beside its place, under a random name, until it is whole. It is removed if it does
/// not get there.
#[derive(Debug)]
pub struct Beside<'a> {
    file: File,
    path: PathBuf,
    place: &'a Path,
    /// The directory of both, open.
    directory: File,
}

impl<'a> Beside<'a> {
    /// An empty file for `place`. The umask takes from its mode. Once it is there, little can go wrong: the
    /// directory can be written to, and its entries can be put on disk.
    pub fn of(place: &'a Path, mode: u32) -> io::Result<Self> {
        let opened = File::open(directory(place))?;
        let path = directory(place).join(format!(".keybroker-{}", Uuid::new_v4().simple()));
        Ok(Self { file: make(&path, mode)?, path, place, directory: opened })
    }

    /// The file, to be written.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its name, which may be another's: that one is gone then. On disk for good.
    pub fn replace(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, self.place)?;
        sync_opened(&self.directory)
    }

    /// Gives the file its name, which must not be another's. On disk for good.
    pub fn link(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::hard_link(&self.path, self.place)?;
        fs::remove_file(&self.path)?;
        sync_opened(&self.directory)
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        // It has its name, or its failure is told.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{read, read_dir, symlink_metadata, write},
        os::unix::fs::symlink,
    };

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    fn not_a_file<T: std::fmt::Debug>(opened: io::Result<T>) -> bool {
        opened.unwrap_err().get_ref().is_some_and(|inner| inner.is::<NotAFile>())
    }

    #[test]
    fn only_a_regular_file_is_opened_and_none_by_way_of_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(at("file"), "kept").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        mkfifoat(CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for name in ["link", "dangling", "pipe", "socket"] {
            for options in [
                OpenOptions::new().read(true),
                OpenOptions::new().read(true).write(true),
                OpenOptions::new().write(true).create(true).truncate(true),
            ] {
                assert!(not_a_file(open(&at(name), options)), "{name}");
            }
        }
        assert!(!at("nowhere").exists());
        assert_eq!(read(at("file")).unwrap(), b"kept");
        open(&at("file"), OpenOptions::new().read(true)).unwrap();
        open_named(&at("link")).unwrap();
        assert!(not_a_file(open_named(&at("pipe"))));
    }

    #[test]
    fn a_file_is_made_in_the_place_of_a_link_and_not_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(at("victim"), "kept").unwrap();
        for name in ["anew", "replaced", "linked"] {
            symlink("victim", at(name)).unwrap();
        }
        assert_eq!(make(&at("linked"), 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        make_anew(&at("anew"), 0o600).unwrap();
        replace(&at("replaced"), b"new").unwrap();
        let taken = Beside::of(&at("linked"), 0o600).unwrap().link().unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(at("victim")).unwrap(), b"kept");
        assert_eq!(read(at("replaced")).unwrap(), b"new");
        for name in ["anew", "replaced"] {
            assert!(symlink_metadata(at(name)).unwrap().is_file(), "{name}");
        }
        drop(Beside::of(&at("dropped"), 0o600).unwrap());
        assert_eq!(read_dir(dir.path()).unwrap().count(), 4, "nothing else is left");
    }
}
