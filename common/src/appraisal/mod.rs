//! Appraisal: is this the workload that was registered, launched as its owner demands?
//!
//! [`appraise`] establishes that a verified report equals the reference values and satisfies the policy of a
//! registration, and the floor that no registration can lower: no DEBUG, no migration agent, VMPL 0, and what
//! the operator demands of every guest. It does not establish that the disk behind the guest is the
//! registered one, nor which of the workloads that share the guest's launch measurement it is: no report says
//! so.

#[macro_use]
mod table;
#[macro_use]
mod enumerate;

mod check;
mod fleet;
mod platform;
mod rules;

use keybroker_initdata::InitDataDigest;
use keybroker_snp::{
    few::list,
    product::Product,
    report::Report,
    verify::{Outcome, VerifiedReport},
};

use crate::{
    encoding::Hex,
    ids::{RegistrationDigest, WorkloadId},
    policy::{Claims, NotEvaluated, PolicyEngine},
    requirements::{Abi, AppraisalPolicy, EvidenceForm, Measurement, ReferenceValues},
    workload::{ReadRegistration, Standing},
};

pub use check::{AppraisalCheck, Demand};
pub use fleet::{Fleet, NO_FLOOR};
pub use platform::{DemandedBy, PlatformFault, When};

/// Why a report does not satisfy a registration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppraisalError {
    /// DEBUG is set.
    #[error("the host launched the guest with DEBUG set: policy {0:#x}")]
    Debug(u64),
    /// MIGRATE_MA is set.
    #[error("the host launched the guest open to a migration agent: policy {0:#x}")]
    MigrateMa(u64),
    /// A reserved bit has the wrong value.
    #[error("the guest policy {0:#x} has reserved bits that this broker does not know")]
    PolicyForm(u64),
    /// Another VMPL than 0.
    #[error("the report was asked for at VMPL {vmpl}, expected 0{}", asked_by(*.0), vmpl = .0)]
    Vmpl(u32),
    /// A report in another form than the registration demands.
    #[error("the report was presented in the form {found}, the registration demands {required}")]
    EvidenceForm {
        /// The form of the guest's evidence.
        found: EvidenceForm,
        /// In the registration.
        required: EvidenceForm,
    },
    /// A measurement that is not registered.
    #[error("the launch measurement is {found}, registered is {}", list(.registered))]
    Measurement {
        /// In the report.
        found: Measurement,
        /// In the registration.
        registered: Vec<Measurement>,
    },
    /// The guest policy allows what the registration forbids, or does not demand what it demands.
    #[error("the guest policy {policy:#x} {fault}")]
    GuestPolicy {
        /// The guest policy.
        policy: u64,
        /// The fault, in words.
        fault: &'static str,
    },
    /// The ABI floor is missed.
    #[error(
        "the guest policy demands ABI {}.{}, the registration {}.{}",
        .found.major, .found.minor, .required.major, .required.minor
    )]
    Abi {
        /// In the guest policy.
        found: Abi,
        /// In the registration.
        required: Abi,
    },
    /// The platform is not as the operator, or the registration, demands.
    #[error("{by} {fault}")]
    Platform {
        /// The party that demands it.
        by: DemandedBy,
        /// The fault.
        fault: PlatformFault,
    },
    /// A field does not equal what is required.
    #[error("{field} is {found}, required is {required}")]
    Field {
        /// The report's field.
        field: &'static str,
        /// Its value, hex.
        found: String,
        /// The required value, hex.
        required: String,
    },
    /// The guest has other init data.
    #[error("the guest's init data is {found}, required is {required}")]
    InitData {
        /// The digest that the guest's request names.
        found: String,
        /// In the registration.
        required: String,
    },
    /// The guest does not say which init data it has.
    #[error("the guest names no init data, and the registration requires some")]
    NoInitData,
    /// No author key certified the ID key.
    #[error("no author key certified the guest's ID key, required is {required}")]
    NoAuthorKey {
        /// The required key's digest.
        required: Hex<48>,
    },
    /// The SVN floor is missed.
    #[error("guest SVN {found} is below the required {required}")]
    GuestSvn {
        /// In the report.
        found: u32,
        /// In the registration.
        required: u32,
    },
    /// An input was missing.
    #[error("the check {} could not be made", .0.name())]
    NotChecked(AppraisalCheck),
}

