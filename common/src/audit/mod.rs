//! The audit record: who got which secret, or did not, and why.

#[macro_use]
mod enumerate;

mod basis;
mod check;

use std::collections::BTreeSet;

use jiff::Timestamp;
use keybroker_snp::{
    endorsement::EndorsementKind,
    product::{Product, TcbVersion},
    report::Report,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    advisories::TcbVerdict,
    encoding::{Hex, amd},
    ids::{AuditId, RegistrationDigest, TokenId, WorkloadId},
    keyring::Purpose,
    requirements::EvidenceForm,
};

pub use basis::{Basis, CrlEdition, VerifiedUnder};
pub use check::{Check, Meaning};

/// The decision that a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// A workload was registered under a new id.
    Registered,
    /// A registration took the place of an earlier one.
    Replaced,
    /// A workload was revoked.
    Revoked,
    /// A token was made that lets its holder register.
    TokenCreated,
    /// A token was revoked.
    TokenRevoked,
    /// A workload's revocation was taken back.
    Restored,
    /// A workload's registration was deleted.
    Deleted,
    /// An operator set a secret of a workload, and so wrote a new registration with the same requirements.
    ResourceSet,
    /// An operator deleted a secret of a workload, likewise.
    ResourceDeleted,
    /// An operator had the broker's own keys turn.
    KeysTurned,
    /// An operator made the next signing key.
    KeyPrepared,
    /// An operator brought a signing key from outside.
    KeyImported,
    /// An operator took a signing key out of its ring.
    KeyRetired,
    /// An operator had the secrets of a workload, or a ring of the broker's own keys, wrapped by another
    /// wrapping key.
    Rewrapped,
    /// An operator deleted records of the audit log that were older than a time.
    Pruned,
    /// A guest attested.
    Attested,
    /// A secret was released to an attested guest. If it was withheld after all, there is a second record.
    Released,
    /// A release that is on record did not leave: its workload was revoked or replaced meanwhile.
    Withheld,
    /// Something was refused: `failed` says what and why.
    Refused,
    /// Nothing could be decided, because something that the decision needs was out of reach.
    Unavailable,
}

/// The operation that a request asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Registering a workload.
    Register,
    /// Presenting evidence.
    Attest,
    /// Fetching the passphrase of a workload.
    Key,
    /// Fetching a resource of a workload registered by reference values.
    Resource,
    /// Presenting evidence and fetching secrets in one, in the broker's own protocol.
    Release,
    /// An operator's act.
    Operate,
}

/// The details of an operator's act, where it has any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// A ring of the broker's own keys was turned.
    Turned {
        /// The ring.
        ring: Purpose,
        /// Whether what was made under its keys counts for nothing from then on.
        at_once: bool,
    },
    /// A signing key was prepared, imported or retired, or, where keys turned, became the current one.
    SigningKey {
        /// The SHA-256 of its public half, as documents name it.
        key: Hex<32>,
    },
    /// A secret of a workload was set or deleted: the record's `registration` came in the place of this one.
    Amended {
        /// The registration before.
        replaced: RegistrationDigest,
    },
    /// Another wrapping key wraps the secrets of the record's workload, or a ring. They are the same secrets.
    Rewrapped {
        /// The ring, if it was one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        ring: Option<Purpose>,
        /// The keys that wrapped them before.
        from: BTreeSet<String>,
        /// The key that wraps them since.
        to: String,
    },
    /// Audit records were deleted.
    Pruned {
        /// All of them were older than this.
        before: Timestamp,
        /// The number of them.
        records: u64,
    },
}

/// The check that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedCheck {
    /// The check's stable name ([`Check::name`]), e.g. `guest-policy-debug`. A text, since a later release
    /// may know others.
    pub check: String,
    /// The expected value and the value that was found, for the operator.
    pub cause: String,
}

