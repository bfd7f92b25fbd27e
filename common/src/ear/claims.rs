//! The claims of an attestation result.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::vector::{Tier, Vector, bound_init_data};
use crate::{
    appraisal::Fleet,
    audit::{AuditRecord, EvidenceSummary},
    challenge::Deployment,
    clock::CLOCKS_DIFFER,
    ids::{AuditId, RegistrationDigest, SessionId, WorkloadId},
    secret::seal::GuestKey,
    session::Session,
    workload::Registration,
};

/// The profile of Trustee's own results, by which its clients and their libraries know the form.
const PROFILE: &str = "tag:github.com,2024:confidential-containers/Trustee";
const BUILD: &str = concat!("keybroker ", env!("CARGO_PKG_VERSION"));
const DEVELOPER: &str = "keybroker";

/// The broker's statement about a guest that attested: an Entity Attestation Token (RFC 9711) of Trustee's
/// profile, under the names of both drafts of EAR that libraries read.
///
/// Made of the same decision it is the same, whenever it is made. Its session id is a credential: `Debug`
/// does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    eat_profile: String,
    iss: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: AuditId,
    #[serde(rename = "ear.verifier-id")]
    verifier: Verifier,
    #[serde(rename = "ear_verifier_id")]
    verifier_of_draft_04: Verifier,
    cnf: Confirmation,
    submods: Submodules,
    workload_id: WorkloadId,
    #[serde(rename = "keybroker.session", with = "session_id")]
    session: SessionId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verifier {
    developer: String,
    build: String,
}

/// The key that a holder of the result must prove to have (RFC 7800).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    jwk: Jwk,
}

