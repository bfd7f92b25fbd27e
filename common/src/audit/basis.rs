//! What an attestation rests on, beside the report.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{appraisal::Fleet, encoding::Base64, secret::seal::GuestKey};
use keybroker_snp::{anchors, crl::Crl, verify::Endorsements};

/// Which of an ARK's revocation lists it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrlEdition {
    /// When it was issued.
    pub this_update: Timestamp,
    /// Its number (RFC 5280, 5.2.3), in decimal, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub number: Option<String>,
}

impl From<&Crl> for CrlEdition {
    fn from(crl: &Crl) -> Self {
        Self { this_update: crl.this_update(), number: crl.number().map(str::to_owned) }
    }
}

/// What an attestation rests on, and so every release to its session. Digests are SHA-256, and bytes rather
/// than hex: there is one of these for every boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// Of the certificate of the ARK that the chain leads to.
    pub anchor: Base64<32>,
    /// Whether that is none of AMD's, but a root that the operator added: nothing then proves that the
    /// hardware is genuine.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub simulated: bool,
    /// Of the certificate of the key that signed the report.
    pub vek: Base64<32>,
    /// Which revocation lists counted.
    pub crls: Vec<CrlEdition>,
    /// The key that releases are sealed to, by its thumbprint ([`GuestKey::thumbprint`]).
    pub guest_key: Base64<32>,
    /// Of what the operator demanded of every guest ([`Fleet::digest`]).
    pub fleet: Base64<32>,
}

impl Basis {
    /// What a report rests on that was verified by `endorsements`, bound to `guest_key` and appraised by
    /// `fleet`. That it was is not established here.
    pub fn of(endorsements: &Endorsements, guest_key: &GuestKey, fleet: &Fleet) -> Self {
        let further = endorsements.further_crls.iter();
        let anchor = endorsements.chain.intermediate().anchor();
        Self {
            anchor: Base64(anchor.fingerprint()),
            simulated: !anchors::is_amds(anchor),
            vek: Base64(Sha256::digest(endorsements.chain.vek().der()).into()),
            crls: std::iter::once(&endorsements.crl)
                .chain(further)
                .map(|crl| CrlEdition::from(&**crl))
                .collect(),
            guest_key: Base64(guest_key.thumbprint()),
            fleet: Base64(fleet.digest()),
        }
    }
}
