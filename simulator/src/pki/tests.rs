use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
use x509_cert::{
    Certificate,
    crl::CertificateList,
    der::{Decode, Encode},
};

use super::{extension::oid, *};

fn amd(product: Product) -> Amd {
    Amd::new(product, "2026-11-01T12:00:00Z".parse().expect("a timestamp"))
}

fn parsed(der: &[u8]) -> Certificate {
    Certificate::from_der(der).expect("a certificate")
}

fn signature_holds(der: &[u8], signer: RsaKey) -> bool {
    let certificate = parsed(der);
    let tbs = certificate.tbs_certificate().to_der().expect("DER");
    UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, signer.public_key())
        .verify(&tbs, certificate.signature().raw_bytes())
        .is_ok()
}

/// Identifier, critical flag and value of each extension.
fn extensions(der: &[u8]) -> Vec<(String, bool, Vec<u8>)> {
    let certificate = parsed(der);
    let extensions = certificate.tbs_certificate().extensions().cloned().unwrap_or_default();
    extensions
        .into_iter()
        .map(|e| (e.extn_id.to_string(), e.critical, e.extn_value.as_bytes().to_vec()))
        .collect()
}

fn subject_and_issuer(der: &[u8]) -> (String, String) {
    let certificate = parsed(der);
    (certificate.tbs_certificate().subject().to_string(), certificate.tbs_certificate().issuer().to_string())
}

#[test]
fn chains_verify_for_every_product() {
    for product in Product::ALL {
        let amd = amd(product);
        let chip = Chip::new(product, 1);
        assert!(signature_holds(amd.ark(), RsaKey::Ark));
        assert!(signature_holds(amd.ask(), RsaKey::Ark));
        assert!(signature_holds(&amd.asvk(), RsaKey::Ark));
        assert!(signature_holds(&amd.vcek(&chip).certificate, RsaKey::Ask));
        assert!(signature_holds(&amd.vlek(CSP_ID, chip.tcb).certificate, RsaKey::Asvk));
        assert!(!signature_holds(amd.ask(), RsaKey::Rogue));

        let (subject, issuer) = subject_and_issuer(&amd.vcek(&chip).certificate);
        assert!(subject.contains("CN=SEV-VCEK"), "{subject}");
        assert!(issuer.contains(&format!("CN=SEV-{product}")), "{issuer}");
        assert_eq!(subject_and_issuer(amd.ask()).0, issuer);
        assert_eq!(subject_and_issuer(amd.ark()).0, subject_and_issuer(amd.ask()).1);
    }
}

/// The extensions of the genuine Milan, Turin and VLEK certificates, in their order, with the simulated
/// values.
#[test]
fn endorsement_keys_have_amds_extensions() {
    let ours = |der: &[u8]| -> Vec<(String, Vec<u8>)> {
        let extensions = extensions(der);
        assert!(extensions.iter().all(|(_, critical, _)| !critical));
        let short = |id: &str| id.strip_prefix("1.3.6.1.4.1.3704.1.").expect("AMD's arc").to_owned();
        extensions.into_iter().map(|(id, _, value)| (short(&id), value)).collect()
    };
    let expected = |rows: &[(&str, &[u8])]| -> Vec<(String, Vec<u8>)> {
        rows.iter().map(|(id, value)| ((*id).to_owned(), value.to_vec())).collect()
    };

    let milan = Chip::new(Product::Milan, 1);
    assert_eq!(
        ours(&amd(Product::Milan).vcek(&milan).certificate),
        expected(&[
            ("1", &[2, 1, 0]),
            ("2", b"\x16\x08Milan-B0"),
            ("3.1", &[2, 1, 4]),
            ("3.2", &[2, 1, 0]),
            ("3.4", &[2, 1, 0]),
            ("3.5", &[2, 1, 0]),
            ("3.6", &[2, 1, 0]),
            ("3.7", &[2, 1, 0]),
            ("3.3", &[2, 1, 24]),
            ("3.8", &[2, 2, 0, 219]),
            ("4", milan.hwid()),
        ])
    );

    let turin = Chip::new(Product::Turin, 1);
    assert_eq!(
        ours(&amd(Product::Turin).vcek(&turin).certificate),
        expected(&[
            ("1", &[2, 1, 1]),
            ("2", b"\x16\x05Turin"),
            ("3.9", &[2, 1, 1]),
            ("3.1", &[2, 1, 1]),
            ("3.2", &[2, 1, 1]),
            ("3.3", &[2, 1, 4]),
            ("3.5", &[2, 1, 0]),
            ("3.6", &[2, 1, 0]),
            ("3.7", &[2, 1, 0]),
            ("3.8", &[2, 1, 81]),
            ("4", turin.hwid()),
        ])
    );

    let vlek = ours(&amd(Product::Milan).vlek(CSP_ID, milan.tcb).certificate);
    assert_eq!(vlek.get(1), Some(&("2".to_owned(), b"\x16\x05Milan".to_vec())));
    assert_eq!(vlek.last(), Some(&("5".to_owned(), b"\x16\x17CN=cc-sim-1.example.com".to_vec())));
    assert_eq!(vlek.len(), 11);
}

