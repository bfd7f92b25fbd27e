//! Reads the JSON of a LUKS2 header.

use std::collections::BTreeSet;

use data_encoding::BASE64;

use super::{
    Header, MAX_COPY_LEN, PREFIX_LEN,
    error::HeaderError,
    json::{self, Json, Object},
};
use crate::volume_key::{Segment, VolumeKeyDigest, is_null_cipher, is_sector_size, is_spec};

/// The most keyslots and tokens.
const MAX_OBJECTS: usize = 32;

/// The one segment.
const SEGMENT: &str = "0";

/// Reads the JSON of a header with this UUID, whose copies have `copy` bytes each.
pub(super) fn read(root: &Object, uuid: String, copy: usize) -> Result<Header, HeaderError> {
    let config = json::object(root, "config")?;
    requirements(config)?;
    let area = keyslots_area(config, copy)?;
    let flags = flags(config)?;
    let keyslots = json::object(root, "keyslots")?;
    let tokens = json::object(root, "tokens")?;
    if keyslots.len() > MAX_OBJECTS || tokens.len() > MAX_OBJECTS {
        return Err(HeaderError::TooMany);
    }
    let key_bytes = self::keyslots(keyslots, area)?;
    let (cipher, mut segment) = segment(json::object(root, "segments")?)?;
    let volume_key = digest(json::object(root, "digests")?, keyslots)?;

    if is_null_cipher(cipher) {
        return Err(HeaderError::NullCipher);
    }
    let key_bits = key_bytes.checked_mul(8).and_then(|bits| u32::try_from(bits).ok());
    segment.key_bits = key_bits.ok_or(HeaderError::Value("key_size"))?;
    segment.flags = flags;
    if area.1 > segment.offset {
        return Err(HeaderError::DataInHeader);
    }
    if !segment.is_sound() {
        return Err(HeaderError::Value("segments"));
    }
    Ok(Header { volume_key, segment, uuid, copy_len: area.1 })
}

/// Requirements of a header on its reader. A re-encryption stands here, and nothing else is known.
fn requirements(config: &Object) -> Result<(), HeaderError> {
    let Some(requirements) = json::optional(config, "requirements") else { return Ok(()) };
    let Json::Object(requirements) = requirements else { return Err(HeaderError::WrongType("requirements")) };
    if requirements.keys().any(|kind| kind != "mandatory") {
        return Err(HeaderError::UnknownRequirement);
    }
    if requirements.is_empty() {
        return Ok(());
    }
    let mandatory = json::texts(requirements, "mandatory")?;
    match mandatory.as_slice() {
        [] => Ok(()),
        all if all.iter().any(|name| name.contains("reencrypt")) => Err(HeaderError::Reencryption),
        _ => Err(HeaderError::UnknownRequirement),
    }
}

/// Where the key material may lie: its beginning and its end.
fn keyslots_area(config: &Object, copy: usize) -> Result<(u64, u64), HeaderError> {
    let json_size = json::long_number(config, "json_size")?;
    if usize::try_from(json_size).ok() != copy.checked_sub(PREFIX_LEN) {
        return Err(HeaderError::Value("json_size"));
    }
    let begin = u64::try_from(copy).map_err(|_| HeaderError::TooLong)? * 2;
    let end = json::long_number(config, "keyslots_size")?.checked_add(begin).ok_or(HeaderError::TooLong)?;
    if end > MAX_COPY_LEN {
        return Err(HeaderError::TooLong);
    }
    Ok((begin, end))
}

fn flags(config: &Object) -> Result<Vec<String>, HeaderError> {
    if json::optional(config, "flags").is_none() {
        return Ok(Vec::new());
    }
    let names: BTreeSet<&str> = json::texts(config, "flags")?.into_iter().collect();
    match names.iter().all(|name| Segment::FLAGS.contains(name)) {
        true => Ok(names.into_iter().map(str::to_owned).collect()),
        false => Err(HeaderError::UnknownFlag),
    }
}

/// The bytes of the key that every keyslot holds.
fn keyslots(keyslots: &Object, area: (u64, u64)) -> Result<u64, HeaderError> {
    let mut areas = Vec::with_capacity(keyslots.len());
    let mut key_bytes = None;
    for (number, keyslot) in keyslots {
        if !is_number(number) {
            return Err(HeaderError::Value("keyslots"));
        }
        let Json::Object(keyslot) = keyslot else { return Err(HeaderError::WrongType("keyslots")) };
        match json::text(keyslot, "type")? {
            "luks2" => {}
            "reencrypt" => return Err(HeaderError::Reencryption),
            _ => return Err(HeaderError::KeyslotType),
        }
        let size = json::number(keyslot, "key_size")?;
        if *key_bytes.get_or_insert(size) != size {
            return Err(HeaderError::KeyLengths);
        }
        areas.push(material(json::object(keyslot, "area")?)?);
    }
    areas.sort_unstable();
    let mut end = area.0;
    for (begin, after) in areas {
        if begin < end || after > area.1 {
            return Err(HeaderError::KeyMaterial);
        }
        end = after;
    }
    key_bytes.ok_or(HeaderError::NoKeyslot)
}

