use std::sync::Arc;

use jiff::SignedDuration;
use keybroker_simulator::pki::{
    Algorithm, Hash, Overrides, RsaKey, SubjectKey,
    extension::{self, Extension, oid},
};
use keybroker_snp::{
    certificate::{Defect, Role},
    chain::{Chain, Intermediate},
    endorsement::EndorsementKind::{self, Vcek, Vlek},
    product::Product::{self, Genoa, Milan, Turin},
    vek::Vek,
    verify::{VerificationCheck, VerifyError},
};
use keybroker_testing::{
    Attempt, Refusal,
    attempt::{self, NOW},
    flipped, for_each_below, time,
};

fn usual() -> Overrides {
    Overrides::default()
}

fn defect(attempt: &Attempt) -> Defect {
    match attempt.refusal() {
        Refusal::Certificate(error) if error.role == Role::Vek => error.defect,
        other => panic!("{other:?}"),
    }
}

/// The defect of a VCEK and of a VLEK that are altered alike.
fn defects(overrides: Overrides) -> Defect {
    let vlek = defect(&Attempt::vlek(Milan).certified(overrides.clone()));
    assert_eq!(defect(&Attempt::vcek(Milan).certified(overrides)), vlek);
    vlek
}

fn validity(defect: Defect) -> Refusal {
    Refusal::Verify(VerificationCheck::Validity, VerifyError::Certificate(Role::Vek.has(defect)))
}

#[test]
fn expired() {
    let not_after = time(NOW) - SignedDuration::from_secs(1);
    for kind in [Vcek, Vlek] {
        let attempt = |now| Attempt {
            now,
            ..Attempt::new(Milan, kind).certified(Overrides { not_after: Some(not_after), ..usual() })
        };
        assert_eq!(attempt(time(NOW)).refusal(), validity(Defect::Expired(not_after)));
        attempt(not_after).verify().unwrap();
    }
}

#[test]
fn not_yet_valid() {
    let not_before = time(NOW) + SignedDuration::from_secs(1);
    for kind in [Vcek, Vlek] {
        let attempt = |now| Attempt {
            now,
            ..Attempt::new(Milan, kind).certified(Overrides { not_before: Some(not_before), ..usual() })
        };
        assert_eq!(attempt(time(NOW)).refusal(), validity(Defect::NotYetValid(not_before)));
        attempt(not_before).verify().unwrap();
    }
}

#[test]
fn not_der() {
    assert_eq!(defects(Overrides { trailing: vec![0], ..usual() }), Defect::Malformed);
    for bytes in [&[][..], &[0x30], b"-----BEGIN CERTIFICATE-----"] {
        assert_eq!(Vek::parse(bytes).unwrap_err(), Role::Vek.has(Defect::Malformed));
    }
}

#[test]
fn version_1() {
    assert_eq!(defects(Overrides { version_1: true, ..usual() }), Defect::Version);
}

#[test]
fn wrong_hash() {
    assert_eq!(defects(Overrides { algorithm: Some(Algorithm::PSS_SHA256), ..usual() }), Defect::Algorithm);
    let sha512 = Algorithm::Pss { hash: Hash::Sha512, mgf_hash: Hash::Sha512, salt_len: 64, trailer: None };
    assert_eq!(defects(Overrides { algorithm: Some(sha512), ..usual() }), Defect::Algorithm);
}

#[test]
fn wrong_pss_parameters() {
    let pss =
        |mgf_hash, salt_len, trailer| Algorithm::Pss { hash: Hash::Sha384, mgf_hash, salt_len, trailer };
    for algorithm in [
        Algorithm::Pss { hash: Hash::Sha256, mgf_hash: Hash::Sha384, salt_len: 48, trailer: None },
        Algorithm::Pss { hash: Hash::Sha512, mgf_hash: Hash::Sha384, salt_len: 48, trailer: None },
        pss(Hash::Sha256, 48, None),
        pss(Hash::Sha384, 32, None),
        pss(Hash::Sha384, 0, None),
        pss(Hash::Sha384, 48, Some(2)),
        Algorithm::Pkcs1,
    ] {
        assert_eq!(
            defects(Overrides { algorithm: Some(algorithm), ..usual() }),
            Defect::Algorithm,
            "{algorithm:?}"
        );
    }
}

