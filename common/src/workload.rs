//! Workloads: what was registered, byte for byte, and how it is told apart.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    clock::is_over,
    dialect::{Dialect, Dialects},
    ids::{AuditId, RegistrationDigest, WorkloadId},
    policy::PolicyText,
    requirements::{AppraisalPolicy, BoundBy, ReferenceValues},
    revocation::Revocation,
    secret::WrappedSecret,
};

/// All that decides about a release, as one value: stored, hashed and bound to the secrets as one byte
/// string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Registration {
    /// Unique to each registration, so that one which replaces another never has its digest.
    pub serial: Uuid,
    /// The dialects in which its guests may ask.
    pub dialects: Dialects,
    /// The authenticated principal who registered, where there is one.
    pub owner: Option<String>,
    /// The values that the evidence must equal.
    pub reference_values: ReferenceValues,
    /// The other requirements on the evidence.
    pub policy: AppraisalPolicy,
    /// The policy in Rego that the evidence must satisfy beside all that.
    pub rego: Option<PolicyText>,
}

/// A registration as its bytes have it. Format 1 has one dialect, and format 2 the list of them: what an
/// earlier release can hold guests to is written in a form that it reads.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u8,
    serial: Uuid,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    dialect: Option<Dialect>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    dialects: Option<Dialects>,
    owner: Option<String>,
    reference_values: ReferenceValues,
    policy: AppraisalPolicy,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    rego: Option<PolicyText>,
}

impl From<Registration> for Stored {
    fn from(registration: Registration) -> Self {
        let Registration { serial, dialects, owner, reference_values, policy, rego } = registration;
        let in_format_1 = |dialect: &Dialect| matches!(dialect, Dialect::Libkrun | Dialect::Keybroker);
        let earlier = dialects.only().filter(in_format_1);
        let (format, dialects) = if earlier.is_some() { (1, None) } else { (2, Some(dialects)) };
        Self { format, serial, dialect: earlier, dialects, owner, reference_values, policy, rego }
    }
}

impl TryFrom<Stored> for Registration {
    type Error = RegistrationError;

    fn try_from(stored: Stored) -> Result<Self, RegistrationError> {
        let Stored { format, serial, dialect, dialects, owner, reference_values, policy, rego } = stored;
        let dialects = match (format, dialect, dialects) {
            (1, Some(dialect), None) => dialect.into(),
            (2, None, Some(dialects)) => dialects,
            _ => return Err(RegistrationError),
        };
        Ok(Self { serial, dialects, owner, reference_values, policy, rego })
    }
}

impl Registration {
    /// The bytes that are stored, hashed and bound to the secrets.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RegistrationError> {
        serde_json::to_vec(self).map_err(|_| RegistrationError)
    }

    /// Reads stored bytes. Unknown fields and other formats are errors: a requirement that is not understood
    /// must not be passed over.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RegistrationError> {
        serde_json::from_slice(bytes).map_err(|_| RegistrationError)
    }

    /// Whether the two differ in nothing that a guest is held to: what a replacement without a credential
    /// must satisfy.
    pub fn same_requirements(&self, other: &Self) -> bool {
        self.dialects == other.dialects
            && self.reference_values == other.reference_values
            && self.policy == other.policy
            && self.rego == other.rego
    }

    /// The HOST_DATA that selects it, where its guests may be known by nothing else: Trustee's, whose init
    /// data HOST_DATA binds.
    pub fn selected_by(&self) -> Option<[u8; 32]> {
        let required =
            self.policy.init_data.as_ref().filter(|required| required.bound_by == BoundBy::HostData);
        required
            .filter(|_| self.dialects.contains(Dialect::Trustee))
            .map(|required| required.digest.host_data())
    }
}

/// A workload's registration as it was read, with the digest of the very bytes that say so. Only
/// [`Workload::read`] makes one, so that what is appraised, what is recorded and what a session names cannot
/// be three things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRegistration {
    id: WorkloadId,
    standing: Standing,
    registration: Registration,
}

impl ReadRegistration {
    /// The workload that is registered.
    pub fn id(&self) -> &WorkloadId {
        &self.id
    }

    /// Digest of the registration's bytes.
    pub fn digest(&self) -> RegistrationDigest {
        self.standing.registration
    }

    /// The standing of a session whose guest is appraised by it.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The registration that the bytes encode.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }
}

/// The basis of a session, and of every release to it: a registration, in the time between two revocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The registration that the guest was appraised against.
    pub registration: RegistrationDigest,
    /// The record of the last restoration before that, if there was any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub restored_by: Option<AuditId>,
}

/// A stored registration that this release cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the registration is not one that this release reads")]
pub struct RegistrationError;

