//! Where the init data document is found, and what binds it.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _, Write as _},
    path::PathBuf,
    time::Duration,
};

use keybroker_initdata::{Binding, Document, DocumentError, InitDataDigest};

use crate::{
    private::{self, PrivateError},
    root::Root,
    time::{Time, until},
};

/// The longest document, in bytes.
const MAX_LEN: u64 = Document::MAX_LEN as u64;

/// Where a document lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Kept by this guest's own boot: the document that it followed, wherever that was.
    Kept,
    /// In the initrd, and so in what is measured, if the initrd is.
    BuiltIn,
    /// QEMU's fw_cfg: from the host.
    FwCfg,
    /// A partition of that name: from the host.
    Partition,
    /// A virtio disk with that serial number: from the host.
    Disk,
}

impl Place {
    /// All of them, in the order in which they are looked at. The first that is there counts, so that a host
    /// cannot put a document in place of a built-in one.
    pub const ALL: [Self; 5] = [Self::Kept, Self::BuiltIn, Self::FwCfg, Self::Partition, Self::Disk];

    /// The path at which it lies.
    pub fn path(self) -> &'static str {
        match self {
            Self::Kept => "/run/keybroker/initdata.toml",
            Self::BuiltIn => "/etc/keybroker/initdata.toml",
            Self::FwCfg => "/sys/firmware/qemu_fw_cfg/by_name/opt/keybroker/initdata/raw",
            Self::Partition => "/dev/disk/by-partlabel/keybroker-initdata",
            Self::Disk => "/dev/disk/by-id/virtio-keybroker-initdata",
        }
    }

    /// Whether the host hands the document over.
    pub fn is_outside(self) -> bool {
        !matches!(self, Self::Kept | Self::BuiltIn)
    }
}

/// The tie between this guest and its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bond {
    /// HOST_DATA of the guest's report must be the document's digest.
    HostData,
    /// The document lies in the initrd. Whether that was measured is for the registration's measurement to
    /// say.
    Measured,
    /// Nothing. The document says so itself.
    Nothing,
}

impl fmt::Display for Bond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostData => "HOST_DATA",
            Self::Measured => "the measurement, if it covers the initrd",
            Self::Nothing => "nothing",
        })
    }
}

/// Why there is no document to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// No place has one.
    #[error("there is no init data document: not in the initrd, not in fw_cfg, not on a disk")]
    Absent,
    /// It cannot be read.
    #[error("the init data document {path} cannot be read: {error}")]
    Unreadable {
        /// Where it lies.
        path: PathBuf,
        /// The kernel's error.
        error: io::Error,
    },
    /// It is longer than any document.
    #[error("the init data document {0} is longer than 64 KiB")]
    TooLarge(PathBuf),
    /// It is no text.
    #[error("the init data document {0} is not UTF-8")]
    NotText(PathBuf),
    /// It is not a document of ours.
    #[error("the init data document {path}: {error}")]
    Malformed {
        /// Where it lies.
        path: PathBuf,
        /// The defect.
        error: DocumentError,
    },
}

/// A document, and where it was found. That this guest is bound to it is not established here: see
/// [`crate::look`].
#[derive(Debug)]
pub struct Found {
    /// Where it lies.
    pub place: Place,
    /// The document.
    pub document: Document,
    /// Its digest.
    pub digest: InitDataDigest,
}

impl Found {
    /// Takes over a document that was found in `place`.
    pub fn new(place: Place, document: Document) -> Self {
        Self { place, digest: document.digest(), document }
    }

    /// The tie between the guest and the document, as the document says it.
    pub fn bond(&self) -> Bond {
        match self.document.keybroker().binding {
            Binding::HostData => Bond::HostData,
            Binding::Measured => Bond::Measured,
            Binding::Nothing => Bond::Nothing,
        }
    }
}

/// Looks for the document until there is one, for so long: drivers bring those of the host.
pub fn wait(root: &Root, time: &dyn Time, within: Duration) -> Result<Found, FindError> {
    let look = || match find(root) {
        Err(FindError::Absent) => None,
        found => Some(found),
    };
    until(time, within, look).unwrap_or(Err(FindError::Absent))
}

/// Looks for the document, in the order of [`Place::ALL`].
pub fn find(root: &Root) -> Result<Found, FindError> {
    for place in Place::ALL {
        let path = root.path(place.path());
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(FindError::Unreadable { path, error }),
        };
        let mut bytes = Vec::new();
        if let Err(error) = file.take(MAX_LEN + 1).read_to_end(&mut bytes) {
            return Err(FindError::Unreadable { path, error });
        }
        // A disk is longer than the text on it: there the text ends at the first zero.
        if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            bytes.truncate(end);
        }
        if bytes.len() as u64 > MAX_LEN {
            return Err(FindError::TooLarge(path));
        }
        let Ok(text) = String::from_utf8(bytes) else { return Err(FindError::NotText(path)) };
        return match Document::parse(&text) {
            Ok(document) => Ok(Found::new(place, document)),
            Err(error) => Err(FindError::Malformed { path, error }),
        };
    }
    Err(FindError::Absent)
}

/// Keeps the document for the rest of this boot, once the guest has found itself bound to it. The initrd,
/// which may hold it, is gone later. A program that asks then must not follow another one of the host's.
pub fn keep(root: &Root, found: &Found) -> Result<(), PrivateError> {
    if found.place == Place::Kept {
        return Ok(());
    }
    let (path, mut file) = private::create(root, "initdata.toml")?;
    let written = file.write_all(found.document.text().as_bytes());
    written.map_err(|error| PrivateError::Io { path, error })
}
