//! The certificate table that the host puts beside a report (GHCB specification, extended guest request).
//!
//! The host writes it, so it may hold anything. Read here is its form; the broker verifies the certificates.

use std::fmt;

/// Length of an entry: GUID, offset, length.
const ENTRY: usize = 24;
/// The host can name four kinds that are known, and a few of its own.
const MAX_ENTRIES: usize = 16;
/// Longer than any certificate of AMD's.
const MAX_CERTIFICATE: usize = 16 * 1024;

/// The kind of an entry, by its GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The chip's key.
    Vcek,
    /// A cloud provider's key.
    Vlek,
    /// AMD's key that signs chips' keys; beside a VLEK, the one that signs VLEKs.
    Ask,
    /// AMD's root.
    Ark,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Vcek, Self::Vlek, Self::Ask, Self::Ark];

    /// The GUID, in the order of its text.
    fn guid(self) -> u128 {
        match self {
            Self::Vcek => 0x63da758d_e664_4564_adc5_f4b93be8accd,
            Self::Vlek => 0xa8074bc2_a25a_483e_aae6_39c045a0b8a1,
            Self::Ask => 0x4ab7b379_bbac_4fe4_a02f_05aef327c782,
            Self::Ark => 0xc0b406a4_a803_4952_9743_3fb6014cd0ae,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
            Self::Ask => "ASK",
            Self::Ark => "ARK",
        })
    }
}

/// A certificate of the table. Untrusted.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its kind, as the host says.
    pub kind: Kind,
    /// The certificate, in DER if all is well.
    pub der: Vec<u8>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, {} bytes)", self.kind, self.der.len())
    }
}

/// Why bytes are no certificate table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The entries go on to the end of the bytes, or beyond any number that is needed.
    #[error("the host's certificate table has no end")]
    Endless,
    /// An entry points at its own table, or outside of the bytes.
    #[error("an entry of the host's certificate table points outside of it")]
    Range,
    /// An entry is longer than any certificate.
    #[error("an entry of the host's certificate table is longer than any certificate")]
    TooLong,
}

/// Reads the table: the certificates of known kinds, in its order. No bytes are no certificates. Entries of
/// other kinds (a revocation list, the host's own) are passed over.
pub fn parse(bytes: &[u8]) -> Result<Vec<Certificate>, TableError> {
    let mut certificates = Vec::new();
    if bytes.is_empty() {
        return Ok(certificates);
    }
    let (entries, end) = entries(bytes)?;
    for Entry { guid, offset, length } in entries {
        let (Ok(offset), Ok(length)) = (usize::try_from(offset), usize::try_from(length)) else {
            return Err(TableError::Range);
        };
        let range = offset..offset.checked_add(length).ok_or(TableError::Range)?;
        let der = bytes.get(range).filter(|_| offset >= end).ok_or(TableError::Range)?;
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.guid() == guid) else { continue };
        if length > MAX_CERTIFICATE {
            return Err(TableError::TooLong);
        }
        certificates.push(Certificate { kind, der: der.to_vec() });
    }
    Ok(certificates)
}

struct Entry {
    guid: u128,
    offset: u32,
    length: u32,
}

/// The entries before the one that is zero, and where the table of them ends.
fn entries(bytes: &[u8]) -> Result<(Vec<Entry>, usize), TableError> {
    let mut entries = Vec::new();
    for (index, entry) in bytes.as_chunks::<ENTRY>().0.iter().take(MAX_ENTRIES + 1).enumerate() {
        let (guid, place) = entry.split_first_chunk::<16>().ok_or(TableError::Endless)?;
        let (offset, length) = place.split_first_chunk::<4>().ok_or(TableError::Endless)?;
        let length = length.first_chunk::<4>().ok_or(TableError::Endless)?;
        let guid = u128::from_be_bytes(*guid);
        if guid == 0 {
            return Ok((entries, (index + 1) * ENTRY));
        }
        let (offset, length) = (u32::from_le_bytes(*offset), u32::from_le_bytes(*length));
        entries.push(Entry { guid, offset, length });
    }
    Err(TableError::Endless)
}

/// Writes a table, as a host does.
pub fn write(certificates: &[Certificate]) -> Vec<u8> {
    let mut offset = (certificates.len() + 1) * ENTRY;
    let mut bytes = Vec::new();
    for Certificate { kind, der } in certificates {
        bytes.extend_from_slice(&kind.guid().to_be_bytes());
        for number in [offset, der.len()] {
            bytes.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        }
        offset += der.len();
    }
    bytes.extend_from_slice(&[0; ENTRY]);
    certificates.iter().for_each(|certificate| bytes.extend_from_slice(&certificate.der));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Certificate> {
        let certificate = |kind, byte, length| Certificate { kind, der: vec![byte; length] };
        vec![certificate(Kind::Vcek, 1, 1300), certificate(Kind::Ask, 2, 1600), certificate(Kind::Ark, 3, 1)]
    }

    /// Overwrites a number of an entry.
    fn with(at: usize, number: u32) -> Vec<u8> {
        let mut bytes = write(&sample());
        bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        assert_eq!(parse(&write(&sample())), Ok(sample()));
        let mut padded = write(&sample());
        padded.resize(0x4000, 0);
        assert_eq!(parse(&padded), Ok(sample()));
    }

    #[test]
    fn an_empty_table_is_no_certificates() {
        assert_eq!(parse(&[]), Ok(vec![]));
        assert_eq!(parse(&[0; ENTRY]), Ok(vec![]));
        assert_eq!(parse(&[0; 0x1000]), Ok(vec![]));
    }

    #[test]
    fn the_guid_of_a_vcek_is_that_of_the_specification() {
        let bytes = write(&sample());
        let text = data_encoding::HEXLOWER.encode(&bytes[..16]);
        assert_eq!(text, "63da758de6644564adc5f4b93be8accd");
    }

    #[test]
    fn other_kinds_are_passed_over() {
        let mut bytes = write(&sample());
        bytes[..16].copy_from_slice(&[7; 16]);
        assert_eq!(parse(&bytes), Ok(sample()[1..].to_vec()));
    }

    #[test]
    fn entries_outside_of_the_table_are_refused() {
        let all = u32::try_from(write(&sample()).len()).unwrap();
        for (offset, length) in [(16, 20), (40, 44)] {
            for bytes in [
                with(offset, 0),
                with(offset, 95),
                with(offset, all),
                with(offset, u32::MAX),
                with(length, all),
                with(length, u32::MAX),
            ] {
                assert_eq!(parse(&bytes), Err(TableError::Range));
            }
        }
    }

    #[test]
    fn a_table_without_an_end_is_refused() {
        assert_eq!(parse(&[1]), Err(TableError::Endless));
        assert_eq!(parse(&write(&sample())[..72]), Err(TableError::Endless));
        let many = vec![sample()[2].clone(); MAX_ENTRIES + 1];
        assert_eq!(parse(&write(&many)), Err(TableError::Endless));
        assert!(parse(&write(&many[1..])).is_ok());
    }

    #[test]
    fn an_entry_that_is_too_long_is_refused() {
        let long = |length| write(&[Certificate { kind: Kind::Vlek, der: vec![0; length] }]);
        assert_eq!(parse(&long(MAX_CERTIFICATE + 1)), Err(TableError::TooLong));
        assert!(parse(&long(MAX_CERTIFICATE)).is_ok());
    }
}
