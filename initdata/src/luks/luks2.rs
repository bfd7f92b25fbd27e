//! LUKS2: two copies, each of 4096 bytes with fixed fields and an area of JSON.

use sha2::{Digest, Sha256};

use super::{
    Header, MAGIC, PREFIX_LEN,
    bytes::{array, number16, number64, text},
    error::{CopyDefect, CopyField, HeaderError, WhichCopy},
    json, metadata, uuid,
};

/// The second copy.
const MAGIC_SECOND: [u8; 6] = *b"SKUL\xba\xbe";

const SEQUENCE_NUMBER: usize = 16;
const LABEL: usize = 24;
const ALGORITHM: usize = 72;
const UUID: usize = 168;
const SUBSYSTEM: usize = 208;
const OFFSET: usize = 256;
const CHECKSUM: usize = 448;
const CHECKSUM_LEN: usize = 64;

pub(super) fn metadata_len(prefix: &[u8]) -> Result<usize, HeaderError> {
    Ok(2 * copy_len(prefix).map_err(|defect| HeaderError::Damaged { copy: WhichCopy::First, defect })?)
}

pub(super) fn parse(device: &[u8]) -> Result<Header, HeaderError> {
    let len = metadata_len(device)? / 2;
    let first = device.get(..len).ok_or(HeaderError::Truncated)?;
    let second = device.get(len..).and_then(|rest| rest.get(..len)).ok_or(HeaderError::Truncated)?;
    check(first, WhichCopy::First, MAGIC, 0)?;
    check(second, WhichCopy::Second, MAGIC_SECOND, len)?;
    agree(first, second)?;
    let area = first.get(PREFIX_LEN..).ok_or(HeaderError::Truncated)?;
    metadata::read(&json::parse(area)?, uuid(first)?, len)
}

/// The length of a copy: a power of two from 16 KiB to 4 MiB.
fn copy_len(copy: &[u8]) -> Result<usize, CopyDefect> {
    let len = number64(copy, 8).ok().and_then(|len| usize::try_from(len).ok());
    len.filter(|len| len.is_power_of_two() && (0x4000..=0x40_0000).contains(len)).ok_or(CopyDefect::Length)
}

/// Whether cryptsetup would take this copy as it is.
fn check(copy: &[u8], which: WhichCopy, magic: [u8; 6], offset: usize) -> Result<(), HeaderError> {
    defect(copy, magic, offset)?.map_or(Ok(()), |defect| Err(HeaderError::Damaged { copy: which, defect }))
}

fn defect(copy: &[u8], magic: [u8; 6], offset: usize) -> Result<Option<CopyDefect>, HeaderError> {
    if array(copy, 0)? != magic {
        return Ok(Some(CopyDefect::Magic));
    }
    if number16(copy, 6)? != 2 {
        return Ok(Some(CopyDefect::Version));
    }
    if copy_len(copy) != Ok(copy.len()) {
        return Ok(Some(CopyDefect::Length));
    }
    if usize::try_from(number64(copy, OFFSET)?) != Ok(offset) {
        return Ok(Some(CopyDefect::Offset));
    }
    if text(&array::<32>(copy, ALGORITHM)?) != Some("sha256") {
        return Ok(Some(CopyDefect::ChecksumAlgorithm));
    }
    let (before, rest) = copy.split_at_checked(CHECKSUM).ok_or(HeaderError::Truncated)?;
    let (checksum, after) = rest.split_at_checked(CHECKSUM_LEN).ok_or(HeaderError::Truncated)?;
    let computed =
        Sha256::new().chain_update(before).chain_update([0; CHECKSUM_LEN]).chain_update(after).finalize();
    let (value, zeros) = checksum.split_at_checked(computed.len()).ok_or(HeaderError::Truncated)?;
    let holds = value == computed.as_slice() && zeros.iter().all(|&byte| byte == 0);
    Ok((!holds).then_some(CopyDefect::Checksum))
}

/// Salt and checksum are each copy's own. All else must be the same.
fn agree(first: &[u8], second: &[u8]) -> Result<(), HeaderError> {
    let same = |from: usize, to: usize| first.get(from..to) == second.get(from..to);
    let rows = [
        (same(SEQUENCE_NUMBER, LABEL), CopyField::SequenceNumber),
        (same(UUID, SUBSYSTEM), CopyField::Uuid),
        (same(LABEL, ALGORITHM) && same(SUBSYSTEM, OFFSET), CopyField::Label),
        (first.get(PREFIX_LEN..) == second.get(PREFIX_LEN..), CopyField::Json),
    ];
    match rows.into_iter().find(|(same, _)| !same) {
        None => Ok(()),
        Some((_, field)) => Err(HeaderError::CopiesDisagree(field)),
    }
}
