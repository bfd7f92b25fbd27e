//! Appraisal: is this the workload that was registered, launched as its owner demands?
//!
//! [`appraise`] establishes that a verified report equals the reference values and satisfies the policy of a
//! registration, and the floor that no registration can lower: no DEBUG, no migration agent, VMPL 0, and what
//! the operator demands of every guest. It does not establish that the disk behind the guest is the
//! registered one, nor which of the workloads that share the guest's launch measurement it is: no report says
//! so.

mod fleet;
mod rules;

use std::fmt;

use keybroker_snp::{
    product::{Product, TcbVersion},
    report::Report,
    verify::{Outcome, VerifiedReport},
};

use crate::{
    encoding::Hex,
    ids::{RegistrationDigest, WorkloadId},
    policy::{Claims, NotEvaluated, PolicyEngine},
    requirements::{Abi, AppraisalPolicy, Measurement, ReferenceValues},
    workload::{Registered, Standing},
};

pub use fleet::Fleet;

/// The checks of appraisal, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// The host may not read the guest's memory.
    Debug,
    /// No migration agent may be associated.
    MigrateMa,
    /// The guest policy sets no bit of unknown meaning.
    PolicyForm,
    /// The report was asked for at VMPL 0.
    Vmpl,
    /// The operator accepts the product.
    FleetProduct,
    /// The operator's floor of the reported TCB holds.
    FleetTcb,
    /// The launch measurement is registered.
    Measurement,
    /// Simultaneous multithreading is forbidden where it must be.
    Smt,
    /// One socket only, where it must be.
    SingleSocket,
    /// Ciphertext is hidden where it must be.
    CiphertextHiding,
    /// The ABI floor holds.
    Abi,
    /// The reported TCB's floor holds.
    MinimumTcb,
    /// The committed TCB's floor holds.
    MinimumCommittedTcb,
    /// The launch TCB's floor holds.
    MinimumLaunchTcb,
    /// HOST_DATA is the required one.
    HostData,
    /// The ID key is the required one.
    IdKey,
    /// The author key is the required one.
    AuthorKey,
    /// FAMILY_ID is the required one.
    FamilyId,
    /// IMAGE_ID is the required one.
    ImageId,
    /// The GUEST_SVN floor holds.
    GuestSvn,
}

impl Check {
    /// Every check, in the order in which they are made.
    pub fn all() -> impl Iterator<Item = Self> {
        rules::RULES.iter().map(|(check, _)| *check)
    }

    /// The floor that no registration lowers.
    pub const FLOOR: [Self; 6] =
        [Self::Debug, Self::MigrateMa, Self::PolicyForm, Self::Vmpl, Self::FleetProduct, Self::FleetTcb];

    /// The check's stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "guest-policy-debug",
            Self::MigrateMa => "guest-policy-migrate-ma",
            Self::PolicyForm => "guest-policy-form",
            Self::Vmpl => "vmpl",
            Self::FleetProduct => "fleet-product",
            Self::FleetTcb => "fleet-minimum-tcb",
            Self::Measurement => "measurement",
            Self::Smt => "guest-policy-smt",
            Self::SingleSocket => "guest-policy-single-socket",
            Self::CiphertextHiding => "guest-policy-ciphertext-hiding",
            Self::Abi => "guest-policy-abi",
            Self::MinimumTcb => "minimum-tcb",
            Self::MinimumCommittedTcb => "minimum-committed-tcb",
            Self::MinimumLaunchTcb => "minimum-launch-tcb",
            Self::HostData => "host-data",
            Self::IdKey => "id-key-digest",
            Self::AuthorKey => "author-key-digest",
            Self::FamilyId => "family-id",
            Self::ImageId => "image-id",
            Self::GuestSvn => "guest-svn",
        }
    }
}

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
    /// A product that the operator does not accept.
    #[error("the chip is a {found}, the operator accepts {}", list(.accepted))]
    FleetProduct {
        /// The chip's.
        found: Product,
        /// Those that the operator accepts.
        accepted: Vec<Product>,
    },
    /// A measurement that is not registered.
    #[error("the launch measurement is {found}, registered is {}", list(.registered))]
    Measurement {
        /// In the report.
        found: Measurement,
        /// In the registration.
        registered: Vec<Measurement>,
    },
    /// SMT is allowed by the guest policy.
    #[error("the guest policy {0:#x} allows SMT, the registration forbids it")]
    Smt(u64),
    /// The guest may span sockets.
    #[error("the guest policy {0:#x} lets the guest span sockets, the registration forbids it")]
    SingleSocket(u64),
    /// Ciphertext may be visible to the host.
    #[error("the guest policy {0:#x} does not demand ciphertext hiding, the registration does")]
    CiphertextHiding(u64),
    /// The ABI floor is missed.
    #[error("the guest policy demands ABI {}.{}, the registration {}.{}", .found.major, .found.minor, .required.major, .required.minor)]
    Abi {
        /// In the guest policy.
        found: Abi,
        /// In the registration.
        required: Abi,
    },
    /// A TCB floor is missed.
    #[error("the {which} TCB ({}) is below what {by} requires ({required})", .found.map_or("unreadable".to_owned(), |tcb| tcb.to_string()))]
    Tcb {
        /// `reported`, `committed` or `launch`.
        which: &'static str,
        /// In the report; `None` if it sets reserved bits.
        found: Option<TcbVersion>,
        /// Who sets the floor.
        by: Authority,
        /// The floor.
        required: TcbVersion,
    },
    /// The registration sets floors of a TCB, and none for this product.
    #[error("the registration requires a {which} TCB, and says none for {product}")]
    NoTcbFloor {
        /// `reported`, `committed` or `launch`.
        which: &'static str,
        /// The chip's product.
        product: Product,
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
    NotChecked(Check),
}