/// The content of the evidence. These are claims of the guest alone, unless `verified`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceSummary {
    /// Whether AMD's signature over the report was verified: if not, everything here is hearsay.
    pub verified: bool,
    /// The form in which the report was presented.
    #[serde(skip_serializing_if = "EvidenceForm::is_snp", default)]
    pub form: EvidenceForm,
    /// Version of the report.
    pub report_version: u32,
    /// Launch measurement, 96 hex digits.
    pub measurement: String,
    /// CHIP_ID, 128 hex digits.
    pub chip_id: String,
    /// Product, where it is known.
    #[serde(with = "amd::optional_product", default)]
    pub product: Option<Product>,
    /// Which kind of key the report says it was signed with.
    #[serde(with = "amd::optional_kind", default)]
    pub endorsement: Option<EndorsementKind>,
    /// TCB that the platform reports, where the product and so its layout is known.
    #[serde(with = "amd::optional_tcb", default)]
    pub reported_tcb: Option<TcbVersion>,
    /// Guest policy, as `0x…`.
    pub policy: String,
    /// VMPL that asked for the report.
    pub vmpl: u32,
    /// HOST_DATA, 64 hex digits, where it is not all zeros: what selects a registration by reference values.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host_data: Option<Hex<32>>,
    /// ID_KEY_DIGEST, 96 hex digits, where the guest has an ID block.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id_key_digest: Option<Hex<48>>,
}

impl EvidenceSummary {
    /// Summarises `report`, presented in `form` and read as one of `product`.
    pub fn of(report: &Report, form: EvidenceForm, product: Option<Product>, verified: bool) -> Self {
        Self {
            verified,
            form,
            report_version: report.version(),
            measurement: data_encoding::HEXLOWER.encode(report.measurement()),
            chip_id: data_encoding::HEXLOWER.encode(report.chip_id()),
            product,
            endorsement: report.signing_key(),
            reported_tcb: product.and_then(|product| report.reported_tcb(product)),
            policy: format!("{:#x}", report.policy().bits()),
            vmpl: report.vmpl(),
            host_data: present(report.host_data()),
            id_key_digest: present(report.id_key_digest()),
        }
    }
}

/// A field of the report, unless it is all zeros.
fn present<const N: usize>(field: &[u8; N]) -> Option<Hex<N>> {
    field.iter().any(|byte| *byte != 0).then_some(Hex(*field))
}

/// One decision. Holds no secret, nonce, session id or key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Identifies the decision.
    pub id: AuditId,
    /// When it was taken.
    pub time: Timestamp,
    /// The operation that was asked for.
    pub operation: Operation,
    /// The decision.
    pub decision: Decision,
    /// For which workload, where the request named one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workload_id: Option<WorkloadId>,
    /// At whose request, where somebody was authenticated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub principal: Option<String>,
    /// Under which registration.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub registration: Option<RegistrationDigest>,
    /// On which evidence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evidence: Option<EvidenceSummary>,
    /// By what that was verified, once it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub basis: Option<Basis>,
    /// How the platform stood to AMD's bulletins, once its report was verified. Nothing was decided by it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tcb: Option<TcbVerdict>,
    /// Which secret was asked for, or changed, by name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub secret: Option<String>,
    /// Which secrets were asked for at once, by name.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub secrets: Vec<String>,
    /// Which token an operator made or revoked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub token: Option<TokenId>,
    /// The details of an operator's act.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub act: Option<Act>,
    /// Why the operator acted, in the operator's words. A member of its own: a release that knows no reasons
    /// passes over it, and would not read a record with an act that it does not know.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The attestation that a release rests on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attestation: Option<AuditId>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failed: Option<FailedCheck>,
}

impl AuditRecord {
    /// A record with a new id and nothing but what was asked and decided.
    pub fn new(time: Timestamp, operation: Operation, decision: Decision) -> Self {
        Self {
            id: AuditId::new(),
            time,
            operation,
            decision,
            workload_id: None,
            principal: None,
            registration: None,
            evidence: None,
            basis: None,
            tcb: None,
            secret: None,
            secrets: Vec::new(),
            token: None,
            act: None,
            reason: None,
            attestation: None,
            failed: None,
        }
    }

    /// SHA-256 of it as JSON, without the verdict on the TCB: on that nothing rests, and a release that knows
    /// no verdicts computes the same.
    pub fn digest(&self) -> [u8; 32] {
        let decided = Self { tcb: None, ..self.clone() };
        Sha256::digest(serde_json::to_vec(&decided).unwrap_or_default()).into()
    }
}
