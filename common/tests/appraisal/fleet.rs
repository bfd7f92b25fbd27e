//! The operator's demands on every guest, beside those of a registration.

use super::*;

#[test]
fn the_stricter_of_operator_and_registration_wins() {
    let good = guest(|_| ());
    let above = TcbVersion { snp: 5, ..TCB };
    let below = TcbVersion { snp: 3, ..TCB };
    let verdict = |operator: TcbVersion, registration: TcbVersion| {
        let minimum_tcb = TcbFloors { turin: Some(operator), ..TcbFloors::default() };
        let fleet = Fleet { minimum_tcb, ..Fleet::default() };
        let policy = Policy { minimum_tcb: floors(registration), ..Policy::default() };
        appraised_in(&fleet, &good, registered(), &policy)
    };
    let missed = |by| Error::Tcb { which: "reported", found: Some(TCB), by, required: above };
    assert_eq!(verdict(TCB, TCB), Ok(()));
    assert_eq!(verdict(below, below), Ok(()));
    assert_eq!(verdict(above, below), Err((AppraisalCheck::FleetTcb, missed(Operator))));
    assert_eq!(verdict(below, above), Err((AppraisalCheck::MinimumTcb, missed(TheRegistration))));
}

#[test]
fn the_operator_chooses_the_products() {
    let good = guest(|_| ());
    let verdict = |products: &[Product]| {
        let fleet = Fleet { products: products.to_vec(), ..Fleet::default() };
        appraised_in(&fleet, &good, registered(), &Policy::default())
    };
    assert_eq!(verdict(&[Turin]), Ok(()));
    for accepted in [vec![Milan, Genoa], vec![]] {
        let error = Error::FleetProduct { found: Turin, accepted: accepted.clone() };
        assert_eq!(verdict(&accepted), Err((AppraisalCheck::FleetProduct, error)));
    }
    // A floor for another product is none for this one.
    let minimum_tcb = TcbFloors { milan: Some(TcbVersion { fmc: None, ..TCB }), ..TcbFloors::default() };
    let fleet = Fleet { minimum_tcb, ..Fleet::default() };
    assert_eq!(appraised_in(&fleet, &good, registered(), &Policy::default()), Ok(()));
}