/// The tool that asks at this VMPL of itself.
fn asked_by(vmpl: u32) -> &'static str {
    if vmpl == 1 { " (snpguest asks at 1 unless it is given --vmpl 0)" } else { "" }
}

/// Values as a person reads them: the first few of many.
pub(crate) fn list<T: fmt::Display>(values: &[T]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<_> = values.iter().take(SHOWN).map(T::to_string).collect();
    match values.len() {
        0 => "none".to_owned(),
        all if all > SHOWN => format!("one of {all}: {}, …", shown.join(", ")),
        _ => shown.join(", "),
    }
}

/// Who sets a floor. The stricter wins, since both must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// The operator, for every guest.
    Operator,
    /// The registration, for its own.
    Registration,
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "the operator",
            Self::Registration => "the registration",
        })
    }
}

/// What the checks look at.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The report.
    pub report: &'a Report,
    /// Its product, where it is known: what depends on it is not checked without it.
    pub product: Option<Product>,
    /// What the operator demands of every guest.
    pub fleet: &'a Fleet,
    /// What it must equal.
    pub reference_values: Option<&'a ReferenceValues>,
    /// What else it must satisfy.
    pub policy: &'a AppraisalPolicy,
}

/// Every check with what it came to, for people to read. Nothing can be built on it.
pub fn examine(inputs: &Inputs<'_>) -> Vec<(Check, Outcome<AppraisalError>)> {
    rules::RULES.iter().map(|(check, rule)| (*check, rule(inputs))).collect()
}

/// The first check that an unverified report already fails. It can refuse early; that it finds nothing means
/// nothing.
pub fn refuse_early(inputs: &Inputs<'_>) -> Result<(), (Check, AppraisalError)> {
    for (check, rule) in rules::RULES {
        rule(inputs).not_failed().map_err(|error| (check, error))?;
    }
    Ok(())
}

/// That a verified report satisfies all that is not Rego in the registration of a workload. Only [`appraise`]
/// makes one.
#[derive(Debug)]
#[must_use]
pub struct Appraised<'a> {
    verified: &'a VerifiedReport,
    registered: &'a Registered,
}

impl Appraised<'_> {
    /// What the registration demands in Rego, if it does: every query must be defined and true for the
    /// report's claims, by an engine's word.
    pub async fn consent(self, policies: &dyn PolicyEngine) -> Result<AttestationResult, NotEvaluated> {
        if let Some(policy) = &self.registered.registration().rego {
            policies.evaluate(policy, &Claims::of(self.verified)).await?;
        }
        let registered = self.registered;
        Ok(AttestationResult { workload_id: registered.id().clone(), standing: registered.standing() })
    }
}

/// That a verified report satisfies the registration of a workload, and which. Only [`Appraised::consent`]
/// makes one, and only from one comes a session ([`Session::open`](crate::session::Session::open)).
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

    /// What the session rests on.
    pub fn standing(&self) -> Standing {
        self.standing
    }
}

/// Makes every check, in order, and stops at the first that does not hold. No policy comes before them, and
/// none lifts one.
pub fn appraise<'a>(
    verified: &'a VerifiedReport,
    fleet: &Fleet,
    registered: &'a Registered,
) -> Result<Appraised<'a>, (Check, AppraisalError)> {
    let registration = registered.registration();
    let inputs = Inputs {
        report: verified.report(),
        product: Some(verified.product()),
        fleet,
        reference_values: Some(&registration.reference_values),
        policy: &registration.policy,
    };
    for (check, rule) in rules::RULES {
        rule(&inputs).required(AppraisalError::NotChecked(check)).map_err(|error| (check, error))?;
    }
    Ok(Appraised { verified, registered })
}
