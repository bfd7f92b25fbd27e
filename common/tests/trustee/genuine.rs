//! The evidence of a genuine Azure confidential VM, where it is at hand: the folder `azure` of the further
//! vectors, from Trustee's test data.

use std::fs;

use data_encoding::HEXUPPER;
use keybroker_common::{
    appraisal::{self, AppraisalCheck, Fleet},
    binding::NotBound,
    requirements::{AppraisalPolicy, EvidenceForm, Measurement, ReferenceValues},
    wire::trustee::evidence::read,
};
use keybroker_snp::{
    anchors::TrustAnchors,
    chain::Chain,
    hcl::HclReport,
    vek::Vek,
    verify::{Inputs, Outcome, ReportData, VerificationCheck, examine},
};
use keybroker_testing::{
    genuine::{skip, vectors_directory},
    time,
};

/// The guest's own 64 bytes, in upper case as this paravisor writes them: the SHA-384 of its runtime data,
/// then zeros.
const BOUND: &str = "982F5C6E45DF0ED3F10B6F60B02F0C8390E281300F3805E2279C16168CD6AE9AA398F647CAA2338748CD0FD9F5F819EF\
                     00000000000000000000000000000000";

#[test]
fn version_2_of_azures_evidence_holds() {
    let file = vectors_directory().map(|directory| directory.join("azure/evidence-v2.json"));
    let Some(text) = file.and_then(|file| fs::read_to_string(file).ok()) else { return skip("azure") };
    let sent = read(&text).unwrap();
    assert_eq!(sent.report.form, EvidenceForm::AzSnpVtpm);
    let read = sent.report.read().unwrap();
    let bound: [u8; 64] = HEXUPPER.decode(BOUND.as_bytes()).unwrap().try_into().unwrap();
    let report_data = read.report_data(bound).unwrap();
    assert_eq!(read.report_data([0xA5; 64]), Err(NotBound::Other));
    assert!(HclReport::parse(&sent.report.bytes).unwrap().claims().ends_with(b"0000\"}"));

    let vek = Vek::parse(&sent.certificates[0]).unwrap();
    let product = vek.product;
    let chain = Chain::verify(vek, &TrustAnchors::amd().asks(product)).unwrap();
    let report = read.report();
    let remarks = |report_data| {
        let checks = examine(&Inputs {
            report,
            report_data: Some(&ReportData(report_data)),
            vek: Some(chain.vek()),
            chain: Some(Ok(&chain)),
            crl: None,
            further_crls: &[],
            accepted_csp_ids: None,
            now: time("2026-06-01T00:00:00Z"),
        });
        let remarks = checks.into_iter().filter(|(_, outcome)| !matches!(outcome, Outcome::Passed));
        remarks.map(|(check, _)| check).collect::<Vec<_>>()
    };
    // AMD's revocation list is not at hand.
    assert_eq!(remarks(report_data), [VerificationCheck::Revocation]);
    assert_eq!(remarks(bound), [VerificationCheck::Challenge, VerificationCheck::Revocation]);

    // It passes the floor, and is the paravisor's: version 12 of it, under Azure's key, and no HOST_DATA.
    assert_eq!((report.vmpl(), report.guest_svn(), report.host_data()), (0, 12, &[0; 32]));
    assert_ne!(report.id_key_digest(), &[0; 48]);
    let verdict = |evidence| {
        let reference_values = ReferenceValues { measurements: vec![Measurement(*report.measurement())] };
        appraisal::refuse_early(&appraisal::Inputs {
            report,
            form: read.form(),
            product: Some(product),
            fleet: &Fleet::default(),
            reference_values: Some(&reference_values),
            policy: &AppraisalPolicy { evidence, ..AppraisalPolicy::default() },
            init_data: None,
        })
        .map_err(|(check, _)| check)
    };
    assert_eq!(verdict(EvidenceForm::AzSnpVtpm), Ok(()));
    assert_eq!(verdict(EvidenceForm::Snp), Err(AppraisalCheck::EvidenceForm));
}
