use std::sync::Arc;

use jiff::SignedDuration;
use keybroker_simulator::pki::{Algorithm, Ca, CrlOptions, Overrides, RsaKey, SubjectKey, extension};
use keybroker_snp::{
    authority::TrustAnchor,
    certificate::{Defect, Role},
    crl::{Crl, CrlError},
    endorsement::EndorsementKind::{Vcek, Vlek},
    product::Product::{Genoa, Milan},
    verify::{Endorsements, VerificationCheck, VerifyError},
};
use keybroker_testing::{Attempt, Refusal, attempt::NOW, flipped, for_each_below, simulated, time};

fn usual() -> CrlOptions {
    CrlOptions::default()
}

fn with(crl: CrlOptions) -> Attempt {
    Attempt { crl, ..Attempt::vcek(Milan) }
}

/// The list is refused before anything is held against it.
fn crl_error(crl: CrlOptions) -> CrlError {
    match with(crl).refusal() {
        Refusal::Crl(error) => error,
        other => panic!("{other:?}"),
    }
}

fn revocation(error: impl Into<VerifyError>) -> Refusal {
    Refusal::Verify(VerificationCheck::Revocation, error.into())
}

fn revoked(ca: Ca) -> CrlOptions {
    CrlOptions { revoked: vec![vec![9, 9, 9], ca.serial(simulated(Milan))], ..usual() }
}

#[test]
fn revoked_ask() {
    assert_eq!(with(revoked(Ca::Ask)).refusal(), revocation(Role::Ask.has(Defect::Revoked)));
}

#[test]
fn revoked_asvk() {
    let attempt = Attempt { crl: revoked(Ca::Asvk), ..Attempt::vlek(Milan) };
    assert_eq!(attempt.refusal(), revocation(Role::Asvk.has(Defect::Revoked)));
}

#[test]
fn revoked_ark() {
    for kind in [Vcek, Vlek] {
        let attempt = Attempt { crl: revoked(Ca::Ark), ..Attempt::new(Milan, kind) };
        assert_eq!(attempt.refusal(), revocation(Role::Ark.has(Defect::Revoked)));
    }
}

/// A serial number is a number: leading zeros on either side change nothing.
#[test]
fn revoked_under_another_spelling() {
    let serial = [vec![0, 0], Ca::Ask.serial(simulated(Milan))].concat();
    let attempt = Attempt {
        issuer: Overrides { serial: Some(serial), ..Overrides::default() },
        ..with(revoked(Ca::Ask))
    };
    assert_eq!(attempt.refusal(), revocation(Role::Ask.has(Defect::Revoked)));
}

/// Revoking one authority leaves the other's keys alone, and nobody is revoked by a number that only looks
/// alike.
#[test]
fn others_revoked() {
    with(revoked(Ca::Asvk)).verify().unwrap();
    Attempt { crl: revoked(Ca::Ask), ..Attempt::vlek(Milan) }.verify().unwrap();
    let alike = vec![vec![1, 0], vec![1, 0, 1, 0], vec![0], vec![1]];
    with(CrlOptions { revoked: alike, ..usual() }).verify().unwrap();
}

const DAY: SignedDuration = SignedDuration::from_hours(24);

#[test]
fn stale() {
    let next_update = time(NOW) - SignedDuration::from_secs(1);
    let stale =
        with(CrlOptions { next_update: Some(next_update), this_update: Some(next_update - DAY), ..usual() });
    assert_eq!(stale.refusal(), revocation(CrlError::Stale(next_update)));
    Attempt { now: next_update, ..stale }.verify().unwrap();
}

/// Past nextUpdate a list counts only by permission, and no longer than that.
#[test]
fn stale_within_and_beyond_grace() {
    let next_update = time(NOW) - Crl::GRACE;
    let crl = CrlOptions { next_update: Some(next_update), this_update: Some(next_update - DAY), ..usual() };
    let stale = revocation(CrlError::Stale(next_update));
    assert_eq!(with(crl.clone()).refusal(), stale);
    let permitted = Attempt { crl_grace: Crl::GRACE, ..with(crl) };
    permitted.verify().unwrap();
    let late = time(NOW) + SignedDuration::from_secs(1);
    assert_eq!(Attempt { now: late, ..permitted }.refusal(), stale);
}

#[test]
fn not_yet_valid() {
    let this_update = time(NOW) + SignedDuration::from_secs(1);
    let early =
        Attempt { crl_grace: Crl::GRACE, ..with(CrlOptions { this_update: Some(this_update), ..usual() }) };
    assert_eq!(early.refusal(), revocation(CrlError::NotYetValid(this_update)));
    Attempt { now: this_update, ..early }.verify().unwrap();
}

#[test]
fn no_next_update() {
    assert_eq!(crl_error(CrlOptions { omit_next_update: true, ..usual() }), CrlError::NoNextUpdate);
}

#[test]
fn signed_by_another_key() {
    for signer in [RsaKey::Rogue, RsaKey::Ask, RsaKey::Rsa2048] {
        assert_eq!(crl_error(CrlOptions { signer: Some(signer), ..usual() }), CrlError::Signature);
    }
}

#[test]
fn corrupted_signature() {
    assert_eq!(crl_error(CrlOptions { corrupt_signature: true, ..usual() }), CrlError::Signature);
}

#[test]
fn any_bit_turned() {
    let sound = with(revoked(Ca::Ask));
    let (der, anchors) = (sound.crl_der(), sound.anchors().unwrap());
    Crl::verify(&der, &anchors).unwrap();
    for_each_below(der.len() * 8, |bit| {
        assert!(Crl::verify(&flipped(&der, bit), &anchors).is_err(), "bit {bit}");
    });
}