/// For how long after an id's first registration a build may register it again. `buildah build --layers`
/// posts twice, and the image opens only with the second passphrase. No replacement extends it.
pub const BUILD_WINDOW: Duration = Duration::from_secs(30 * 60);

/// Whether the build window of a registration first written at `begin` has ended at `now`.
pub fn build_window_is_over(begin: Timestamp, now: Timestamp) -> bool {
    // A time so late that the window has no end is nothing that this broker wrote: no window.
    begin.checked_add(BUILD_WINDOW).map_or(true, |end| is_over(end, now, BUILD_WINDOW))
}

/// A workload's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// The row's key.
    pub id: WorkloadId,
    /// The bytes of its [`Registration`], as first written: they are hashed as they stand, never re-encoded.
    #[serde(with = "crate::encoding::base64_bytes")]
    pub registration: Vec<u8>,
    /// Its wrapped secrets by name.
    pub secrets: BTreeMap<String, WrappedSecret>,
    /// When the build that wrote this registration first did: the build window starts here, and nothing that
    /// the build itself writes moves it.
    pub first_registered_at: Timestamp,
    /// Since when nothing is released for it.
    pub revoked_at: Option<Timestamp>,
    /// When the first guest attested as what this build registered: from then on its secrets count as
    /// released.
    pub released_at: Option<Timestamp>,
    /// The record by which a revocation was last taken back. Sessions from before it do not count: not by a
    /// time, for the operator's clock need not agree with the broker's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub restored_by: Option<AuditId>,
    /// The revocation, where a release wrote that which knows it: see [`Self::revoked_by`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub revocation: Option<Revocation>,
}

impl Workload {
    /// The revocation by which it is revoked, if it is and the row tells.
    pub fn revoked_by(&self) -> Option<&Revocation> {
        self.revocation.as_ref().filter(|revocation| revocation.is_of(self.revoked_at))
    }

    /// Digest of the registration as stored.
    pub fn digest(&self) -> RegistrationDigest {
        RegistrationDigest::of(&self.registration)
    }

    /// The HOST_DATA that [selects](Registration::selected_by) the registration as stored. Nothing selects
    /// one that this release cannot read.
    pub fn selected_by(&self) -> Option<[u8; 32]> {
        Registration::from_bytes(&self.registration).ok()?.selected_by()
    }

    /// The standing of a session that begins at this moment, revoked or not.
    pub fn standing(&self) -> Standing {
        Standing { registration: self.digest(), restored_by: self.restored_by }
    }

    /// Whether something may be released that rests on `standing`.
    pub fn stands_as(&self, standing: &Standing) -> bool {
        self.revoked_at.is_none() && self.standing() == *standing
    }

