//! The basis of an attestation, beside the report.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{appraisal::Fleet, encoding::Base64};

/// Which of an ARK's revocation lists it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlEdition {
    /// When it was issued.
    pub this_update: Timestamp,
    /// Its number (RFC 5280, 5.2.3), in decimal, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub number: Option<String>,
}

/// The certificates and lists that a report was verified under, by what names them. Digests are SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedUnder {
    /// The digest of the ARK's certificate that the chain leads to.
    pub anchor: [u8; 32],
    /// Whether that is none of AMD's, but a root that the operator added.
    pub simulated: bool,
    /// The digest of the certificate for the key that signed the report.
    pub vek: [u8; 32],
    /// Which revocation lists counted.
    pub crls: Vec<CrlEdition>,
}

/// The basis of an attestation, and so of every release to its session. Digests are SHA-256, and bytes rather
/// than hex: there is one of these for every boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// The digest of the ARK's certificate that the chain leads to.
    pub anchor: Base64<32>,
    /// Whether that is none of AMD's, but a root that the operator added: nothing then proves that the
    /// hardware is genuine.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub simulated: bool,
    /// The digest of the certificate for the key that signed the report.
    pub vek: Base64<32>,
    /// Which revocation lists counted.
    pub crls: Vec<CrlEdition>,
    /// The key that releases are sealed to, by its thumbprint (SHA-256).
    pub guest_key: Base64<32>,
    /// The digest of the operator's demands on every guest ([`Fleet::digest`]).
    pub fleet: Base64<32>,
}

impl Basis {
    /// The basis of a report that was verified under `under`, bound to the guest's key with this
    /// thumbprint and appraised by `fleet`.
    /// The caller must have established all three: this function does not.
    pub fn of(under: VerifiedUnder, guest_key: [u8; 32], fleet: &Fleet) -> Self {
        let VerifiedUnder { anchor, simulated, vek, crls } = under;
        Self {
            anchor: Base64(anchor),
            simulated,
            vek: Base64(vek),
            crls,
            guest_key: Base64(guest_key),
            fleet: Base64(fleet.digest()),
        }
    }
}
