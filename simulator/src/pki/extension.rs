//! Certificate extensions: the standard ones that AMD uses, and AMD's own
//! (AMD 57230, "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification", 3.1).

use crate::{
    der,
    product::{Product, Tcb},
};

pub use crate::der::Oid;

/// Object identifiers of the extensions.
pub mod oid {
    use super::Oid;

    /// basicConstraints.
    pub const BASIC_CONSTRAINTS: Oid = Oid(&[2, 5, 29, 19]);
    /// keyUsage.
    pub const KEY_USAGE: Oid = Oid(&[2, 5, 29, 15]);
    /// subjectKeyIdentifier.
    pub const SUBJECT_KEY_ID: Oid = Oid(&[2, 5, 29, 14]);
    /// authorityKeyIdentifier.
    pub const AUTHORITY_KEY_ID: Oid = Oid(&[2, 5, 29, 35]);
    /// cRLDistributionPoints.
    pub const CRL_DISTRIBUTION_POINTS: Oid = Oid(&[2, 5, 29, 31]);
    /// cRLNumber.
    pub const CRL_NUMBER: Oid = Oid(&[2, 5, 29, 20]);
    /// Version of AMD's set of extensions.
    pub const STRUCT_VERSION: Oid = Oid(&[1, 3, 6, 1, 4, 1, 3704, 1, 1]);
    /// Product name.
    pub const PRODUCT_NAME: Oid = Oid(&[1, 3, 6, 1, 4, 1, 3704, 1, 2]);
    /// Patch level of the bootloader.
    pub const BOOT_LOADER: Oid = Oid(&[1, 3, 6, 1, 4, 1, 3704, 1, 3, 1]);
    /// Patch level of the PSP operating system.
    pub const TEE: Oid = Oid(&[1, 3, 6, 1, 4, 1, 3704, 1, 3, 2]);
    /// Patch level of the SNP firmware.
    pub const SNP: Oid = Oid(&[1, 3, 6, 1, 4, 1, 3704, 1, 3, 3]);
    /// Reserved patch level 4: not in Turin's certificates.
    pub const SPL4: Oid = Oid(&[1, 3, 6, 1, 4, 1, 3704, 1, 3, 4]);
    /// Reserved patch level 5.
    pub const SPL5: Oid = Oid(&[1, 3, 6, 1, 4, 1, 3704, 1, 3, 5]);
    /// Reserved patch level 6.
    pub const SPL6: Oid = Oid(&[1, 3, 6, 1, 4, 1, 3704, 1, 3, 6]);
    /// Reserved patch level 7.
    pub const SPL7: Oid = Oid(&[1, 3, 6, 1, 4, 1, 3704, 1, 3, 7]);
    /// Patch level of the microcode.
    pub const MICROCODE: Oid = Oid(&[1, 3, 6, 1, 4, 1, 3704, 1, 3, 8]);
    /// Patch level of the FMC: Turin only.
    pub const FMC: Oid = Oid(&[1, 3, 6, 1, 4, 1, 3704, 1, 3, 9]);
    /// Chip id: VCEK only.
    pub const HWID: Oid = Oid(&[1, 3, 6, 1, 4, 1, 3704, 1, 4]);
    /// Cloud provider: VLEK only.
    pub const CSP_ID: Oid = Oid(&[1, 3, 6, 1, 4, 1, 3704, 1, 5]);
}

/// One extension (RFC 5280, 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Its identifier.
    pub oid: Oid,
    /// Whether a verifier that does not know the extension must refuse the certificate.
    pub critical: bool,
    /// The content of extnValue.
    pub value: Vec<u8>,
}

impl Extension {
    fn new(oid: Oid, value: Vec<u8>) -> Self {
        Self { oid, critical: false, value }
    }

    fn critical(oid: Oid, value: Vec<u8>) -> Self {
        Self { oid, critical: true, value }
    }

    /// Extension, DER. A critical flag of false is the default and left out.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut parts = vec![der::oid(self.oid)];
        if self.critical {
            parts.push(der::boolean(true));
        }
        parts.push(der::octet_string(&self.value));
        der::sequence(&parts)
    }
}