#[test]
fn other_issuer() {
    for name in ["ARK-Genoa", "SEV-Milan", ""] {
        assert_eq!(
            crl_error(CrlOptions { issuer_cn: Some(name.to_owned()), ..usual() }),
            CrlError::Issuer,
            "{name}"
        );
    }
}

/// Another product's list, from its own root: it says nothing about this product's authorities.
#[test]
fn other_products_list() {
    let (milan, genoa) = (Attempt::vcek(Milan), Attempt::vcek(Genoa));
    let list = genoa.crl_der();
    assert_eq!(Crl::verify(&list, &milan.anchors().unwrap()).unwrap_err(), CrlError::Issuer);
    let foreign = Arc::new(Crl::verify(&list, &genoa.anchors().unwrap()).unwrap());
    let endorsements = Endorsements { crl: foreign, ..milan.endorsements().unwrap() };
    assert_eq!(
        milan.verify_report(&milan.report_bytes(), &endorsements).unwrap_err(),
        revocation(CrlError::OtherAnchor)
    );
}

/// Another root of the same name, trusted too: its list is not this root's.
#[test]
fn other_arks_list() {
    let milan = Attempt::vcek(Milan);
    let rogue = Attempt {
        ark: Some(Overrides { key: Some(SubjectKey::Rsa(RsaKey::Rogue)), ..Overrides::default() }),
        crl: CrlOptions { signer: Some(RsaKey::Rogue), ..usual() },
        ..milan.clone()
    };
    let foreign = Arc::new(Crl::verify(&rogue.crl_der(), &rogue.anchors().unwrap()).unwrap());
    let endorsements = Endorsements { crl: foreign, ..milan.endorsements().unwrap() };
    assert_eq!(
        milan.verify_report(&milan.report_bytes(), &endorsements).unwrap_err(),
        revocation(CrlError::OtherAnchor)
    );
}

/// It could say that the list covers a part only of what the root issued.
#[test]
fn critical_extension() {
    let crl = |critical| CrlOptions { extensions: vec![extension::unknown(critical)], ..usual() };
    assert_eq!(crl_error(crl(true)), CrlError::UnknownCriticalExtension);
    with(crl(false)).verify().unwrap();
}

#[test]
fn version_1() {
    assert_eq!(crl_error(CrlOptions { version_1: true, ..usual() }), CrlError::Malformed);
}

#[test]
fn trailing_bytes() {
    assert_eq!(crl_error(CrlOptions { trailing: vec![0], ..usual() }), CrlError::Malformed);
}

#[test]
fn not_a_crl() {
    let sound = Attempt::vcek(Milan);
    for bytes in [&[][..], &[0x30, 0], &sound.ark_der(), b"-----BEGIN X509 CRL-----"] {
        assert_eq!(Crl::verify(bytes, &sound.anchors().unwrap()).unwrap_err(), CrlError::Malformed);
    }
}

#[test]
fn wrong_algorithm() {
    for algorithm in [Algorithm::PSS_SHA256, Algorithm::Pkcs1] {
        assert_eq!(crl_error(CrlOptions { algorithm: Some(algorithm), ..usual() }), CrlError::Algorithm);
    }
    for inner in [Algorithm::PSS_SHA256, Algorithm::PSS] {
        assert_eq!(crl_error(CrlOptions { inner_algorithm: Some(inner), ..usual() }), CrlError::Algorithm);
    }
}

#[test]
fn a_list_gives_its_dates_and_its_bytes() {
    let sound = with(revoked(Ca::Ask));
    let crl = Crl::verify(&sound.crl_der(), &sound.anchors().unwrap()).unwrap();
    assert_eq!(crl.this_update(), time(NOW) - DAY);
    assert_eq!(crl.next_update(), time(NOW) + DAY * 180);
    assert_eq!(crl.der().first(), Some(&0x30));
}

#[test]
fn a_further_list_of_the_same_ark_revokes() {
    let attempt = Attempt::vcek(Milan);
    let listed = CrlOptions { revoked: vec![Ca::Ask.serial(simulated(Milan))], ..usual() };
    let list = Crl::verify(&with(listed).crl_der(), &attempt.anchors().unwrap()).unwrap();
    let mut endorsements = attempt.endorsements().unwrap();
    endorsements.further_crls = vec![Arc::new(list)];
    let refused = attempt.verify_report(&attempt.report_bytes(), &endorsements).unwrap_err();
    assert_eq!(refused, revocation(Role::Ask.has(Defect::Revoked)));
}

/// It lists serial numbers of its own ARK's certificates: the same number of another ARK's is another
/// certificate.
#[test]
fn a_further_list_of_another_ark_revokes_nothing() {
    let attempt = Attempt::vcek(Milan);
    let another = Overrides { serial: Some(vec![7]), ..Overrides::default() };
    let ark = Attempt { ark: Some(another), ..attempt.clone() }.ark_der();
    let anchors = [Arc::new(TrustAnchor::new(&ark).unwrap())];
    let listed = CrlOptions { revoked: vec![Ca::Ask.serial(simulated(Milan))], ..usual() };
    let list = Crl::verify(&with(listed).crl_der(), &anchors).unwrap();
    let mut endorsements = attempt.endorsements().unwrap();
    endorsements.further_crls = vec![Arc::new(list)];
    attempt.verify_report(&attempt.report_bytes(), &endorsements).unwrap();
}

#[test]
fn bytes_behind_a_list_are_refused() {
    let attempt = Attempt::vcek(Milan);
    let der = [attempt.crl_der(), vec![0]].concat();
    assert_eq!(Crl::verify(&der, &attempt.anchors().unwrap()).unwrap_err(), CrlError::Malformed);
}
