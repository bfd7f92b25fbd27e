//! Appraisal, over reports and registrations at random.

use keybroker_common::{
    appraisal::{AppraisalCheck, Fleet, Inputs, examine},
    encoding::Hex,
    platform::{BySilicon, Levels, PlatformDemands, SiliconKey},
    requirements::{
        Abi, AppraisalPolicy as Policy, BoundBy, EvidenceForm, InitDataRequirement, KeyDigests, Measurement,
        ReferenceValues,
    },
};
use keybroker_initdata::{Algorithm, InitDataDigest};
use keybroker_snp::{
    product::{Product::Turin, TcbVersion},
    report::Report,
    verify::Outcome,
};
use proptest::prelude::*;

use crate::support::Attempt;

prop_compose! {
    fn tcb()(
        fmc in 1_u8.., boot_loader in 1_u8.., tee in 1_u8.., snp in 1_u8.., microcode in 1_u8..,
    ) -> TcbVersion {
        TcbVersion { fmc: Some(fmc), boot_loader, tee, snp, microcode }
    }
}

fn raw(tcb: TcbVersion) -> [u8; 8] {
    [tcb.fmc.unwrap_or(0), tcb.boot_loader, tcb.tee, tcb.snp, 0, 0, 0, tcb.microcode]
}

/// A claim in the report: what it is called, where it stands, and the check that looks at it.
const CLAIMS: [(usize, usize, AppraisalCheck); 11] = [
    (0x004, 4, AppraisalCheck::GuestSvn),
    (0x008, 2, AppraisalCheck::Abi),
    (0x010, 16, AppraisalCheck::FamilyId),
    (0x020, 16, AppraisalCheck::ImageId),
    (0x0C0, 32, AppraisalCheck::HostData),
    (0x0E0, 48, AppraisalCheck::IdKey),
    (0x110, 48, AppraisalCheck::AuthorKey),
    (0x180, 4, AppraisalCheck::MinimumTcb),
    (0x1E0, 4, AppraisalCheck::MinimumCommittedTcb),
    (0x038, 4, AppraisalCheck::MinimumCurrentTcb),
    (0x1F0, 4, AppraisalCheck::MinimumLaunchTcb),
];

/// A floor for the simulated Turin's stepping alone.
fn floors(turin: TcbVersion) -> BySilicon<Levels> {
    let mut floors = BySilicon::default();
    floors.insert(SiliconKey::parse("turin-c1").unwrap(), turin.into()).unwrap();
    floors
}

