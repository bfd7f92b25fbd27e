//! From a VEK to a trust anchor: VEK ← ASK or ASVK ← ARK.
//!
//! A [`Chain`] establishes that every signature holds and that names, kinds and products agree, up to a
//! pinned ARK. It does not establish that the certificates are valid now or unrevoked:
//! [`Chain::check_validity`] and [`Chain::check_revocation`] are asked on every use, because their answer
//! changes.

use std::{fmt, sync::Arc};

use jiff::Timestamp;

use crate::{
    authority::{Authority, TrustAnchor},
    certificate::{CertificateError, Defect, Role},
    crl::Crl,
    endorsement::EndorsementKind,
    product::Product,
    vek::Vek,
};

/// An ASK or ASVK that a trust anchor has issued.
pub struct Intermediate {
    authority: Authority,
    anchor: Arc<TrustAnchor>,
}

impl Intermediate {
    /// Parses the ASK or ASVK in `der` and finds the one of `anchors` that issued it.
    pub fn verify(der: &[u8], anchors: &[Arc<TrustAnchor>]) -> Result<Self, CertificateError> {
        let authority = Authority::parse(der, Role::Ask)?;
        let role = authority.role;
        if role == Role::Ark {
            return Err(Role::Ask.has(Defect::Subject));
        }
        let mut defect = Defect::NoPath;
        for anchor in anchors.iter().filter(|anchor| anchor.product() == authority.product) {
            match anchor.0.check_issued(&authority.certificate) {
                Ok(()) => return Ok(Self { authority, anchor: Arc::clone(anchor) }),
                Err(other) => defect = other,
            }
        }
        Err(role.has(defect))
    }

    /// The product whose VEKs it certifies.
    pub fn product(&self) -> Product {
        self.authority.product
    }

    /// Which kind of VEK it certifies.
    pub fn kind(&self) -> EndorsementKind {
        if self.authority.role == Role::Asvk { EndorsementKind::Vlek } else { EndorsementKind::Vcek }
    }

    /// The certificate as received.
    pub fn der(&self) -> &[u8] {
        self.authority.certificate.der()
    }

    /// The ARK that issued it.
    pub fn anchor(&self) -> &Arc<TrustAnchor> {
        &self.anchor
    }

    /// The last instant of its validity.
    pub fn valid_until(&self) -> Timestamp {
        *self.authority.certificate.validity.end()
    }

    /// Whether it issued `vek`: by kind, product and name first, then by signature.
    pub fn has_issued(&self, vek: &Vek) -> bool {
        self.check_issued(vek).is_ok()
    }

    fn check_issued(&self, vek: &Vek) -> Result<(), Defect> {
        if self.kind() != vek.kind() || self.product() != vek.product {
            return Err(Defect::NoPath);
        }
        self.authority.check_issued(&vek.certificate)
    }

    /// Whether `now` lies in its validity and its ARK's.
    pub fn check_validity(&self, now: Timestamp) -> Result<(), CertificateError> {
        for authority in [&self.authority, &self.anchor.0] {
            authority.certificate.check_validity(now).map_err(|defect| authority.role.has(defect))?;
        }
        Ok(())
    }

    /// Whether `crl` lists it or its ARK. A list of another ARK says nothing about either.
    pub fn check_revocation(&self, crl: &Crl) -> Result<(), CertificateError> {
        if crl.anchor().fingerprint() != self.anchor.fingerprint() {
            return Ok(());
        }
        for authority in [&self.authority, &self.anchor.0] {
            if crl.lists(&authority.certificate.serial) {
                return Err(authority.role.has(Defect::Revoked));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Intermediate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Intermediate({} {})", self.authority.role, self.authority.product)
    }
}

/// A VEK with its way to a trust anchor: every signature verified.
#[derive(Debug)]
pub struct Chain {
    vek: Vek,
    intermediate: Arc<Intermediate>,
}

impl Chain {
    /// Finds the one of `intermediates` that issued `vek`. Kind and product must agree: an ASVK never vouches
    /// for a VCEK, nor Milan's ASK for a certificate that says Genoa.
    pub fn verify(vek: Vek, intermediates: &[Arc<Intermediate>]) -> Result<Self, CertificateError> {
        match find_issuer(&vek, intermediates) {
            Ok(intermediate) => Ok(Self { vek, intermediate }),
            Err(defect) => Err(Role::Vek.has(defect)),
        }
    }

    /// The VEK's certificate.
    pub fn vek(&self) -> &Vek {
        &self.vek
    }

    /// The ASK or ASVK.
    pub fn intermediate(&self) -> &Arc<Intermediate> {
        &self.intermediate
    }

    /// The last instant of the VEK's validity.
    pub fn valid_until(&self) -> Timestamp {
        *self.vek.certificate.validity.end()
    }

    /// Whether `now` lies in the validity of all three certificates.
    pub fn check_validity(&self, now: Timestamp) -> Result<(), CertificateError> {
        self.vek.certificate.check_validity(now).map_err(|defect| Role::Vek.has(defect))?;
        self.intermediate.check_validity(now)
    }

    /// Whether `crl` lists the intermediate or the ARK. VEKs are not revoked by CRL: all have the serial
    /// number 0, and it is the TCB version that outdates them. A list of another ARK says nothing about the
    /// chain.
    pub fn check_revocation(&self, crl: &Crl) -> Result<(), CertificateError> {
        self.intermediate.check_revocation(crl)
    }
}

fn find_issuer(vek: &Vek, intermediates: &[Arc<Intermediate>]) -> Result<Arc<Intermediate>, Defect> {
    let mut defect = match vek.kind() {
        EndorsementKind::Vcek => Defect::NoPath,
        EndorsementKind::Vlek => Defect::NoAsvk,
    };
    for intermediate in intermediates {
        match intermediate.check_issued(vek) {
            Ok(()) => return Ok(Arc::clone(intermediate)),
            Err(Defect::NoPath) => {}
            Err(other) => defect = other,
        }
    }
    Err(defect)
}
