//! From a VEK to a trust anchor: VEK ← ASK or ASVK ← ARK.
//!
//! A [`Chain`] establishes that every signature holds and that names, kinds and products agree, up to a
//! pinned ARK. It does not establish that the certificates are valid now or unrevoked:
//! [`Chain::check_validity`] and [`Chain::check_revocation`] are asked on every use, because their answer
//! changes.

use std::{fmt, sync::Arc};

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PSS_2048_8192_SHA384};
use jiff::Timestamp;
use x509_parser::{
    certificate::X509Certificate, oid_registry::OID_PKCS1_RSAENCRYPTION, public_key::PublicKey,
};

use super::{
    certificate::{Certificate, CertificateError, Defect, EndorsementKind, Role, common_name},
    crl::Crl,
    product::Product,
    vek::Vek,
};

/// AMD's CA keys have 4096 bits.
const CA_KEY_BITS: usize = 4096;

/// A certificate authority's certificate as parsed.
struct Authority {
    certificate: Certificate,
    key: ParsedPublicKey,
    product: Product,
    role: Role,
}

impl Authority {
    /// Parses the certificate of an ARK, ASK or ASVK: its common name says which.
    fn parse(der: &[u8], supposed: Role) -> Result<Self, CertificateError> {
        let (certificate, (role, product, key)) =
            Certificate::parse(der, read).map_err(|defect| supposed.has(defect))?;
        Ok(Self { certificate, key, product, role })
    }

    /// Whether this authority issued `certificate`: by name first, then by signature.
    fn check_issued(&self, certificate: &Certificate) -> Result<(), Defect> {
        if certificate.issuer != self.certificate.subject {
            return Err(Defect::Issuer);
        }
        certificate.check_signature(&self.key)
    }
}

fn read(x509: &X509Certificate<'_>) -> Result<(Role, Product, ParsedPublicKey), Defect> {
    let name = common_name(x509.subject()).ok_or(Defect::Subject)?;
    let (role, product) = authority_name(name).ok_or(Defect::Subject)?;
    let constraints = x509.basic_constraints().map_err(|_| Defect::BasicConstraints)?;
    let constraints = constraints.ok_or(Defect::BasicConstraints)?.value;
    // AMD's ASKs and ASVKs issue VEKs, never another CA.
    if !constraints.ca || role != Role::Ark && constraints.path_len_constraint != Some(0) {
        return Err(Defect::BasicConstraints);
    }
    let usage = x509.key_usage().map_err(|_| Defect::KeyUsage)?.ok_or(Defect::KeyUsage)?.value;
    if !usage.key_cert_sign() || role == Role::Ark && !usage.crl_sign() {
        return Err(Defect::KeyUsage);
    }
    Ok((role, product, public_key(x509)?))
}

/// `ARK-Milan`, `SEV-Milan` (an ASK) or `SEV-VLEK-Milan` (an ASVK).
fn authority_name(name: &str) -> Option<(Role, Product)> {
    let (role, product) = if let Some(product) = name.strip_prefix("ARK-") {
        (Role::Ark, product)
    } else if let Some(product) = name.strip_prefix("SEV-VLEK-") {
        (Role::Asvk, product)
    } else {
        (Role::Ask, name.strip_prefix("SEV-")?)
    };
    Product::ALL.into_iter().find(|known| known.name() == product).map(|product| (role, product))
}

fn public_key(x509: &X509Certificate<'_>) -> Result<ParsedPublicKey, Defect> {
    let info = x509.public_key();
    let Ok(PublicKey::RSA(key)) = info.parsed() else { return Err(Defect::PublicKey) };
    if info.algorithm.algorithm != OID_PKCS1_RSAENCRYPTION || key.key_size() != CA_KEY_BITS {
        return Err(Defect::PublicKey);
    }
    ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, &info.subject_public_key.data)
        .map_err(|_| Defect::PublicKey)
}

/// An ARK that is trusted because it is pinned, not because of its signature.
pub struct TrustAnchor(Authority);

impl TrustAnchor {
    /// Takes the ARK in `der` for a trust anchor. It must be a well-formed ARK that signed itself.
    pub fn new(der: &[u8]) -> Result<Self, CertificateError> {
        let ark = Authority::parse(der, Role::Ark)?;
        if ark.role != Role::Ark {
            return Err(Role::Ark.has(Defect::Subject));
        }
        ark.check_issued(&ark.certificate).map_err(|defect| Role::Ark.has(defect))?;
        Ok(Self(ark))
    }

    /// The product that the ARK is the root of.
    pub fn product(&self) -> Product {
        self.0.product
    }

    /// SHA-256 of the certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.0.certificate.fingerprint()
    }

    /// DER of the ARK's name, as issuers carry it.
    pub(super) fn name(&self) -> &[u8] {
        &self.0.certificate.subject
    }

    /// The ARK's key.
    pub(super) fn key(&self) -> &ParsedPublicKey {
        &self.0.key
    }
}

impl fmt::Debug for TrustAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustAnchor(ARK-{})", self.0.product)
    }
}

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
