//! The requirements of a registration, as allow and deny rows; and the floor that no registration lowers.
#![allow(clippy::unwrap_used, clippy::panic)]

mod evidence_form;
mod fleet;
mod floor;
mod genuine;
mod init_data;
mod platform;

use std::collections::BTreeMap;

use jiff::Timestamp;
use keybroker_common::{
    appraisal::{
        AppraisalCheck, AppraisalError as Error,
        DemandedBy::{Operator, Registration as TheRegistration},
        Fleet, Inputs, PlatformFault, appraise, examine, refuse_early,
    },
    dialect::Dialect,
    encoding::Hex,
    ids::WorkloadId,
    platform::{BySilicon, Levels, SiliconKey, Version},
    requirements::{
        Abi, AppraisalPolicy as Policy, BoundBy, EvidenceForm, InitDataRequirement, KeyDigests, Measurement,
        ReferenceValues,
    },
    workload::{Registration, Workload},
};
use keybroker_initdata::{Algorithm, InitDataDigest};
use keybroker_rego::RegoEngine;
use keybroker_simulator::report::ReportFields;
use keybroker_snp::{
    product::{
        Product::{Genoa, Milan, Turin},
        TcbVersion,
    },
    verify::{Outcome, VerifiedReport},
};
use keybroker_testing::Attempt;

use self::init_data::required;
use uuid::Uuid;

/// The registered measurement, and that of the guest of [`guest`].
const MEASUREMENT: [u8; 48] = [0x4D; 48];

/// A verified guest that was launched strictly: every requirement of [`strict`] holds exactly.
fn guest(alter: impl FnOnce(&mut ReportFields)) -> VerifiedReport {
    let attempt = Attempt::vcek(Turin).fields(|fields| {
        fields.measurement = MEASUREMENT;
        // ABI 1.55, no SMT, one socket, ciphertext hidden.
        fields.policy = 1 << 24 | 1 << 20 | 1 << 17 | 0x0137;
        fields.host_data = [0xD0; 32];
        fields.id_key_digest = [0x1D; 48];
        fields.author_key_en = true;
        fields.author_key_digest = [0xA0; 48];
        fields.family_id = [0xFA; 16];
        fields.image_id = [0x1A; 16];
        fields.guest_svn = 7;
        alter(fields);
    });
    attempt.verify().unwrap()
}

/// The TCB of a simulated Turin.
const TCB: TcbVersion = TcbVersion { fmc: Some(1), boot_loader: 1, tee: 1, snp: 4, microcode: 81 };

/// The init data that [`guest`] has.
fn init_data() -> InitDataDigest {
    InitDataDigest::new(Algorithm::Sha384, vec![0xD0; 48]).unwrap()
}

/// Everything that can be required, as [`guest`] just satisfies it.
fn strict() -> Policy {
    let init_data = required(BoundBy::HostData);
    let mut policy = Policy { init_data, ..Policy::default() };
    policy.platform.minimum_tcb = floors(TCB);
    rows().iter().for_each(|row| (row.required)(&mut policy));
    policy
}

/// A floor for the simulated Turin's stepping alone.
fn floors(turin: impl Into<Levels>) -> BySilicon<Levels> {
    floor_of("turin-c1", turin)
}

fn floor_of(silicon: &str, levels: impl Into<Levels>) -> BySilicon<Levels> {
    let mut floors = BySilicon::default();
    floors.insert(SiliconKey::parse(silicon).unwrap(), levels.into()).unwrap();
    floors
}

fn registered() -> ReferenceValues {
    ReferenceValues { measurements: vec![Measurement([1; 48]), Measurement(MEASUREMENT)] }
}

/// A workload's row that demands this.
fn workload(reference_values: ReferenceValues, policy: &Policy) -> Workload {
    let registration = Registration {
        serial: Uuid::from_u128(1),
        dialects: Dialect::Libkrun.into(),
        owner: None,
        reference_values,
        policy: policy.clone(),
        rego: None,
    };
    Workload {
        id: WorkloadId::new("web").unwrap(),
        registration: registration.to_bytes().unwrap(),
        secrets: BTreeMap::new(),
        first_registered_at: Timestamp::UNIX_EPOCH,
        revoked_at: None,
        released_at: None,
        restored_by: None,
        revocation: None,
    }
}

fn appraised(
    guest: &VerifiedReport,
    reference_values: ReferenceValues,
    policy: &Policy,
) -> Result<(), (AppraisalCheck, Error)> {
    appraised_in(&Fleet::default(), guest, reference_values, policy)
}

