//! The trustworthiness vector: what was checked, in the words of draft-ietf-rats-ar4si.
//!
//! | claim | value | what was checked |
//! |---|---|---|
//! | `executables` | 3, approved at boot | The launch measurement is a registered one, or a registered ID key signed it. Nothing is known of what was loaded after the launch, so it is never 2 |
//! | `executables` | 33, not recognised | The report is of an Azure confidential VM: the paravisor is a registered one. Nothing measured the guest's operating system |
//! | `configuration` | 2, approved | HOST_DATA or the launch measurement binds the guest to the registered init data |
//! | `configuration` | 3, no known vulnerability | No init data is required, or nothing binds it. DEBUG and a migration agent are off, and the VMPL is 0, as for every guest |
//! | `hardware` | 2, genuine and supported | AMD's certificates vouch for the chip, and its reported, committed or current TCB holds a floor above zero: the operator's, or the registration's |
//! | `hardware` | left out | AMD's certificates vouch for the chip, and nobody set a floor: the firmware may have known vulnerabilities |
//! | `runtime-opaque` | 2, encrypted memory | The report is of an SEV-SNP guest whose memory the host cannot read: DEBUG is off |
//! | `hardware` | 97, not recognised | The report leads to a root that the operator added, and not to AMD's |
//! | `configuration`, `executables`, `runtime-opaque` | 99, cryptographic validation failed | The same: without genuine hardware nothing else that the report says is proved, so a third party that reads one claim alone is not deceived either |
//!
//! The other claims are left out, which says nothing of them: `instance-identity` (no chip is registered),
//! `file-system` and `storage-opaque` (no report covers a disk), and `sourced-data`.
//!
//! The status is the worst tier of the claims, computed from them.

use serde::{Deserialize, Serialize};

use crate::{
    appraisal::Fleet,
    audit::AuditRecord,
    platform::{BySilicon, Levels, PlatformDemands, SiliconKey},
    requirements::{BoundBy, EvidenceForm, InitDataRequirement},
    workload::Registration,
};

/// The claims about a guest that attested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Vector {
    configuration: i8,
    executables: i8,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    hardware: Option<i8>,
    runtime_opaque: i8,
}

/// The tier of a claim, and of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// No claim is made.
    None,
    /// The claim speaks for the guest.
    Affirming,
    /// It calls for caution.
    Warning,
    /// It speaks against the guest.
    Contraindicated,
}

impl Tier {
    fn of(claim: i8) -> Self {
        match claim {
            -1..=1 => Self::None,
            2..=31 | -32..=-2 => Self::Affirming,
            32..=95 | -96..=-33 => Self::Warning,
            _ => Self::Contraindicated,
        }
    }
}

const APPROVED_AT_BOOT: i8 = 3;
const UNRECOGNISED_EXECUTABLES: i8 = 33;
const APPROVED_CONFIGURATION: i8 = 2;
const SAFE_CONFIGURATION: i8 = 3;
const GENUINE_HARDWARE: i8 = 2;
const UNRECOGNISED_HARDWARE: i8 = 97;
const ENCRYPTED_MEMORY: i8 = 2;
const VALIDATION_FAILED: i8 = 99;

impl Vector {
    /// The claims about the guest whose attestation is on `record`, appraised against `registration` and by
    /// the demands of `fleet`.
    pub fn of(record: &AuditRecord, registration: &Registration, fleet: &Fleet) -> Self {
        if !is_genuine(record) {
            return Self {
                configuration: VALIDATION_FAILED,
                executables: VALIDATION_FAILED,
                hardware: Some(UNRECOGNISED_HARDWARE),
                runtime_opaque: VALIDATION_FAILED,
            };
        }
        let configuration = match bound_init_data(registration) {
            Some(_) => APPROVED_CONFIGURATION,
            None => SAFE_CONFIGURATION,
        };
        let floor = has_floor(&registration.policy.platform, record) || floor_of_fleet(record, fleet);
        Self {
            configuration,
            executables: executables(record),
            hardware: floor.then_some(GENUINE_HARDWARE),
            runtime_opaque: ENCRYPTED_MEMORY,
        }
    }

    /// The worst tier of the claims.
    pub fn status(&self) -> Tier {
        let Self { configuration, executables, hardware, runtime_opaque } = *self;
        let claims = [Some(configuration), Some(executables), hardware, Some(runtime_opaque)];
        claims.into_iter().flatten().map(Tier::of).max().unwrap_or(Tier::None)
    }
}

/// The registration's init data, if something binds the guest to it.
pub(super) fn bound_init_data(registration: &Registration) -> Option<&InitDataRequirement> {
    let required = registration.policy.init_data.as_ref();
    required.filter(|required| match required.bound_by {
        BoundBy::HostData | BoundBy::Measurement => true,
        BoundBy::Nothing => false,
    })
}

/// The launch measurement covers what the guest runs, except on Azure: there it is the paravisor's alone.
fn executables(record: &AuditRecord) -> i8 {
    match record.evidence.as_ref().map(|evidence| evidence.form) {
        Some(EvidenceForm::AzSnpVtpm) => UNRECOGNISED_EXECUTABLES,
        _ => APPROVED_AT_BOOT,
    }
}

/// Whether AMD's certificates vouch for the report.
fn is_genuine(record: &AuditRecord) -> bool {
    let verified = record.evidence.as_ref().is_some_and(|evidence| evidence.verified);
    verified && record.basis.as_ref().is_some_and(|basis| !basis.simulated)
}

/// Whether these demands, which held, have a floor for what the firmware is on the guest's silicon: one that
/// it could miss. A floor at launch is none: what the firmware was then says nothing of what it is now.
fn has_floor(demands: &PlatformDemands, record: &AuditRecord) -> bool {
    let PlatformDemands { minimum_tcb, minimum_committed_tcb, minimum_current_tcb, .. } = demands;
    let row = |floors: &BySilicon<Levels>| floors.get(silicon(record)?).copied();
    [minimum_tcb, minimum_committed_tcb, minimum_current_tcb]
        .into_iter()
        .filter_map(row)
        .any(|levels| levels.is_floor())
}

/// The key of the rows that the guest was held to.
fn silicon(record: &AuditRecord) -> Option<SiliconKey> {
    match record.tcb.as_ref().and_then(|tcb| tcb.silicon) {
        Some(silicon) => Some(SiliconKey::Silicon(silicon)),
        None => record.evidence.as_ref()?.product.map(SiliconKey::Product),
    }
}

/// Whether the guest was held to a floor of `fleet`. Demands that the operator changed since count for
/// nothing.
fn floor_of_fleet(record: &AuditRecord, fleet: &Fleet) -> bool {
    let basis = record.basis.as_ref().filter(|basis| basis.fleet.0 == fleet.digest());
    basis.is_some_and(|basis| !basis.simulated) && has_floor(&fleet.platform, record)
}
