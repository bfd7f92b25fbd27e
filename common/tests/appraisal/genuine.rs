//! Reports of genuine AMD hardware, appraised against their own measurement and nothing else.

use keybroker_common::{
    appraisal::{AppraisalCheck, AppraisalError, Fleet, Inputs, examine},
    requirements::{AppraisalPolicy, EvidenceForm, Measurement, ReferenceValues},
};
use keybroker_snp::{report::Report, verify::Outcome};
use keybroker_testing::genuine::{Genuine, sev_sample, vector};

/// The checks that did not pass.
fn remarks(genuine: &Genuine) -> Vec<(AppraisalCheck, Outcome<AppraisalError>)> {
    let report = Report::parse(&genuine.report).unwrap();
    let reference_values = ReferenceValues { measurements: vec![Measurement(*report.measurement())] };
    let outcomes = examine(&Inputs {
        report: &report,
        form: EvidenceForm::Snp,
        product: Some(genuine.product),
        fleet: &Fleet::default(),
        reference_values: Some(&reference_values),
        policy: &AppraisalPolicy::default(),
        init_data: None,
    });
    outcomes.into_iter().filter(|(_, outcome)| *outcome != Outcome::Passed).collect()
}

#[test]
fn genuine_reports_pass() {
    let vectors = ["sev-milan", "trustee-milan", "trustee-e2e-siena-v3", "ms-turin"];
    for genuine in std::iter::once(sev_sample()).chain(vectors.into_iter().filter_map(vector)) {
        assert_eq!(remarks(&genuine), [], "{}", genuine.name);
    }
}

#[test]
fn a_genuine_debug_guest_is_refused_for_that_alone() {
    let Some(genuine) = vector("go-milan") else { return };
    let debug = Outcome::Failed(AppraisalError::Debug(0xB_0000));
    assert_eq!(remarks(&genuine), [(AppraisalCheck::Debug, debug)]);
}

#[test]
fn a_genuine_report_of_vmpl_1_is_refused_for_that_alone() {
    let Some(genuine) = vector("trustee-milan-vlek") else { return };
    let vmpl = Outcome::Failed(AppraisalError::Vmpl(1));
    assert_eq!(remarks(&genuine), [(AppraisalCheck::Vmpl, vmpl)]);
}
