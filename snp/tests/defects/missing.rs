use keybroker_snp::{
    certificate::{Defect, Role},
    crl::CrlError,
    product::Product::Milan,
    report::Report,
    silicon::Cpuid,
    verify::{Inputs, Outcome, ReportData, VerificationCheck, VerifyError, examine, refuse_early},
};
use keybroker_testing::{Attempt, attempt::REPORT_DATA};

const ALL: [VerificationCheck; 10] = [
    VerificationCheck::Challenge,
    VerificationCheck::Signed,
    VerificationCheck::SigningKey,
    VerificationCheck::Chain,
    VerificationCheck::Validity,
    VerificationCheck::Revocation,
    VerificationCheck::Product,
    VerificationCheck::ReportedTcb,
    VerificationCheck::Identity,
    VerificationCheck::Signature,
];

fn not_checked(inputs: &Inputs<'_>) -> Vec<VerificationCheck> {
    let checks = examine(inputs);
    assert_eq!(checks.iter().map(|(check, _)| *check).collect::<Vec<_>>(), ALL);
    let missing = checks.into_iter().filter(|(_, outcome)| *outcome == Outcome::NotChecked);
    missing.map(|(check, _)| check).collect()
}

/// A check whose input is missing says so, and never that it passed.
#[test]
fn inputs() {
    let vlek = Attempt::vlek(Milan);
    let report = Report::parse(&vlek.report_bytes()).unwrap();
    let endorsements = vlek.endorsements().unwrap();
    let report_data = ReportData(REPORT_DATA);
    let all = Inputs {
        report: &report,
        report_data: Some(&report_data),
        vek: Some(endorsements.chain.vek()),
        chain: Some(Ok(&endorsements.chain)),
        crl: Some(Ok((&endorsements.crl, endorsements.crl_grace))),
        further_crls: &[],
        accepted_csp_ids: Some(&vlek.accepted_csp_ids),
        now: vlek.now,
    };
    assert_eq!(not_checked(&all), []);
    assert!(examine(&all).iter().all(|(_, outcome)| *outcome == Outcome::Passed));
    assert_eq!(not_checked(&Inputs { report_data: None, ..all.clone() }), [VerificationCheck::Challenge]);
    assert_eq!(
        not_checked(&Inputs { chain: None, ..all.clone() }),
        [VerificationCheck::Chain, VerificationCheck::Validity, VerificationCheck::Revocation]
    );
    assert_eq!(not_checked(&Inputs { crl: None, ..all.clone() }), [VerificationCheck::Revocation]);
    assert_eq!(not_checked(&Inputs { accepted_csp_ids: None, ..all.clone() }), [VerificationCheck::Identity]);
    assert_eq!(
        not_checked(&Inputs { vek: None, ..all }),
        [
            VerificationCheck::SigningKey,
            VerificationCheck::Product,
            VerificationCheck::ReportedTcb,
            VerificationCheck::Identity,
            VerificationCheck::Signature
        ]
    );
}

#[test]
fn chain_or_list_that_was_refused() {
    let vcek = Attempt::vcek(Milan);
    let report = Report::parse(&vcek.report_bytes()).unwrap();
    let endorsements = vcek.endorsements().unwrap();
    let no_path = Role::Vek.has(Defect::NoPath);
    let inputs = Inputs {
        report: &report,
        report_data: None,
        vek: Some(endorsements.chain.vek()),
        chain: Some(Err(no_path)),
        crl: Some(Err(CrlError::Malformed)),
        further_crls: &[],
        accepted_csp_ids: None,
        now: vcek.now,
    };
    let outcome =
        |inputs: &Inputs<'_>, check| examine(inputs).into_iter().find(|(one, _)| *one == check).unwrap().1;
    assert_eq!(outcome(&inputs, VerificationCheck::Chain), Outcome::Failed(no_path.into()));
    assert_eq!(outcome(&inputs, VerificationCheck::Validity), Outcome::NotChecked);
    assert_eq!(outcome(&inputs, VerificationCheck::Revocation), Outcome::NotChecked);
    let chained = Inputs { chain: Some(Ok(&endorsements.chain)), ..inputs };
    assert_eq!(outcome(&chained, VerificationCheck::Revocation), Outcome::Failed(CrlError::Malformed.into()));
}

/// Reports that can be refused before anybody is asked for an endorsement.
#[test]
fn endorsements() {
    let early = |attempt: Attempt| {
        let report = Report::parse(&attempt.report_bytes()).unwrap();
        refuse_early(&report, &ReportData(attempt.report_data), attempt.now)
    };
    let sound = Attempt::vcek(Milan);
    assert_eq!(early(sound.clone()), Ok(()));
    assert_eq!(
        early(Attempt { report_data: [1; 64], ..sound.clone() }),
        Err((VerificationCheck::Challenge, VerifyError::Challenge))
    );
    assert_eq!(
        early(sound.clone().fields(|fields| fields.mask_chip_key = true)),
        Err((VerificationCheck::Signed, VerifyError::Unsigned))
    );
    assert_eq!(
        early(sound.fields(|fields| fields.cpuid = [0x17, 1, 0])),
        Err((
            VerificationCheck::Product,
            VerifyError::UnknownProduct(Cpuid { family: 0x17, model: 1, stepping: 0 })
        ))
    );
}

#[test]
fn names_tell_the_checks_apart() {
    let names: std::collections::HashSet<_> = ALL.iter().map(|check| check.name()).collect();
    assert_eq!(names.len(), ALL.len());
}
