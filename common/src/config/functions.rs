//! The settings of each function.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;

use super::{
    kds::{KdsSettings, NewChips},
    reading::{
        Configuration, Reader, base_url, by_silicon, chips, conditions, crl_max_age, days, firmware, floors,
        known_chips_only, list, new_chips_burst, new_chips_per_minute, path, products, sha256, text, ttl,
        yes,
    },
    table::{
        ACCEPT_ANY_TCB, ACCEPT_CHIPS, ACCEPT_CSP_IDS, ACCEPT_PRODUCTS, ADVISORIES, ADVISORIES_SHA256,
        AUDIT_RETENTION_DAYS, AUDIT_TABLE, CRL_MAX_AGE, CURRENT_MITIGATIONS, DECISIONS_TABLE, DEPLOYMENT,
        ENDORSEMENTS_TABLE, KDS, KDS_URL, KEYS_TABLE, KMS_KEY, LAUNCH_MITIGATIONS, MINIMUM_COMMITTED_TCB,
        MINIMUM_CURRENT_TCB, MINIMUM_FIRMWARE, MINIMUM_LAUNCH_TCB, MINIMUM_TCB, NEW_CHIPS_BURST,
        NEW_CHIPS_PER_MINUTE, REGISTRATION, REQUIRE_PLATFORM, SESSION_TTL, TOKENS_TABLE, WORKLOADS_TABLE,
    },
};
use crate::{
    admission::Admission,
    advisories::{Advisories, Choice, ChoiceError, Month, PinnedFile},
    appraisal::Fleet,
    challenge::Deployment,
    function::Function,
    platform::PlatformDemands,
};

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

/// Where a deployment's challenges come from: the settings that `auth` and `attest` share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginConfig {
    /// The deployment's name.
    pub deployment: Deployment,
    /// Table of the broker's own keys.
    pub keys_table: String,
    /// The key that wraps them.
    pub kms_key: String,
    /// How long a challenge may be answered, and then a session may fetch its secrets.
    pub session_ttl: Duration,
}

fn origin(reader: &mut Reader) -> Option<OriginConfig> {
    let deployment = reader.value(DEPLOYMENT, text);
    let keys_table = reader.value(KEYS_TABLE, text);
    let kms_key = reader.value(KMS_KEY, text);
    let session_ttl = reader.value(SESSION_TTL, ttl);
    Some(OriginConfig {
        deployment: Deployment::new(deployment?),
        keys_table: keys_table?,
        kms_key: kms_key?,
        session_ttl: session_ttl?,
    })
}

/// The settings of `auth`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// Where its challenges come from.
    pub origin: OriginConfig,
}

impl Configuration for AuthConfig {
    const FUNCTION: Function = Function::Auth;

    fn read(reader: &mut Reader) -> Option<Self> {
        Some(Self { origin: origin(reader)? })
    }
}

/// The settings of `attest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestConfig {
    /// Table of registrations.
    pub workloads_table: String,
    /// Table of the decisions about guests.
    pub decisions_table: String,
    /// Table of AMD's certificates.
    pub endorsements_table: String,
    /// How long decisions are kept; `None`: for good.
    pub audit_kept_for: Option<SignedDuration>,
    /// Where its challenges come from.
    pub origin: OriginConfig,
    /// The operator's demands on every guest, and the table of AMD's bulletins.
    pub fleet: FleetConfig,
    /// Where AMD's certificates come from.
    pub endorsements: KdsSettings,
}

impl Configuration for AttestConfig {
    const FUNCTION: Function = Function::Attest;