fn material(area: &Object) -> Result<(u64, u64), HeaderError> {
    if json::text(area, "type")? != "raw" {
        return Err(HeaderError::KeyslotType);
    }
    let encryption = json::text(area, "encryption")?;
    if is_null_cipher(encryption) {
        return Err(HeaderError::NullCipherInKeyslot);
    }
    if !is_spec(encryption) {
        return Err(HeaderError::Value("encryption"));
    }
    let (begin, size) = (json::long_number(area, "offset")?, json::long_number(area, "size")?);
    let end = begin.checked_add(size).filter(|_| size > 0).ok_or(HeaderError::KeyMaterial)?;
    Ok((begin, end))
}

/// The one segment, without what other objects say of it, and its cipher.
fn segment(segments: &Object) -> Result<(&str, Segment), HeaderError> {
    // A re-encryption keeps what was and what will be as further segments, and flags them.
    let flagged = |segment: &Json| matches!(segment, Json::Object(segment) if segment.contains_key("flags"));
    if segments.values().any(flagged) {
        return Err(HeaderError::Reencryption);
    }
    let segment = match (segments.len(), segments.get(SEGMENT)) {
        (0, _) | (1, None) => return Err(HeaderError::NoSegment),
        (1, Some(Json::Object(segment))) => segment,
        (1, Some(_)) => return Err(HeaderError::WrongType("segments")),
        _ => return Err(HeaderError::MoreThanOneSegment),
    };
    if json::text(segment, "type")? != "crypt" {
        return Err(HeaderError::SegmentType);
    }
    const MEMBERS: [&str; 7] =
        ["type", "offset", "size", "iv_tweak", "encryption", "sector_size", "integrity"];
    if segment.keys().any(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(HeaderError::SegmentMember);
    }
    if json::text(segment, "size")? != "dynamic" {
        return Err(HeaderError::SegmentSize);
    }
    if json::long_number(segment, "iv_tweak")? != 0 {
        return Err(HeaderError::SegmentTweak);
    }
    let cipher = json::text(segment, "encryption")?;
    let sector_size = json::number(segment, "sector_size")?;
    if !is_sector_size(sector_size) {
        return Err(HeaderError::Value("sector_size"));
    }
    let segment = Segment {
        cipher: cipher.to_owned(),
        key_bits: 0,
        sector_size: u32::try_from(sector_size).map_err(|_| HeaderError::Value("sector_size"))?,
        offset: json::long_number(segment, "offset")?,
        integrity: integrity(segment)?,
        flags: Vec::new(),
    };
    Ok((cipher, segment))
}

fn integrity(segment: &Object) -> Result<Option<String>, HeaderError> {
    if json::optional(segment, "integrity").is_none() {
        return Ok(None);
    }
    let integrity = json::object(segment, "integrity")?;
    const MEMBERS: [&str; 3] = ["type", "journal_encryption", "journal_integrity"];
    if integrity.keys().any(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(HeaderError::SegmentMember);
    }
    for name in ["journal_encryption", "journal_integrity"] {
        if json::text(integrity, name)? != "none" {
            return Err(HeaderError::Value(name));
        }
    }
    json::text(integrity, "type").map(|kind| Some(kind.to_owned()))
}

/// The one digest: of the segment, and of all keyslots.
fn digest(digests: &Object, keyslots: &Object) -> Result<VolumeKeyDigest, HeaderError> {
    let digest = match digests.len() {
        0 => return Err(HeaderError::NoDigest),
        1 => digests.values().next(),
        _ => return Err(HeaderError::MoreThanOneDigest),
    };
    let Some(Json::Object(digest)) = digest else { return Err(HeaderError::WrongType("digests")) };
    if json::text(digest, "type")? != VolumeKeyDigest::LUKS2_TYPE {
        return Err(HeaderError::Digest);
    }
    if json::texts(digest, "segments")?.as_slice() != [SEGMENT] {
        return Err(HeaderError::DigestOfNoSegment);
    }
    let named = json::texts(digest, "keyslots")?;
    let bound: BTreeSet<&str> = named.iter().copied().collect();
    if bound.len() != named.len() || !bound.into_iter().eq(keyslots.keys().map(String::as_str)) {
        return Err(HeaderError::DigestOfOtherKeyslots);
    }
    let bytes =
        |name| BASE64.decode(json::text(digest, name)?.as_bytes()).map_err(|_| HeaderError::Value(name));
    let iterations = json::number(digest, "iterations")?;
    let volume_key = VolumeKeyDigest::Luks2 {
        hash: json::text(digest, "hash")?.to_owned(),
        iterations: u32::try_from(iterations).map_err(|_| HeaderError::Value("iterations"))?,
        salt: bytes("salt")?,
        digest: bytes("digest")?,
    };
    volume_key.is_sound().then_some(volume_key).ok_or(HeaderError::Digest)
}

/// A name of an object: a number without zeros before it.
fn is_number(name: &str) -> bool {
    name.parse::<u8>().is_ok_and(|number| number.to_string() == name)
}
