//! The table of variables.

use super::{PREFIX, kds::KdsSettings};
use crate::function::Function;

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The functions that read it.
    pub read_by: &'static [Function],
    /// The meaning of the setting.
    pub meaning: &'static str,
    /// The value that holds without it. `None`: the function does not start without it.
    pub default: Option<&'static str>,
}

/// Every setting of every function.
pub const VARIABLES: [Variable; 30] = [
    WORKLOADS_TABLE,
    TOKENS_TABLE,
    KEYS_TABLE,
    DECISIONS_TABLE,
    ENDORSEMENTS_TABLE,
    AUDIT_TABLE,
    KMS_KEY,
    DEPLOYMENT,
    REGISTRATION,
    SESSION_TTL,
    ACCEPT_CSP_IDS,
    ACCEPT_PRODUCTS,
    ACCEPT_CHIPS,
    MINIMUM_TCB,
    MINIMUM_COMMITTED_TCB,
    MINIMUM_CURRENT_TCB,
    MINIMUM_LAUNCH_TCB,
    CURRENT_MITIGATIONS,
    LAUNCH_MITIGATIONS,
    REQUIRE_PLATFORM,
    MINIMUM_FIRMWARE,
    ACCEPT_ANY_TCB,
    ADVISORIES,
    ADVISORIES_SHA256,
    KDS_URL,
    KDS,
    CRL_MAX_AGE,
    NEW_CHIPS_PER_MINUTE,
    NEW_CHIPS_BURST,
    AUDIT_RETENTION_DAYS,
];