    /// The registration, read from its bytes.
    pub fn read(&self) -> Result<ReadRegistration, RegistrationError> {
        let registration = Registration::from_bytes(&self.registration)?;
        Ok(ReadRegistration { id: self.id.clone(), standing: self.standing(), registration })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::requirements::{InitDataRequirement, Measurement};

    /// A registration as releases write and read it that know one dialect for each, to the byte.
    const FORMAT_1: &str = r#"{"format":1,"serial":"00000000-0000-0000-0000-000000000001","dialect":"v0","owner":null,"reference_values":{"measurements":[]},"policy":{"forbid_smt":false,"require_single_socket":false,"require_ciphertext_hiding":false,"minimum_abi":null,"minimum_tcb":null,"minimum_committed_tcb":null,"minimum_launch_tcb":null,"host_data":null,"id_key_digest":null,"author_key_digest":null,"family_id":null,"image_id":null,"minimum_guest_svn":null}}"#;

    fn of(dialects: &[Dialect]) -> Registration {
        Registration {
            serial: Uuid::from_u128(1),
            dialects: dialects.to_vec().try_into().unwrap(),
            owner: None,
            reference_values: ReferenceValues { measurements: Vec::new() },
            policy: AppraisalPolicy::default(),
            rego: None,
        }
    }

    fn written(registration: &Registration) -> Value {
        serde_json::from_slice(&registration.to_bytes().unwrap()).unwrap()
    }

    fn read(bytes: &Value) -> Result<Registration, RegistrationError> {
        Registration::from_bytes(bytes.to_string().as_bytes())
    }

    #[test]
    fn bytes_of_format_1_are_read_and_written_the_same() {
        for (name, dialect) in [("v0", Dialect::Libkrun), ("rvp", Dialect::Keybroker)] {
            let bytes = FORMAT_1.replace("\"v0\"", &format!("\"{name}\""));
            let registration = Registration::from_bytes(bytes.as_bytes()).unwrap();
            assert_eq!(registration, of(&[dialect]));
            assert_eq!(String::from_utf8(registration.to_bytes().unwrap()).unwrap(), bytes);
        }
    }

    /// An earlier release must not hold guests to less than was registered: it refuses a format that it does
    /// not know.
    #[test]
    fn what_an_earlier_release_cannot_hold_guests_to_is_of_format_2() {
        use Dialect::{Keybroker, Libkrun, Native, Trustee};
        for dialects in [
            &[Native][..],
            &[Trustee],
            &[Libkrun, Native],
            &[Keybroker, Native],
            &[Native, Trustee],
            &[Libkrun, Keybroker, Native],
        ] {
            let registration = of(dialects);
            let bytes = written(&registration);
            let names: Vec<_> = dialects.iter().map(|dialect| json!(dialect)).collect();
            assert_eq!((&bytes["format"], &bytes["dialects"]), (&json!(2), &json!(names)));
            assert_eq!(bytes.get("dialect"), None);
            assert_eq!(read(&bytes), Ok(registration));
        }
    }

    /// Init data is a requirement that an earlier release refuses by its name, whatever the format.
    #[test]
    fn a_requirement_of_init_data_is_written_and_read() {
        use keybroker_initdata::{Algorithm, KeyId};
        for broker_keys in [None, Some(vec![KeyId::from_bytes([7; 32])])] {
            let digest = Algorithm::Sha384.digest("a document");
            let required = InitDataRequirement { digest, bound_by: BoundBy::Measurement, broker_keys };
            let mut registration = of(&[Dialect::Native]);
            registration.policy.init_data = Some(required);
            assert_eq!(read(&written(&registration)), Ok(registration));
        }
    }

    /// By the digest of the document that HOST_DATA binds, of whatever algorithm; and by nothing that a host
    /// can give to any guest.
    #[test]
    fn trustees_guests_are_selected_by_init_data_that_host_data_binds() {
        use Dialect::{Keybroker, Libkrun, Native, Trustee};
        use keybroker_initdata::Algorithm;
        for algorithm in Algorithm::ALL {
            let digest = algorithm.digest("a document");
            let expected = digest.host_data();
            for (dialects, bound_by, selected) in [
                (&[Trustee][..], BoundBy::HostData, true),
                (&[Native, Trustee], BoundBy::HostData, true),
                (&[Libkrun, Keybroker, Native], BoundBy::HostData, false),
                (&[Trustee], BoundBy::Measurement, false),
                (&[Trustee], BoundBy::Nothing, false),
            ] {
                let mut registration = of(dialects);
                assert_eq!(registration.selected_by(), None, "there is no init data");
                registration.policy.init_data =
                    Some(InitDataRequirement { digest: digest.clone(), bound_by, broker_keys: None });
                let found = registration.selected_by();
                assert_eq!(found, selected.then_some(expected), "{dialects:?} {bound_by:?}");
            }
        }
    }

    #[test]
    fn a_mixture_of_formats_and_any_other_is_refused() {
        let (one, two) = (written(&of(&[Dialect::Libkrun])), written(&of(&[Dialect::Native])));
        assert!(read(&one).is_ok() && read(&two).is_ok());
        let with = |bytes: &Value, name: &str, value: Value| {
            let mut bytes = bytes.clone();
            bytes[name] = value;
            bytes
        };
        let without = |bytes: &Value, name: &str| {
            let mut bytes = bytes.clone();
            bytes.as_object_mut().unwrap().remove(name);
            bytes
        };
        let wrong = [
            with(&one, "format", json!(2)),
            with(&two, "format", json!(1)),
            with(&one, "format", json!(0)),
            with(&two, "format", json!(3)),
            with(&one, "dialects", json!(["v0"])),
            with(&two, "dialect", json!("v1")),
            with(&two, "dialects", json!([])),
            with(&two, "dialects", json!(["v1", "v1"])),
            with(&two, "dialects", json!("v1")),
            with(&one, "dialect", json!("v2")),
            with(&one, "demand", json!(1)),
            with(&one, "policy", json!({"demand": 1})),
            without(&one, "format"),
            without(&one, "dialect"),
            without(&two, "dialects"),
            without(&one, "reference_values"),
            without(&one, "policy"),
        ];
        for bytes in wrong {
            assert_eq!(read(&bytes), Err(RegistrationError), "{bytes}");
        }
    }

    #[test]
    fn dialects_are_among_the_requirements_that_a_replacement_must_share() {
        let one = of(&[Dialect::Libkrun]);
        assert!(one.same_requirements(&Registration { serial: Uuid::from_u128(2), ..one.clone() }));
        for other in [&[Dialect::Native][..], &[Dialect::Libkrun, Dialect::Native]] {
            assert!(!one.same_requirements(&of(other)));
        }
        let mut measured = one.clone();
        measured.reference_values.measurements.push(Measurement([1; 48]));
        assert!(!one.same_requirements(&measured));
    }
}