#[test]
fn authorities_have_amds_extensions() {
    let amd = amd(Product::Milan);
    let ids =
        |der: &[u8]| extensions(der).into_iter().map(|(id, critical, _)| (id, critical)).collect::<Vec<_>>();
    let ark = [("2.5.29.15", true), ("2.5.29.14", false), ("2.5.29.19", true), ("2.5.29.31", false)];
    let ask = [
        ("2.5.29.14", false),
        ("2.5.29.35", false),
        ("2.5.29.19", true),
        ("2.5.29.15", true),
        ("2.5.29.31", false),
    ];
    let rows = |rows: &[(&str, bool)]| rows.iter().map(|(id, c)| ((*id).to_owned(), *c)).collect::<Vec<_>>();
    assert_eq!(ids(amd.ark()), rows(&ark));
    assert_eq!(ids(amd.ask()), rows(&ask));
    assert_eq!(ids(&amd.asvk()), rows(&ask));

    let value = |der: &[u8], id: &str| extensions(der).into_iter().find(|e| e.0 == id).expect("there").2;
    assert_eq!(value(amd.ark(), "2.5.29.15"), [3, 2, 1, 6]);
    assert_eq!(value(amd.ark(), "2.5.29.19"), [0x30, 3, 1, 1, 0xFF]);
    assert_eq!(value(amd.ask(), "2.5.29.15"), [3, 2, 1, 4]);
    assert_eq!(value(amd.ask(), "2.5.29.19"), [0x30, 6, 1, 1, 0xFF, 2, 1, 0]);
    assert_eq!(value(amd.ark(), "2.5.29.14")[2..], value(amd.ask(), "2.5.29.35")[4..]);
    assert_eq!(parsed(amd.ask()).tbs_certificate().serial_number().as_bytes(), [1, 0, 1]);
}

/// Milan's VCEKs and every authority spell out the default trailer field; the others leave it out.
#[test]
fn pss_parameters_come_in_amds_two_forms() {
    let trailer = [0xA3, 3, 2, 1, 1];
    let spelt_out = |der: &[u8]| {
        let algorithm = parsed(der).signature_algorithm().to_der().expect("DER");
        assert_eq!(parsed(der).tbs_certificate().signature().to_der().expect("DER"), algorithm);
        algorithm.ends_with(&trailer)
    };
    for product in Product::ALL {
        let amd = amd(product);
        let chip = Chip::new(product, 1);
        assert!(spelt_out(amd.ark()) && spelt_out(amd.ask()));
        assert_eq!(spelt_out(&amd.vcek(&chip).certificate), product == Product::Milan);
        assert!(!spelt_out(&amd.vlek(CSP_ID, chip.tcb).certificate));
    }
}

#[test]
fn certificates_are_valid_around_now() {
    let amd = amd(Product::Genoa);
    let chip = Chip::new(Product::Genoa, 1);
    let days = |der: &[u8]| {
        let certificate = parsed(der);
        let validity = certificate.tbs_certificate().validity();
        let day = |time: x509_cert::time::Time| {
            (time.to_unix_duration().as_secs() as i64 - amd.now().as_second()) / (24 * 60 * 60)
        };
        (day(validity.not_before), day(validity.not_after))
    };
    for ca in [amd.ark(), amd.ask(), &amd.asvk()] {
        assert_eq!(days(ca), (-3 * 365, 22 * 365));
    }
    assert_eq!(days(&amd.vcek(&chip).certificate), (-1, 7 * 365));
    assert_eq!(days(&amd.vlek(CSP_ID, chip.tcb).certificate), (-1, 365));
}

