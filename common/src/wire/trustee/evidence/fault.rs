//! Why a text is no evidence.

use std::fmt;

use super::super::super::FieldName;

/// Why a text is no evidence. Each text is short and repeats nothing of what was sent but a member's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceFault {
    /// Not JSON, or something follows it.
    #[error("the evidence is not JSON")]
    Syntax,
    /// Something else in an object's place.
    #[error("{0} is not an object")]
    Object(Member),
    /// Something else in a number's place, or a number that its field cannot hold.
    #[error("{member} is not a whole number below 2^{bits}")]
    Number {
        /// The member that has the value.
        member: Member,
        /// How many bits the field has.
        bits: usize,
    },
    /// Something else in the place of bytes, or another number of them.
    #[error("{member} is not an array of {length} bytes")]
    Bytes {
        /// The member that has the value.
        member: Member,
        /// How many bytes the field has.
        length: usize,
    },
    /// A member that this form of a report does not have, and that says something.
    #[error("{0} is unknown, and it is not null")]
    Unknown(Member),
    /// A member that comes twice.
    #[error("{0} comes twice")]
    Duplicate(Member),
    /// A member that does not come.
    #[error("{0} is missing")]
    Missing(Member),
    /// The TCB versions of one report have one layout.
    #[error("some TCB versions of the report have an fmc, and others do not")]
    Layouts,
    /// Something else in the place of Azure's blob.
    #[error("tee-evidence.report is not an array of at most 4096 bytes")]
    Blob,
    /// A version of Azure's evidence that is not known.
    #[error("tee-evidence.version is not 1 or 2")]
    BlobVersion,
    /// Something else in the place of a certificate in PEM.
    #[error("tee-evidence.vcek is not certificates in PEM")]
    Pem,
    /// Something else in the place of bytes in base64url.
    #[error("{0} is not base64url with padding")]
    Base64(Member),
    /// Something else in the place of the certificates.
    #[error("cert_chain is neither null nor an array")]
    CertChain,
    /// Something else in the place of a certificate's type.
    #[error("cert_chain: a cert_type is neither a name nor an object")]
    CertType,
    /// Something else in the place of a certificate.
    #[error("cert_chain: data is not an array of bytes")]
    CertData,
    /// More certificates than a chain has.
    #[error("more than 8 certificates")]
    CertificateCount,
    /// A certificate longer than any of AMD's.
    #[error("a certificate is longer than 16 KiB")]
    CertificateLength,
}

/// A member of an object, as far as its name may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    object: &'static str,
    name: FieldName,
}

impl Member {
    /// The member `name` of `object`.
    pub fn new(object: &'static str, name: &str) -> Self {
        Self { object, name: FieldName::new(name) }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.object, self.name)
    }
}
