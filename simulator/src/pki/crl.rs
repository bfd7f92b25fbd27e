//! Certificate revocation lists (RFC 5280, 5), as the ARK signs them.

use jiff::Timestamp;

use super::{
    certificate::name,
    extension::{self, Extension},
    keys::{RsaKey, SubjectKey},
    signature::Algorithm,
    signed::signed,
};
use crate::der;

/// The contents and defects of a CRL. The default is like AMD's: sound, and nothing revoked.
#[derive(Debug, Clone, Default)]
pub struct CrlOptions {
    /// thisUpdate; a day before the PKI's `now` unless given.
    pub this_update: Option<Timestamp>,
    /// nextUpdate; 180 days after the PKI's `now` unless given.
    pub next_update: Option<Timestamp>,
    /// No nextUpdate at all.
    pub omit_next_update: bool,
    /// Serial numbers revoked, big-endian, all at thisUpdate.
    pub revoked: Vec<Vec<u8>>,
    /// cRLNumber.
    pub number: u32,
    /// The key that signs.
    pub signer: Option<RsaKey>,
    /// Common name of the issuer.
    pub issuer_cn: Option<String>,
    /// The algorithm that makes the signature.
    pub algorithm: Option<Algorithm>,
    /// The algorithm in the signed part, if it differs from the outer one.
    pub inner_algorithm: Option<Algorithm>,
    /// Turns one bit of the signature.
    pub corrupt_signature: bool,
    /// Version 1: neither a version field nor extensions.
    pub version_1: bool,
    /// Extensions added at the end.
    pub extensions: Vec<Extension>,
    /// Bytes after the list.
    pub trailing: Vec<u8>,
}

/// The list, DER.
pub(super) fn issue(
    issuer_cn: &str,
    this_update: Timestamp,
    next_update: Timestamp,
    options: &CrlOptions,
) -> Vec<u8> {
    let algorithm = options.algorithm.unwrap_or(Algorithm::PSS_EXPLICIT_TRAILER);
    let signer = options.signer.unwrap_or(RsaKey::Ark);
    let this_update = der::time(options.this_update.unwrap_or(this_update));

    let mut tbs = Vec::new();
    if !options.version_1 {
        tbs.push(der::integer(&[1]));
    }
    tbs.extend([
        options.inner_algorithm.unwrap_or(algorithm).identifier(),
        name(options.issuer_cn.as_deref().unwrap_or(issuer_cn)),
        this_update.clone(),
    ]);
    if !options.omit_next_update {
        tbs.push(der::time(options.next_update.unwrap_or(next_update)));
    }
    // An empty list of revoked certificates is left out, not written empty (RFC 5280, 5.1.2.6).
    if !options.revoked.is_empty() {
        let entry = |serial: &Vec<u8>| der::sequence(&[der::integer(serial), this_update.clone()]);
        tbs.push(der::sequence(&options.revoked.iter().map(entry).collect::<Vec<_>>()));
    }
    if !options.version_1 {
        let mut extensions = vec![
            extension::authority_key_id(&SubjectKey::Rsa(signer).id()),
            extension::crl_number(options.number),
        ];
        extensions.extend(options.extensions.iter().cloned());
        let encoded: Vec<Vec<u8>> = extensions.iter().map(Extension::encode).collect();
        tbs.push(der::explicit(0, &der::sequence(&encoded)));
    }
    let mut list = signed(der::sequence(&tbs), algorithm, signer, options.corrupt_signature);
    list.extend(&options.trailing);
    list
}
