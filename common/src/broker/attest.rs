//! Attestation and release.

use std::sync::Arc;

use super::{Error, RETRY_AFTER};
use crate::{
    audit::AuditId,
    clock::Clock,
    secret::{Unwrap, seal::GuestKey},
    session::SessionId,
    snp::product::Product,
    store::{AuditStore, SessionStore, WorkloadStore},
    workload::{Dialect, WorkloadId},
};

/// The guest's key as texts, exactly as sent: the report is bound to these characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTexts {
    /// Modulus, base64 as sent.
    pub modulus: String,
    /// Exponent, base64 as sent.
    pub exponent: String,
}

/// What a guest presents. Nothing in it is trusted.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// How it was presented.
    pub dialect: Dialect,
    /// The report, decoded.
    pub report: Vec<u8>,
    /// The product that the guest says it runs on: where to ask first for a report that does not say.
    pub claimed_product: Option<Product>,
    /// Certificates that the guest sent along, DER, in any order.
    pub certificates: Vec<Vec<u8>>,
    /// The key to seal releases to.
    pub guest_key: GuestKey,
    /// The same key as the report is bound to it.
    pub key_texts: KeyTexts,
}

/// A secret sealed to the key of a guest that attested. Only [`Attest::release`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// RSAES-PKCS1-v1_5 ciphertext of the secret, as long as the guest key's modulus.
    ciphertext: Vec<u8>,
    /// The audit record.
    pub id: AuditId,
}

impl Released {
    /// The ciphertext, as long as the modulus of the guest's key.
    pub fn ciphertext(&self) -> &[u8] {
        &self.ciphertext
    }
}

/// Verifies evidence and releases secrets. The only service that can unwrap.
#[derive(Debug, Clone)]
pub struct Attest {
    /// Challenges and sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// Registrations.
    pub workloads: Arc<dyn WorkloadStore>,
    /// Where decisions are recorded before they take effect.
    pub audit: Arc<dyn AuditStore>,
    /// Unwraps the secrets.
    pub unwrap: Arc<dyn Unwrap>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Attest {
    /// Verifies and appraises `evidence` against the challenge under `session_id`, and opens a session if all holds.
    pub async fn attest(&self, _session_id: &SessionId, _evidence: Evidence) -> Result<AuditId, Error> {
        Err(Error::Unavailable { id: None, retry_after: RETRY_AFTER })
    }

    /// The secret named `secret` of `workload_id`, sealed to the key that attested under `session_id`.
    pub async fn release(
        &self,
        _session_id: &SessionId,
        _workload_id: &WorkloadId,
        _secret: &str,
    ) -> Result<Released, Error> {
        Err(Error::Unavailable { id: None, retry_after: RETRY_AFTER })
    }
}