/// The members of a public key, in the order of their names.
type Jwk = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Submodules {
    cpu0: Appraisal,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Appraisal {
    #[serde(rename = "ear.status")]
    status: Tier,
    #[serde(rename = "ear.trustworthiness-vector")]
    vector: Vector,
    #[serde(rename = "ear.appraisal-policy-id")]
    policy: RegistrationDigest,
    #[serde(rename = "ear.veraison.annotated-evidence")]
    evidence: Evidence,
    #[serde(rename = "ear_status")]
    status_of_draft_04: Tier,
    #[serde(rename = "ear_trustworthiness_vector")]
    vector_of_draft_04: Vector,
    #[serde(rename = "ear_appraisal_policy_ids")]
    policies_of_draft_04: [RegistrationDigest; 1],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Evidence {
    /// The report's fields: texts alone, for readers refuse large numbers.
    snp: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    init_data: Option<InitData>,
    runtime_data_claims: RuntimeData,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InitData {
    algorithm: String,
    digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RuntimeData {
    /// The guest's key with its algorithm, as it was sent, where Trustee's own readers look for it.
    tee_pubkey: Jwk,
}

impl Claims {
    /// The claims about the guest of `session`, whose attestation is on `record`. It was appraised against
    /// `registration` and by the demands of `fleet`. That these belong together is not established here.
    pub fn of(
        record: &AuditRecord,
        session: &Session,
        registration: &Registration,
        fleet: &Fleet,
        deployment: &Deployment,
    ) -> Self {
        let vector = Vector::of(record, registration, fleet);
        let (status, policy) = (vector.status(), session.standing().registration);
        let (key, jwk) = (session.guest_key(), jwk(session.guest_key()));
        let mut tee_pubkey = jwk.clone();
        tee_pubkey.insert("alg".to_owned(), key.alg().to_owned());
        let init_data = bound_init_data(registration).map(|required| InitData {
            algorithm: required.digest.algorithm().name().to_owned(),
            digest: required.digest.to_string(),
        });
        let evidence = Evidence {
            snp: record.evidence.as_ref().map(fields).unwrap_or_default(),
            init_data,
            runtime_data_claims: RuntimeData { tee_pubkey },
        };
        let cpu0 = Appraisal {
            status,
            vector,
            policy,
            evidence,
            status_of_draft_04: status,
            vector_of_draft_04: vector,
            policies_of_draft_04: [policy],
        };
        let verifier = Verifier { developer: DEVELOPER.to_owned(), build: BUILD.to_owned() };
        Self {
            eat_profile: PROFILE.to_owned(),
            iss: deployment.as_str().to_owned(),
            iat: record.time.as_second(),
            // The guest compares it with a clock of its own, which may be behind.
            nbf: record.time.as_second().saturating_sub(CLOCKS_DIFFER.as_secs()),
            exp: session.expires_at().as_second(),
            jti: session.attestation(),
            verifier: verifier.clone(),
            verifier_of_draft_04: verifier,
            cnf: Confirmation { jwk },
            submods: Submodules { cpu0 },
            workload_id: session.workload_id().clone(),
            session: session.session_id().clone(),
        }
    }

    /// The payload of a signature.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`Self::to_bytes`] wrote, in that one form. That the broker wrote it is not established
    /// here.
    pub fn from_bytes(payload: &[u8]) -> Option<Self> {
        let claims: Self = serde_json::from_slice(payload).ok()?;
        (claims.to_bytes() == payload).then_some(claims)
    }

    /// Whether `deployment` made it.
    pub(super) fn is_of(&self, deployment: &Deployment) -> bool {
        self.iss == deployment.as_str()
    }

    /// The first instant at which it counts.
    pub(super) fn not_before(&self) -> Timestamp {
        Timestamp::from_second(self.nbf).unwrap_or(Timestamp::MAX)
    }

    /// The first instant at which it no longer counts: the session's, to the second.
    pub fn expires_at(&self) -> Timestamp {
        Timestamp::from_second(self.exp).unwrap_or(Timestamp::MIN)
    }

    /// The session that it leads to.
    pub fn session_id(&self) -> &SessionId {
        &self.session
    }

    /// The decision that it is about.
    pub fn decision(&self) -> AuditId {
        self.jti
    }

    /// The registration that the guest was appraised against.
    pub fn registration(&self) -> RegistrationDigest {
        self.submods.cpu0.policy
    }

    /// The thumbprint of the guest's key (RFC 7638, SHA-256).
    pub fn guest_key(&self) -> [u8; 32] {
        Sha256::digest(serde_json::to_vec(&self.cnf.jwk).unwrap_or_default()).into()
    }

    /// The worst tier of what it claims.
    pub fn status(&self) -> Tier {
        self.submods.cpu0.status
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims").field("decision", &self.jti).finish_non_exhaustive()
    }
}

/// The public members of the guest's key.
fn jwk(key: &GuestKey) -> Jwk {
    serde_json::to_value(key.jwk()).and_then(serde_json::from_value).unwrap_or_default()
}

/// The report's fields that the record has, under Trustee's names where it has them.
fn fields(evidence: &EvidenceSummary) -> BTreeMap<String, String> {
    let EvidenceSummary {
        verified: _,
        form,
        report_version,
        measurement,
        chip_id,
        product,
        endorsement,
        reported_tcb,
        policy,
        vmpl,
        host_data,
        id_key_digest,
    } = evidence;
    let level = |component: u8| component.to_string();
    let fields = [
        ("evidence_form", (!form.is_snp()).then(|| form.name().to_owned())),
        ("report_version", Some(report_version.to_string())),
        ("measurement", Some(measurement.clone())),
        ("chip_id", Some(chip_id.clone())),
        ("product", product.map(|product| product.name().to_ascii_lowercase())),
        ("endorsement", endorsement.map(|kind| kind.name().to_owned())),
        ("reported_tcb_fmc", reported_tcb.and_then(|tcb| tcb.fmc).map(level)),
        ("reported_tcb_bootloader", reported_tcb.map(|tcb| level(tcb.boot_loader))),
        ("reported_tcb_tee", reported_tcb.map(|tcb| level(tcb.tee))),
        ("reported_tcb_snp", reported_tcb.map(|tcb| level(tcb.snp))),
        ("reported_tcb_microcode", reported_tcb.map(|tcb| level(tcb.microcode))),
        ("policy", Some(policy.clone())),
        ("vmpl", Some(vmpl.to_string())),
        ("host_data", host_data.map(|digest| digest.to_string())),
        ("id_key_digest", id_key_digest.map(|digest| digest.to_string())),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// A session id as the cookie has it.
mod session_id {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use zeroize::Zeroizing;

    use crate::ids::SessionId;

    pub(super) fn serialize<S: Serializer>(id: &SessionId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(id.expose()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SessionId, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        SessionId::parse(&text).ok_or_else(|| D::Error::custom("not a session id"))
    }
}