#[test]
fn each_override_alters_what_it_names() {
    let amd = amd(Product::Milan);
    let chip = Chip::new(Product::Milan, 1);
    let make = |overrides: Overrides| amd.vcek_with(&chip, &overrides).certificate;
    let usual = Overrides::default;

    let certificate = make(Overrides { replace: vec![extension::hwid(&[7; 64])], ..usual() });
    assert_eq!(extensions(&certificate).last().expect("one").2, [7; 64]);
    assert_eq!(extensions(&certificate).len(), 11);
    let certificate = make(Overrides { omit: vec![oid::HWID], ..usual() });
    assert_eq!(extensions(&certificate).len(), 10);
    let certificate = make(Overrides { duplicate: Some(oid::SNP), ..usual() });
    assert_eq!(extensions(&certificate).len(), 12);
    let certificate = make(Overrides { replace: vec![extension::unknown(true)], ..usual() });
    assert!(extensions(&certificate).last().expect("one").1);

    assert!(!signature_holds(&make(Overrides { corrupt_signature: true, ..usual() }), RsaKey::Ask));
    assert!(signature_holds(&make(Overrides { signer: Some(RsaKey::Asvk), ..usual() }), RsaKey::Asvk));
    let certificate = parsed(&make(Overrides { algorithm: Some(Algorithm::PSS_SHA256), ..usual() }));
    UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, RsaKey::Ask.public_key())
        .verify(&certificate.tbs_certificate().to_der().expect("DER"), certificate.signature().raw_bytes())
        .expect("signed as it says");
    let certificate = parsed(&make(Overrides { inner_algorithm: Some(Algorithm::PSS), ..usual() }));
    assert_ne!(certificate.signature_algorithm(), certificate.tbs_certificate().signature());

    let certificate =
        make(Overrides { subject_cn: Some("x".into()), issuer_cn: Some("y".into()), ..usual() });
    let (subject, issuer) = subject_and_issuer(&certificate);
    assert!(subject.contains("CN=x") && issuer.contains("CN=y"));
    let certificate = make(Overrides { version_1: true, ..usual() });
    assert!(extensions(&certificate).is_empty());
    let not_after = amd.now() - DAY;
    let certificate = parsed(&make(Overrides { not_after: Some(not_after), ..usual() }));
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs();
    assert_eq!(end as i64, not_after.as_second());

    let p256 = amd.vcek_with(&chip, &Overrides { key: Some(SubjectKey::P256), ..usual() });
    assert_eq!(p256.key.curve(), Curve::P256);
    assert_eq!(p256.key.public_key().len(), 65);
    let key = parsed(&p256.certificate).tbs_certificate().subject_public_key_info().clone();
    assert_eq!(key.subject_public_key.raw_bytes(), p256.key.public_key());
    assert!(Certificate::from_der(&make(Overrides { trailing: vec![0], ..usual() })).is_err());
}

#[test]
fn a_rogue_root_has_the_right_name_and_signs_itself() {
    let amd = amd(Product::Milan);
    let rogue = Overrides { key: Some(SubjectKey::Rsa(RsaKey::Rogue)), ..Overrides::default() };
    let ark = amd.ca(Ca::Ark, &rogue);
    assert_eq!(subject_and_issuer(&ark), subject_and_issuer(amd.ark()));
    assert!(signature_holds(&ark, RsaKey::Rogue));
    assert!(signature_holds(&amd.ca(Ca::Ask, &rogue), RsaKey::Ark), "an ASK stays the ARK's");
}

#[test]
fn revocation_lists_are_signed_by_the_root() {
    let amd = amd(Product::Milan);
    let list = |options: &CrlOptions| CertificateList::from_der(&amd.crl(options)).expect("a CRL");
    let holds = |list: &CertificateList| {
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, RsaKey::Ark.public_key())
            .verify(&list.tbs_cert_list.to_der().expect("DER"), list.signature.raw_bytes())
            .is_ok()
    };
    let usual = list(&CrlOptions::default());
    assert!(holds(&usual));
    assert!(usual.tbs_cert_list.revoked_certificates.is_none());
    assert!(usual.tbs_cert_list.next_update.is_some());
    assert_eq!(usual.tbs_cert_list.issuer, *parsed(amd.ark()).tbs_certificate().subject());
    assert_eq!(usual.tbs_cert_list.crl_extensions.expect("extensions").len(), 2);

    let revoked = vec![Ca::Ask.serial(Product::Milan)];
    let revoked = list(&CrlOptions { revoked, omit_next_update: true, ..CrlOptions::default() });
    assert!(holds(&revoked));
    let entries = revoked.tbs_cert_list.revoked_certificates.expect("an entry");
    assert_eq!(entries[0].serial_number.as_bytes(), [1, 0, 1]);
    assert!(revoked.tbs_cert_list.next_update.is_none());

    assert!(!holds(&list(&CrlOptions { signer: Some(RsaKey::Rogue), ..CrlOptions::default() })));
    assert!(!holds(&list(&CrlOptions { corrupt_signature: true, ..CrlOptions::default() })));
}

#[test]
fn pem_has_lines_of_64_characters() {
    let text = pem(&[0xA5; 50]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.iter().map(|line| line.len()).collect::<Vec<_>>(), [27, 64, 4, 25]);
    let amd = amd(Product::Milan);
    let chain = amd.chain_pem(Ca::Ask);
    assert_eq!(chain, pem(amd.ask()) + &pem(amd.ark()));
}
