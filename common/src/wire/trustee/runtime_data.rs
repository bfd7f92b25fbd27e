//! The text that REPORT_DATA is the hash of.

use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::{
    binding::Binding,
    challenge::Nonce,
    ids::{KbsVersion, ReportHash},
};

/// The guest's key, as the report of a guest of this version is bound to it.
#[derive(Debug)]
pub(super) struct RuntimeData {
    pub(super) version: KbsVersion,
    /// The JCS form of the key.
    pub(super) key: String,
}

impl Binding for RuntimeData {
    /// The hash of the runtime data's JCS form (RFC 8785), with zeros behind it. The nonce is the broker's
    /// own: the one that 0.4.0 sends back is not looked at.
    fn report_data(&self, nonce: &Nonce) -> [u8; 64] {
        let (nonce, key) = (nonce.expose(), &self.key);
        let (text, hash) = match self.version {
            KbsVersion::V0_4_0(hash) => {
                (format!(r#"{{"additional-evidence":"","nonce":"{nonce}","tee-pubkey":{key}}}"#), hash)
            }
            _ => (format!(r#"{{"nonce":"{nonce}","tee-pubkey":{key}}}"#), ReportHash::Sha384),
        };
        match hash {
            ReportHash::Sha256 => padded(&Sha256::digest(text)),
            ReportHash::Sha384 => padded(&Sha384::digest(text)),
            ReportHash::Sha512 => padded(&Sha512::digest(text)),
        }
    }
}

fn padded(hash: &[u8]) -> [u8; 64] {
    let mut report_data = [0; 64];
    report_data.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = *hashed);
    report_data
}
