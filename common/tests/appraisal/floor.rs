//! The floor that no registration lowers.

use super::*;

type Alter = fn(&mut ReportFields);

/// The guests that no registration permits, with the reason.
fn floor() -> Vec<(AppraisalCheck, Alter, Error)> {
    vec![
        (AppraisalCheck::Debug, |guest| guest.policy |= 1 << 19, Error::Debug(0x11A_0137)),
        (AppraisalCheck::MigrateMa, |guest| guest.policy |= 1 << 18, Error::MigrateMa(0x116_0137)),
        (AppraisalCheck::PolicyForm, |guest| guest.policy &= !(1 << 17), Error::PolicyForm(0x110_0137)),
        (AppraisalCheck::PolicyForm, |guest| guest.policy |= 1 << 26, Error::PolicyForm(0x512_0137)),
        (
            AppraisalCheck::PolicyForm,
            |guest| guest.policy |= 1 << 63,
            Error::PolicyForm(0x8000_0000_0112_0137),
        ),
        (AppraisalCheck::Vmpl, |guest| guest.vmpl = 1, Error::Vmpl(1)),
        (AppraisalCheck::Vmpl, |guest| guest.vmpl = u32::MAX, Error::Vmpl(u32::MAX)),
    ]
}

#[test]
fn no_registration_lowers_the_floor() {
    for (check, alter, error) in floor() {
        let bad = guest(alter);
        for policy in [Policy::default(), strict()] {
            assert_eq!(verdict(&bad, &policy), Err((check, error.clone())), "{}", check.name());
        }
        let inputs = Inputs {
            report: bad.report(),
            form: EvidenceForm::Snp,
            product: None,
            fleet: &Fleet::default(),
            reference_values: None,
            policy: &Policy::default(),
            init_data: None,
        };
        assert_eq!(refuse_early(&inputs), Err((check, error)), "{} early", check.name());
    }
}

/// Bits that the ABI gives a meaning are the owner's business.
#[test]
fn every_known_policy_bit_is_admitted_by_default() {
    for bit in (0..16).chain([16, 20, 21, 22, 23, 24, 25]) {
        let report = guest(|guest| guest.policy = 1 << 17 | 1 << bit);
        assert_eq!(verdict(&report, &Policy::default()), Ok(()), "bit {bit}");
    }
}