/// Object identifiers by which the algorithms of certificate and key are named, with one of no such meaning.
#[test]
fn wrong_object_identifiers() {
    let vcek = Attempt::vcek(Milan);
    let vek = |der: &[u8]| Vek::parse(der).map(|_| ());
    let ask = |der: &[u8]| Intermediate::verify(der, &vcek.anchors().unwrap()).map(|_| ());
    let (certificate, issuer) = (vcek.simulated_vek().certificate, vcek.issuer_der());
    for (name, oid, other, defect) in [
        ("id-mgf1", MGF1, 9, Defect::Algorithm),
        ("id-ecPublicKey", EC_PUBLIC_KEY, 2, Defect::PublicKey),
        ("secp384r1", SECP384R1, 0x23, Defect::PublicKey),
    ] {
        assert_eq!(vek(&renamed(&certificate, oid, other)), Err(Role::Vek.has(defect)), "{name}");
    }
    for (name, oid, other, defect) in
        [("id-mgf1", MGF1, 9, Defect::Algorithm), ("rsaEncryption", RSA_ENCRYPTION, 10, Defect::PublicKey)]
    {
        assert_eq!(ask(&renamed(&issuer, oid, other)), Err(Role::Ask.has(defect)), "{name}");
    }
}

const MGF1: &[u8] = &[6, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 8];
const RSA_ENCRYPTION: &[u8] = &[6, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 1, 1];
const EC_PUBLIC_KEY: &[u8] = &[6, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1];
const SECP384R1: &[u8] = &[6, 5, 0x2B, 0x81, 4, 0, 0x22];

/// `der` with the last byte of an object identifier replaced, wherever it stands.
fn renamed(der: &[u8], oid: &[u8], last: u8) -> Vec<u8> {
    let mut der = der.to_vec();
    let places: Vec<usize> = (0..der.len()).filter(|at| der[*at..].starts_with(oid)).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| der[at + oid.len() - 1] = last);
    der
}

/// Either may be AMD's: they must be the same, to the byte.
#[test]
fn inner_and_outer_algorithm_differ() {
    for inner in [Algorithm::PSS_SHA256, Algorithm::PSS, Algorithm::PSS_EXPLICIT_TRAILER, Algorithm::Pkcs1] {
        for outer in [Algorithm::PSS, Algorithm::PSS_EXPLICIT_TRAILER] {
            if inner != outer {
                let overrides = Overrides { algorithm: Some(outer), inner_algorithm: Some(inner), ..usual() };
                assert_eq!(defects(overrides), Defect::AlgorithmMismatch);
            }
        }
    }
}

#[test]
fn corrupted_signature() {
    assert_eq!(defects(Overrides { corrupt_signature: true, ..usual() }), Defect::Signature);
}

#[test]
fn any_bit_turned() {
    let sound = Attempt::vlek(Turin);
    let certificate = sound.simulated_vek().certificate;
    let intermediates = [sound.intermediate().unwrap()];
    let chain = |der: &[u8]| Chain::verify(Vek::parse(der)?, &intermediates);
    chain(&certificate).unwrap();
    for_each_below(certificate.len() * 8, |bit| {
        assert!(chain(&flipped(&certificate, bit)).is_err(), "bit {bit}");
    });
}

#[test]
fn wrong_subject() {
    for name in ["SEV-VCEK2", "sev-vcek", "", "ARK-Milan"] {
        assert_eq!(
            defects(Overrides { subject_cn: Some(name.to_owned()), ..usual() }),
            Defect::Subject,
            "{name}"
        );
    }
}

/// A certificate that calls itself a VLEK's has a provider, one that calls itself a VCEK's a chip.
#[test]
fn the_other_kinds_subject() {
    let named = |kind, name: &str| {
        defect(
            &Attempt::new(Milan, kind).certified(Overrides { subject_cn: Some(name.to_owned()), ..usual() }),
        )
    };
    assert_eq!(named(Vcek, "SEV-VLEK"), Defect::MissingExtension("CSP id"));
    assert_eq!(named(Vlek, "SEV-VCEK"), Defect::MissingExtension("HWID"));
}

