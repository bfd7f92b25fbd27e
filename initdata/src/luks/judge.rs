//! The one comparison of a disk with what a document says of it.

use super::{Header, error::HeaderError};
use crate::document::Disk;

/// Why a guest does not open a disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiskRefused {
    /// Its header is none to give to cryptsetup.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// LUKS1 in place of LUKS2, or the other way round.
    #[error("another version of LUKS than the document's")]
    LuksVersion,
    /// Another volume key: another disk, or one that was encrypted anew.
    #[error("another volume key than the document's: another disk, or encrypted anew")]
    VolumeKey,
    /// Another cipher.
    #[error("another cipher than the document's")]
    Cipher,
    /// Another length of the volume key.
    #[error("another length of the volume key than the document's")]
    KeyLength,
    /// Another size of sectors.
    #[error("another sector size than the document's")]
    SectorSize,
    /// Data that begins elsewhere.
    #[error("the data begins elsewhere than the document says")]
    Offset,
    /// Other integrity, or none.
    #[error("another integrity than the document's")]
    Integrity,
    /// Flags that the document does not have, or the other way round.
    #[error("other flags than the document's")]
    Flags,
}

/// A disk whose header is the one that a document describes.
///
/// Only [`judge`] makes one. It stands for the bytes that were parsed: a guest opens the disk with a copy of
/// these bytes, and never lets the device be asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    copy_len: u64,
}

impl Judged {
    /// How many bytes of the device, from its beginning, the copy for cryptsetup has.
    pub fn copy_len(&self) -> u64 {
        self.copy_len
    }
}

/// Compares a header with what the document says of the disk.
///
/// This establishes that only the volume key under which the disk was registered opens it, and that the
/// data is read in the way in which it was written. It does not establish that the data is the latest, or
/// whole: the host can bring back older blocks, and garble blocks where the disk has no integrity.
pub fn judge(header: &Header, disk: &Disk) -> Result<Judged, DiskRefused> {
    let (is, must) = (&header.segment, &disk.segment);
    let rows = [
        (header.volume_key.luks() == disk.volume_key.luks(), DiskRefused::LuksVersion),
        (header.volume_key == disk.volume_key, DiskRefused::VolumeKey),
        (is.cipher == must.cipher, DiskRefused::Cipher),
        (is.key_bits == must.key_bits, DiskRefused::KeyLength),
        (is.sector_size == must.sector_size, DiskRefused::SectorSize),
        (is.offset == must.offset, DiskRefused::Offset),
        (is.integrity == must.integrity, DiskRefused::Integrity),
        (is.flags == must.flags, DiskRefused::Flags),
    ];
    match rows.into_iter().find(|(holds, _)| !holds) {
        None => Ok(Judged { copy_len: header.copy_len }),
        Some((_, refused)) => Err(refused),
    }
}
