//! The versioned endorsement key's certificate: VCEK or VLEK (AMD publication 57230, tables of chapter 3).

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use x509_parser::{
    asn1_rs::{Oid, oid},
    certificate::X509Certificate,
    der_parser::{ber::BerObjectContent, parse_der},
    oid_registry::{OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384},
};

use crate::{
    certificate::{Certificate, CertificateError, Defect, Role, common_name},
    endorsement::EndorsementKind,
    product::{Product, TcbVersion},
};

const PRODUCT_NAME: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.2);
const BOOT_LOADER: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.1);
const TEE: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.2);
const SNP: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.3);
const RESERVED: [Oid<'static>; 4] = [
    oid!(1.3.6.1.4.1.3704.1.3.4),
    oid!(1.3.6.1.4.1.3704.1.3.5),
    oid!(1.3.6.1.4.1.3704.1.3.6),
    oid!(1.3.6.1.4.1.3704.1.3.7),
];
const MICROCODE: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.8);
const FMC: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.3.9);
const HWID: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.4);
const CSP_ID: Oid<'static> = oid!(1.3.6.1.4.1.3704.1.5);

/// The chip or provider that a VEK belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A VCEK's chip: the HWID extension, 64 bytes (8 on Turin).
    Chip(Vec<u8>),
    /// A VLEK's cloud provider: the CSP_ID extension, with its prefix (`CN=…`).
    Provider(String),
}

/// A VCEK or VLEK certificate as parsed. Untrusted until it is part of a [`crate::chain::Chain`].
pub struct Vek {
    pub(crate) certificate: Certificate,
    /// The product named by the certificate.
    pub product: Product,
    /// The TCB version that the key was derived for.
    pub tcb: TcbVersion,
    /// The chip or provider that the key belongs to.
    pub identity: Identity,
    key: ParsedPublicKey,
}

impl Vek {
    /// Parses a certificate and checks all that can be checked without its issuer.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let (certificate, (product, tcb, identity, key)) =
            Certificate::parse(der, read).map_err(|defect| Role::Vek.has(defect))?;
        Ok(Self { certificate, product, tcb, identity, key })
    }

    /// VCEK or VLEK.
    pub fn kind(&self) -> EndorsementKind {
        match self.identity {
            Identity::Chip(_) => EndorsementKind::Vcek,
            Identity::Provider(_) => EndorsementKind::Vlek,
        }
    }

    /// The certificate as received.
    pub fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    /// SHA-256 of the certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.certificate.fingerprint()
    }

    /// Whether this key made `signature` (R then S, big-endian, 48 bytes each) over `message` with SHA-384.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Debug for Vek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vek")
            .field("product", &self.product)
            .field("tcb", &self.tcb)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

type Contents = (Product, TcbVersion, Identity, ParsedPublicKey);

fn read(x509: &X509Certificate<'_>) -> Result<Contents, Defect> {
    let kind = match common_name(x509.subject()) {
        Some("SEV-VCEK") => EndorsementKind::Vcek,
        Some("SEV-VLEK") => EndorsementKind::Vlek,
        _ => return Err(Defect::Subject),
    };
    let product = Product::from_certificate_name(&ia5_string(x509, &PRODUCT_NAME, "product name")?)
        .ok_or(Defect::ExtensionValue("product name"))?;
    let identity = match kind {
        EndorsementKind::Vcek => Identity::Chip(hwid(x509, product)?),
        EndorsementKind::Vlek => Identity::Provider(ia5_string(x509, &CSP_ID, "CSP id")?),
    };
    Ok((product, tcb(x509, product)?, identity, public_key(x509)?))
}

fn public_key(x509: &X509Certificate<'_>) -> Result<ParsedPublicKey, Defect> {
    let info = x509.public_key();
    let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    if info.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY || curve != Some(OID_NIST_EC_P384) {
        return Err(Defect::PublicKey);
    }
    ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &info.subject_public_key.data)
        .map_err(|_| Defect::PublicKey)
}

fn tcb(x509: &X509Certificate<'_>, product: Product) -> Result<TcbVersion, Defect> {
    for reserved in &RESERVED {
        // The report's bytes for these levels are reserved and zero: a certificate that sets one is for
        // another TCB.
        if optional(x509, reserved).is_some() && level(x509, reserved, "reserved patch level")? != 0 {
            return Err(Defect::ExtensionValue("reserved patch level"));
        }
    }
    let fmc = match product {
        Product::Turin => Some(level(x509, &FMC, "FMC patch level")?),
        Product::Milan | Product::Genoa => None,
    };
    Ok(TcbVersion {
        fmc,
        boot_loader: level(x509, &BOOT_LOADER, "bootloader patch level")?,
        tee: level(x509, &TEE, "TEE patch level")?,
        snp: level(x509, &SNP, "SNP patch level")?,
        microcode: level(x509, &MICROCODE, "microcode patch level")?,
    })
}

fn optional<'a>(x509: &'a X509Certificate<'_>, oid: &Oid<'_>) -> Option<&'a [u8]> {
    x509.extensions().iter().find(|extension| extension.oid == *oid).map(|extension| extension.value)
}

fn required<'a>(
    x509: &'a X509Certificate<'_>,
    oid: &Oid<'_>,
    name: &'static str,
) -> Result<&'a [u8], Defect> {
    optional(x509, oid).ok_or(Defect::MissingExtension(name))
}

/// A DER INTEGER from 0 to 255, in its shortest form.
fn level(x509: &X509Certificate<'_>, oid: &Oid<'_>, name: &'static str) -> Result<u8, Defect> {
    match *required(x509, oid, name)? {
        [0x02, 1, level @ 0..=0x7F] | [0x02, 2, 0, level @ 0x80..=0xFF] => Ok(level),
        _ => Err(Defect::ExtensionValue(name)),
    }
}

/// The HWID's bytes stand in the extension as they are, without a DER type of their own.
fn hwid(x509: &X509Certificate<'_>, product: Product) -> Result<Vec<u8>, Defect> {
    let hwid = required(x509, &HWID, "HWID")?;
    if hwid.len() == product.hwid_len() { Ok(hwid.to_vec()) } else { Err(Defect::ExtensionValue("HWID")) }
}

fn ia5_string(x509: &X509Certificate<'_>, oid: &Oid<'_>, name: &'static str) -> Result<String, Defect> {
    let value = required(x509, oid, name)?;
    match parse_der(value) {
        Ok(([], object)) => match object.content {
            BerObjectContent::IA5String(text) => Ok(text.to_owned()),
            _ => Err(Defect::ExtensionValue(name)),
        },
        _ => Err(Defect::ExtensionValue(name)),
    }
}
