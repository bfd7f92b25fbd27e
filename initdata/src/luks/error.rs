use std::fmt;

/// Why bytes are no header that a guest may give to cryptsetup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// No LUKS header.
    #[error("the disk has no LUKS header")]
    NotLuks,
    /// Neither LUKS1 nor LUKS2.
    #[error("the LUKS header has version {0}, which is neither 1 nor 2")]
    Version(u16),
    /// The bytes end before the header does.
    #[error("the disk ends within its LUKS header")]
    Truncated,
    /// The header and its key material need more than [`super::MAX_COPY_LEN`] bytes.
    #[error("the LUKS header has more than 16 MiB")]
    TooLong,
    /// The data begins within the header or its key material.
    #[error("the data begins within the LUKS header")]
    DataInHeader,
    /// A re-encryption is under way, or was begun.
    #[error("a re-encryption is under way")]
    Reencryption,
    /// The null cipher, for the data.
    #[error("the null cipher")]
    NullCipher,
    /// The null cipher, for a keyslot.
    #[error("the null cipher in a keyslot")]
    NullCipherInKeyslot,

    /// A copy of a LUKS2 header that cryptsetup would repair from the other one.
    #[error("the {copy} copy of the header is damaged: {defect}")]
    Damaged {
        /// The first or the second.
        copy: WhichCopy,
        /// The defect.
        defect: CopyDefect,
    },
    /// Two copies of a LUKS2 header that are whole and say different things.
    #[error("the two copies of the header disagree: {0}")]
    CopiesDisagree(CopyField),
    /// The JSON of a LUKS2 header is not unambiguous.
    #[error("the header's JSON {0}")]
    Json(JsonDefect),
    /// The JSON lacks a member.
    #[error("the header's JSON has no {0:?}")]
    Missing(&'static str),
    /// A member of another type than the format's: a number in place of a text, too.
    #[error("{0:?} in the header's JSON has another type than it must have")]
    WrongType(&'static str),
    /// A member with a value that the format does not allow.
    #[error("{0:?} in the header's JSON has a value that it cannot have")]
    Value(&'static str),
    /// A requirement that a reader must meet, which is unknown here.
    #[error("the header has a requirement that is not known")]
    UnknownRequirement,
    /// A flag that is unknown here.
    #[error("the header has a flag that is not known")]
    UnknownFlag,
    /// No segment of data.
    #[error("the header has no segment")]
    NoSegment,
    /// More than one segment of data.
    #[error("the header has more than one segment")]
    MoreThanOneSegment,
    /// A segment that is no encryption by dm-crypt.
    #[error("the segment is not of the type crypt")]
    SegmentType,
    /// A segment with a member that is unknown here.
    #[error("the segment has a member that is not known")]
    SegmentMember,
    /// A segment that ends before the device does.
    #[error("the segment does not reach to the end of the device")]
    SegmentSize,
    /// A segment whose first sector is not numbered 0.
    #[error("the segment's sectors are not numbered from 0")]
    SegmentTweak,
    /// No digest of a volume key.
    #[error("the header has no digest of a volume key")]
    NoDigest,
    /// More than one digest of a volume key.
    #[error("the header has more than one digest of a volume key")]
    MoreThanOneDigest,
    /// A digest of another type than pbkdf2, or with lengths that bind nothing.
    #[error("the digest of the volume key has a type or lengths that are not known")]
    Digest,
    /// The digest is not the segment's.
    #[error("the digest of the volume key is not bound to the segment")]
    DigestOfNoSegment,
    /// The digest names a keyslot that is not there, or a keyslot has no digest.
    #[error("keyslots and the digest of the volume key do not match")]
    DigestOfOtherKeyslots,
    /// No keyslot.
    #[error("the header has no keyslot")]
    NoKeyslot,
    /// More keyslots or tokens than the format has.
    #[error("the header has more than 32 keyslots or tokens")]
    TooMany,
    /// A keyslot of a type that is unknown here.
    #[error("a keyslot is not of the type luks2")]
    KeyslotType,
    /// Keyslots for keys of different lengths.
    #[error("the keyslots hold keys of different lengths")]
    KeyLengths,
    /// A keyslot whose material lies outside of the header, or in another keyslot's.
    #[error("the key material of a keyslot lies where it must not")]
    KeyMaterial,

    /// A field of the header that cannot be what it is.
    #[error("{0} in the header cannot be what it is")]
    Field(&'static str),
}

/// One of the two copies of a LUKS2 header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichCopy {
    /// At the device's beginning.
    First,
    /// Behind the first.
    Second,
}

impl fmt::Display for WhichCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first",
            Self::Second => "second",
        })
    }
}

/// How a copy of a LUKS2 header is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CopyDefect {
    /// It does not begin as it must.
    #[error("it does not begin as a copy does")]
    Magic,
    /// Its version is not 2.
    #[error("its version is not 2")]
    Version,
    /// A length that no copy has, or another one than the first copy's.
    #[error("its length is none that a copy has")]
    Length,
    /// It is meant for another place.
    #[error("it is meant for another place")]
    Offset,
    /// A checksum other than SHA-256.
    #[error("its checksum is not a SHA-256")]
    ChecksumAlgorithm,
    /// The checksum is another one.
    #[error("its checksum is wrong")]
    Checksum,
}

/// A thing that two copies of a LUKS2 header must have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CopyField {
    /// The number that every change adds 1 to.
    #[error("their numbers differ")]
    SequenceNumber,
    /// The disk's UUID.
    #[error("their UUIDs differ")]
    Uuid,
    /// Label and subsystem.
    #[error("their labels differ")]
    Label,
    /// The JSON.
    #[error("their JSON differs")]
    Json,
}

/// Why JSON is not unambiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonDefect {
    /// Not JSON, or not an object.
    #[error("is not an object of JSON")]
    Syntax,
    /// Something other than zeros behind the text.
    #[error("is followed by other bytes than zeros")]
    Trailing,
    /// One name twice in one object.
    #[error("has a name twice in one object")]
    DuplicateName,
    /// A control character in a name or a text: a zero ends a text for cryptsetup.
    #[error("has a control character in a name or a text")]
    ControlCharacter,
}
