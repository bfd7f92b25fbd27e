//! The versions of the protocol, and what differs between them.

use aws_lc_rs::digest;

/// A version of the protocol that guest-components released. Each guest speaks exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KbsVersion {
    /// guest-components 0.8 and 0.9.
    V0_1_0,
    /// guest-components 0.10 and 0.11.
    V0_1_1,
    /// guest-components 0.12 and 0.13.
    V0_2_0,
    /// guest-components 0.14 and later.
    V0_4_0,
}

impl KbsVersion {
    /// Every version, oldest first.
    pub const ALL: [KbsVersion; 4] = [Self::V0_1_0, Self::V0_1_1, Self::V0_2_0, Self::V0_4_0];

    /// The value of `version`.
    pub const fn text(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_1_1 => "0.1.1",
            Self::V0_2_0 => "0.2.0",
            Self::V0_4_0 => "0.4.0",
        }
    }

    /// Whether auth offers hash algorithms, and the answer may select one.
    pub const fn offers_hashes(self) -> bool {
        !matches!(self, Self::V0_1_0)
    }

    /// Whether the evidence lies in a string.
    pub const fn evidence_in_string(self) -> bool {
        matches!(self, Self::V0_1_0)
    }

    /// Whether attest has the members `init-data` and `runtime-data`, and evidence is composed of parts.
    pub const fn composite(self) -> bool {
        matches!(self, Self::V0_4_0)
    }

    /// The form of a resource.
    pub const fn jwe(self) -> JweForm {
        match self {
            Self::V0_1_0 | Self::V0_1_1 => JweForm::BeforeRfc,
            Self::V0_2_0 | Self::V0_4_0 => JweForm::Rfc7516,
        }
    }
}

/// How the members of a JWE are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JweForm {
    /// `protected` is base64url of JSON and is authenticated, the tag stands by itself.
    Rfc7516,
    /// `protected` is the JSON text, the tag ends the ciphertext, and nothing is authenticated beside it.
    BeforeRfc,
}

/// A hash algorithm of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384, where nothing was selected.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    /// Every algorithm that this guest can compute.
    pub const ALL: [HashAlgorithm; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its name on the wire and in init data.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The algorithm of that name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// The digest of `text`.
    pub fn digest(self, text: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, text).as_ref().to_vec()
    }
}
