//! The host's certificate table, in the form of AMD's GHCB specification (SNP Extended Guest Request):
//! entries of a GUID, an offset and a length, then an entry of zeros, then the contents.

use super::{Unread, characters, der, pem};

/// An entry: the GUID's 16 bytes and two words.
const ENTRY: usize = 24;

/// The GUIDs of AMD's: VCEK, VLEK, ASK, ARK, CRL, in the order in which they are written.
const AMD: [[u8; 16]; 5] = [
    *b"\x63\xda\x75\x8d\xe6\x64\x45\x64\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd",
    *b"\xa8\x07\x4b\xc2\xa2\x5a\x48\x3e\xaa\xe6\x39\xc0\x45\xa0\xb8\xa1",
    *b"\x4a\xb7\xb3\x79\xbb\xac\x4f\xe4\xa0\x2f\x05\xae\xf3\x27\xc7\x82",
    *b"\xc0\xb4\x06\xa4\xa8\x03\x49\x52\x97\x43\x3f\xb6\x01\x4c\xd0\xae",
    *b"\x92\xf8\x1b\xc3\x58\x11\x4d\x3d\x97\xff\xd1\x9f\x88\xdc\x67\xea",
];

/// Whether the GUID is AMD's. `snphost` and the `sev` package write the bytes in the order in which they are
/// read; UEFI's form reverses the first three groups. The two cannot be confused.
fn is_amds(guid: &[u8; 16]) -> bool {
    let mut turned = *guid;
    let [a, b, c, d, e, f, g, h, ..] = &mut turned;
    std::mem::swap(a, d);
    std::mem::swap(b, c);
    std::mem::swap(e, f);
    std::mem::swap(g, h);
    AMD.contains(guid) || AMD.contains(&turned)
}

/// Whether these are a table's first bytes: one of AMD's GUIDs, or the last entry of an empty table with only
/// zeros behind it.
pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(is_amds) || (bytes.len() >= ENTRY && bytes.iter().all(|byte| *byte == 0))
}

/// The contents of the entries with AMD's GUIDs, in DER. A host's own GUIDs lead to nothing of AMD's.
pub(super) fn content(table: &[u8]) -> Result<Vec<Vec<u8>>, Unread> {
    let mut found = Vec::new();
    let mut entries = table.chunks_exact(ENTRY);
    let mut count = 0;
    loop {
        let outside = Unread::Table(count + 1);
        let entry = entries.next().ok_or(outside.clone())?;
        if entry.iter().all(|byte| *byte == 0) {
            break;
        }
        count += 1;
        let (guid, place) = entry.split_first_chunk::<16>().ok_or(outside.clone())?;
        let &[a, b, c, d, e, f, g, h] = place else { return Err(outside) };
        let word = |bytes| usize::try_from(u32::from_le_bytes(bytes)).map_err(|_| outside.clone());
        let (offset, len) = (word([a, b, c, d])?, word([e, f, g, h])?);
        found.push((is_amds(guid), offset, len, outside));
    }
    let header = (count + 1) * ENTRY;
    // No host lets entries share bytes. If they were read once for each entry, a small file would grow
    // without bound.
    let mut room = table.len().saturating_sub(header);
    let mut ders = Vec::new();
    for (amds, offset, len, outside) in found {
        let end = offset.checked_add(len).filter(|_| offset >= header).ok_or(outside.clone())?;
        let content = table.get(offset..end).ok_or(outside.clone())?;
        room = room.checked_sub(len).ok_or(outside)?;
        if amds && !content.is_empty() {
            ders.extend(values(content)?);
        }
    }
    if ders.is_empty() { Err(Unread::EmptyTable) } else { Ok(ders) }
}

/// The values of an entry: certificates or lists, possibly as PEM, if a host's operator loaded them so. A
/// table in a table is refused, because reading would not end.
fn values(content: &[u8]) -> Result<Vec<Vec<u8>>, Unread> {
    match characters::text(content) {
        Some(text) => pem::blocks(text),
        None if content.starts_with(&[0x30]) => der::values(content),
        None => Err(Unread::Unknown(content.len())),
    }
}