fn appraised_in(
    fleet: &Fleet,
    guest: &VerifiedReport,
    reference_values: ReferenceValues,
    policy: &Policy,
) -> Result<(), (AppraisalCheck, Error)> {
    let said = init_data();
    appraise(
        guest,
        EvidenceForm::Snp,
        fleet,
        &workload(reference_values, policy).read().unwrap(),
        Some(&said),
    )
    .map(|_| ())
}

/// The registration that was appraised is the one that the result names, whatever else is registered.
#[tokio::test]
async fn the_result_names_what_was_appraised() {
    let workload = workload(registered(), &strict());
    let (guest, registered) = (guest(|_| ()), workload.read().unwrap());
    let said = init_data();
    let appraised = appraise(&guest, EvidenceForm::Snp, &Fleet::default(), &registered, Some(&said)).unwrap();
    let result = appraised.consent(&RegoEngine::default()).await.unwrap();
    assert_eq!((result.workload_id(), result.registration()), (&workload.id, workload.digest()));
}

fn verdict(guest: &VerifiedReport, policy: &Policy) -> Result<(), (AppraisalCheck, Error)> {
    appraised(guest, registered(), policy)
}

fn field(name: &'static str, found: &[u8], required: &[u8]) -> Error {
    let hex = |bytes| data_encoding::HEXLOWER.encode(bytes);
    Error::Field { field: name, found: hex(found), required: hex(required) }
}

/// One requirement: a guest that misses it is denied where it is required and admitted where it is not.
struct Row {
    check: AppraisalCheck,
    /// The requirement alone.
    required: fn(&mut Policy),
    /// Makes the guest miss it.
    missed: fn(&mut ReportFields),
    /// Why it is denied.
    error: Error,
}

fn rows() -> Vec<Row> {
    let below = |tcb| TcbVersion { microcode: 80, ..tcb };
    let tcb = |version| {
        let fault = PlatformFault::Tcb { version, found: Some(below(TCB)), required: TCB.into() };
        Error::Platform { by: TheRegistration, fault }
    };
    type Alter<T> = fn(&mut T);
    let row = |check, required: Alter<Policy>, missed: Alter<ReportFields>, error| Row {
        check,
        required,
        missed,
        error,
    };
    vec![
        row(
            AppraisalCheck::Smt,
            |policy| policy.forbid_smt = true,
            |guest| guest.policy |= 1 << 16,
            Error::GuestPolicy { policy: 0x113_0137, fault: "allows SMT, the registration forbids it" },
        ),
        row(
            AppraisalCheck::SingleSocket,
            |policy| policy.require_single_socket = true,
            |guest| guest.policy &= !(1 << 20),
            Error::GuestPolicy {
                policy: 0x102_0137,
                fault: "lets the guest span sockets, the registration forbids it",
            },
        ),
        row(
            AppraisalCheck::CiphertextHiding,
            |policy| policy.require_ciphertext_hiding = true,
            |guest| guest.policy &= !(1 << 24),
            Error::GuestPolicy {
                policy: 0x12_0137,
                fault: "does not demand ciphertext hiding, the registration does",
            },
        ),
        row(
            AppraisalCheck::Abi,
            |policy| policy.minimum_abi = Some(Abi { major: 1, minor: 0x37 }),
            |guest| guest.policy -= 1,
            Error::Abi { found: Abi { major: 1, minor: 0x36 }, required: Abi { major: 1, minor: 0x37 } },
        ),
        row(
            AppraisalCheck::MinimumCommittedTcb,
            |policy| policy.platform.minimum_committed_tcb = floors(TCB),
            |guest| guest.committed_tcb.microcode -= 1,
            tcb(Version::Committed),
        ),
        row(
            AppraisalCheck::MinimumLaunchTcb,
            |policy| policy.platform.minimum_launch_tcb = floors(TCB),
            |guest| guest.launch_tcb.microcode -= 1,
            tcb(Version::Launch),
        ),
        row(
            AppraisalCheck::HostData,
            |policy| policy.host_data = Some(Hex([0xD0; 32])),
            |guest| guest.host_data = [0; 32],
            field("HOST_DATA", &[0; 32], &[0xD0; 32]),
        ),
        row(
            AppraisalCheck::IdKey,
            |policy| policy.id_key_digest = keys(&[0x1D]),
            |guest| guest.id_key_digest = [0; 48],
            field("ID_KEY_DIGEST", &[0; 48], &[0x1D; 48]),
        ),
        row(
            AppraisalCheck::AuthorKey,
            |policy| policy.author_key_digest = Some(Hex([0xA0; 48])),
            |guest| guest.author_key_digest = [0; 48],
            field("AUTHOR_KEY_DIGEST", &[0; 48], &[0xA0; 48]),
        ),
        row(
            AppraisalCheck::AuthorKey,
            |policy| policy.author_key_digest = Some(Hex([0xA0; 48])),
            |guest| guest.author_key_en = false,
            Error::NoAuthorKey { required: Hex([0xA0; 48]) },
        ),
        row(
            AppraisalCheck::FamilyId,
            |policy| policy.family_id = Some(Hex([0xFA; 16])),
            |guest| guest.family_id = [0; 16],
            field("FAMILY_ID", &[0; 16], &[0xFA; 16]),
        ),
        row(
            AppraisalCheck::ImageId,
            |policy| policy.image_id = Some(Hex([0x1A; 16])),
            |guest| guest.image_id = [0; 16],
            field("IMAGE_ID", &[0; 16], &[0x1A; 16]),
        ),
        row(
            AppraisalCheck::GuestSvn,
            |policy| policy.minimum_guest_svn = Some(7),
            |guest| guest.guest_svn = 6,
            Error::GuestSvn { found: 6, required: 7 },
        ),
    ]
}

