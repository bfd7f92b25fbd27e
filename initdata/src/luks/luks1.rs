//! LUKS1: one copy, fixed fields, eight keyslots.

use super::{
    Header, MAX_COPY_LEN,
    bytes::{array, number32, text},
    error::HeaderError,
    uuid,
};
use crate::volume_key::{Segment, VolumeKeyDigest, is_name, is_null_cipher, is_spec};

/// Bytes of the header without key material.
pub(super) const LEN: usize = 592;

const SECTOR: u64 = 512;
const KEYSLOTS: usize = 8;
const KEYSLOT_LEN: usize = 48;
const ENABLED: u32 = 0x00AC_71F3;
const DISABLED: u32 = 0x0000_DEAD;

pub(super) fn parse(device: &[u8]) -> Result<Header, HeaderError> {
    if device.len() < LEN {
        return Err(HeaderError::Truncated);
    }
    let name = field(device, 8, "cipher-name", is_spec)?;
    let mode = field(device, 40, "cipher-mode", is_spec)?;
    let hash = field(device, 72, "hash-spec", is_name)?;
    let cipher = format!("{name}-{mode}");
    if is_null_cipher(&cipher) {
        return Err(HeaderError::NullCipher);
    }
    let data = u64::from(number32(device, 104)?) * SECTOR;
    let key_bytes = number32(device, 108)?;
    let volume_key = VolumeKeyDigest::Luks1 {
        hash: hash.to_owned(),
        iterations: number32(device, 164)?,
        salt: array(device, 132)?,
        digest: array(device, 112)?,
    };
    let key_bits = key_bytes.checked_mul(8).ok_or(HeaderError::Field("key-bytes"))?;
    let segment =
        Segment { cipher, key_bits, sector_size: 512, offset: data, integrity: None, flags: Vec::new() };
    let copy_len = material(device, key_bytes)?;
    if copy_len > MAX_COPY_LEN {
        return Err(HeaderError::TooLong);
    }
    if copy_len > data {
        return Err(HeaderError::DataInHeader);
    }
    if !segment.is_sound() {
        return Err(HeaderError::Field("key-bytes"));
    }
    if !volume_key.is_sound() {
        return Err(HeaderError::Field("mk-digest-iter"));
    }
    Ok(Header { volume_key, segment, uuid: uuid(device)?, copy_len })
}

/// Where the material of the last keyslot ends, used or not.
fn material(device: &[u8], key_bytes: u32) -> Result<u64, HeaderError> {
    let mut areas = Vec::with_capacity(KEYSLOTS);
    let mut used = false;
    for slot in 0..KEYSLOTS {
        let at = 208 + slot * KEYSLOT_LEN;
        match number32(device, at)? {
            ENABLED => used = true,
            DISABLED => {}
            _ => return Err(HeaderError::Field("the state of a keyslot")),
        }
        let begin = u64::from(number32(device, at + 40)?) * SECTOR;
        let stripes = u64::from(number32(device, at + 44)?);
        if stripes == 0 || stripes > 4000 {
            return Err(HeaderError::Field("the stripes of a keyslot"));
        }
        areas.push((begin, begin + (u64::from(key_bytes) * stripes).next_multiple_of(SECTOR)));
    }
    if !used {
        return Err(HeaderError::NoKeyslot);
    }
    areas.sort_unstable();
    let mut end = u64::try_from(LEN).map_err(|_| HeaderError::TooLong)?;
    for (begin, after) in areas {
        if begin < end {
            return Err(HeaderError::KeyMaterial);
        }
        end = after;
    }
    Ok(end)
}

fn field<'a>(
    device: &'a [u8],
    offset: usize,
    name: &'static str,
    rule: fn(&str) -> bool,
) -> Result<&'a str, HeaderError> {
    let bytes = device.get(offset..).and_then(|rest| rest.get(..32)).ok_or(HeaderError::Truncated)?;
    text(bytes).filter(|text| rule(text)).ok_or(HeaderError::Field(name))
}
