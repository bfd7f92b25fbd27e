//! The common form of AMD's certificates: X.509 v3 in DER, signed with RSASSA-PSS over SHA-384 (AMD
//! publication 57230, "VCEK Certificate and KDS Interface Specification", chapter 3).
//!
//! A `Certificate` is parsed and well-formed. Nobody has vouched for it yet: that is [`super::chain`].

use std::{fmt, ops::RangeInclusive};

use aws_lc_rs::signature::ParsedPublicKey;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use x509_parser::{
    asn1_rs::{Oid, oid},
    certificate::X509Certificate,
    oid_registry as registry,
    prelude::{AlgorithmIdentifier, FromDer, X509Extension, X509Name, X509Version},
    signature_algorithm::SignatureAlgorithm,
};

use crate::der;

/// A certificate's place in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// AMD Root Key.
    Ark,
    /// AMD SEV Key, which certifies VCEKs.
    Ask,
    /// AMD SEV VLEK Key, which certifies VLEKs.
    Asvk,
    /// Versioned endorsement key: the VCEK or VLEK.
    Vek,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ark => "ARK",
            Self::Ask => "ASK",
            Self::Asvk => "ASVK",
            Self::Vek => "VEK",
        })
    }
}

/// The defect of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Defect {
    /// Not one DER certificate, or bytes follow it.
    #[error("is not one certificate in DER")]
    Malformed,
    /// Not X.509 version 3.
    #[error("is not an X.509 version 3 certificate")]
    Version,
    /// The algorithm inside the signed part differs from the one beside the signature.
    #[error("names two different signature algorithms")]
    AlgorithmMismatch,
    /// Not RSASSA-PSS with SHA-384, MGF1 over SHA-384 and a salt of 48 bytes.
    #[error("is not signed with RSASSA-PSS over SHA-384")]
    Algorithm,
    /// The subject's common name is none of this role's.
    #[error("has a subject that AMD gives to no such certificate")]
    Subject,
    /// The issuer's name is not the subject of the certificate that should have issued it.
    #[error("names another issuer")]
    Issuer,
    /// The public key is not of the kind and size that AMD uses for the role.
    #[error("has a public key of another kind or size")]
    PublicKey,
    /// Basic constraints do not say CA, or leave the path too long.
    #[error("is not marked as a certificate authority's")]
    BasicConstraints,
    /// Key usage lacks what the role needs.
    #[error("may not be used for this")]
    KeyUsage,
    /// An extension occurs twice.
    #[error("has an extension twice")]
    DuplicateExtension,
    /// A critical extension is not understood.
    #[error("has a critical extension that is not understood")]
    UnknownCriticalExtension,
    /// An extension of AMD's that the role needs is absent.
    #[error("lacks AMD's extension {0}")]
    MissingExtension(&'static str),
    /// An extension of AMD's has no valid value.
    #[error("has no valid value in AMD's extension {0}")]
    ExtensionValue(&'static str),
    /// The issuer's key did not make this signature.
    #[error("was not signed by its issuer")]
    Signature,
    /// No certificate of the issuer is at hand, or none that leads to a trust anchor.
    #[error("does not lead to a trust anchor")]
    NoPath,
    /// No ASVK is at hand that could have issued a VLEK.
    #[error(
        "does not lead to a trust anchor: the ASVK that issued the VLEK is missing (AMD's KDS has it at /vlek/v1/PRODUCT/cert_chain)"
    )]
    NoAsvk,
    /// `now` is before notBefore.
    #[error("is not valid before {0}")]
    NotYetValid(Timestamp),
    /// `now` is after notAfter.
    #[error("expired at {0}")]
    Expired(Timestamp),
    /// The CRL lists it.
    #[error("is revoked")]
    Revoked,
}

/// A defect, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {role} {defect}")]
pub struct CertificateError {
    /// The certificate's place in the chain.
    pub role: Role,
    /// The certificate's defect.
    pub defect: Defect,
}

impl Role {
    /// The error that says this role's certificate has `defect`.
    pub fn has(self, defect: Defect) -> CertificateError {
        CertificateError { role: self, defect }
    }
}

/// From notBefore to notAfter, both included (RFC 5280, 4.1.2.5).
pub(crate) type Validity = RangeInclusive<Timestamp>;

/// A parsed certificate in AMD's form, without regard to who signed it.
pub(crate) struct Certificate {
    der: Vec<u8>,
    fingerprint: [u8; 32],
    tbs: Vec<u8>,
    signature: Vec<u8>,
    /// DER of the subject's name.
    pub(crate) subject: Vec<u8>,
    /// DER of the issuer's name.
    pub(crate) issuer: Vec<u8>,
    /// Serial number, big-endian, without leading zeros.
    pub(crate) serial: Vec<u8>,
    pub(crate) validity: Validity,
}