#[test]
fn wrong_issuer_name() {
    for name in ["SEV-Genoa", "ARK-Milan", "SEV-Milan ", ""] {
        assert_eq!(
            defects(Overrides { issuer_cn: Some(name.to_owned()), ..usual() }),
            Defect::Issuer,
            "{name}"
        );
    }
}

#[test]
fn wrong_curve() {
    assert_eq!(defects(Overrides { key: Some(SubjectKey::P256), ..usual() }), Defect::PublicKey);
}

#[test]
fn rsa_key() {
    let overrides = Overrides { key: Some(SubjectKey::Rsa(RsaKey::Rogue)), ..usual() };
    assert_eq!(defects(overrides), Defect::PublicKey);
}

/// The same extension twice: who reads the first and who reads the last would disagree.
#[test]
fn duplicate_extension() {
    for oid in [oid::SNP, oid::PRODUCT_NAME, oid::STRUCT_VERSION] {
        assert_eq!(defects(Overrides { duplicate: Some(oid), ..usual() }), Defect::DuplicateExtension);
    }
}

#[test]
fn unknown_critical_extension() {
    let with = |critical| Overrides { replace: vec![extension::unknown(critical)], ..usual() };
    assert_eq!(defects(with(true)), Defect::UnknownCriticalExtension);
    Attempt::vcek(Milan).certified(with(false)).verify().unwrap();
}

#[test]
fn missing_extension() {
    for (product, kind, oid, name) in [
        (Milan, Vcek, oid::PRODUCT_NAME, "product name"),
        (Milan, Vcek, oid::BOOT_LOADER, "bootloader patch level"),
        (Milan, Vcek, oid::TEE, "TEE patch level"),
        (Milan, Vcek, oid::SNP, "SNP patch level"),
        (Milan, Vcek, oid::MICROCODE, "microcode patch level"),
        (Turin, Vcek, oid::FMC, "FMC patch level"),
        (Milan, Vcek, oid::HWID, "HWID"),
        (Turin, Vcek, oid::HWID, "HWID"),
        (Milan, Vlek, oid::CSP_ID, "CSP id"),
    ] {
        let attempt = Attempt::new(product, kind).certified(Overrides { omit: vec![oid], ..usual() });
        assert_eq!(defect(&attempt), Defect::MissingExtension(name));
    }
}

#[test]
fn reserved_patch_level_set() {
    for oid in [oid::SPL4, oid::SPL5, oid::SPL6, oid::SPL7] {
        for kind in [Vcek, Vlek] {
            let attempt = Attempt::new(Milan, kind).extension(extension::patch_level(oid, 1));
            assert_eq!(defect(&attempt), Defect::ExtensionValue("reserved patch level"));
        }
    }
}

fn value(product: Product, kind: EndorsementKind, oid: extension::Oid, value: &[u8]) -> Defect {
    let extension = Extension { oid, critical: false, value: value.to_vec() };
    defect(&Attempt::new(product, kind).extension(extension))
}

/// An INTEGER of 0 to 255 in DER, nothing else: a negative one or a long form could be read as another level.
#[test]
fn patch_level_malformed() {
    for bytes in
        [&[][..], &[2, 1], &[2, 1, 0x80], &[2, 2, 0, 0x7F], &[2, 2, 1, 0], &[2, 1, 0, 0], &[4, 1, 24], &[24]]
    {
        assert_eq!(
            value(Milan, Vcek, oid::SNP, bytes),
            Defect::ExtensionValue("SNP patch level"),
            "{bytes:x?}"
        );
    }
}

#[test]
fn hwid_wrapped() {
    let attempt = Attempt::vcek(Milan);
    let wrapped = extension::hwid_wrapped(attempt.chip.hwid());
    assert_eq!(defect(&attempt.extension(wrapped)), Defect::ExtensionValue("HWID"));
}

#[test]
fn hwid_of_another_length() {
    for (product, length) in
        [(Milan, 0), (Milan, 8), (Milan, 63), (Milan, 65), (Turin, 7), (Turin, 9), (Turin, 64)]
    {
        let hwid = vec![7; length];
        assert_eq!(value(product, Vcek, oid::HWID, &hwid), Defect::ExtensionValue("HWID"), "{length}");
    }
}

