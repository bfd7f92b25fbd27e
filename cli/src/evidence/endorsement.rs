//! The kinds of certificates and revocation lists in DER.

use std::sync::Arc;

use keybroker_snp::{
    authority::TrustAnchor,
    certificate::{CertificateError, Defect, Role},
    chain::Intermediate,
    crl::{Crl, CrlError},
    vek::Vek,
};

/// A certificate or list of AMD's, by its subject.
pub(crate) enum Endorsement {
    /// A VCEK or VLEK. Its signature is not verified yet.
    Vek(Vek),
    /// An ASK or ASVK that an ARK has signed.
    Intermediate(Arc<Intermediate>),
    /// An ARK. Only the pinned ones count.
    Ark,
    /// A revocation list that an ARK has signed.
    List(Crl),
}

/// The reason why the bytes are neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// They do not have AMD's form, so nothing was verified.
    Unread(String),
    /// They have AMD's form, but no trusted ARK signed them.
    Denied(String),
}

impl Endorsement {
    /// Reads `der` by its subject. `arks` are the trusted ones.
    pub(crate) fn of(der: &[u8], arks: &[Arc<TrustAnchor>]) -> Result<Self, Rejected> {
        match Vek::parse(der) {
            Ok(vek) => Ok(Self::Vek(vek)),
            Err(error) if error.defect == Defect::Malformed => Self::list(der, arks),
            Err(error) if error.defect == Defect::Subject => Self::authority(der, arks),
            Err(error) => Err(error.into()),
        }
    }

    fn list(der: &[u8], arks: &[Arc<TrustAnchor>]) -> Result<Self, Rejected> {
        match Crl::verify(der, arks) {
            Ok(list) => Ok(Self::List(list)),
            Err(CrlError::Malformed) => {
                Err(Rejected::Unread("it is neither a certificate nor a revocation list".to_owned()))
            }
            Err(error) => Err(Rejected::Denied(error.to_string())),
        }
    }

    fn authority(der: &[u8], arks: &[Arc<TrustAnchor>]) -> Result<Self, Rejected> {
        match Intermediate::verify(der, arks) {
            Ok(intermediate) => Ok(Self::Intermediate(Arc::new(intermediate))),
            Err(error) if error.role == Role::Ask && error.defect == Defect::Subject => {
                TrustAnchor::new(der).map(|_| Self::Ark).map_err(Rejected::from)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl From<CertificateError> for Rejected {
    fn from(error: CertificateError) -> Self {
        match error.defect {
            Defect::Issuer | Defect::Signature | Defect::NoPath => Self::Denied(error.to_string()),
            Defect::Subject => {
                Self::Unread("it is a certificate, but not one of AMD's for SEV-SNP".to_owned())
            }
            _ => Self::Unread(error.to_string()),
        }
    }
}
