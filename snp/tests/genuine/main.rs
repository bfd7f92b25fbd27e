//! Evidence of genuine AMD hardware: accepted as it is, refused with any single bit turned.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{fs, path::Path};

use jiff::Timestamp;
use keybroker_snp::{
    anchors::{TrustAnchors, pem_certificates},
    certificate::{Defect, Role},
    chain::Chain,
    product::Product,
    report::Report,
    vek::{Identity, Vek},
    verify::{Inputs, Outcome, ReportData, VerificationCheck, VerifyError, examine},
};
use keybroker_testing::{
    flipped, for_each_below,
    genuine::{self, Genuine, sev_file, sev_sample, vector, vectors_directory},
    time,
};

/// A day on which every VCEK at hand is valid.
const TODAY: &str = "2026-06-01T00:00:00Z";

/// The outcome of every check for `genuine`. AMD's revocation list is not at hand.
fn checks(
    genuine: &Genuine,
    report: &Report,
    report_data: &ReportData,
    csp_ids: Option<&[String]>,
    now: Timestamp,
) -> Vec<(VerificationCheck, Outcome<VerifyError>)> {
    let chain = genuine.chain().unwrap();
    examine(&Inputs {
        report,
        report_data: Some(report_data),
        vek: Some(chain.vek()),
        chain: Some(Ok(&chain)),
        crl: None,
        further_crls: &[],
        accepted_csp_ids: csp_ids,
        now,
    })
}

/// The checks that did not pass.
fn remarks<C, E>(checks: Vec<(C, Outcome<E>)>) -> Vec<(C, Outcome<E>)> {
    checks.into_iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Passed)).collect()
}

fn verification(
    genuine: &Genuine,
    csp_ids: Option<&[String]>,
    now: &str,
) -> Vec<(VerificationCheck, Outcome<VerifyError>)> {
    let report = Report::parse(&genuine.report).unwrap();
    let report_data = ReportData(*report.report_data());
    remarks(checks(genuine, &report, &report_data, csp_ids, time(now)))
}

const NO_CRL: (VerificationCheck, Outcome<VerifyError>) =
    (VerificationCheck::Revocation, Outcome::NotChecked);

#[test]
fn genuine_evidence_is_accepted() {
    let vectors = ["sev-milan", "trustee-milan", "trustee-e2e-siena-v3", "ms-turin"];
    for genuine in std::iter::once(sev_sample()).chain(vectors.into_iter().filter_map(vector)) {
        assert_eq!(verification(&genuine, None, TODAY), [NO_CRL], "{}", genuine.name);
    }
}

#[test]
fn a_genuine_debug_guest_is_verified() {
    let Some(genuine) = vector("go-milan") else { return };
    assert_eq!(verification(&genuine, None, TODAY), [NO_CRL]);
}

#[test]
fn a_genuine_vlek_is_accepted_in_its_time() {
    let Some(genuine) = vector("trustee-milan-vlek") else { return };
    let csp_id = "CN=cc-us-east-2.amazonaws.com".to_owned();
    let accepted = [csp_id.clone()];
    assert_eq!(verification(&genuine, Some(&accepted), "2025-06-01T00:00:00Z"), [NO_CRL]);

    let expired = Role::Vek.has(Defect::Expired(time("2025-12-10T22:14:21Z")));
    let expired = (VerificationCheck::Validity, Outcome::Failed(VerifyError::Certificate(expired)));
    assert_eq!(verification(&genuine, Some(&accepted), TODAY), [expired, NO_CRL]);

    let refused = VerifyError::Provider { found: csp_id, accepted: Vec::new() };
    let refused = (VerificationCheck::Identity, Outcome::Failed(refused));
    assert_eq!(verification(&genuine, Some(&[]), "2025-06-01T00:00:00Z"), [NO_CRL, refused]);
}