impl Certificate {
    /// Parses `der` and checks all that does not depend on the role; then lets `read` take what does.
    pub(crate) fn parse<T>(
        der: &[u8],
        read: impl FnOnce(&X509Certificate<'_>) -> Result<T, Defect>,
    ) -> Result<(Self, T), Defect> {
        let (rest, x509) = X509Certificate::from_der(der).map_err(|_| Defect::Malformed)?;
        let algorithms = der::algorithms(der).filter(|_| rest.is_empty()).ok_or(Defect::Malformed)?;
        if x509.version() != X509Version::V3 {
            return Err(Defect::Version);
        }
        if algorithms.inner != algorithms.outer {
            return Err(Defect::AlgorithmMismatch);
        }
        if !is_pss_sha384(&x509.signature_algorithm) {
            return Err(Defect::Algorithm);
        }
        check_extensions(x509.extensions())?;
        let read = read(&x509)?;
        let certificate = Self {
            der: der.to_vec(),
            fingerprint: Sha256::digest(der).into(),
            tbs: x509.tbs_certificate.as_ref().to_vec(),
            signature: x509.signature_value.data.to_vec(),
            subject: x509.subject().as_raw().to_vec(),
            issuer: x509.issuer().as_raw().to_vec(),
            serial: serial(x509.raw_serial()),
            validity: timestamp(x509.validity().not_before.timestamp())?
                ..=timestamp(x509.validity().not_after.timestamp())?,
        };
        Ok((certificate, read))
    }

    /// The certificate as received.
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the certificate as received.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Whether `issuer_key` signed this certificate. Says nothing about names, time or revocation.
    pub(crate) fn check_signature(&self, issuer_key: &ParsedPublicKey) -> Result<(), Defect> {
        issuer_key.verify_sig(&self.tbs, &self.signature).map_err(|_| Defect::Signature)
    }

    /// Whether `now` lies in the certificate's validity.
    pub(crate) fn check_validity(&self, now: Timestamp) -> Result<(), Defect> {
        if now < *self.validity.start() {
            Err(Defect::NotYetValid(*self.validity.start()))
        } else if now > *self.validity.end() {
            Err(Defect::Expired(*self.validity.end()))
        } else {
            Ok(())
        }
    }
}

/// Seconds since 1970 as a timestamp.
pub(crate) fn timestamp(seconds: i64) -> Result<Timestamp, Defect> {
    Timestamp::from_second(seconds).map_err(|_| Defect::Malformed)
}

/// A serial number without leading zeros, so that equal numbers are equal bytes.
pub(crate) fn serial(raw: &[u8]) -> Vec<u8> {
    raw.iter().copied().skip_while(|byte| *byte == 0).collect()
}

/// id-mgf1 (RFC 8017, B.2.1).
const OID_MGF1: Oid<'static> = oid!(1.2.840.113549.1.1.8);

/// The one signature algorithm of AMD's certificates and CRLs. Milan spells out the default trailer field and
/// Turin omits it: both encodings of the parameters are the same algorithm.
pub(crate) fn is_pss_sha384(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    let Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) = SignatureAlgorithm::try_from(algorithm) else {
        return false;
    };
    let Ok(mask) = parameters.mask_gen_algorithm() else { return false };
    *parameters.hash_algorithm_oid() == registry::OID_NIST_HASH_SHA384
        && mask.mgf == OID_MGF1
        && mask.hash == registry::OID_NIST_HASH_SHA384
        && parameters.salt_length() == 48
        && parameters.trailer_field() == 1
}

/// Extensions that this crate reads, or that restrict nothing it relies on.
const UNDERSTOOD: [Oid<'static>; 5] = [
    registry::OID_X509_EXT_BASIC_CONSTRAINTS,
    registry::OID_X509_EXT_KEY_USAGE,
    registry::OID_X509_EXT_SUBJECT_KEY_IDENTIFIER,
    registry::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER,
    registry::OID_X509_EXT_CRL_DISTRIBUTION_POINTS,
];

/// No extension twice, and no critical one that is not understood (RFC 5280, 4.2).
fn check_extensions(extensions: &[X509Extension<'_>]) -> Result<(), Defect> {
    for (index, extension) in extensions.iter().enumerate() {
        if extensions.iter().skip(index + 1).any(|other| other.oid == extension.oid) {
            return Err(Defect::DuplicateExtension);
        }
        if extension.critical && !UNDERSTOOD.contains(&extension.oid) {
            return Err(Defect::UnknownCriticalExtension);
        }
    }
    Ok(())
}

/// The one common name in `name`.
pub(crate) fn common_name<'a>(name: &'a X509Name<'_>) -> Option<&'a str> {
    let mut names = name.iter_common_name();
    let first = names.next()?.as_str().ok()?;
    names.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name of that many common names `A`, each in a set of its own.
    fn name(count: usize) -> Vec<u8> {
        let attribute = [0x31, 10, 0x30, 8, 6, 3, 0x55, 4, 3, 0x0C, 1, b'A'];
        let length = u8::try_from(count * attribute.len()).unwrap();
        [vec![0x30, length], attribute.repeat(count)].concat()
    }

    #[test]
    fn a_name_has_one_common_name() {
        for (count, expected) in [(0, None), (1, Some("A")), (2, None)] {
            let der = name(count);
            let (_, name) = X509Name::from_der(&der).unwrap();
            assert_eq!(common_name(&name), expected, "{count}");
        }
    }

    #[test]
    fn leading_zeros_of_a_serial_number_count_for_nothing() {
        assert_eq!(serial(&[0, 0, 1, 0]), [1, 0]);
        assert_eq!(serial(&[1, 0]), [1, 0]);
        assert!(serial(&[0]).is_empty());
    }
}
