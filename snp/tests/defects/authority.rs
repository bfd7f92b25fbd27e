use std::sync::Arc;

use jiff::SignedDuration;
use keybroker_simulator::pki::{Algorithm, Overrides, RsaKey, SubjectKey, extension};
use keybroker_snp::{
    anchors::TrustAnchors,
    authority::TrustAnchor,
    certificate::{Defect, Role},
    chain::Intermediate,
    endorsement::EndorsementKind::{self, Vcek, Vlek},
    product::Product::{Genoa, Milan},
    verify::{VerificationCheck, VerifyError},
};
use keybroker_testing::{
    Attempt, Refusal,
    attempt::{self, NOW, amd},
    flipped, for_each_below, time,
};

fn usual() -> Overrides {
    Overrides::default()
}

fn issued(kind: EndorsementKind, issuer: Overrides) -> Attempt {
    Attempt { issuer, ..Attempt::new(Milan, kind) }
}

/// A certificate that does not parse as an authority's is taken for an ASK's, whatever it was meant to be.
fn ask_defect(issuer: Overrides) -> Defect {
    let defect = |kind| match issued(kind, issuer.clone()).refusal() {
        Refusal::Certificate(error) if error.role == Role::Ask => error.defect,
        other => panic!("{other:?}"),
    };
    assert_eq!(defect(Vcek), defect(Vlek));
    defect(Vcek)
}

fn ark_refusal(ark: Overrides) -> Refusal {
    Attempt { ark: Some(ark), ..Attempt::vcek(Milan) }.refusal()
}

fn ark(defect: Defect) -> Refusal {
    attempt::certificate(Role::Ark, defect)
}

fn validity(role: Role, defect: Defect) -> Refusal {
    Refusal::Verify(VerificationCheck::Validity, VerifyError::Certificate(role.has(defect)))
}

#[test]
fn ask_or_asvk_expired() {
    let not_after = time(NOW) - SignedDuration::from_secs(1);
    for (kind, role) in [(Vcek, Role::Ask), (Vlek, Role::Asvk)] {
        let attempt = issued(kind, Overrides { not_after: Some(not_after), ..usual() });
        assert_eq!(attempt.refusal(), validity(role, Defect::Expired(not_after)));
    }
}

#[test]
fn ask_or_asvk_not_yet_valid() {
    let not_before = time(NOW) + SignedDuration::from_secs(1);
    for (kind, role) in [(Vcek, Role::Ask), (Vlek, Role::Asvk)] {
        let attempt = issued(kind, Overrides { not_before: Some(not_before), ..usual() });
        assert_eq!(attempt.refusal(), validity(role, Defect::NotYetValid(not_before)));
    }
}

#[test]
fn ark_expired() {
    let not_after = time(NOW) - SignedDuration::from_secs(1);
    let refusal = ark_refusal(Overrides { not_after: Some(not_after), ..usual() });
    assert_eq!(refusal, validity(Role::Ark, Defect::Expired(not_after)));
}

#[test]
fn ark_not_yet_valid() {
    let not_before = time(NOW) + SignedDuration::from_secs(1);
    let refusal = ark_refusal(Overrides { not_before: Some(not_before), ..usual() });
    assert_eq!(refusal, validity(Role::Ark, Defect::NotYetValid(not_before)));
}

#[test]
fn wrong_issuer_name() {
    for (kind, role) in [(Vcek, Role::Ask), (Vlek, Role::Asvk)] {
        let attempt = issued(kind, Overrides { issuer_cn: Some("ARK-Genoa".to_owned()), ..usual() });
        assert_eq!(attempt.refusal(), attempt::certificate(role, Defect::Issuer));
    }
}

#[test]
fn corrupted_signature() {
    for (kind, role) in [(Vcek, Role::Ask), (Vlek, Role::Asvk)] {
        let attempt = issued(kind, Overrides { corrupt_signature: true, ..usual() });
        assert_eq!(attempt.refusal(), attempt::certificate(role, Defect::Signature));
    }
    assert_eq!(ark_refusal(Overrides { corrupt_signature: true, ..usual() }), ark(Defect::Signature));
}

