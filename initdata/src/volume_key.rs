//! Facts of a disk: a key, a token or a label more leaves them as they are, and a re-encryption changes them.

use std::fmt;

/// The digest that a LUKS header has of its volume key.
///
/// A volume key that gives this digest is the one under which the disk was registered. A host that does not
/// know the key can make no keyslot that yields it.
#[derive(Clone, PartialEq, Eq)]
pub enum VolumeKeyDigest {
    /// The digest in a LUKS1 header: PBKDF2, cut to 20 bytes.
    Luks1 {
        /// The hash of PBKDF2, as the header names it.
        hash: String,
        /// The iterations of PBKDF2.
        iterations: u32,
        /// The salt of PBKDF2.
        salt: [u8; 32],
        /// `mk-digest`.
        digest: [u8; 20],
    },
    /// The digest in a LUKS2 header: the object of its segment.
    Luks2 {
        /// The hash of PBKDF2, as the header names it.
        hash: String,
        /// The iterations of PBKDF2.
        iterations: u32,
        /// The salt of PBKDF2.
        salt: Vec<u8>,
        /// The value.
        digest: Vec<u8>,
    },
}

impl VolumeKeyDigest {
    /// The one kind of digest object that LUKS2 has.
    pub const LUKS2_TYPE: &str = "pbkdf2";

    /// 1 or 2.
    pub fn luks(&self) -> u8 {
        match self {
            Self::Luks1 { .. } => 1,
            Self::Luks2 { .. } => 2,
        }
    }

    /// The hash of PBKDF2.
    pub fn hash(&self) -> &str {
        match self {
            Self::Luks1 { hash, .. } | Self::Luks2 { hash, .. } => hash,
        }
    }

    /// The iterations of PBKDF2.
    pub fn iterations(&self) -> u32 {
        match self {
            Self::Luks1 { iterations, .. } | Self::Luks2 { iterations, .. } => *iterations,
        }
    }

    /// The salt of PBKDF2.
    pub fn salt(&self) -> &[u8] {
        match self {
            Self::Luks1 { salt, .. } => salt,
            Self::Luks2 { salt, .. } => salt,
        }
    }

    /// The value.
    pub fn digest(&self) -> &[u8] {
        match self {
            Self::Luks1 { digest, .. } => digest,
            Self::Luks2 { digest, .. } => digest,
        }
    }

    /// Whether the numbers and lengths can be those of a digest that binds.
    pub(crate) fn is_sound(&self) -> bool {
        let lengths = match self {
            Self::Luks1 { .. } => true,
            Self::Luks2 { salt, digest, .. } => {
                (8..=64).contains(&salt.len()) && (20..=64).contains(&digest.len())
            }
        };
        lengths && self.iterations() > 0 && is_name(self.hash())
    }
}

impl fmt::Debug for VolumeKeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |bytes| data_encoding::HEXLOWER.encode(bytes);
        f.debug_struct("VolumeKeyDigest")
            .field("luks", &self.luks())
            .field("hash", &self.hash())
            .field("iterations", &self.iterations())
            .field("salt", &hex(self.salt()))
            .field("digest", &hex(self.digest()))
            .finish()
    }
}

/// How the data of a disk lies on its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The cipher in dm-crypt's words: `aes-xts-plain64`.
    pub cipher: String,
    /// The length of the volume key, that of an integrity key included.
    pub key_bits: u32,
    /// Bytes of a sector of encryption: 512 to 4096.
    pub sector_size: u32,
    /// Where the data begins, in bytes.
    pub offset: u64,
    /// The integrity of sectors, in dm-integrity's words; nothing without.
    pub integrity: Option<String>,
    /// Options that the header gives to dm-crypt at every opening: `allow-discards` and the like, sorted.
    pub flags: Vec<String>,
}

impl Segment {
    /// The flags that a LUKS2 header can carry.
    pub const FLAGS: [&str; 6] = [
        "allow-discards",
        "no-journal",
        "no-read-workqueue",
        "no-write-workqueue",
        "same-cpu-crypt",
        "submit-from-crypt-cpus",
    ];

    /// Whether the facts can be those of a disk that is encrypted.
    pub(crate) fn is_sound(&self) -> bool {
        let integrity = self.integrity.as_deref();
        is_spec(&self.cipher)
            && !is_null_cipher(&self.cipher)
            && (128..=4096).contains(&self.key_bits)
            && self.key_bits.is_multiple_of(8)
            && is_sector_size(u64::from(self.sector_size))
            && self.offset > 0
            && self.offset.is_multiple_of(512)
            && integrity.is_none_or(|integrity| is_spec(integrity) && integrity != "none")
            && self.flags.iter().all(|flag| Self::FLAGS.contains(&flag.as_str()))
            && self.flags.is_sorted_by(|a, b| a < b)
    }
}

/// Whether the kernel would encrypt with a cipher that leaves the data as it is.
///
/// The kernel has it under several names (`cipher_null`, `ecb(cipher_null)`, `digest_null`), and none of its
/// real ciphers has "null" in its name.
pub(crate) fn is_null_cipher(specification: &str) -> bool {
    specification.to_ascii_lowercase().contains("null")
}

/// A name of a hash: `sha256`, `blake2b-512`.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// A specification of a cipher or of integrity: `aes-xts-plain64`, `hmac(sha256)`,
/// `capi:xts(aes)-plain64`.
pub(crate) fn is_spec(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"-_():,.".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(known)
}

/// The sizes that dm-crypt has.
pub(crate) fn is_sector_size(bytes: u64) -> bool {
    matches!(bytes, 512 | 1024 | 2048 | 4096)
}
