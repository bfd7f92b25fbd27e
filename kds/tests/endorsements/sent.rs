//! The certificates that the guest sends.

use keybroker_kds::EndorsementError;
use keybroker_simulator::{
    Product,
    kds::Kind,
    pki::{CSP_ID, Ca, Chip, Overrides, RsaKey, Vek},
    report::{ReportFields, SIGNED_BY_VLEK},
};
use keybroker_snp::{
    certificate::{Defect, Role},
    endorsement::EndorsementKind,
    report::Report,
};

use crate::harness::hardware::{Hardware, endorse, endorse_with, retry_after};

#[tokio::test]
async fn a_certificate_that_fits_is_used_and_kept() {
    let hardware = Hardware::new().await;
    let (source, report) = (hardware.source(), hardware.report());
    // In any order, with others between.
    let sent = [hardware.amd.ark().to_vec(), vec![0x30], hardware.amd.ask().to_vec(), hardware.vcek()];
    let endorsements = endorse_with(&source, &report, None, &sent).await.unwrap();
    assert_eq!(endorsements.chain.vek().der(), hardware.vcek());
    assert_eq!((hardware.kds.count(Kind::Vcek), hardware.kds.count(Kind::Chain)), (0, 0));

    // The next guest of the chip needs none.
    hardware.down();
    endorse(&source, &report).await.unwrap();
    assert_eq!(hardware.cache.row(&hardware.vcek_key()).unwrap().bytes, hardware.vcek());
}

#[tokio::test]
async fn kds_is_asked_where_the_certificates_do_not_fit() {
    let hardware = Hardware::new().await;
    let report = hardware.report();
    let older = hardware.chip.at(keybroker_simulator::Tcb { microcode: 1, ..hardware.chip.tcb });
    for sent in [
        hardware.amd.vcek(&Chip::new(Product::Milan, 2)).certificate,
        hardware.amd.vcek(&older).certificate,
        hardware.self_made_vcek(),
        hardware.vcek()[1..].to_vec(),
        vec![],
    ] {
        let asked = hardware.kds.count(Kind::Vcek);
        hardware.cache.plant(&hardware.vcek_key(), crate::harness::hardware::row(vec![]));
        let sent = [sent, hardware.amd.ask().to_vec()];
        let endorsements = endorse_with(&hardware.source(), &report, None, &sent).await.unwrap();
        assert_eq!(endorsements.chain.vek().der(), hardware.vcek());
        assert_eq!(hardware.kds.count(Kind::Vcek), asked + 1);
    }
}

/// A certificate that was verified for one chip does not stand in for another's.
#[tokio::test]
async fn a_certificate_known_from_a_neighbour_does_not_fit() {
    let hardware = Hardware::new().await;
    let source = hardware.source();
    let sent = [hardware.vcek(), hardware.amd.ask().to_vec()];
    endorse_with(&source, &hardware.report(), None, &sent).await.unwrap();
    let neighbour = Chip::new(Product::Milan, 2);
    hardware.kds.add(&neighbour);
    let report = crate::harness::hardware::report(&neighbour);
    let endorsements = endorse_with(&source, &report, None, &sent).await.unwrap();
    assert_ne!(endorsements.chain.vek().der(), hardware.vcek());
    assert_eq!(hardware.kds.count(Kind::Vcek), 1);
}

/// A whole chain of the guest's own make leads nowhere, and is not kept.
#[tokio::test]
async fn a_self_made_chain_gains_nothing() {
    let hardware = Hardware::new().await;
    hardware.down();
    let pem = hardware.self_made_chain(Ca::Ask);
    let mut sent = keybroker_snp::anchors::pem_certificates(pem.as_bytes()).unwrap();
    sent.push(hardware.self_made_vcek());
    let outcome = endorse_with(&hardware.source(), &hardware.report(), None, &sent).await;
    assert_eq!(retry_after(outcome), 5);
    assert_eq!(hardware.cache.keys(), Vec::<String>::new());
}

