//! Appraisal: is this the workload that was registered, launched as its owner demands?
//!
//! [`appraise`] establishes that a verified report equals the reference values and satisfies the policy of a registration,
//! and the floor that no registration can lower: no DEBUG, no migration agent, VMPL 0. It does not establish that the
//! disk behind the guest is the registered one: the passphrase does that.

use serde::{Deserialize, Serialize};

use crate::{
    encoding::Hex,
    snp::{
        product::{Product, TcbVersion},
        report::Report,
        verify::{Outcome, VerifiedReport},
    },
    workload::{Registered, RegistrationDigest, WorkloadId},
};

/// A launch measurement: 48 bytes, 96 hex digits in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Measurement(#[serde(with = "crate::encoding::hex_array")] pub [u8; 48]);

/// What the evidence must equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceValues {
    /// The launch measurements of the workload: the report's must be one of them. None at all admits nobody.
    pub measurements: Vec<Measurement>,
}

/// An ABI version of the SEV-SNP firmware, as in the guest policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abi {
    /// ABI_MAJOR.
    pub major: u8,
    /// ABI_MINOR.
    pub minor: u8,
}

/// What else the evidence must satisfy. What is `None` or `false` is not required; what is required and missing denies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppraisalPolicy {
    /// The guest policy must forbid simultaneous multithreading.
    pub forbid_smt: bool,
    /// The guest policy must bind the guest to one socket.
    pub require_single_socket: bool,
    /// The guest policy must demand that DRAM ciphertext is hidden from the host.
    pub require_ciphertext_hiding: bool,
    /// The guest policy must demand at least this ABI version.
    pub minimum_abi: Option<Abi>,
    /// The reported TCB must be at least this in every component.
    pub minimum_tcb: Option<TcbVersion>,
    /// The committed TCB, below which the platform can no longer be rolled back, must be at least this.
    pub minimum_committed_tcb: Option<TcbVersion>,
    /// The TCB at the guest's launch must have been at least this.
    pub minimum_launch_tcb: Option<TcbVersion>,
    /// HOST_DATA must equal this. The host chooses it: alone it proves nothing.
    pub host_data: Option<Hex<32>>,
    /// The ID block must have been signed with the key of this digest.
    pub id_key_digest: Option<Hex<48>>,
    /// The ID key must have been certified by the author key of this digest.
    pub author_key_digest: Option<Hex<48>>,
    /// FAMILY_ID of the ID block must equal this. Means something only with a required ID or author key.
    pub family_id: Option<Hex<16>>,
    /// IMAGE_ID of the ID block must equal this. Means something only with a required ID or author key.
    pub image_id: Option<Hex<16>>,
    /// GUEST_SVN of the ID block must be at least this. Means something only with a required ID or author key.
    pub minimum_guest_svn: Option<u32>,
}

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
        RULES.iter().map(|(check, _)| *check)
    }

    /// The floor that no registration lowers.
    pub const FLOOR: [Self; 4] = [Self::Debug, Self::MigrateMa, Self::PolicyForm, Self::Vmpl];

    /// The check's stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "guest-policy-debug",
            Self::MigrateMa => "guest-policy-migrate-ma",
            Self::PolicyForm => "guest-policy-form",
            Self::Vmpl => "vmpl",
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
    #[error("the report was asked for at VMPL {0}, expected 0")]
    Vmpl(u32),
    /// A measurement that is not registered.
    #[error("the launch measurement {0} is not the registered one")]
    Measurement(Hex<48>),
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
    #[error("the {which} TCB ({}) is below the required ({required})", .found.map_or("unreadable".to_owned(), |tcb| tcb.to_string()))]
    Tcb {
        /// `reported`, `committed` or `launch`.
        which: &'static str,
        /// In the report; `None` if it sets reserved bits.
        found: Option<TcbVersion>,
        /// In the registration.
        required: TcbVersion,
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
    #[error("no author key certified the guest's ID key")]
    NoAuthorKey,
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

/// What the checks look at.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The report.
    pub report: &'a Report,
    /// Its product, where it is known: TCB floors are not checked without it.
    pub product: Option<Product>,
    /// What it must equal.
    pub reference_values: Option<&'a ReferenceValues>,
    /// What else it must satisfy.
    pub policy: &'a AppraisalPolicy,
}