/// The ID keys whose digests repeat these bytes, if they are a choice of keys.
fn keys(bytes: &[u8]) -> Option<KeyDigests> {
    KeyDigests::try_from(Vec::from_iter(bytes.iter().map(|byte| Hex([*byte; 48])))).ok()
}

#[test]
fn each_requirement_satisfied_missed_and_absent() {
    let good = guest(|_| ());
    assert_eq!(verdict(&good, &strict()), Ok(()), "all of them satisfied");
    for Row { check, required, missed, error } in rows() {
        let bad = guest(missed);
        let mut alone = Policy::default();
        required(&mut alone);
        assert_eq!(verdict(&good, &alone), Ok(()), "{} satisfied", check.name());
        assert_eq!(verdict(&bad, &alone), Err((check, error.clone())), "{} missed", check.name());
        assert_eq!(verdict(&bad, &strict()), Err((check, error)), "{} missed among all", check.name());
        assert_eq!(verdict(&bad, &Policy::default()), Ok(()), "{} not required", check.name());
    }
}

/// The firmware starts no guest whose launch digest is not the one that the ID key has signed.
#[test]
fn an_id_key_stands_for_measurements_and_zeros_are_no_key() {
    let admitted = |guest: &VerifiedReport, accepted: &[u8], measurements: Vec<Measurement>| {
        let policy = Policy { id_key_digest: keys(accepted), ..Policy::default() };
        appraised(guest, ReferenceValues { measurements }, &policy)
    };
    let unknown = |registered| {
        let error = Error::Measurement { found: Measurement(MEASUREMENT), registered };
        Err((AppraisalCheck::Measurement, error))
    };
    assert_eq!(admitted(&guest(|_| ()), &[0x1D], Vec::new()), Ok(()));
    let other = vec![Measurement([1; 48])];
    assert_eq!(admitted(&guest(|_| ()), &[0x1D], other.clone()), unknown(other));
    let unsigned = guest(|guest| guest.id_key_digest = [0; 48]);
    assert_eq!(keys(&[0]), None);
    assert_eq!(admitted(&unsigned, &[], Vec::new()), unknown(Vec::new()));
    let error = field("ID_KEY_DIGEST", &[0; 48], &[0x1D; 48]);
    assert_eq!(admitted(&unsigned, &[0x1D], Vec::new()), Err((AppraisalCheck::IdKey, error)));
    // An author key alone vouches for no measurement.
    let author = Policy { author_key_digest: Some(Hex([0xA0; 48])), ..Policy::default() };
    let alone = appraised(&guest(|_| ()), ReferenceValues { measurements: Vec::new() }, &author);
    assert_eq!(alone, unknown(Vec::new()));
}

/// One key is replaced while the other still signs.
#[test]
fn any_of_several_id_keys_is_enough() {
    let policy = Policy { id_key_digest: keys(&[0x1C, 0x1D]), ..Policy::default() };
    let appraised = |id_key: u8| {
        let guest = guest(|guest| guest.id_key_digest = [id_key; 48]);
        appraised(&guest, ReferenceValues { measurements: Vec::new() }, &policy)
    };
    assert_eq!((appraised(0x1C), appraised(0x1D)), (Ok(()), Ok(())));
    for other in [0, 0x1E, 0xA0] {
        let required = [0x1C, 0x1D].map(|byte| Hex([byte; 48]).to_string()).join(" or ");
        let error = Error::Field { field: "ID_KEY_DIGEST", found: Hex([other; 48]).to_string(), required };
        assert_eq!(appraised(other), Err((AppraisalCheck::IdKey, error)));
    }
}