#[test]
fn product_name_unknown() {
    for name in ["Venice", "Rome", "milan", "Milano", " Milan", "-Milan", ""] {
        let attempt = Attempt::vcek(Milan).extension(extension::product_name(name));
        assert_eq!(defect(&attempt), Defect::ExtensionValue("product name"), "{name}");
    }
}

#[test]
fn text_malformed() {
    for bytes in
        [&[][..], b"Milan", b"\x0C\x05Milan", b"\x16\x05Milan\0", b"\x16\x06Milan", b"\x16\x05M\xFFlan"]
    {
        assert_eq!(value(Milan, Vcek, oid::PRODUCT_NAME, bytes), Defect::ExtensionValue("product name"));
        assert_eq!(value(Milan, Vlek, oid::CSP_ID, bytes), Defect::ExtensionValue("CSP id"));
    }
}

#[test]
fn signed_by_nobody_amd_knows() {
    assert_eq!(defects(Overrides { signer: Some(RsaKey::Rogue), ..usual() }), Defect::Signature);
}

/// The right name, the other authority's key.
#[test]
fn signed_by_the_ark_in_the_asks_name() {
    assert_eq!(defects(Overrides { signer: Some(RsaKey::Ark), ..usual() }), Defect::Signature);
}

#[test]
fn issued_by_the_ark_directly() {
    let overrides =
        Overrides { signer: Some(RsaKey::Ark), issuer_cn: Some("ARK-Milan".to_owned()), ..usual() };
    assert_eq!(defects(overrides), Defect::Issuer);
}

#[test]
fn swapped_ask_and_asvk() {
    let no_path = attempt::certificate(Role::Vek, Defect::NoPath);
    let [vcek, vlek] = [Attempt::vcek(Milan), Attempt::vlek(Milan)];
    let chain = |one: &Attempt, other: &Attempt| -> Result<Chain, Refusal> {
        Ok(Chain::verify(one.parsed_vek()?, &[other.intermediate()?])?)
    };
    assert_eq!(chain(&vcek, &vlek).unwrap_err(), no_path);
    let no_asvk = attempt::certificate(Role::Vek, Defect::NoAsvk);
    assert_eq!(chain(&vlek, &vcek).unwrap_err(), no_asvk);

    // Issued by the ASVK indeed: still a VCEK, whose kind only an ASK may vouch for.
    let by_asvk =
        Overrides { signer: Some(RsaKey::Asvk), issuer_cn: Some("SEV-VLEK-Milan".to_owned()), ..usual() };
    let by_asvk = vcek.clone().certified(by_asvk);
    assert_eq!(chain(&by_asvk, &vlek).unwrap_err(), no_path);
    assert_eq!(chain(&by_asvk, &vcek).unwrap_err(), attempt::certificate(Role::Vek, Defect::Issuer));
}

#[test]
fn no_issuer_at_hand() {
    let vek = Attempt::vcek(Milan).parsed_vek().unwrap();
    assert_eq!(Chain::verify(vek, &[]).unwrap_err(), Role::Vek.has(Defect::NoPath));
}

/// A guest's VLEK comes with its ASVK, or without: then that is what is missing, whatever ASKs are at hand.
#[test]
fn a_vlek_without_its_asvk() {
    let vlek = || Attempt::vlek(Milan).parsed_vek().unwrap();
    let asks = [Attempt::vcek(Milan).intermediate().unwrap(), Attempt::vlek(Genoa).intermediate().unwrap()];
    for at_hand in [&[][..], &asks] {
        let error = Chain::verify(vlek(), at_hand).unwrap_err();
        assert_eq!(error, Role::Vek.has(Defect::NoAsvk));
        assert!(error.to_string().contains("the ASVK that issued the VLEK is missing"), "{error}");
    }
    Chain::verify(vlek(), &[Attempt::vlek(Milan).intermediate().unwrap()]).unwrap();
}

/// The right one is found among others.
#[test]
fn one_of_several_issuers() {
    let [vcek, vlek] = [Attempt::vcek(Milan), Attempt::vlek(Milan)];
    let all = [
        vlek.intermediate().unwrap(),
        Attempt::vcek(Turin).intermediate().unwrap(),
        vcek.intermediate().unwrap(),
    ];
    let chain = Chain::verify(vcek.parsed_vek().unwrap(), &all).unwrap();
    assert!(Arc::ptr_eq(chain.intermediate(), &all[2]));
}