/// The tool that asks at this VMPL of itself.
fn asked_by(vmpl: u32) -> &'static str {
    if vmpl == 1 { " (snpguest asks at 1 unless it is given --vmpl 0)" } else { "" }
}

/// The inputs of the checks.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The report.
    pub report: &'a Report,
    /// The form in which it was presented.
    pub form: EvidenceForm,
    /// Its product, where it is known: what depends on it is not checked without it.
    pub product: Option<Product>,
    /// The operator's demands on every guest.
    pub fleet: &'a Fleet,
    /// The values that the report must equal.
    pub reference_values: Option<&'a ReferenceValues>,
    /// The other requirements on the report.
    pub policy: &'a AppraisalPolicy,
    /// The digest of the guest's init data, as the guest says in what its report is bound to.
    pub init_data: Option<&'a InitDataDigest>,
}

/// Every check with what it came to, for people to read. Nothing can be built on it.
pub fn examine(inputs: &Inputs<'_>) -> Vec<(AppraisalCheck, Outcome<AppraisalError>)> {
    rules::RULES.iter().map(|(check, rule)| (*check, rule(inputs))).collect()
}

/// The first check that an unverified report already fails. It can refuse early; that it finds nothing means
/// nothing.
pub fn refuse_early(inputs: &Inputs<'_>) -> Result<(), (AppraisalCheck, AppraisalError)> {
    for &(check, rule) in rules::RULES {
        rule(inputs).not_failed().map_err(|error| (check, error))?;
    }
    Ok(())
}

/// The proof that a verified report satisfies all that is not Rego in the registration of a workload. Only
/// [`appraise`] makes one.
#[derive(Debug)]
#[must_use]
pub struct Appraised<'a> {
    verified: &'a VerifiedReport,
    registered: &'a ReadRegistration,
}

impl Appraised<'_> {
    /// Evaluates the registration's policy in Rego, if it has one: an engine must find every query defined
    /// and true for the report's claims.
    pub async fn consent(self, policies: &dyn PolicyEngine) -> Result<AttestationResult, NotEvaluated> {
        if let Some(policy) = &self.registered.registration().rego {
            policies.evaluate(policy, &Claims::of(self.verified)).await?;
        }
        let registered = self.registered;
        Ok(AttestationResult { workload_id: registered.id().clone(), standing: registered.standing() })
    }
}

/// The proof that a verified report satisfies the registration of a workload, and which. Only
/// [`Appraised::consent`] makes one, and only from one comes a session
/// ([`Session::open`](crate::session::Session::open)).
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct AttestationResult {
    workload_id: WorkloadId,
    standing: Standing,
}

impl AttestationResult {
    /// The workload that the guest is.
    pub fn workload_id(&self) -> &WorkloadId {
        &self.workload_id
    }

    /// The registration that the report satisfies.
    pub fn registration(&self) -> RegistrationDigest {
        self.standing.registration
    }

    /// The registration that the session rests on.
    pub fn standing(&self) -> Standing {
        self.standing
    }
}

/// Makes every check, in order, and stops at the first that does not hold. No policy comes before them, and
/// none lifts one. The report must have been presented in `form`, and be bound to what says that the guest
/// has `init_data`: this is not established here.
pub fn appraise<'a>(
    verified: &'a VerifiedReport,
    form: EvidenceForm,
    fleet: &Fleet,
    registered: &'a ReadRegistration,
    init_data: Option<&InitDataDigest>,
) -> Result<Appraised<'a>, (AppraisalCheck, AppraisalError)> {
    let registration = registered.registration();
    let inputs = Inputs {
        report: verified.report(),
        form,
        product: Some(verified.product()),
        fleet,
        reference_values: Some(&registration.reference_values),
        policy: &registration.policy,
        init_data,
    };
    for &(check, rule) in rules::RULES {
        rule(&inputs).required(AppraisalError::NotChecked(check)).map_err(|error| (check, error))?;
    }
    Ok(Appraised { verified, registered })
}