#[test]
fn versions_are_ordered_by_major_first() {
    let abi = |major, minor| Policy { minimum_abi: Some(Abi { major, minor }), ..Policy::default() };
    let good = guest(|_| ());
    for (major, minor, admitted) in
        [(0, 255, true), (1, 0, true), (1, 0x37, true), (1, 0x38, false), (2, 0, false)]
    {
        assert_eq!(verdict(&good, &abi(major, minor)).is_ok(), admitted, "{major}.{minor}");
    }
}

#[test]
fn a_refusal_names_what_is_registered() {
    let text = |seeds: &[u8]| {
        let registered = seeds.iter().map(|seed| Measurement([*seed; 48])).collect();
        Error::Measurement { found: Measurement([0xAB; 48]), registered }.to_string()
    };
    let hex = |digits: &str| digits.repeat(48);
    let found = format!("the launch measurement is {}, registered is", hex("ab"));
    assert_eq!(text(&[]), format!("{found} none"));
    assert_eq!(text(&[1]), format!("{found} {}", hex("01")));
    let five = format!("{found} one of 5: {}, {}, {}, {}, …", hex("01"), hex("02"), hex("03"), hex("04"));
    assert_eq!(text(&[1, 2, 3, 4, 5]), five);
}

#[test]
fn only_registered_measurements_are_admitted() {
    let good = guest(|_| ());
    let admitted = |measurements: Vec<Measurement>| {
        appraised(&good, ReferenceValues { measurements }, &Policy::default())
    };
    let denied = |registered| {
        let error = Error::Measurement { found: Measurement(MEASUREMENT), registered };
        Err((AppraisalCheck::Measurement, error))
    };
    assert_eq!(admitted(vec![Measurement(MEASUREMENT)]), Ok(()));
    assert_eq!(admitted(vec![Measurement([1; 48]), Measurement(MEASUREMENT)]), Ok(()));
    assert_eq!(admitted(Vec::new()), denied(Vec::new()), "an empty list admits nobody");
    for byte in 0..48 {
        let mut other = MEASUREMENT;
        other[byte] ^= 1;
        let other = vec![Measurement(other)];
        assert_eq!(admitted(other.clone()), denied(other), "byte {byte}");
    }
}

#[test]
fn a_missing_input_is_not_passed_over() {
    let good = guest(|_| ());
    let (mut policy, mut fleet) = (strict(), Fleet::default());
    for platform in [&mut policy.platform, &mut fleet.platform] {
        platform.products = Some(vec![good.product()]);
        platform.current_mitigations = BySilicon::parse(["milan-b1:none"]).unwrap();
    }
    let inputs = Inputs {
        report: good.report(),
        form: EvidenceForm::Snp,
        product: None,
        fleet: &fleet,
        reference_values: None,
        policy: &policy,
        init_data: None,
    };
    assert_eq!(refuse_early(&inputs), Ok(()));
    let missing = examine(&inputs).into_iter().filter(|(_, outcome)| *outcome != Outcome::Passed);
    let expected = [
        AppraisalCheck::FleetProduct,
        AppraisalCheck::FleetCurrentMitigations,
        AppraisalCheck::Measurement,
        AppraisalCheck::AdmittedProduct,
        AppraisalCheck::MinimumTcb,
        AppraisalCheck::MinimumCommittedTcb,
        AppraisalCheck::MinimumLaunchTcb,
        AppraisalCheck::CurrentMitigations,
    ];
    assert_eq!(missing.collect::<Vec<_>>(), expected.map(|check| (check, Outcome::NotChecked)));
}

#[test]
fn names_tell_the_checks_apart() {
    let good = guest(|_| ());
    let (policy, fleet) = (Policy::default(), Fleet::default());
    let inputs = Inputs {
        report: good.report(),
        form: EvidenceForm::Snp,
        product: None,
        fleet: &fleet,
        reference_values: None,
        policy: &policy,
        init_data: None,
    };
    let names: std::collections::HashSet<_> =
        examine(&inputs).iter().map(|(check, _)| check.name()).collect();
    assert_eq!(names.len(), AppraisalCheck::all().count());
}
