//! AMD's certificate revocation lists: one per ARK, of the ASKs and ASVKs it no longer stands by.

use std::{fmt, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use x509_parser::{
    prelude::{FromDer, X509Version},
    revocation_list::CertificateRevocationList,
};

use crate::{
    authority::TrustAnchor,
    certificate::{is_pss_sha384, serial, timestamp},
    der,
};

/// Why a CRL cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// Not one DER CRL of version 2, or bytes follow it.
    #[error("the CRL is not one version 2 CRL in DER")]
    Malformed,
    /// Not RSASSA-PSS over SHA-384, or named twice and differently.
    #[error("the CRL is not signed with RSASSA-PSS over SHA-384")]
    Algorithm,
    /// Issued by none of the trust anchors at hand.
    #[error("the CRL names an issuer that is no trust anchor")]
    Issuer,
    /// The issuer's key did not make this signature.
    #[error("the CRL was not signed by the ARK that it names")]
    Signature,
    /// It does not say until when it counts.
    #[error("the CRL has no nextUpdate")]
    NoNextUpdate,
    /// A critical extension is not understood: it might narrow what the list covers.
    #[error("the CRL has a critical extension that is not understood")]
    UnknownCriticalExtension,
    /// `now` is before thisUpdate.
    #[error("the CRL counts from {0} only")]
    NotYetValid(Timestamp),
    /// `now` is after nextUpdate and any grace.
    #[error("the CRL counted until {0}")]
    Stale(Timestamp),
    /// It is another ARK's.
    #[error("the CRL is another ARK's")]
    OtherAnchor,
}

/// A CRL that a trust anchor has signed. Whether it counts now is [`Crl::check_validity`].
pub struct Crl {
    der: Vec<u8>,
    anchor: Arc<TrustAnchor>,
    number: Option<String>,
    this_update: Timestamp,
    next_update: Timestamp,
    revoked: Vec<Vec<u8>>,
}

impl Crl {
    /// For how long after nextUpdate a CRL may still be used while AMD's KDS cannot be reached.
    pub const GRACE: SignedDuration = SignedDuration::from_hours(7 * 24);

    /// Parses `der` and finds the one of `anchors` that signed it.
    pub fn verify(der: &[u8], anchors: &[Arc<TrustAnchor>]) -> Result<Self, CrlError> {
        let (rest, list) = CertificateRevocationList::from_der(der).map_err(|_| CrlError::Malformed)?;
        let algorithms = der::algorithms(der).ok_or(CrlError::Malformed)?;
        if !rest.is_empty() || list.version() != Some(X509Version::V2) {
            return Err(CrlError::Malformed);
        }
        if algorithms.inner != algorithms.outer || !is_pss_sha384(&list.signature_algorithm) {
            return Err(CrlError::Algorithm);
        }
        // No critical extension is expected at all: an issuing distribution point or a delta would say that
        // the list covers less than everything the ARK issued.
        let entries = list.iter_revoked_certificates();
        if list
            .extensions()
            .iter()
            .chain(entries.flat_map(|entry| entry.extensions()))
            .any(|one| one.critical)
        {
            return Err(CrlError::UnknownCriticalExtension);
        }
        let anchor = signer(&list, anchors)?;
        let next_update = list.next_update().ok_or(CrlError::NoNextUpdate)?;
        Ok(Self {
            der: der.to_vec(),
            anchor,
            number: list.crl_number().map(ToString::to_string),
            this_update: timestamp(list.last_update().timestamp()).map_err(|_| CrlError::Malformed)?,
            next_update: timestamp(next_update.timestamp()).map_err(|_| CrlError::Malformed)?,
            revoked: list.iter_revoked_certificates().map(|entry| serial(entry.raw_serial())).collect(),
        })
    }

    /// The CRL as received.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The ARK that signed it.
    pub fn anchor(&self) -> &Arc<TrustAnchor> {
        &self.anchor
    }

    /// When it was issued.
    pub fn this_update(&self) -> Timestamp {
        self.this_update
    }

    /// Until when the next was promised.
    pub fn next_update(&self) -> Timestamp {
        self.next_update
    }

    /// Its number (RFC 5280, 5.2.3), in decimal, where it has one.
    pub fn number(&self) -> Option<&str> {
        self.number.as_deref()
    }