#[test]
fn any_bit_turned() {
    let sound = Attempt::vcek(Milan);
    let (der, anchors) = (sound.issuer_der(), sound.anchors().unwrap());
    Intermediate::verify(&der, &anchors).unwrap();
    for_each_below(der.len() * 8, |bit| {
        assert!(Intermediate::verify(&flipped(&der, bit), &anchors).is_err(), "bit {bit}");
    });
}

#[test]
fn not_marked_as_an_authority() {
    let not_ca = extension::basic_constraints(false, None);
    let replaced = Overrides { replace: vec![not_ca], ..usual() };
    assert_eq!(ask_defect(replaced.clone()), Defect::BasicConstraints);
    assert_eq!(ark_refusal(replaced), ark(Defect::BasicConstraints));
    let omitted = Overrides { omit: vec![extension::oid::BASIC_CONSTRAINTS], ..usual() };
    assert_eq!(ask_defect(omitted.clone()), Defect::BasicConstraints);
    assert_eq!(ark_refusal(omitted), ark(Defect::BasicConstraints));
}

/// An ASK that might certify another authority.
#[test]
fn path_length_above_zero() {
    for length in [None, Some(1), Some(255)] {
        let constraints = extension::basic_constraints(true, length);
        assert_eq!(ask_defect(Overrides { replace: vec![constraints], ..usual() }), Defect::BasicConstraints);
    }
}

#[test]
fn may_not_sign_certificates() {
    let usage = Overrides { replace: vec![extension::key_usage(false, true)], ..usual() };
    assert_eq!(ask_defect(usage.clone()), Defect::KeyUsage);
    assert_eq!(ark_refusal(usage), ark(Defect::KeyUsage));
    let omitted = Overrides { omit: vec![extension::oid::KEY_USAGE], ..usual() };
    assert_eq!(ask_defect(omitted.clone()), Defect::KeyUsage);
    assert_eq!(ark_refusal(omitted), ark(Defect::KeyUsage));
}

#[test]
fn ark_may_not_sign_revocation_lists() {
    let usage = Overrides { replace: vec![extension::key_usage(true, false)], ..usual() };
    assert_eq!(ark_refusal(usage), ark(Defect::KeyUsage));
}

#[test]
fn rsa_2048() {
    let small = Overrides { key: Some(SubjectKey::Rsa(RsaKey::Rsa2048)), ..usual() };
    assert_eq!(ask_defect(small.clone()), Defect::PublicKey);
    assert_eq!(ark_refusal(small), ark(Defect::PublicKey));
}

#[test]
fn elliptic_curve_key() {
    let curve = Overrides { key: Some(SubjectKey::P384), ..usual() };
    assert_eq!(ask_defect(curve.clone()), Defect::PublicKey);
    assert_eq!(ark_refusal(Overrides { signer: Some(RsaKey::Ark), ..curve }), ark(Defect::PublicKey));
}

#[test]
fn form_of_the_certificate() {
    for (overrides, defect) in [
        (Overrides { version_1: true, ..usual() }, Defect::Version),
        (Overrides { algorithm: Some(Algorithm::PSS_SHA256), ..usual() }, Defect::Algorithm),
        (Overrides { algorithm: Some(Algorithm::Pkcs1), ..usual() }, Defect::Algorithm),
        (Overrides { inner_algorithm: Some(Algorithm::PSS), ..usual() }, Defect::AlgorithmMismatch),
        (Overrides { duplicate: Some(extension::oid::KEY_USAGE), ..usual() }, Defect::DuplicateExtension),
        (Overrides { replace: vec![extension::unknown(true)], ..usual() }, Defect::UnknownCriticalExtension),
        (Overrides { trailing: vec![0], ..usual() }, Defect::Malformed),
        (Overrides { subject_cn: Some("SEV-Venice".to_owned()), ..usual() }, Defect::Subject),
        (Overrides { subject_cn: Some("SEV-VCEK".to_owned()), ..usual() }, Defect::Subject),
        (Overrides { subject_cn: Some("ARK-Milan-B0".to_owned()), ..usual() }, Defect::Subject),
    ] {
        assert_eq!(ask_defect(overrides.clone()), defect, "{overrides:?}");
        assert_eq!(ark_refusal(overrides), ark(defect));
    }
}

