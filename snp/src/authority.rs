//! AMD's certificate authorities: ARK, ASK and ASVK, and the ARKs that are pinned.

use std::fmt;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PSS_2048_8192_SHA384};
use x509_parser::{
    certificate::X509Certificate, oid_registry::OID_PKCS1_RSAENCRYPTION, public_key::PublicKey,
};

use crate::{
    certificate::{Certificate, CertificateError, Defect, Role, common_name},
    product::Product,
};

/// AMD's CA keys have 4096 bits.
const CA_KEY_BITS: usize = 4096;

/// A certificate authority's certificate as parsed.
pub(crate) struct Authority {
    pub(crate) certificate: Certificate,
    key: ParsedPublicKey,
    pub(crate) product: Product,
    pub(crate) role: Role,
}

impl Authority {
    /// Parses the certificate of an ARK, ASK or ASVK: its common name says which.
    pub(crate) fn parse(der: &[u8], supposed: Role) -> Result<Self, CertificateError> {
        let (certificate, (role, product, key)) =
            Certificate::parse(der, read).map_err(|defect| supposed.has(defect))?;
        Ok(Self { certificate, key, product, role })
    }

    /// Whether this authority issued `certificate`: by name first, then by signature.
    pub(crate) fn check_issued(&self, certificate: &Certificate) -> Result<(), Defect> {
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
pub struct TrustAnchor(pub(crate) Authority);

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
    pub(crate) fn name(&self) -> &[u8] {
        &self.0.certificate.subject
    }

    /// The ARK's key.
    pub(crate) fn key(&self) -> &ParsedPublicKey {
        &self.0.key
    }
}

impl fmt::Debug for TrustAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustAnchor(ARK-{})", self.0.product)
    }
}
