//! The digest of a document, under the algorithm that the document names.

use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256, Sha384, Sha512};

/// How a document is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256: 32 bytes, all of which HOST_DATA carries.
    Sha256,
    /// SHA-384: HOST_DATA carries its first 32 bytes.
    Sha384,
    /// SHA-512: HOST_DATA carries its first 32 bytes.
    Sha512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name that documents and requests have for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The algorithm of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Bytes of a digest.
    pub fn digest_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The digest of a text, which is hashed as it is.
    pub fn digest(self, text: &str) -> InitDataDigest {
        let bytes = match self {
            Self::Sha256 => Sha256::digest(text).to_vec(),
            Self::Sha384 => Sha384::digest(text).to_vec(),
            Self::Sha512 => Sha512::digest(text).to_vec(),
        };
        InitDataDigest { algorithm: self, bytes }
    }
}

/// The digest of a document.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct InitDataDigest {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl InitDataDigest {
    /// A digest that is at hand; nothing if it has another length than the algorithm's.
    pub fn new(algorithm: Algorithm, bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() == algorithm.digest_len()).then_some(Self { algorithm, bytes })
    }

    /// How the document was hashed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// All bytes of the digest.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The HOST_DATA with which a guest is launched to bind the document: the first 32 bytes, as kata has it.
    pub fn host_data(&self) -> [u8; 32] {
        let mut host_data = [0; 32];
        for (to, from) in host_data.iter_mut().zip(&self.bytes) {
            *to = *from;
        }
        host_data
    }
}

impl fmt::Display for InitDataDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.bytes))
    }
}

impl fmt::Debug for InitDataDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", self.algorithm.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_data_is_the_beginning_of_every_digest() {
        for algorithm in Algorithm::ALL {
            let digest = algorithm.digest("abc");
            assert_eq!(digest.bytes().len(), algorithm.digest_len());
            assert_eq!(digest.host_data(), digest.bytes()[..32]);
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
        // FIPS 180-4's example.
        assert!(Algorithm::Sha256.digest("abc").to_string().starts_with("ba7816bf8f01cfea"));
    }

    #[test]
    fn a_digest_has_the_length_of_its_algorithm() {
        assert_eq!(InitDataDigest::new(Algorithm::Sha384, vec![0; 32]), None);
        assert!(InitDataDigest::new(Algorithm::Sha384, vec![0; 48]).is_some());
        assert_eq!(Algorithm::from_name("SHA256"), None);
    }
}
