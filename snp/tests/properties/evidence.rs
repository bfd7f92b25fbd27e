//! Verification, over simulated reports at random.

use std::sync::LazyLock;

use keybroker_simulator::Tcb;
use keybroker_snp::{
    endorsement::EndorsementKind::{Vcek, Vlek},
    product::{Product, TcbVersion},
    report::Report,
    silicon::Cpuid,
    verify::{Endorsements, VerificationCheck, VerifyError},
};
use keybroker_testing::{
    Attempt, Refusal,
    attempt::signing_key,
    fields::{fields, tcb},
    flipped,
};
use proptest::{prelude::*, sample::Index};

/// A sound attempt of every product and kind, with its endorsements: they are the slow part.
static SOUND: LazyLock<Vec<(Attempt, Endorsements)>> = LazyLock::new(|| {
    let kinds = |product| [Attempt::new(product, Vcek), Attempt::new(product, Vlek)];
    let attempts = Product::ALL.into_iter().flat_map(kinds);
    attempts.map(|attempt| (attempt.clone(), attempt.endorsements().unwrap())).collect()
});

/// The version that the broker should read out of a simulated TCB.
fn expected(product: Product, tcb: Tcb) -> TcbVersion {
    let Tcb { fmc, boot_loader, tee, snp, microcode } = tcb;
    TcbVersion { fmc: (product == Product::Turin).then_some(fmc), boot_loader, tee, snp, microcode }
}

proptest! {
    #[test]
    fn any_bit_turned_is_refused(which in any::<Index>(), version in 2_u32..=5, bit in 0_usize..9472) {
        let (attempt, endorsements) = which.get(&SOUND);
        let attempt = attempt.clone().fields(|fields| fields.version = version);
        let report = attempt.report_bytes();
        prop_assert!(attempt.verify_report(&report, endorsements).is_ok());
        prop_assert!(attempt.verify_report(&flipped(&report, bit), endorsements).is_err());
    }

    /// Whatever a verified guest claims, it is what the chip signed.
    #[test]
    fn accepted_evidence_is_the_signed_evidence(which in any::<Index>(), random in fields()) {
        let (attempt, endorsements) = which.get(&SOUND);
        let sound = attempt.clone();
        let attempt = attempt.clone().fields(|fields| {
            *fields = keybroker_simulator::report::ReportFields {
                product: sound.fields.product,
                version: sound.fields.version,
                signature_algo: 1,
                mask_chip_key: false,
                signing_key: signing_key(sound.kind),
                report_data: sound.fields.report_data,
                reported_tcb: sound.fields.reported_tcb,
                cpuid: sound.fields.cpuid,
                chip_id: sound.fields.chip_id,
                ..random
            };
        });
        let report = attempt.report_bytes();
        let verified = attempt.verify_report(&report, endorsements).unwrap();
        prop_assert_eq!(verified.report().as_bytes().as_slice(), report);
        prop_assert_eq!(verified.product(), sound.product);
    }

    /// The certificate is for one TCB; a report of any other is not its key's, in whatever component they
    /// differ.
    #[test]
    fn any_other_tcb_is_refused(which in any::<Index>(), tcb in tcb()) {
        let (attempt, endorsements) = which.get(&SOUND);
        let certificate = expected(attempt.product, attempt.chip.tcb);
        let reported = expected(attempt.product, tcb);
        prop_assume!(certificate != reported);
        let refused = |current_tcb| {
            let attempt = attempt.clone().fields(|fields| {
                fields.reported_tcb = tcb;
                fields.current_tcb = current_tcb;
            });
            attempt.verify_report(&attempt.report_bytes(), endorsements).unwrap_err()
        };
        let error = VerifyError::ReportedTcb { report: Some(reported), certificate };
        prop_assert_eq!(refused(tcb), Refusal::Verify(VerificationCheck::ReportedTcb, error));
        // Where the chip's own key signed for the TCB that it was at, that is said.
        if attempt.kind == Vcek {
            let error = VerifyError::SignedAtCurrentTcb { reported, current: certificate };
            let refusal = Refusal::Verify(VerificationCheck::ReportedTcb, error);
            prop_assert_eq!(refused(attempt.chip.tcb), refusal);
        }
    }

    /// The same with one component at a time, and the certificate's side altered.
    #[test]
    fn any_component_of_the_certificate_counts(
        product in prop::sample::select(Product::ALL.to_vec()),
        component in 0..5_usize,
        level in any::<u8>(),
    ) {
        let mut attempt = Attempt::vcek(product);
        let tcb = &mut attempt.chip.tcb;
        let components =
            [&mut tcb.fmc, &mut tcb.boot_loader, &mut tcb.tee, &mut tcb.snp, &mut tcb.microcode];
        let component = components.into_iter().nth(component).unwrap();
        prop_assume!(*component != level);
        *component = level;
        let differs = expected(product, attempt.chip.tcb) != expected(product, attempt.fields.reported_tcb);
        let refusal = attempt.verify();
        prop_assert_eq!(refusal.is_err(), differs);
        if differs {
            prop_assert!(matches!(refusal, Err(Refusal::Verify(VerificationCheck::ReportedTcb, _))));
        }
    }

    #[test]
    fn every_field_is_read_where_the_chip_wrote_it(
        product in prop::sample::select(Product::ALL.to_vec()),
        version in 2_u32..=5,
        random in fields(),
    ) {
        let attempt = Attempt::vcek(product);
        let simulated = attempt.fields.product;
        let fields = keybroker_simulator::report::ReportFields { product: simulated, version, ..random };
        let bytes = attempt.clone().fields(|own| *own = fields.clone()).report_bytes();
        let report = Report::parse(&bytes).unwrap();

        prop_assert_eq!(report.version(), version);
        prop_assert_eq!(report.guest_svn(), fields.guest_svn);
        prop_assert_eq!(report.policy().bits(), fields.policy);
        prop_assert_eq!(report.family_id(), &fields.family_id);
        prop_assert_eq!(report.image_id(), &fields.image_id);
        prop_assert_eq!(report.vmpl(), fields.vmpl);
        prop_assert_eq!(report.platform_info(), fields.platform_info);
        prop_assert_eq!(report.author_key_en(), fields.author_key_en);
        prop_assert_eq!(report.mask_chip_key(), fields.mask_chip_key);
        prop_assert_eq!(report.signing_key().map(signing_key).unwrap_or(7), fields.signing_key);
        prop_assert_eq!(report.report_data(), &fields.report_data);
        prop_assert_eq!(report.measurement(), &fields.measurement);
        prop_assert_eq!(report.host_data(), &fields.host_data);
        prop_assert_eq!(report.id_key_digest(), &fields.id_key_digest);
        prop_assert_eq!(report.author_key_digest(), &fields.author_key_digest);
        prop_assert_eq!(report.chip_id(), &fields.chip_id);
        prop_assert_eq!(report.reported_tcb(product), Some(expected(product, fields.reported_tcb)));
        prop_assert_eq!(report.current_tcb(product), Some(expected(product, fields.current_tcb)));
        prop_assert_eq!(report.committed_tcb(product), Some(expected(product, fields.committed_tcb)));
        prop_assert_eq!(report.launch_tcb(product), Some(expected(product, fields.launch_tcb)));
        let [family, model, stepping] = fields.cpuid;
        prop_assert_eq!(report.cpuid(), (version >= 3).then_some(Cpuid { family, model, stepping }));
        prop_assert_eq!(report.as_bytes().as_slice(), bytes.as_slice());
        let signed = fields.encode();
        prop_assert_eq!(report.signed_bytes().as_slice(), signed.as_slice());
    }
}
