//! The form of the evidence: every form that a registration demands × every form that a guest presents ×
//! product.

use keybroker_snp::product::Product;

use super::*;

#[test]
fn the_form_is_the_one_that_the_registration_demands() {
    for product in Product::ALL {
        let guest =
            Attempt::vcek(product).fields(|fields| fields.measurement = MEASUREMENT).verify().unwrap();
        for required in EvidenceForm::ALL {
            let policy = Policy { evidence: required, ..Policy::default() };
            let workload = workload(registered(), &policy);
            for found in EvidenceForm::ALL {
                let (registered, fleet) = (workload.read().unwrap(), Fleet::default());
                let verdict = appraise(&guest, found, &fleet, &registered, None).map(|_| ());
                let expected = if found == required {
                    Ok(())
                } else {
                    Err((AppraisalCheck::EvidenceForm, Error::EvidenceForm { found, required }))
                };
                assert_eq!(verdict, expected, "{product}: {found} where {required} is demanded");
            }
        }
    }
}

/// The form stands above nothing: what holds for every guest is checked in either.
#[test]
fn no_form_lowers_the_floor() {
    for (alter, check) in [
        ((|fields| fields.vmpl = 2) as fn(&mut ReportFields), AppraisalCheck::Vmpl),
        (|fields| fields.policy |= 1 << 19, AppraisalCheck::Debug),
        (|fields| fields.measurement = [9; 48], AppraisalCheck::Measurement),
    ] {
        let guest = guest(alter);
        let policy = Policy { evidence: EvidenceForm::AzSnpVtpm, ..Policy::default() };
        let workload = workload(registered(), &policy);
        let registered = workload.read().unwrap();
        let verdict = appraise(&guest, EvidenceForm::AzSnpVtpm, &Fleet::default(), &registered, None);
        assert_eq!(verdict.map(|_| ()).unwrap_err().0, check);
    }
}

/// A registration from before there were forms is stored as it was, and one that demands the other form is
/// read by no release that knows none.
#[test]
fn the_bare_report_is_not_written_down() {
    let bytes = |evidence| {
        let policy = Policy { evidence, ..Policy::default() };
        String::from_utf8(workload(registered(), &policy).registration).unwrap()
    };
    assert!(!bytes(EvidenceForm::Snp).contains("evidence"));
    assert!(bytes(EvidenceForm::AzSnpVtpm).contains(r#""evidence":"az-snp-vtpm""#));
}
