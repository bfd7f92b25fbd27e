//! The settings of each function.

use std::time::Duration;

use jiff::SignedDuration;

use super::{
    kds::{KdsSettings, NewChips},
    reading::{
        Configuration, Reader, base_url, crl_max_age, days, known_chips_only, list, new_chips_burst,
        new_chips_per_minute, products, tcb_floors, text, ttl,
    },
    table::{
        ACCEPT_CSP_IDS, ACCEPT_PRODUCTS, AUDIT_RETENTION_DAYS, AUDIT_TABLE, CHALLENGES_TABLE, CRL_MAX_AGE,
        ENDORSEMENTS_TABLE, KDS, KDS_URL, KMS_KEY, MINIMUM_TCB, NEW_CHIPS_BURST, NEW_CHIPS_PER_MINUTE,
        REGISTRATION, SESSION_TTL, SESSIONS_TABLE, TOKENS_TABLE, WORKLOADS_TABLE,
    },
};
use crate::{admission::Admission, appraisal::Fleet, function::Function};

/// The settings of `register`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterConfig {
    /// Table of registrations.
    pub workloads_table: String,
    /// Table of tokens.
    pub tokens_table: String,
    /// Table of audit records.
    pub audit_table: String,
    /// How long audit records are kept; `None`: for good.
    pub audit_kept_for: Option<SignedDuration>,
    /// The key that wraps secrets.
    pub kms_key: String,
    /// The callers that may register.
    pub admission: Admission,
}

impl Configuration for RegisterConfig {
    const FUNCTION: Function = Function::Register;

    fn read(reader: &mut Reader) -> Option<Self> {
        // All of them are read before the first that is missing ends it, so that all faults are noted.
        let workloads_table = reader.value(WORKLOADS_TABLE, text);
        let tokens_table = reader.value(TOKENS_TABLE, text);
        let audit_table = reader.value(AUDIT_TABLE, text);
        let audit_kept_for = reader.value(AUDIT_RETENTION_DAYS, days);
        let kms_key = reader.value(KMS_KEY, text);
        let admission = reader.value(REGISTRATION, Admission::parse);
        Some(Self {
            workloads_table: workloads_table?,
            tokens_table: tokens_table?,
            audit_table: audit_table?,
            audit_kept_for: audit_kept_for?,
            kms_key: kms_key?,
            admission: admission?,
        })
    }
}

/// The settings of `auth`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// Table of challenges.
    pub challenges_table: String,
    /// How long a challenge may be answered.
    pub session_ttl: Duration,
}

impl Configuration for AuthConfig {
    const FUNCTION: Function = Function::Auth;

    fn read(reader: &mut Reader) -> Option<Self> {
        let challenges_table = reader.value(CHALLENGES_TABLE, text);
        let session_ttl = reader.value(SESSION_TTL, ttl);
        Some(Self { challenges_table: challenges_table?, session_ttl: session_ttl? })
    }
}

/// The settings of `attest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestConfig {
    /// Table of registrations.
    pub workloads_table: String,
    /// Table of challenges.
    pub challenges_table: String,
    /// Table of sessions.
    pub sessions_table: String,
    /// Table of AMD's certificates.
    pub endorsements_table: String,
    /// Table of audit records.
    pub audit_table: String,
    /// How long audit records are kept; `None`: for good.
    pub audit_kept_for: Option<SignedDuration>,
    /// How long a session may fetch its secrets.
    pub session_ttl: Duration,
    /// The operator's demands on every guest.
    pub fleet: Fleet,
    /// Where AMD's certificates come from.
    pub endorsements: KdsSettings,
}

impl Configuration for AttestConfig {
    const FUNCTION: Function = Function::Attest;

    fn read(reader: &mut Reader) -> Option<Self> {
        let workloads_table = reader.value(WORKLOADS_TABLE, text);
        let challenges_table = reader.value(CHALLENGES_TABLE, text);
        let sessions_table = reader.value(SESSIONS_TABLE, text);
        let endorsements_table = reader.value(ENDORSEMENTS_TABLE, text);
        let audit_table = reader.value(AUDIT_TABLE, text);
        let audit_kept_for = reader.value(AUDIT_RETENTION_DAYS, days);
        let session_ttl = reader.value(SESSION_TTL, ttl);
        let fleet = fleet(reader);
        let kds_url = reader.value(KDS_URL, base_url);
        let known_chips_only = reader.value(KDS, known_chips_only);
        let crl_max_age = reader.value(CRL_MAX_AGE, crl_max_age);
        let per_minute = reader.value(NEW_CHIPS_PER_MINUTE, new_chips_per_minute);
        let burst = reader.value(NEW_CHIPS_BURST, new_chips_burst);
        Some(Self {
            workloads_table: workloads_table?,
            challenges_table: challenges_table?,
            sessions_table: sessions_table?,
            endorsements_table: endorsements_table?,
            audit_table: audit_table?,
            audit_kept_for: audit_kept_for?,
            session_ttl: session_ttl?,
            fleet: fleet?,
            endorsements: KdsSettings {
                kds_url: kds_url?,
                kds_authorities: Vec::new(),
                known_chips_only: known_chips_only?,
                crl_max_age: crl_max_age?,
                new_chips: NewChips { per_minute: per_minute?, burst: burst? },
            },
        })
    }
}

fn fleet(reader: &mut Reader) -> Option<Fleet> {
    let products = reader.value(ACCEPT_PRODUCTS, products);
    let minimum_tcb = reader.value(MINIMUM_TCB, tcb_floors);
    let accepted_csp_ids = reader.value(ACCEPT_CSP_IDS, list);
    Some(Fleet { products: products?, minimum_tcb: minimum_tcb?, accepted_csp_ids: accepted_csp_ids? })
}
