//! Signature algorithms, as certificates and CRLs state them (RFC 5280, 4.1.1.2 and 5.1.1.2).

use crate::der::{self, Oid};

const RSASSA_PSS: Oid = Oid(&[1, 2, 840, 113549, 1, 1, 10]);
const SHA384_WITH_RSA: Oid = Oid(&[1, 2, 840, 113549, 1, 1, 12]);
const MGF1: Oid = Oid(&[1, 2, 840, 113549, 1, 1, 8]);

/// A hash function of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384: AMD's.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// AlgorithmIdentifier with the NULL parameters that AMD writes.
    fn identifier(self) -> Vec<u8> {
        let oid = match self {
            Self::Sha256 => Oid(&[2, 16, 840, 1, 101, 3, 4, 2, 1]),
            Self::Sha384 => Oid(&[2, 16, 840, 1, 101, 3, 4, 2, 2]),
            Self::Sha512 => Oid(&[2, 16, 840, 1, 101, 3, 4, 2, 3]),
        };
        der::sequence(&[der::oid(oid), der::null()])
    }
}

/// A signature algorithm as a certificate or CRL states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PSS (RFC 4055, 3.1). The signature is made with `hash` for message and mask and a salt of its
    /// length; the other values are only claims.
    Pss {
        /// Hash of the message.
        hash: Hash,
        /// Hash of the mask generation function MGF1.
        mgf_hash: Hash,
        /// Length of the salt in bytes.
        salt_len: u8,
        /// The trailer field, written out even where it is the default 1; `None` leaves it out.
        trailer: Option<u8>,
    },
    /// RSASSA-PKCS1-v1_5 with SHA-384, which AMD does not use.
    Pkcs1,
}

impl Algorithm {
    /// AMD's algorithm without the default trailer field, as Genoa's and Turin's VCEKs and all VLEKs have it.
    pub const PSS: Self =
        Self::Pss { hash: Hash::Sha384, mgf_hash: Hash::Sha384, salt_len: 48, trailer: None };
    /// AMD's algorithm with the default trailer field spelled out, as every CA certificate and Milan's VCEKs
    /// have it.
    pub const PSS_EXPLICIT_TRAILER: Self =
        Self::Pss { hash: Hash::Sha384, mgf_hash: Hash::Sha384, salt_len: 48, trailer: Some(1) };
    /// RSASSA-PSS, sound but with SHA-256.
    pub const PSS_SHA256: Self =
        Self::Pss { hash: Hash::Sha256, mgf_hash: Hash::Sha256, salt_len: 32, trailer: None };

    /// AlgorithmIdentifier, DER.
    pub(super) fn identifier(self) -> Vec<u8> {
        match self {
            Self::Pkcs1 => der::sequence(&[der::oid(SHA384_WITH_RSA), der::null()]),
            Self::Pss { hash, mgf_hash, salt_len, trailer } => {
                let mgf = der::sequence(&[der::oid(MGF1), mgf_hash.identifier()]);
                let mut parameters = vec![
                    der::explicit(0, &hash.identifier()),
                    der::explicit(1, &mgf),
                    der::explicit(2, &der::integer(&[salt_len])),
                ];
                parameters.extend(trailer.map(|trailer| der::explicit(3, &der::integer(&[trailer]))));
                der::sequence(&[der::oid(RSASSA_PSS), der::sequence(&parameters)])
            }
        }
    }
}