proptest! {
    /// A report that satisfies a random registration exactly stops to do so with any one byte of a claim
    /// lowered.
    #[test]
    fn lowering_any_claim_denies(
        (svn, abi) in (1_u32.., (1_u8.., 1_u8..)),
        (reported, committed, current, launch) in (tcb(), tcb(), tcb(), tcb()),
        (family, image) in (prop::array::uniform16(1_u8..), prop::array::uniform16(1_u8..)),
        (host, keys) in (prop::array::uniform32(1_u8..), prop::array::uniform32(1_u8..)),
        (claim, byte) in (0..CLAIMS.len(), any::<prop::sample::Index>()),
    ) {
        let digest: [u8; 48] = std::array::from_fn(|index| keys[index % 32]);
        let policy = Policy {
            minimum_abi: Some(Abi { major: abi.0, minor: abi.1 }),
            platform: PlatformDemands {
                minimum_tcb: floors(reported),
                minimum_committed_tcb: floors(committed),
                minimum_current_tcb: floors(current),
                minimum_launch_tcb: floors(launch),
                ..PlatformDemands::default()
            },
            host_data: Some(Hex(host)),
            id_key_digest: KeyDigests::try_from(Hex(digest)).ok(),
            author_key_digest: Some(Hex(digest)),
            family_id: Some(Hex(family)),
            image_id: Some(Hex(image)),
            minimum_guest_svn: Some(svn),
            ..Policy::default()
        };
        let mut bytes = Attempt::vcek(Turin).fields(|fields| {
            fields.policy = 1 << 17 | u64::from(abi.0) << 8 | u64::from(abi.1);
            fields.guest_svn = svn;
            (fields.family_id, fields.image_id, fields.host_data) = (family, image, host);
            (fields.id_key_digest, fields.author_key_digest, fields.author_key_en) = (digest, digest, true);
        }).fields.encode().to_vec();
        bytes.resize(Report::SIZE, 0);
        for (offset, tcb) in [(0x180, reported), (0x1E0, committed), (0x38, current), (0x1F0, launch)] {
            bytes[offset..offset + 8].copy_from_slice(&raw(tcb));
        }
        let failures = |bytes: &[u8]| {
            let report = Report::parse(bytes).unwrap();
            let reference_values = ReferenceValues { measurements: vec![Measurement(*report.measurement())] };
            let inputs = Inputs {
                report: &report,
                form: EvidenceForm::Snp,
                product: Some(Turin),
                fleet: &Fleet::default(),
                reference_values: Some(&reference_values),
                policy: &policy,
                init_data: None,
            };
            let checks = examine(&inputs).into_iter().filter(|(_, outcome)| *outcome != Outcome::Passed);
            checks.map(|(check, _)| check).collect::<Vec<_>>()
        };
        prop_assert_eq!(failures(&bytes), []);

        let (offset, length, check) = CLAIMS[claim];
        let value = bytes[offset..offset + length].iter_mut().filter(|byte| **byte > 0).collect::<Vec<_>>();
        let count = value.len();
        *value.into_iter().nth(byte.index(count)).unwrap() -= 1;
        prop_assert_eq!(failures(&bytes), [check]);
    }

    /// A guest that says other init data than is required is denied, by whichever bit it differs and whatever
    /// binds it.
    #[test]
    fn init_data_is_compared_to_its_last_bit(
        algorithm in prop::sample::select(&Algorithm::ALL[..]),
        bound_by in prop::sample::select(&[BoundBy::HostData, BoundBy::Measurement, BoundBy::Nothing][..]),
        (bytes, bit) in (prop::collection::vec(any::<u8>(), 64), any::<prop::sample::Index>()),
    ) {
        let bytes = &bytes[..algorithm.digest_len()];
        let of = |bytes: &[u8]| InitDataDigest::new(algorithm, bytes.to_vec()).unwrap();
        let digest = of(bytes);
        let other = of(&keybroker_testing::flipped(bytes, bit.index(8 * bytes.len())));
        let host_data = digest.host_data();
        let attempt = Attempt::vcek(Turin).fields(|fields| fields.host_data = host_data);
        let report = Report::parse(&[attempt.fields.encode().as_slice(), &[0; 512]].concat()).unwrap();
        let required = InitDataRequirement { digest: digest.clone(), bound_by, broker_keys: None };
        let policy = &Policy { init_data: Some(required), ..Policy::default() };
        let passed = |said| {
            let (report, fleet, init_data) = (&report, &Fleet::default(), Some(said));
            let form = EvidenceForm::Snp;
            let inputs =
                Inputs { report, form, product: None, fleet, reference_values: None, policy, init_data };
            examine(&inputs).contains(&(AppraisalCheck::InitData, Outcome::Passed))
        };
        prop_assert!(passed(&digest));
        prop_assert!(!passed(&other));
    }

    /// Whatever else a registration demands or leaves open, the floor stands.
    #[test]
    fn the_floor_stands_under_any_policy(
        (forbid_smt, require_single_socket, require_ciphertext_hiding) in any::<(bool, bool, bool)>(),
        minimum_guest_svn in any::<Option<u32>>(),
        minimum_tcb in prop::option::of(tcb()),
        bits in any::<u64>(),
        vmpl in any::<u32>(),
    ) {
        let policy = Policy {
            forbid_smt, require_single_socket, require_ciphertext_hiding, minimum_guest_svn,
            platform: PlatformDemands {
                minimum_tcb: minimum_tcb.map(floors).unwrap_or_default(),
                ..PlatformDemands::default()
            },
            ..Policy::default()
        };
        let attempt = Attempt::vcek(Turin).fields(|fields| (fields.policy, fields.vmpl) = (bits, vmpl));
        let report = Report::parse(&[attempt.fields.encode().as_slice(), &[0; 512]].concat()).unwrap();
        let (fleet, reference_values, form) = (&Fleet::default(), None, EvidenceForm::Snp);
        let (product, policy, init_data) = (None, &policy, None);
        let inputs =
            Inputs { report: &report, form, product, fleet, reference_values, policy, init_data };
        let outcomes = examine(&inputs);
        let passed = |check| outcomes.contains(&(check, Outcome::Passed));
        prop_assert_eq!(passed(AppraisalCheck::Debug), bits & 1 << 19 == 0);
        prop_assert_eq!(passed(AppraisalCheck::MigrateMa), bits & 1 << 18 == 0);
        prop_assert_eq!(passed(AppraisalCheck::PolicyForm), bits & 1 << 17 != 0 && bits >> 26 == 0);
        prop_assert_eq!(passed(AppraisalCheck::Vmpl), vmpl == 0);
    }
}