/// An ARK in the place of an ASK: it is no intermediate.
#[test]
fn ark_as_intermediate() {
    let sound = Attempt::vcek(Milan);
    let error = Intermediate::verify(&sound.ark_der(), &sound.anchors().unwrap()).unwrap_err();
    assert_eq!(error, Role::Ask.has(Defect::Subject));
}

#[test]
fn ask_as_trust_anchor() {
    let named = Overrides { signer: Some(RsaKey::Ask), issuer_cn: Some("SEV-Milan".to_owned()), ..usual() };
    let self_signed = Attempt { issuer: named, ..Attempt::vcek(Milan) }.issuer_der();
    assert_eq!(TrustAnchor::new(&self_signed).unwrap_err(), Role::Ark.has(Defect::Subject));
}

/// A chain that is sound up to a root with AMD's name and somebody else's key.
#[test]
fn self_made_ark() {
    let rogue_root = Overrides { key: Some(SubjectKey::Rsa(RsaKey::Rogue)), ..usual() };
    let rogue = Attempt {
        ark: Some(rogue_root),
        issuer: Overrides { signer: Some(RsaKey::Rogue), ..usual() },
        crl: keybroker_simulator::pki::CrlOptions { signer: Some(RsaKey::Rogue), ..Default::default() },
        ..Attempt::vcek(Milan)
    };
    rogue.verify().unwrap();
    let genuine = Attempt::vcek(Milan).anchors().unwrap();
    let error = Intermediate::verify(&rogue.issuer_der(), &genuine).unwrap_err();
    assert_eq!(error, Role::Ask.has(Defect::Signature));
}

#[test]
fn ark_that_another_key_signed() {
    assert_eq!(ark_refusal(Overrides { signer: Some(RsaKey::Rogue), ..usual() }), ark(Defect::Signature));
}

#[test]
fn ark_that_names_another_issuer() {
    assert_eq!(
        ark_refusal(Overrides { issuer_cn: Some("ARK-Genoa".to_owned()), ..usual() }),
        ark(Defect::Issuer)
    );
}

#[test]
fn no_anchor_of_the_product() {
    let ask = Attempt::vcek(Milan).issuer_der();
    let no_path = Role::Ask.has(Defect::NoPath);
    assert_eq!(Intermediate::verify(&ask, &[]).unwrap_err(), no_path);
    let genoa = Attempt::vcek(Genoa).anchors().unwrap();
    assert_eq!(Intermediate::verify(&ask, &genoa).unwrap_err(), no_path);
}

/// AMD's own anchors trust no simulator: its roots have AMD's names.
#[test]
fn simulated_hardware_under_amds_anchors() {
    let ask = Attempt::vcek(Milan).issuer_der();
    let error = Intermediate::verify(&ask, &TrustAnchors::amd().arks(Milan)).unwrap_err();
    assert_eq!(error, Role::Ask.has(Defect::Signature));
    let error = Intermediate::verify(&ask, &TrustAnchors::default().arks(Milan)).unwrap_err();
    assert_eq!(error, Role::Ask.has(Defect::NoPath));
}

/// Two roots of the same name at hand: each vouches for what it signed.
#[test]
fn added_anchor_beside_amds() {
    let sound = Attempt::vcek(Milan);
    let mut anchors = TrustAnchors::amd();
    assert_eq!(anchors.add_pem(amd(Milan).ark_pem().as_bytes()), Ok(1));
    let intermediate = Intermediate::verify(&sound.issuer_der(), &anchors.arks(Milan)).unwrap();
    assert_eq!(intermediate.anchor().fingerprint(), sound.anchors().unwrap()[0].fingerprint());
    assert_eq!((intermediate.product(), intermediate.kind()), (Milan, Vcek));
    let amds_ask = anchors.asks(Milan).pop().unwrap();
    let found = Intermediate::verify(amds_ask.der(), &anchors.arks(Milan)).unwrap();
    assert!(Arc::ptr_eq(found.anchor(), amds_ask.anchor()));
}
