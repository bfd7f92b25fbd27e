//! The service of `attest`: what it stands on, what it takes and what it gives.

use std::sync::Arc;

use keybroker_initdata::InitDataDigest;
use keybroker_snp::product::Product;

use super::{endorser::Endorser, strangers::NoSessionLimiter};
use crate::{
    advisories::Advisories,
    appraisal::Fleet,
    binding::{Binding, SentReport},
    challenge::Challenges,
    clock::Clock,
    decision::EvidenceDigest,
    dialect::Dialect,
    ear::{Results, SignedResult},
    ids::{AuditId, WorkloadId},
    keys::Keys,
    policy::PolicyEngine,
    secret::{Unwrap, seal::GuestKey},
    signing::Signers,
    store::{DecisionStore, ReleaseStore},
};

/// A key that a guest made, as records name it.
pub trait Thumbprint {
    /// SHA-256 that names the key.
    fn thumbprint(&self) -> [u8; 32];
}

impl Thumbprint for GuestKey {
    fn thumbprint(&self) -> [u8; 32] {
        Self::thumbprint(self)
    }
}

/// The evidence of a guest, with the key that it is bound to. Nothing in it is trusted.
#[derive(Debug, Clone)]
pub struct Evidence<K = GuestKey> {
    /// The dialects in which it may have been presented.
    pub dialects: Vec<Dialect>,
    /// The workload that the guest says it is, where it says so beside its evidence and not with its
    /// challenge.
    pub workload_id: Option<WorkloadId>,
    /// The digest of the guest's init data, where its dialect binds the report to it.
    pub init_data: Option<InitDataDigest>,
    /// The report, decoded. One that cannot be is refused like any other, and the record says why.
    pub report: Result<SentReport, Unreadable>,
    /// The product that the guest says it runs on: where to ask first for a report that does not say.
    pub claimed_product: Option<Product>,
    /// Certificates that the guest sent along, DER, in any order.
    pub certificates: Vec<Vec<u8>>,
    /// The key to seal releases to.
    pub guest_key: K,
    /// The same key as the evidence is bound to it.
    pub binding: Arc<dyn Binding>,
    /// The digest of all of it, as it was sent.
    pub digest: EvidenceDigest,
}

/// Why evidence cannot be decoded, for the record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl Unreadable {
    /// For this cause.
    pub fn new(cause: impl ToString) -> Self {
        Self(cause.to_string())
    }
}

/// That a guest attested: what the answer in its dialect needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    /// The audit record by which the session was opened.
    pub id: AuditId,
    /// The dialect of the registration, in which the guest goes on.
    pub dialect: Dialect,
    /// The attestation result, signed, where the dialect has one.
    pub result: Option<SignedResult>,
}

/// Verifies evidence and releases secrets. The only service that can unwrap.
#[derive(Debug, Clone)]
pub struct Attest {
    /// Recognises challenges.
    pub challenges: Challenges,
    /// The keys that make a session of what the store holds.
    pub session_keys: Arc<Keys>,
    /// Signs what others may know of a guest that attested, and reads it back.
    pub results: Results,
    /// Where decisions are recorded before they take effect.
    pub decisions: Arc<dyn DecisionStore>,
    /// Registrations.
    pub workloads: Arc<dyn ReleaseStore>,
    /// Verifies reports under AMD's certificates.
    pub endorsements: Arc<dyn Endorser>,
    /// Evaluates what registrations demand in Rego.
    pub policies: Arc<dyn PolicyEngine>,
    /// The operator's demands on every guest.
    pub fleet: Arc<Fleet>,
    /// AMD's bulletins, by which records say how a platform stands. They decide nothing.
    pub advisories: Arc<Advisories>,
    /// For how many requests without a session that counts there is a record.
    pub patience: Arc<NoSessionLimiter>,
    /// Unwraps the secrets.
    pub unwrap: Arc<dyn Unwrap>,
    /// Signs what is released over the broker's own protocol.
    pub signers: Arc<dyn Signers>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}
