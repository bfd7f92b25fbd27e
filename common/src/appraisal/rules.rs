//! The demand of each check, and the reason for it.

use keybroker_snp::{report::GuestPolicy, verify::Outcome};

use super::{
    AppraisalCheck, AppraisalError, Inputs,
    platform::{
        DemandedBy::{Operator, Registration},
        When, chip, conditions, firmware, minimum_tcb, mitigations, product,
    },
};
use crate::{
    encoding::Hex,
    platform::Version,
    requirements::{Abi, BoundBy, InitDataRequirement, Measurement, ReferenceValues},
};

pub(super) type Rule = fn(&Inputs<'_>) -> Outcome<AppraisalError>;

/// Makes the list of the rules of the rows in `table.rs`: what is there is checked always.
macro_rules! rules {
    ($(
        $(#[$doc:meta])+
        $check:ident {
            name: $name:literal,
            demand: $demand:expr,
            rule: $rule:expr,
            means: $means:expr,
            helps: $helps:expr,
        }
    )+) => {
        /// Every check with its rule, in the table's order.
        pub(super) const RULES: &[(AppraisalCheck, Rule)] = &[$((AppraisalCheck::$check, $rule)),+];
    };
}

checks!(rules);

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

/// Each form is bound in its own way, and its measurement means something else: what holds for one form says
/// nothing of the other.
fn evidence_form(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let (found, required) = (inputs.form, inputs.policy.evidence);
    require(found == required, || AppraisalError::EvidenceForm { found, required })
}

/// An ID key vouches for measurements: the firmware starts no guest whose launch digest is not the one in the
/// ID block that the key has signed. [`id_key`] holds the guest to that key.
fn measurement(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let Some(ReferenceValues { measurements }) = inputs.reference_values else { return Outcome::NotChecked };
    if measurements.is_empty() && inputs.policy.id_key_digest.is_some() {
        return Outcome::Passed;
    }
    let found = inputs.report.measurement();
    let registered = measurements.iter().any(|Measurement(registered)| registered == found);
    require(registered, || AppraisalError::Measurement {
        found: Measurement(*found),
        registered: measurements.clone(),
    })
}

/// The guest policy must say this where the registration demands it.
fn guest_policy(
    inputs: &Inputs<'_>,
    required: bool,
    says: fn(GuestPolicy) -> bool,
    fault: &'static str,
) -> Outcome<AppraisalError> {
    let policy = inputs.report.policy();
    require(!required || says(policy), || AppraisalError::GuestPolicy { policy: policy.bits(), fault })
}

fn smt(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let fault = "allows SMT, the registration forbids it";
    guest_policy(inputs, inputs.policy.forbid_smt, |policy| !policy.smt_allowed(), fault)
}

fn single_socket(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let fault = "lets the guest span sockets, the registration forbids it";
    guest_policy(inputs, inputs.policy.require_single_socket, GuestPolicy::single_socket, fault)
}

fn ciphertext_hiding(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let fault = "does not demand ciphertext hiding, the registration does";
    guest_policy(inputs, inputs.policy.require_ciphertext_hiding, GuestPolicy::ciphertext_hiding, fault)
}

fn abi(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let Some(required) = inputs.policy.minimum_abi else { return Outcome::Passed };
    let (major, minor) = inputs.report.policy().abi();
    let found = Abi { major, minor };
    require(found >= required, || AppraisalError::Abi { found, required })
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

/// Where HOST_DATA binds the document, the report itself says which it is. Everywhere the guest says it too,
/// in what its report is bound to: a guest that does not say it is refused, unless HOST_DATA has said it.
fn init_data(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let Some(InitDataRequirement { digest, bound_by, .. }) = &inputs.policy.init_data else {
        return Outcome::Passed;
    };
    if *bound_by == BoundBy::HostData {
        let host_data = equal("HOST_DATA", inputs.report.host_data(), Some(Hex(digest.host_data())));
        if host_data != Outcome::Passed {
            return host_data;
        }
    }
    match inputs.init_data {
        Some(said) => require(said == digest, || AppraisalError::InitData {
            found: format!("{said:?}"),
            required: format!("{digest:?}"),
        }),
        None => require(*bound_by == BoundBy::HostData, || AppraisalError::NoInitData),
    }
}

fn id_key(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    let Some(required) = &inputs.policy.id_key_digest else { return Outcome::Passed };
    let found = inputs.report.id_key_digest();
    require(required.contains(found), || AppraisalError::Field {
        field: "ID_KEY_DIGEST",
        found: Hex(*found).to_string(),
        required: required.to_string(),
    })
}

/// The digest counts only where the report says that an author key took part.
fn author_key(inputs: &Inputs<'_>) -> Outcome<AppraisalError> {
    if let Some(required) = inputs.policy.author_key_digest
        && !inputs.report.author_key_en()
    {
        return Outcome::Failed(AppraisalError::NoAuthorKey { required });
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