fn vlek_report(hardware: &Hardware, vlek: &Vek) -> Report {
    let fields = ReportFields { signing_key: SIGNED_BY_VLEK, ..ReportFields::new(&hardware.chip) };
    Report::parse(&fields.sign(&vlek.key)).unwrap()
}

#[tokio::test]
async fn a_vlek_comes_from_the_guest_alone() {
    let hardware = Hardware::new().await;
    let vlek = hardware.amd.vlek(CSP_ID, hardware.chip.tcb);
    let (source, report) = (hardware.source(), vlek_report(&hardware, &vlek));
    for sent in [vec![], vec![hardware.vcek(), hardware.amd.ask().to_vec()]] {
        let outcome = endorse_with(&source, &report, None, &sent).await;
        assert_eq!(outcome.unwrap_err(), EndorsementError::NoVlek);
    }
    assert_eq!(hardware.kds.requests(), []);
}

#[tokio::test]
async fn the_asvk_comes_from_the_guest_or_kds_or_the_table() {
    let hardware = Hardware::new().await;
    let vlek = hardware.amd.vlek(CSP_ID, hardware.chip.tcb);
    let report = vlek_report(&hardware, &vlek);
    let alone = [vlek.certificate.clone()];
    let whole = [hardware.amd.asvk(), vlek.certificate];

    let endorsements = endorse_with(&hardware.source(), &report, None, &whole).await.unwrap();
    assert_eq!(endorsements.chain.vek().kind(), EndorsementKind::Vlek);
    assert_eq!(hardware.kds.count(Kind::Chain), 0);

    // A report was verified under it: it is in the table, for those that come without.
    endorse_with(&hardware.source(), &report, None, &alone).await.unwrap();
    assert_eq!(hardware.kds.count(Kind::Chain), 0);
    hardware.cache.remove("Milan/vlek/chain");
    let source = hardware.source();
    endorse_with(&source, &report, None, &alone).await.unwrap();
    assert_eq!(hardware.kds.count(Kind::Chain), 1);

    hardware.down();
    endorse_with(&source, &report, None, &alone).await.unwrap();
    endorse_with(&hardware.source(), &report, None, &alone).await.unwrap();
    assert_eq!(hardware.kds.count(Kind::Chain), 1);
}

#[tokio::test]
async fn a_self_made_vlek_gains_nothing() {
    let hardware = Hardware::new().await;
    let rogue = Overrides { signer: Some(RsaKey::Rogue), ..Overrides::default() };
    let vlek = hardware.amd.vlek_with(CSP_ID, hardware.chip.tcb, &rogue);
    let (source, report) = (hardware.source(), vlek_report(&hardware, &vlek));
    for _ in 0..3 {
        let outcome = endorse_with(&source, &report, None, std::slice::from_ref(&vlek.certificate)).await;
        assert_eq!(outcome.unwrap_err(), EndorsementError::Certificate(Role::Vek.has(Defect::Signature)));
    }
    assert_eq!(hardware.kds.count(Kind::Chain), 1, "the ASVK is asked for once");
    assert_eq!(hardware.kds.count(Kind::Vcek), 0);
}

#[tokio::test]
async fn without_an_asvk_a_vlek_has_to_wait() {
    let hardware = Hardware::new().await;
    let vlek = hardware.amd.vlek(CSP_ID, hardware.chip.tcb);
    hardware.down();
    let (source, report, sent) = (hardware.source(), vlek_report(&hardware, &vlek), [vlek.certificate]);
    let error = endorse_with(&source, &report, None, &sent).await.unwrap_err();
    assert!(
        error.to_string().starts_with("the ASVK that issued the guest's VLEK is neither held nor"),
        "{error}"
    );
    assert_eq!(retry_after(Err(error)), 5);
    assert_eq!(retry_after(endorse_with(&source, &report, None, &sent).await), 6);
    assert_eq!(hardware.kds.count(Kind::Chain), 3, "the attempts of the first guest");
}