/// VCEKs of which somebody altered bytes after AMD had signed them.
#[test]
fn a_genuine_vcek_that_was_altered_is_refused() {
    let Some(directory) = vectors_directory() else {
        return keybroker_testing::genuine::skip("altered VCEKs");
    };
    for (name, refusal) in [
        ("NEG-trustee-vcek-invalid-legacy", Role::Vek.has(Defect::Signature)),
        // Its HWID is wrapped in an OCTET STRING.
        ("NEG-trustee-vcek-invalid-new", Role::Vek.has(Defect::ExtensionValue("HWID"))),
    ] {
        let der = fs::read(directory.join(name).join("vcek.der")).unwrap();
        let chain =
            Vek::parse(&der).and_then(|vek| Chain::verify(vek, &TrustAnchors::amd().asks(Product::Milan)));
        assert_eq!(chain.unwrap_err(), refusal, "{name}");
    }
}

/// The signature alone notices every altered bit of what it covers and of itself; the parser notices the
/// rest.
#[test]
fn every_single_bit_of_every_genuine_report_counts() {
    for genuine in genuine::all() {
        let chain = genuine.chain().unwrap();
        let vek = chain.vek();
        let holds = |bytes: &[u8]| {
            Report::parse(bytes)
                .is_ok_and(|report| vek.has_signed(report.signed_bytes(), &report.signature()))
        };
        assert!(holds(&genuine.report), "{}", genuine.name);
        assert_eq!(genuine.report.len() * 8, 9472);
        for_each_below(9472, |bit| {
            assert!(!holds(&flipped(&genuine.report, bit)), "{} bit {bit}", genuine.name);
        });
    }
}

/// The same through all checks, for one report: whatever bit is turned, at least one check fails.
#[test]
fn every_single_bit_fails_a_check() {
    let genuine = sev_sample();
    let report_data = ReportData(*Report::parse(&genuine.report).unwrap().report_data());
    for_each_below(9472, |bit| {
        let Ok(report) = Report::parse(&flipped(&genuine.report, bit)) else { return };
        let checks = checks(&genuine, &report, &report_data, None, time(TODAY));
        assert!(checks.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_))), "bit {bit}");
    });
}

/// Turning any bit of a genuine VCEK leaves no chain to AMD.
#[test]
fn every_single_bit_of_a_genuine_certificate_counts() {
    let genuine = sev_sample();
    genuine.chain().unwrap();
    for_each_below(genuine.vek.len() * 8, |bit| {
        let altered = Genuine { vek: flipped(&genuine.vek, bit), ..genuine.clone() };
        assert!(altered.chain().is_err(), "bit {bit}");
    });
}

#[test]
fn the_embedded_anchors_are_those_of_the_sev_package() {
    for product in Product::ALL {
        let line = product.name().to_lowercase();
        for name in ["ark", "ask"] {
            let embedded =
                Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/anchors/{line}-{name}.pem"));
            let embedded = pem_certificates(&fs::read(embedded).unwrap()).unwrap();
            let published =
                pem_certificates(&sev_file(&format!("src/certs/snp/builtin/{line}/{name}.pem"))).unwrap();
            assert_eq!(embedded, published, "{line} {name}");
        }
    }
}

/// A VCEK without a report: 8 bytes of HWID and an FMC level.
#[test]
fn a_genuine_turin_vcek_leads_to_amd() {
    let vek = Vek::parse(&sev_file("tests/certs_data/vcek_turin.der")).unwrap();
    assert_eq!(vek.product, Product::Turin);
    assert!(vek.tcb.fmc.is_some());
    assert!(matches!(&vek.identity, Identity::Chip(hwid) if hwid.len() == 8));
    let chain = Chain::verify(vek, &TrustAnchors::amd().asks(Product::Turin)).unwrap();
    chain.check_validity(time(TODAY)).unwrap();
}

/// Another chip's genuine certificate verifies nothing: TCB or chip tell it apart, and the signature would.
#[test]
fn genuine_certificates_of_other_chips_are_refused() {
    let (Some(one), Some(other)) = (vector("sev-milan"), vector("trustee-milan")) else { return };
    let mixed = Genuine { vek: other.vek, ..one };
    let failed = |check, error| (check, Outcome::Failed(error));
    assert_eq!(
        verification(&mixed, None, TODAY),
        [
            NO_CRL,
            failed(VerificationCheck::Identity, VerifyError::ChipId),
            failed(VerificationCheck::Signature, VerifyError::Signature)
        ]
    );
}