pub(super) const WORKLOADS_TABLE: Variable = Variable {
    name: "KEYBROKER_WORKLOADS_TABLE",
    read_by: &[Function::Register, Function::Attest],
    meaning: "DynamoDB table of registrations",
    default: None,
};
pub(super) const TOKENS_TABLE: Variable = Variable {
    name: "KEYBROKER_TOKENS_TABLE",
    read_by: &[Function::Register],
    meaning: "DynamoDB table of the tokens that let builds register",
    default: None,
};
pub(super) const KEYS_TABLE: Variable = Variable {
    name: "KEYBROKER_KEYS_TABLE",
    read_by: &[Function::Auth, Function::Attest],
    meaning: "DynamoDB table of the broker's own keys, wrapped",
    default: None,
};
pub(super) const DECISIONS_TABLE: Variable = Variable {
    name: "KEYBROKER_DECISIONS_TABLE",
    read_by: &[Function::Attest],
    meaning: "DynamoDB table of the decisions about guests",
    default: None,
};
pub(super) const DEPLOYMENT: Variable = Variable {
    name: "KEYBROKER_DEPLOYMENT",
    read_by: &[Function::Auth, Function::Attest],
    meaning: "the deployment's name, by which it takes no other's challenges: account, region and prefix",
    default: None,
};
pub(super) const ENDORSEMENTS_TABLE: Variable = Variable {
    name: "KEYBROKER_ENDORSEMENTS_TABLE",
    read_by: &[Function::Attest],
    meaning: "DynamoDB table of AMD's certificates",
    default: None,
};
pub(super) const AUDIT_TABLE: Variable = Variable {
    name: "KEYBROKER_AUDIT_TABLE",
    read_by: &[Function::Register],
    meaning: "DynamoDB table of the audit records of registrations and operators",
    default: None,
};
pub(super) const KMS_KEY: Variable = Variable {
    name: "KEYBROKER_KMS_KEY",
    read_by: &[Function::Register, Function::Auth, Function::Attest],
    meaning: "KMS key that wraps secrets and the broker's own keys: ARN, id or alias. A wrapped secret names \
              the key that wrapped it",
    default: None,
};
pub(super) const REGISTRATION: Variable = Variable {
    name: "KEYBROKER_REGISTRATION",
    read_by: &[Function::Register],
    meaning: "who may register: token (whoever holds one), iam (principals that API Gateway has authenticated), open (anybody), `;` between them",
    default: None,
};
pub(super) const SESSION_TTL: Variable = Variable {
    name: "KEYBROKER_SESSION_TTL",
    read_by: &[Function::Auth, Function::Attest],
    meaning: "seconds for which a challenge may be answered, and then a session may fetch its secrets: \
        1 to 86400",
    default: Some("300"),
};
pub(super) const ACCEPT_CSP_IDS: Variable = Variable {
    name: "KEYBROKER_ACCEPT_CSP_IDS",
    read_by: &[Function::Attest],
    meaning: "cloud providers whose VLEKs are accepted, by CSP id, `;` between them",
    default: Some(""),
};
pub(super) const ACCEPT_PRODUCTS: Variable = Variable {
    name: "KEYBROKER_ACCEPT_PRODUCTS",
    read_by: &[Function::Attest],
    meaning: "products whose guests are admitted, `;` between them; without it each",
    default: Some(""),
};
pub(super) const MINIMUM_TCB: Variable = Variable {
    name: "KEYBROKER_MINIMUM_TCB",
    read_by: &[Function::Attest],
    meaning: "least reported TCB by silicon: milan-b1:bl=4,tee=0,snp=27,ucode=222 (a stepping's name or CPUID \
        signature; a product for reports of version 2), `;` between them",
    default: Some(""),
};
pub(super) const ACCEPT_CHIPS: Variable = Variable {
    name: "KEYBROKER_ACCEPT_CHIPS",
    read_by: &[Function::Attest],
    meaning: "chips whose guests are admitted, by id: 128 hex digits, or 16 of a Turin, `;` between them; without it each",
    default: Some(""),
};
pub(super) const MINIMUM_COMMITTED_TCB: Variable = Variable {
    name: "KEYBROKER_MINIMUM_COMMITTED_TCB",
    read_by: &[Function::Attest],
    meaning: "least committed TCB, likewise",
    default: Some(""),
};
pub(super) const MINIMUM_CURRENT_TCB: Variable = Variable {
    name: "KEYBROKER_MINIMUM_CURRENT_TCB",
    read_by: &[Function::Attest],
    meaning: "least current TCB, likewise",
    default: Some(""),
};
pub(super) const MINIMUM_LAUNCH_TCB: Variable = Variable {
    name: "KEYBROKER_MINIMUM_LAUNCH_TCB",
    read_by: &[Function::Attest],
    meaning: "least TCB at the guest's launch, likewise",
    default: Some(""),
};
pub(super) const CURRENT_MITIGATIONS: Variable = Variable {
    name: "KEYBROKER_CURRENT_MITIGATIONS",
    read_by: &[Function::Attest],
    meaning: "bits that CURRENT_MIT_VECTOR must have, by silicon: milan-b1:1+2+4, `;` between them",
    default: Some(""),
};
pub(super) const LAUNCH_MITIGATIONS: Variable = Variable {
    name: "KEYBROKER_LAUNCH_MITIGATIONS",
    read_by: &[Function::Attest],
    meaning: "bits that LAUNCH_MIT_VECTOR must have, likewise",
    default: Some(""),
};
pub(super) const REQUIRE_PLATFORM: Variable = Variable {
    name: "KEYBROKER_REQUIRE_PLATFORM",
    read_by: &[Function::Attest],
    meaning: "conditions of the platform: alias-check, iommu-writes, tsme, no-smt, rapl-disabled, ecc, \
        ciphertext-hiding, committed, `;` between them",
    default: Some(""),
};
pub(super) const MINIMUM_FIRMWARE: Variable = Variable {
    name: "KEYBROKER_MINIMUM_FIRMWARE",
    read_by: &[Function::Attest],
    meaning: "least version of the SNP firmware: MAJOR.MINOR.BUILD",
    default: Some(""),
};
pub(super) const ACCEPT_ANY_TCB: Variable = Variable {
    name: "KEYBROKER_ACCEPT_ANY_TCB",
    read_by: &[Function::Attest],
    meaning: "yes: guests on a platform of any TCB are admitted, where no floor is set",
    default: Some(""),
};
pub(super) const ADVISORIES: Variable = Variable {
    name: "KEYBROKER_ADVISORIES",
    read_by: &[Function::Attest],
    meaning: "file with a table of AMD's bulletins, in the place of the one that this release ships",
    default: Some(""),
};
pub(super) const ADVISORIES_SHA256: Variable = Variable {
    name: "KEYBROKER_ADVISORIES_SHA256",
    read_by: &[Function::Attest],
    meaning: "the SHA-256 of that file, 64 hex digits",
    default: Some(""),
};
pub(super) const KDS_URL: Variable = Variable {
    name: "KEYBROKER_KDS_URL",
    read_by: &[Function::Attest],
    meaning: "AMD's Key Distribution Service, or one that answers like it",
    default: Some(KdsSettings::AMD),
};
pub(super) const KDS: Variable = Variable {
    name: "KEYBROKER_KDS",
    read_by: &[Function::Attest],
    meaning: "for which chips the KDS is asked: any-chip, or known-chips-only",
    default: Some("any-chip"),
};
pub(super) const CRL_MAX_AGE: Variable = Variable {
    name: "KEYBROKER_CRL_MAX_AGE",
    read_by: &[Function::Attest],
    meaning: "days for which a revocation list counts at most, from its thisUpdate on, whatever it says itself: 1 to 36500",
    default: Some(""),
};
pub(super) const NEW_CHIPS_PER_MINUTE: Variable = Variable {
    name: "KEYBROKER_NEW_CHIPS_PER_MINUTE",
    read_by: &[Function::Attest],
    meaning: "chips that nobody has seen for which the KDS is asked in a minute, for long: 0 to 6000, 0 for as many as come; without \
              it 6 of AMD's own, and of another as many as come",
    default: Some(""),
};
pub(super) const NEW_CHIPS_BURST: Variable = Variable {
    name: "KEYBROKER_NEW_CHIPS_BURST",
    read_by: &[Function::Attest],
    meaning: "chips that nobody has seen for which the KDS is asked at once, after a while without any: 1 to 1000; without it 8",
    default: Some(""),
};
pub(super) const AUDIT_RETENTION_DAYS: Variable = Variable {
    name: "KEYBROKER_AUDIT_RETENTION_DAYS",
    read_by: &[Function::Register, Function::Attest],
    meaning: "days after which audit records may be deleted; 0 keeps them for good",
    default: Some("0"),
};

pub(super) fn known() -> impl Iterator<Item = &'static str> {
    VARIABLES.iter().map(|variable| variable.name)
}

/// How alike two names must be, from 0 to 1, for one to be suggested in the other's place.
const ALIKE: f64 = 0.8;

/// Which of the `known` names is so like `name` that it may have been meant.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The common prefix would make any two alike.
    let own = |name: &'_ str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let name = own(name);
    known
        .map(|other| (strsim::jaro_winkler(&name, &own(other)), other))
        .filter(|(similarity, _)| *similarity >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, other)| other)
}
