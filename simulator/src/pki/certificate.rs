//! Certificates, sound or altered.

use jiff::Timestamp;

use super::{
    extension::{Extension, Oid},
    keys::{RsaKey, SubjectKey},
    signature::Algorithm,
    signed::signed,
};
use crate::der;

/// How a certificate differs from AMD's. The default changes nothing; the fields are independent of each
/// other.
///
/// ```
/// use keybroker_simulator::{
///     Product, Tcb,
///     pki::{Algorithm, Overrides, RsaKey, extension},
/// };
///
/// let another_chip = Overrides { replace: vec![extension::hwid(&[7; 64])], ..Overrides::default() };
/// let levels = extension::tcb(Product::Milan, Tcb::default());
/// let another_tcb = Overrides { replace: levels, ..Overrides::default() };
/// let without_hwid = Overrides { omit: vec![extension::oid::HWID], ..Overrides::default() };
/// let not_amds = Overrides { signer: Some(RsaKey::Rogue), ..Overrides::default() };
/// let two_minds = Overrides { inner_algorithm: Some(Algorithm::PSS_SHA256), ..Overrides::default() };
/// # let _ = (another_chip, another_tcb, without_hwid, not_amds, two_minds);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Version 1: neither a version field nor extensions.
    pub version_1: bool,
    /// Serial number, big-endian.
    pub serial: Option<Vec<u8>>,
    /// Common name of the subject.
    pub subject_cn: Option<String>,
    /// Common name of the issuer.
    pub issuer_cn: Option<String>,
    /// Start of validity.
    pub not_before: Option<Timestamp>,
    /// End of validity.
    pub not_after: Option<Timestamp>,
    /// The key that is certified.
    pub key: Option<SubjectKey>,
    /// The key that signs.
    pub signer: Option<RsaKey>,
    /// The algorithm that makes the signature.
    pub algorithm: Option<Algorithm>,
    /// The algorithm in the signed part, if it differs from the outer one.
    pub inner_algorithm: Option<Algorithm>,
    /// Turns one bit of the signature.
    pub corrupt_signature: bool,
    /// Extensions that replace those with the same identifier, or are added at the end.
    pub replace: Vec<Extension>,
    /// Extensions left out.
    pub omit: Vec<Oid>,
    /// An extension that appears twice, with the same content.
    pub duplicate: Option<Oid>,
    /// Bytes after the certificate.
    pub trailing: Vec<u8>,
}

/// A certificate before any override.
pub(super) struct Template {
    pub(super) serial: Vec<u8>,
    pub(super) subject_cn: String,
    pub(super) issuer_cn: String,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) spki: Vec<u8>,
    pub(super) signer: RsaKey,
    pub(super) algorithm: Algorithm,
    pub(super) extensions: Vec<Extension>,
}

impl Template {
    /// The certificate, DER.
    pub(super) fn issue(self, overrides: &Overrides) -> Vec<u8> {
        let algorithm = overrides.algorithm.unwrap_or(self.algorithm);
        let inner = overrides.inner_algorithm.unwrap_or(algorithm);
        let mut tbs = Vec::new();
        if !overrides.version_1 {
            tbs.push(der::explicit(0, &der::integer(&[2])));
        }
        tbs.extend([
            der::integer(overrides.serial.as_ref().unwrap_or(&self.serial)),
            inner.identifier(),
            name(overrides.issuer_cn.as_ref().unwrap_or(&self.issuer_cn)),
            der::sequence(&[
                der::time(overrides.not_before.unwrap_or(self.not_before)),
                der::time(overrides.not_after.unwrap_or(self.not_after)),
            ]),
            name(overrides.subject_cn.as_ref().unwrap_or(&self.subject_cn)),
            self.spki,
        ]);
        if !overrides.version_1 {
            let extensions = altered(self.extensions, overrides);
            let encoded: Vec<Vec<u8>> = extensions.iter().map(Extension::encode).collect();
            tbs.push(der::explicit(3, &der::sequence(&encoded)));
        }
        let signer = overrides.signer.unwrap_or(self.signer);
        let mut certificate = signed(der::sequence(&tbs), algorithm, signer, overrides.corrupt_signature);
        certificate.extend(&overrides.trailing);
        certificate
    }
}

fn altered(mut extensions: Vec<Extension>, overrides: &Overrides) -> Vec<Extension> {
    for new in &overrides.replace {
        match extensions.iter_mut().find(|old| old.oid == new.oid) {
            Some(old) => old.clone_from(new),
            None => extensions.push(new.clone()),
        }
    }
    extensions.retain(|extension| !overrides.omit.contains(&extension.oid));
    let twin = extensions.iter().find(|extension| Some(extension.oid) == overrides.duplicate).cloned();
    extensions.extend(twin);
    extensions
}

/// A distinguished name of AMD's: the same organisation everywhere, `cn` last.
pub(super) fn name(cn: &str) -> Vec<u8> {
    let attribute = |arc: Oid, value: Vec<u8>| der::set(&[der::sequence(&[der::oid(arc), value])]);
    der::sequence(&[
        attribute(Oid(&[2, 5, 4, 11]), der::utf8("Engineering")),
        attribute(Oid(&[2, 5, 4, 6]), der::printable("US")),
        attribute(Oid(&[2, 5, 4, 7]), der::utf8("Santa Clara")),
        attribute(Oid(&[2, 5, 4, 8]), der::utf8("CA")),
        attribute(Oid(&[2, 5, 4, 10]), der::utf8("Advanced Micro Devices")),
        attribute(Oid(&[2, 5, 4, 3]), der::utf8(cn)),
    ])
}