    fn read(reader: &mut Reader) -> Option<Self> {
        let workloads_table = reader.value(WORKLOADS_TABLE, text);
        let decisions_table = reader.value(DECISIONS_TABLE, text);
        let endorsements_table = reader.value(ENDORSEMENTS_TABLE, text);
        let audit_kept_for = reader.value(AUDIT_RETENTION_DAYS, days);
        let origin = origin(reader);
        let fleet = fleet(reader);
        let kds_url = reader.value(KDS_URL, base_url);
        let known_chips_only = reader.value(KDS, known_chips_only);
        let crl_max_age = reader.value(CRL_MAX_AGE, crl_max_age);
        let per_minute = reader.value(NEW_CHIPS_PER_MINUTE, new_chips_per_minute);
        let burst = reader.value(NEW_CHIPS_BURST, new_chips_burst);
        Some(Self {
            workloads_table: workloads_table?,
            decisions_table: decisions_table?,
            endorsements_table: endorsements_table?,
            audit_kept_for: audit_kept_for?,
            origin: origin?,
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

/// The operator's demands on every guest. Part of them may be in the table of AMD's bulletins, so there are
/// none before that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetConfig {
    pub(super) demands: Fleet,
    pub(super) advisories: Choice,
}

impl FleetConfig {
    /// Reads the table, and adds the floors that it sets.
    pub fn resolve(self) -> Result<(Fleet, Arc<Advisories>), ChoiceError> {
        let Self { mut demands, advisories } = self;
        let table = advisories.resolve(&mut demands.platform)?;
        Ok((demands, table))
    }
}

fn advisories(reader: &mut Reader, floor: Option<Month>) -> Option<Choice> {
    let path = reader.value(ADVISORIES, path);
    let sha256 = reader.value(ADVISORIES_SHA256, sha256);
    let file = match (path?, sha256?) {
        (None, None) => None,
        (Some(path), Some(sha256)) => Some(PinnedFile { path, sha256 }),
        (Some(_), None) => {
            reader.fault(ADVISORIES, "needs KEYBROKER_ADVISORIES_SHA256 beside it");
            return None;
        }
        (None, Some(_)) => {
            reader.fault(ADVISORIES_SHA256, "needs KEYBROKER_ADVISORIES beside it");
            return None;
        }
    };
    Some(Choice { file, floor })
}

fn fleet(reader: &mut Reader) -> Option<FleetConfig> {
    let products = reader.value(ACCEPT_PRODUCTS, products);
    let chips = reader.value(ACCEPT_CHIPS, chips);
    let minimum_tcb = reader.value(MINIMUM_TCB, floors);
    let minimum_committed_tcb = reader.value(MINIMUM_COMMITTED_TCB, by_silicon);
    let minimum_current_tcb = reader.value(MINIMUM_CURRENT_TCB, by_silicon);
    let minimum_launch_tcb = reader.value(MINIMUM_LAUNCH_TCB, by_silicon);
    let current_mitigations = reader.value(CURRENT_MITIGATIONS, by_silicon);
    let launch_mitigations = reader.value(LAUNCH_MITIGATIONS, by_silicon);
    let conditions = reader.value(REQUIRE_PLATFORM, conditions);
    let minimum_firmware = reader.value(MINIMUM_FIRMWARE, firmware);
    let any_tcb = reader.value(ACCEPT_ANY_TCB, yes);
    let accepted_csp_ids = reader.value(ACCEPT_CSP_IDS, list);
    let advisories = advisories(reader, minimum_tcb.as_ref().and_then(|(_, month)| *month));
    let (minimum_tcb, _) = minimum_tcb?;
    let demands = Fleet {
        platform: PlatformDemands {
            products: products?,
            chips: chips?,
            minimum_tcb,
            minimum_committed_tcb: minimum_committed_tcb?,
            minimum_current_tcb: minimum_current_tcb?,
            minimum_launch_tcb: minimum_launch_tcb?,
            current_mitigations: current_mitigations?,
            launch_mitigations: launch_mitigations?,
            conditions: conditions?,
            minimum_firmware: minimum_firmware?,
        },
        accepted_csp_ids: accepted_csp_ids?,
        any_tcb: any_tcb?,
    };
    Some(FleetConfig { demands, advisories: advisories? })
}