    /// Whether it lists nothing.
    pub fn lists_nothing(&self) -> bool {
        self.revoked.is_empty()
    }

    /// Whether this list holds all that `other` holds against the certificates of the same ARK.
    pub fn covers(&self, other: &Self) -> bool {
        other.revoked.is_empty()
            || self.anchor.fingerprint() == other.anchor.fingerprint()
                && other.revoked.iter().all(|serial| self.lists(serial))
    }

    /// Whether it counts at `now`, or did at most `grace` ago.
    pub fn check_validity(&self, now: Timestamp, grace: SignedDuration) -> Result<(), CrlError> {
        if now < self.this_update {
            return Err(CrlError::NotYetValid(self.this_update));
        }
        if now.duration_since(self.next_update) > grace {
            return Err(CrlError::Stale(self.next_update));
        }
        Ok(())
    }

    /// Whether the certificate with `serial` (big-endian, no leading zeros) is revoked.
    pub(crate) fn lists(&self, serial: &[u8]) -> bool {
        self.revoked.iter().any(|revoked| revoked == serial)
    }
}

fn signer(
    list: &CertificateRevocationList<'_>,
    anchors: &[Arc<TrustAnchor>],
) -> Result<Arc<TrustAnchor>, CrlError> {
    let mut error = CrlError::Issuer;
    for anchor in anchors.iter().filter(|anchor| anchor.name() == list.issuer().as_raw()) {
        let signature = &list.signature_value.data;
        if anchor.key().verify_sig(list.tbs_cert_list.as_ref(), signature).is_ok() {
            return Ok(Arc::clone(anchor));
        }
        error = CrlError::Signature;
    }
    Err(error)
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crl")
            .field("anchor", &self.anchor)
            .field("this_update", &self.this_update)
            .field("next_update", &self.next_update)
            .field("revoked", &self.revoked.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use keybroker_simulator::{
        Product,
        pki::{Amd, CrlOptions},
    };

    use super::*;

    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u8::try_from(content.len()).unwrap();
        let header = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
        [header, content].concat()
    }

    /// A list of one entry with a reason code, not really signed: what is looked at before the signature
    /// counts here.
    fn list(critical: &[u8]) -> Vec<u8> {
        let usual = Amd::new(Product::Milan, Timestamp::UNIX_EPOCH).crl(&CrlOptions::default());
        let algorithm = der::algorithms(&usual).unwrap().outer;
        let time = element(0x17, &[b"261101120000Z"]);
        let reason = element(0x30, &[&[6, 3, 0x55, 0x1D, 0x15], critical, &[4, 3, 0x0A, 1, 1]]);
        let entry = element(0x30, &[&[2, 1, 5], &time, &element(0x30, &[&reason])]);
        let entries = element(0x30, &[&entry]);
        let signed = element(0x30, &[&[2, 1, 1], algorithm, &[0x30, 0], &time, &time, &entries]);
        element(0x30, &[&signed, algorithm, &[3, 2, 0, 0]])
    }

    #[test]
    fn a_list_is_told_by_its_time_and_number() {
        let amd = Amd::new(Product::Milan, Timestamp::UNIX_EPOCH);
        let mut anchors = crate::anchors::TrustAnchors::default();
        anchors.add_pem(amd.ark_pem().as_bytes()).unwrap();
        for number in [0, 7, u32::MAX] {
            let this_update = Timestamp::constant(1_786_795_200, 0);
            let options = CrlOptions { number, this_update: Some(this_update), ..CrlOptions::default() };
            let crl = Crl::verify(&amd.crl(&options), &anchors.arks(crate::product::Product::Milan)).unwrap();
            assert_eq!((crl.this_update(), crl.number()), (this_update, Some(number.to_string().as_str())));
        }
    }

    /// It might say that the entry is about another issuer's certificate, or lift what it seems to say.
    #[test]
    fn a_critical_extension_of_an_entry_is_refused() {
        assert_eq!(Crl::verify(&list(&[1, 1, 0xFF]), &[]).unwrap_err(), CrlError::UnknownCriticalExtension);
        assert_eq!(Crl::verify(&list(&[]), &[]).unwrap_err(), CrlError::Issuer);
    }
}
