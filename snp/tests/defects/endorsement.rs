use keybroker_simulator::{
    pki::{CSP_ID, Chip, extension},
    report::{SIGNED_BY_VCEK, SIGNED_BY_VLEK},
};
use keybroker_snp::{
    certificate::{Defect, Role},
    endorsement::EndorsementKind::{self, Vcek, Vlek},
    product::Product::{self, Genoa, Milan, Turin},
    verify::{VerificationCheck, VerifyError},
};
use keybroker_testing::{Attempt, Refusal, attempt, simulated};

/// The chip says that it runs something else than what the certificate's key was derived for.
fn reported_otherwise(
    product: Product,
    kind: EndorsementKind,
    alter: impl Fn(&mut keybroker_simulator::Tcb),
) {
    let attempt = Attempt::new(product, kind).fields(|fields| {
        alter(&mut fields.reported_tcb);
        fields.current_tcb = fields.reported_tcb;
    });
    let certificate = attempt.parsed_vek().unwrap().tcb;
    match attempt.refusal() {
        Refusal::Verify(
            VerificationCheck::ReportedTcb,
            VerifyError::ReportedTcb { report: Some(report), certificate: found },
        ) => {
            assert_eq!(found, certificate);
            assert_ne!(report, certificate);
        }
        other => panic!("{other:?}"),
    }
}

fn reported_otherwise_on_every_product(alter: impl Fn(&mut keybroker_simulator::Tcb)) {
    for product in Product::ALL {
        reported_otherwise(product, Vcek, &alter);
        reported_otherwise(product, Vlek, &alter);
    }
}

#[test]
fn another_boot_loader() {
    reported_otherwise_on_every_product(|tcb| tcb.boot_loader += 1);
}

#[test]
fn another_tee() {
    reported_otherwise_on_every_product(|tcb| tcb.tee += 1);
}

#[test]
fn another_snp_firmware() {
    reported_otherwise_on_every_product(|tcb| tcb.snp -= 1);
}

#[test]
fn another_microcode() {
    reported_otherwise_on_every_product(|tcb| tcb.microcode += 1);
}

#[test]
fn another_fmc() {
    reported_otherwise(Turin, Vcek, |tcb| tcb.fmc += 1);
    reported_otherwise(Turin, Vlek, |tcb| tcb.fmc -= 1);
}

/// The certificate, not the chip, differs: it is sound, and for another TCB than the one that signed.
#[test]
fn a_certificate_for_another_tcb() {
    for oid in [
        extension::oid::BOOT_LOADER,
        extension::oid::TEE,
        extension::oid::SNP,
        extension::oid::MICROCODE,
        extension::oid::FMC,
    ] {
        let attempt = Attempt::vcek(Turin).extension(extension::patch_level(oid, 77));
        assert!(
            matches!(
                attempt.refusal(),
                Refusal::Verify(VerificationCheck::ReportedTcb, VerifyError::ReportedTcb { .. })
            ),
            "{oid:?}"
        );
    }
}

#[test]
fn wrong_hwid() {
    let other_chip = Refusal::Verify(VerificationCheck::Identity, VerifyError::ChipId);
    for product in Product::ALL {
        let sound = Attempt::vcek(product);
        let mut hwid = sound.chip.hwid().to_vec();
        *hwid.last_mut().unwrap() ^= 1;
        assert_eq!(sound.clone().extension(extension::hwid(&hwid)).refusal(), other_chip);
        let other = Chip::new(simulated(product), 2).chip_id();
        assert_eq!(sound.fields(|fields| fields.chip_id = other).refusal(), other_chip);
    }
}

fn not_accepted(accepted: Vec<String>) -> Refusal {
    Refusal::Verify(VerificationCheck::Identity, VerifyError::Provider { found: CSP_ID.to_owned(), accepted })
}

/// The whole id counts: neither a part of it nor another spelling is accepted in its place.
#[test]
fn csp_id_not_accepted() {
    let others = [
        "CN=another.example.com",
        "cc-sim-1.example.com",
        "CN=cc-sim-1.example.co",
        "cn=cc-sim-1.example.com",
        "",
    ];
    let accepted_csp_ids = others.map(str::to_owned).to_vec();
    let refused = not_accepted(accepted_csp_ids.clone());
    assert_eq!(Attempt { accepted_csp_ids, ..Attempt::vlek(Milan) }.refusal(), refused);
}

#[test]
fn csp_list_empty() {
    let attempt = Attempt { accepted_csp_ids: Vec::new(), ..Attempt::vlek(Milan) };
    assert_eq!(attempt.refusal(), not_accepted(Vec::new()));
}

#[test]
fn vlek_for_a_vcek_report() {
    let attempt = Attempt::vlek(Milan).fields(|fields| fields.signing_key = SIGNED_BY_VCEK);
    let error = VerifyError::SigningKey { report: Vcek, certificate: Vlek };
    assert_eq!(attempt.refusal(), Refusal::Verify(VerificationCheck::SigningKey, error));
}

#[test]
fn vcek_for_a_vlek_report() {
    let attempt = Attempt::vcek(Milan).fields(|fields| fields.signing_key = SIGNED_BY_VLEK);
    let error = VerifyError::SigningKey { report: Vlek, certificate: Vcek };
    assert_eq!(attempt.refusal(), Refusal::Verify(VerificationCheck::SigningKey, error));
}

#[test]
fn milans_chain_for_a_genoa_cpu() {
    let attempt = Attempt::vcek(Milan).fields(|fields| fields.cpuid = [0x19, 0x11, 1]);
    let error = VerifyError::Product { report: Genoa, certificate: Milan };
    assert_eq!(attempt.refusal(), Refusal::Verify(VerificationCheck::Product, error));
}

#[test]
fn milans_ask_for_a_genoa_certificate() {
    let attempt = Attempt::vcek(Milan).extension(extension::product_name("Genoa"));
    assert_eq!(attempt.refusal(), attempt::certificate(Role::Vek, Defect::NoPath));
}

/// A certified key that is not the one that signed.
#[test]
fn another_key() {
    let sound = Attempt::vcek(Milan);
    let other_key = keybroker_simulator::pki::Overrides {
        key: Some(keybroker_simulator::pki::SubjectKey::P384),
        ..Default::default()
    };
    let other = sound.clone().certified(other_key);
    assert_eq!(
        sound.verify_report(&other.report_bytes(), &sound.endorsements().unwrap()).unwrap_err(),
        Refusal::Verify(VerificationCheck::Signature, VerifyError::Signature)
    );
}