/// basicConstraints. A `path_len` is written for a CA only.
pub fn basic_constraints(ca: bool, path_len: Option<u8>) -> Extension {
    let mut parts = Vec::new();
    if ca {
        parts.push(der::boolean(true));
        parts.extend(path_len.map(|length| der::integer(&[length])));
    }
    Extension::critical(oid::BASIC_CONSTRAINTS, der::sequence(&parts))
}

/// keyUsage of a certificate authority: keyCertSign is bit 5, cRLSign bit 6 (RFC 5280, 4.2.1.3).
///
/// AMD always counts one unused bit. Without cRLSign, DER requires two: every ASK and ASVK breaks that rule,
/// and a strict decoder refuses them.
pub fn key_usage(cert_sign: bool, crl_sign: bool) -> Extension {
    let bits = (u8::from(cert_sign) << 2) | (u8::from(crl_sign) << 1);
    Extension::critical(oid::KEY_USAGE, der::bit_string(1, &[bits]))
}

pub(super) fn subject_key_id(id: &[u8]) -> Extension {
    Extension::new(oid::SUBJECT_KEY_ID, der::octet_string(id))
}

pub(super) fn authority_key_id(id: &[u8]) -> Extension {
    Extension::new(oid::AUTHORITY_KEY_ID, der::sequence(&[der::tlv(0x80, id)]))
}

pub(super) fn crl_number(number: u32) -> Extension {
    Extension::new(oid::CRL_NUMBER, der::integer(&number.to_be_bytes()))
}

/// cRLDistributionPoints with the one URL that AMD names.
pub(super) fn crl_distribution_point(url: &str) -> Extension {
    let name = der::explicit(0, &der::explicit(0, &der::tlv(0x86, url.as_bytes())));
    Extension::new(oid::CRL_DISTRIBUTION_POINTS, der::sequence(&[der::sequence(&[name])]))
}

/// An extension that no verifier knows.
pub fn unknown(critical: bool) -> Extension {
    Extension { oid: Oid(&[1, 3, 6, 1, 4, 1, 3704, 99]), critical, value: der::null() }
}

/// Version of AMD's set of extensions: 0 on Milan and Genoa, 1 on Turin.
pub fn struct_version(version: u8) -> Extension {
    Extension::new(oid::STRUCT_VERSION, der::integer(&[version]))
}

/// Product name.
pub fn product_name(name: &str) -> Extension {
    Extension::new(oid::PRODUCT_NAME, der::ia5(name))
}

/// One patch level.
pub fn patch_level(oid: Oid, level: u8) -> Extension {
    Extension::new(oid, der::integer(&[level]))
}

/// Every patch level, in the order in which `product`'s certificates have them.
pub fn tcb(product: Product, tcb: Tcb) -> Vec<Extension> {
    let Tcb { fmc, boot_loader, tee, snp, microcode } = tcb;
    let levels: &[(Oid, u8)] = match product {
        Product::Milan | Product::Genoa => &[
            (oid::BOOT_LOADER, boot_loader),
            (oid::TEE, tee),
            (oid::SPL4, 0),
            (oid::SPL5, 0),
            (oid::SPL6, 0),
            (oid::SPL7, 0),
            (oid::SNP, snp),
            (oid::MICROCODE, microcode),
        ],
        Product::Turin => &[
            (oid::FMC, fmc),
            (oid::BOOT_LOADER, boot_loader),
            (oid::TEE, tee),
            (oid::SNP, snp),
            (oid::SPL5, 0),
            (oid::SPL6, 0),
            (oid::SPL7, 0),
            (oid::MICROCODE, microcode),
        ],
    };
    levels.iter().map(|(oid, level)| patch_level(*oid, *level)).collect()
}

/// Chip id: the bytes themselves, without an OCTET STRING of their own.
pub fn hwid(id: &[u8]) -> Extension {
    Extension::new(oid::HWID, id.to_vec())
}

/// Chip id in an inner OCTET STRING, as some implementations wrongly expect it.
pub fn hwid_wrapped(id: &[u8]) -> Extension {
    Extension::new(oid::HWID, der::octet_string(id))
}

/// Cloud provider; the value has its prefix, as in `CN=cc-us-east-2.amazonaws.com`.
pub fn csp_id(id: &str) -> Extension {
    Extension::new(oid::CSP_ID, der::ia5(id))
}
