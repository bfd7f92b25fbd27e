//! configfs-tsm: a directory for each request, with files to write and files to read.
//!
//! The kernel counts the writes of a directory in `generation`. A report is taken if the count is what the
//! own writes made it, before and after the report was read: otherwise somebody else wrote in between.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::io::Errno;

use crate::{
    report::{Evidence, Missing, ReportError, ReportSource},
    root::Root,
};

pub(super) const NAME: &str = "configfs-tsm";
/// Attempts while others write, too.
const ATTEMPTS: u32 = 5;
/// The kernel's own limit on a report, a table and the rest.
const MAX_FILE: u64 = 64 * 1024;

/// The directory of directories, as this module uses it.
pub trait Tree {
    /// Makes the directory of a request.
    fn make(&self, name: &str) -> io::Result<()>;
    /// Removes it.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Writes one of its files, which must be there.
    fn write(&self, name: &str, file: &str, bytes: &[u8]) -> io::Result<()>;
    /// Reads one of its files.
    fn read(&self, name: &str, file: &str) -> io::Result<Vec<u8>>;
}

/// The kernel's tree.
#[derive(Debug)]
pub struct Kernel(PathBuf);

impl Tree for Kernel {
    fn make(&self, name: &str) -> io::Result<()> {
        fs::create_dir(self.0.join(name))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_dir(self.0.join(name))
    }

    fn write(&self, name: &str, file: &str, bytes: &[u8]) -> io::Result<()> {
        // The kernel takes the bytes when the file is closed, and cannot say then that it does not: the
        // generation says so.
        OpenOptions::new().write(true).open(self.0.join(name).join(file))?.write_all(bytes)
    }

    fn read(&self, name: &str, file: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.0.join(name).join(file))?.take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reports from a tree.
#[derive(Debug)]
pub struct Tsm<T = Kernel>(T);

impl Tsm {
    /// The kernel's, if it is there and the driver of a processor is behind it: the module `tsm` alone makes
    /// the directory, on machines of other clouds, too.
    pub fn find(root: &Root) -> Result<Self, Missing> {
        let directory = root.path("/sys/kernel/config/tsm/report");
        if !directory.is_dir() {
            return Err(Missing::NotThere);
        }
        let tsm = Self(Kernel(directory));
        let name = format!("keybroker-{}-look", process::id());
        match tsm.0.make(&name) {
            Err(error) if is(&error, Errno::NXIO) => return Err(Missing::NoDriver),
            Ok(()) => drop(tsm.0.remove(&name)),
            // A request will say why.
            Err(_) => {}
        }
        Ok(tsm)
    }
}

/// The end of one attempt.
enum Attempt {
    Done(Evidence),
    /// Somebody else used the interface at the same time.
    Disturbed,
}

impl<T: Tree> Tsm<T> {
    /// Reports from `tree`.
    pub fn new(tree: T) -> Self {
        Self(tree)
    }

    fn attempt(&self, report_data: &[u8; 64]) -> Result<Attempt, ReportError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("keybroker-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        match self.0.make(&name) {
            Ok(()) => {}
            // Left behind by a process of the same number, or made by somebody else.
            Err(error) if is(&error, Errno::EXIST) => return Ok(Attempt::Disturbed),
            Err(error) if is(&error, Errno::BUSY) => return Ok(Attempt::Disturbed),
            // No driver of a processor has registered itself.
            Err(error) if is(&error, Errno::NXIO) => return Err(ReportError::NoFirmware(NAME)),
            Err(error) => return Err(failed("cannot make a directory in", error)),
        }
        let outcome = self.ask(&name, report_data);
        // The directory is of no more use. If it cannot be removed, it takes up a little memory.
        let _ = self.0.remove(&name);
        outcome
    }

    fn ask(&self, name: &str, report_data: &[u8; 64]) -> Result<Attempt, ReportError> {
        let provider = self.text(name, "provider")?;
        if provider != "sev_guest" {
            return Err(ReportError::Provider(provider));
        }
        let before = self.generation(name)?;
        for (file, bytes) in [("inblob", report_data.as_slice()), ("privlevel", b"0")] {
            match self.0.write(name, file, bytes) {
                Ok(()) => {}
                Err(error) if is(&error, Errno::BUSY) => return Ok(Attempt::Disturbed),
                // The kernel's floor is above 0.
                Err(error) if file == "privlevel" && is(&error, Errno::INVAL) => {
                    return Err(ReportError::Svsm);
                }
                Err(error) => return Err(failed(file, error)),
            }
        }
        // Two writes: unless the generation says so, what is read belongs to another request.
        let expected = before.wrapping_add(2);
        if self.generation(name)? != expected {
            return Ok(Attempt::Disturbed);
        }
        let report = match self.0.read(name, "outblob") {
            Ok(report) => report,
            Err(error) if is(&error, Errno::BUSY) || is(&error, Errno::AGAIN) => {
                return Ok(Attempt::Disturbed);
            }
            // The firmware answered 0x16, invalid parameter: VMPL 0 is not this kernel's.
            Err(error) if is(&error, Errno::INVAL) => return Err(ReportError::Svsm),
            Err(error) if is(&error, Errno::NOTTY) => return Err(ReportError::NoFirmware(NAME)),
            Err(error) => return Err(failed("outblob", error)),
        };
        let table = match self.0.read(name, "auxblob") {
            Ok(table) => table,
            Err(error) if is(&error, Errno::BUSY) || is(&error, Errno::AGAIN) => {
                return Ok(Attempt::Disturbed);
            }
            // The driver has none to give.
            Err(error) if is(&error, Errno::NOENT) || is(&error, Errno::NXIO) => Vec::new(),
            Err(error) => return Err(failed("auxblob", error)),
        };
        if self.generation(name)? != expected {
            return Ok(Attempt::Disturbed);
        }
        Ok(Attempt::Done(Evidence::new(report, &table)))
    }

    fn text(&self, name: &str, file: &str) -> Result<String, ReportError> {
        let bytes = self.0.read(name, file).map_err(|error| failed(file, error))?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    fn generation(&self, name: &str) -> Result<u32, ReportError> {
        let text = self.text(name, "generation")?;
        text.parse().map_err(|_| failed("generation", io::Error::from(io::ErrorKind::InvalidData)))
    }
}

impl<T: Tree> ReportSource for Tsm<T> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn report(&self, report_data: &[u8; 64]) -> Result<Evidence, ReportError> {
        for _ in 0..ATTEMPTS {
            if let Attempt::Done(evidence) = self.attempt(report_data)? {
                return Ok(evidence);
            }
        }
        Err(ReportError::Busy(NAME, ATTEMPTS))
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

fn failed(file: &str, error: io::Error) -> ReportError {
    ReportError::Io { place: format!("{NAME}, {file}"), error }
}
