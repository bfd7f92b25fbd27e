//! A disk: its header, read once and judged, and the opening of it.

mod cryptsetup;
mod header;
mod mapping;

use std::path::{Path, PathBuf};

use keybroker_initdata::{Disk, luks::DiskRefused};

use crate::private::PrivateError;

pub use cryptsetup::Cryptsetup;
pub use header::{Header, copy};
pub use mapping::{Mapping, mapping};

/// Why a disk is not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The device did not come.
    #[error("the device {device} did not come within {seconds} s")]
    Absent {
        /// The device.
        device: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Another mapping has the name. This guest did not make it: a host can make some, with volume managers.
    #[error("/dev/mapper/{0} is there already, and this guest has not made it")]
    Taken(String),
    /// The device cannot be read.
    #[error("{device} cannot be read: {error}")]
    Device {
        /// The device.
        device: PathBuf,
        /// The kernel's error.
        error: std::io::Error,
    },
    /// The header is not the one that the document describes.
    #[error(transparent)]
    Refused(#[from] DiskRefused),
    /// The copy of the header cannot be written, or would be on a disk.
    #[error("the header's copy: {0}")]
    Copy(#[from] PrivateError),
    /// The broker's secret opens no keyslot.
    #[error("the broker's secret opens no keyslot")]
    Passphrase,
    /// cryptsetup did not end.
    #[error("cryptsetup took longer than {0} s: the header may ask for too costly a key")]
    Slow(u64),
    /// The key was served, and the disk did not open.
    #[error("its key was served (decision {0}), and it was not opened")]
    NotOpened(String),
    /// cryptsetup failed otherwise.
    #[error("cryptsetup: {0}")]
    Cryptsetup(String),
}

/// Opens a disk whose header was judged.
pub trait Opener {
    /// Makes `/dev/mapper/NAME` of `device`, with `header` in place of the device's own, and `key` as it is:
    /// no line feed ends it.
    fn open(&self, disk: &Disk, device: &Path, header: &Header, key: &[u8]) -> Result<(), DiskError>;
}
