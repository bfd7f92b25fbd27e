//! Reads the header of a LUKS1 or LUKS2 disk, and judges it by what a document says of the disk.
//!
//! The header is the host's to write. A guest reads it once into its own memory, has it judged here, and
//! gives the same bytes to cryptsetup as a detached header. So this reader must not see another header in
//! the bytes than cryptsetup sees: it refuses whatever two readers could take differently.
//!
//! 1. [`metadata_len`] tells from the first bytes how many bytes [`Header::parse`] needs.
//! 2. [`Header::parse`] reads the header, and refuses one that no disk at rest has.
//! 3. [`judge`] compares it with the [`Disk`](crate::document::Disk) of a document.
//! 4. [`Header::copy_len`] is how many bytes from the device's beginning the copy for cryptsetup has: key
//!    material included.

mod bytes;
mod error;
mod json;
mod judge;
mod luks1;
mod luks2;
mod metadata;

pub use error::{CopyDefect, CopyField, HeaderError, JsonDefect, WhichCopy};
pub use judge::{DiskRefused, Judged, judge};

use crate::volume_key::{Segment, VolumeKeyDigest};
use bytes::{array, number16};

/// Bytes that tell one kind of header from another, and how long it is.
pub const PREFIX_LEN: usize = 4096;

/// The longest copy of a header, in bytes: as much as cryptsetup reserves for a LUKS2 header by itself.
pub const MAX_COPY_LEN: u64 = 16 * 1024 * 1024;

/// The first copy of LUKS2, and LUKS1.
const MAGIC: [u8; 6] = *b"LUKS\xba\xbe";

/// The mark that cryptsetup's tool for LUKS1 puts in the place of [`MAGIC`] while it encrypts a disk anew.
const MAGIC_REENCRYPTION: [u8; 6] = *b"LUKS\xde\xad";

/// A header that a disk at rest can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    volume_key: VolumeKeyDigest,
    segment: Segment,
    uuid: String,
    copy_len: u64,
}

impl Header {
    /// Reads a header from the beginning of a device. Bytes behind the header are passed over.
    ///
    /// This establishes that the header is whole and unambiguous, that it encrypts, and that no re-encryption
    /// is under way. It does not establish whose disk it is: that is [`judge`].
    pub fn parse(device: &[u8]) -> Result<Self, HeaderError> {
        match version(device)? {
            1 => luks1::parse(device),
            2 => luks2::parse(device),
            version => Err(HeaderError::Version(version)),
        }
    }

    /// The digest of the key that the data was written under.
    pub fn volume_key(&self) -> &VolumeKeyDigest {
        &self.volume_key
    }

    /// How the data lies on the device.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The UUID in the header, by which udev names the device. Nothing binds it.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// How many bytes of the device, from its beginning, a copy of the header has: all keyslots included.
    pub fn copy_len(&self) -> u64 {
        self.copy_len
    }
}

/// How many bytes [`Header::parse`] needs, told by the first [`PREFIX_LEN`] bytes of a device.
pub fn metadata_len(prefix: &[u8]) -> Result<usize, HeaderError> {
    match version(prefix)? {
        1 => Ok(luks1::LEN),
        2 => luks2::metadata_len(prefix),
        version => Err(HeaderError::Version(version)),
    }
}

/// The UUID, which both versions have in one place.
fn uuid(device: &[u8]) -> Result<String, HeaderError> {
    let field: [u8; 40] = array(device, 168)?;
    bytes::text(&field).map(str::to_owned).ok_or(HeaderError::Field("uuid"))
}

fn version(device: &[u8]) -> Result<u16, HeaderError> {
    match array(device, 0)? {
        MAGIC => number16(device, 6),
        MAGIC_REENCRYPTION => Err(HeaderError::Reencryption),
        _ => Err(HeaderError::NotLuks),
    }
}