type Rule = fn(&Inputs<'_>) -> Outcome<AppraisalError>;

/// Every check with its rule: the one list.
const RULES: [(Check, Rule); 18] = [
    (Check::Debug, debug),
    (Check::MigrateMa, migrate_ma),
    (Check::PolicyForm, policy_form),
    (Check::Vmpl, vmpl),
    (Check::Measurement, measurement),
    (Check::Smt, smt),
    (Check::SingleSocket, single_socket),
    (Check::CiphertextHiding, ciphertext_hiding),
    (Check::Abi, abi),
    (Check::MinimumTcb, minimum_tcb),
    (Check::MinimumCommittedTcb, minimum_committed_tcb),
    (Check::MinimumLaunchTcb, minimum_launch_tcb),
    (Check::HostData, host_data),
    (Check::IdKey, id_key),
    (Check::AuthorKey, author_key),
    (Check::FamilyId, family_id),
    (Check::ImageId, image_id),
    (Check::GuestSvn, guest_svn),
];

/// Every check with what it came to, for people to read. Nothing can be built on it.
pub fn examine(inputs: &Inputs<'_>) -> Vec<(Check, Outcome<AppraisalError>)> {
    RULES.iter().map(|(check, rule)| (*check, rule(inputs))).collect()
}

/// The first check that an unverified report already fails. It can refuse early; that it finds nothing means nothing.
pub fn refuse_early(inputs: &Inputs<'_>) -> Result<(), (Check, AppraisalError)> {
    for (check, rule) in RULES {
        rule(inputs).not_failed().map_err(|error| (check, error))?;
    }
    Ok(())
}

/// That a verified report satisfies the registration of a workload, and which. Only [`appraise`] makes one, and only from one
/// comes a session ([`Session::open`](crate::session::Session::open)).
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct AttestationResult {
    workload_id: WorkloadId,
    registration: RegistrationDigest,
}

impl AttestationResult {
    /// The workload that the guest is.
    pub fn workload_id(&self) -> &WorkloadId {
        &self.workload_id
    }

    /// The registration that the report satisfies.
    pub fn registration(&self) -> RegistrationDigest {
        self.registration
    }
}

/// Makes every check, in order, and stops at the first that does not hold.
pub fn appraise(
    verified: &VerifiedReport,
    registered: &Registered,
) -> Result<AttestationResult, (Check, AppraisalError)> {
    let registration = registered.registration();
    let inputs = Inputs {
        report: verified.report(),
        product: Some(verified.product()),
        reference_values: Some(&registration.reference_values),
        policy: &registration.policy,
    };
    for (check, rule) in RULES {
        rule(&inputs).required(AppraisalError::NotChecked(check)).map_err(|error| (check, error))?;
    }
    Ok(AttestationResult { workload_id: registered.id().clone(), registration: registered.digest() })
}

fn require(holds: bool, error: impl FnOnce() -> AppraisalError) -> Outcome<AppraisalError> {
    if holds { Outcome::Passed } else { Outcome::Failed(error()) }
}

/// The host could read the memory of a guest launched with DEBUG; the measurement would be the same.
fn debug(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let policy = inputs.report.policy();
    require(!policy.debug_allowed(), || AppraisalError::Debug(policy.bits()))
}

/// A migration agent is a VM of the host's choice that gets the guest's state.
fn migrate_ma(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let policy = inputs.report.policy();
    require(!policy.migrate_ma_allowed(), || AppraisalError::MigrateMa(policy.bits()))
}

/// A bit of unknown meaning might permit what DEBUG permits.
fn policy_form(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let policy = inputs.report.policy();
    require(policy.reserved_one() && !policy.unknown_bits(), || AppraisalError::PolicyForm(policy.bits()))
}

/// Less privileged levels can be run by software that the measurement does not hold to anything.
fn vmpl(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let vmpl = inputs.report.vmpl();
    require(vmpl == 0, || AppraisalError::Vmpl(vmpl))
}

fn measurement(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let Some(ReferenceValues { measurements }) = inputs.reference_values else { return Outcome::NotChecked };
    let found = inputs.report.measurement();
    let registered = measurements.iter().any(|Measurement(registered)| registered == found);
    require(registered, || AppraisalError::Measurement(Hex(*found)))
}

fn smt(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let policy = inputs.report.policy();
    require(!(inputs.policy.forbid_smt && policy.smt_allowed()), || AppraisalError::Smt(policy.bits()))
}

fn single_socket(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let policy = inputs.report.policy();
    let holds = !inputs.policy.require_single_socket || policy.single_socket();
    require(holds, || AppraisalError::SingleSocket(policy.bits()))
}

fn ciphertext_hiding(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let policy = inputs.report.policy();
    let holds = !inputs.policy.require_ciphertext_hiding || policy.ciphertext_hiding();
    require(holds, || AppraisalError::CiphertextHiding(policy.bits()))
}

fn abi(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let Some(required) = inputs.policy.minimum_abi else { return Outcome::Passed };
    let (major, minor) = inputs.report.policy().abi();
    let found = Abi { major, minor };
    require(found >= required, || AppraisalError::Abi { found, required })
}

fn floor(
    inputs: &Inputs<'_>,
    required: Option<TcbVersion>,
    which: &'static str,
    read: fn(&Report, Product) -> Option<TcbVersion>,
) -> Outcome<AppraisalError> {
    let Some(required) = required else { return Outcome::Passed };
    let Some(product) = inputs.product else { return Outcome::NotChecked };
    let found = read(inputs.report, product);
    let holds = found.is_some_and(|found| found.at_least(&required));
    require(holds, || AppraisalError::Tcb { which, found, required })
}

fn minimum_tcb(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    floor(inputs, inputs.policy.minimum_tcb, "reported", Report::reported_tcb)
}

fn minimum_committed_tcb(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    floor(inputs, inputs.policy.minimum_committed_tcb, "committed", Report::committed_tcb)
}

fn minimum_launch_tcb(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    floor(inputs, inputs.policy.minimum_launch_tcb, "launch", Report::launch_tcb)
}

fn equal<const N: usize>(
    field: &'static str,
    found: &[u8; N],
    required: Option<Hex<N>>,
) -> Outcome<AppraisalError> {
    let Some(required) = required else { return Outcome::Passed };
    require(*found == required.0, || AppraisalError::Field {
        field,
        found: Hex(*found).to_string(),
        required: required.to_string(),
    })
}

fn host_data(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    equal("HOST_DATA", inputs.report.host_data(), inputs.policy.host_data)
}

fn id_key(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    equal("ID_KEY_DIGEST", inputs.report.id_key_digest(), inputs.policy.id_key_digest)
}

/// The digest counts only where the report says that an author key took part.
fn author_key(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    if inputs.policy.author_key_digest.is_some() && !inputs.report.author_key_en() {
        return Outcome::Failed(AppraisalError::NoAuthorKey);
    }
    equal("AUTHOR_KEY_DIGEST", inputs.report.author_key_digest(), inputs.policy.author_key_digest)
}

fn family_id(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    equal("FAMILY_ID", inputs.report.family_id(), inputs.policy.family_id)
}

fn image_id(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    equal("IMAGE_ID", inputs.report.image_id(), inputs.policy.image_id)
}

fn guest_svn(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let Some(required) = inputs.policy.minimum_guest_svn else { return Outcome::Passed };
    let found = inputs.report.guest_svn();
    require(found >= required, || AppraisalError::GuestSvn { found, required })
}
