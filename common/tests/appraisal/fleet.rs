//! The operator's demands on every guest, beside those of a registration.

use super::*;

#[test]
fn the_stricter_of_operator_and_registration_wins() {
    let good = guest(|_| ());
    let above = TcbVersion { snp: 5, ..TCB };
    let below = TcbVersion { snp: 3, ..TCB };
    let verdict = |operator: TcbVersion, registration: TcbVersion| {
        let mut fleet = Fleet::default();
        fleet.platform.minimum_tcb = floors(operator);
        let mut policy = Policy::default();
        policy.platform.minimum_tcb = floors(registration);
        appraised_in(&fleet, &good, registered(), &policy)
    };
    let missed = |by| {
        let fault =
            PlatformFault::Tcb { version: Version::Reported, found: Some(TCB), required: above.into() };
        Error::Platform { by, fault }
    };
    assert_eq!(verdict(TCB, TCB), Ok(()));
    assert_eq!(verdict(below, below), Ok(()));
    assert_eq!(verdict(above, below), Err((AppraisalCheck::FleetMinimumTcb, missed(Operator))));
    assert_eq!(verdict(below, above), Err((AppraisalCheck::MinimumTcb, missed(TheRegistration))));
}

/// Levels of some silicon say nothing of another's: as soon as one has a floor, all others need one.
#[test]
fn an_operators_floor_for_another_product_refuses() {
    let good = guest(|_| ());
    let mut fleet = Fleet::default();
    fleet.platform.minimum_tcb = floor_of("milan-b1", TcbVersion { fmc: None, ..TCB });
    let verdict = appraised_in(&fleet, &good, registered(), &Policy::default());
    let fault = PlatformFault::Unnamed {
        what: "reported TCB",
        silicon: SiliconKey::parse("turin-c1").unwrap(),
        product_named: false,
    };
    assert_eq!(verdict, Err((AppraisalCheck::FleetMinimumTcb, Error::Platform { by: Operator, fault })));
}
