//! Both lists of AMD's as one: a certificate that either has revoked stays revoked.

use std::sync::Arc;

use keybroker_common::{broker::Presented, store::StoredEndorsement};
use keybroker_simulator::{
    Product,
    kds::{Behaviour, Kind},
    pki::{CSP_ID, Ca, CrlOptions},
    report::{ReportFields, SIGNED_BY_VLEK},
};
use keybroker_snp::{
    certificate::{Defect, Role},
    report::Report,
    verify::{VerificationCheck, VerifyError},
};

use crate::harness::{
    clock::{BEGIN, days, minutes},
    hardware::{Hardware, Process, attempt, endorse, retry_after},
};

use super::revocation::{KEY, again, list_of, row, started};

/// A guest with a VLEK: the report and what it sends.
fn vlek(hardware: &Hardware) -> (Report, Vec<Vec<u8>>) {
    let vlek = hardware.amd.vlek(CSP_ID, hardware.chip.tcb);
    let fields = ReportFields { signing_key: SIGNED_BY_VLEK, ..ReportFields::new(&hardware.chip) };
    (Report::parse(&fields.sign(&vlek.key)).unwrap(), vec![hardware.amd.asvk(), vlek.certificate])
}

async fn verdict(
    source: &Process,
    report: &Report,
    certificates: &[Vec<u8>],
) -> Result<(), (VerificationCheck, VerifyError)> {
    let request = Presented { report, claimed_product: None, certificates };
    attempt(source, &request).await.unwrap().1
}

fn revoking(hardware: &Hardware, ca: Ca, days_ago: i64) -> Vec<u8> {
    let this_update = Some(BEGIN - days(days_ago));
    let revoked = vec![ca.serial(Product::Milan)];
    hardware.crl(&CrlOptions { this_update, revoked, ..CrlOptions::default() })
}

fn revoked(role: Role) -> Result<(), (VerificationCheck, VerifyError)> {
    Err((VerificationCheck::Revocation, role.has(Defect::Revoked).into()))
}

/// An attacker on the way to AMD answers with the list for the other kind, which is later and does not list
/// the ASVK or ASK.
#[tokio::test]
async fn the_other_kinds_list_takes_no_revocation_back() {
    for (ca, role) in [(Ca::Asvk, Role::Asvk), (Ca::Ask, Role::Ask)] {
        let hardware = Hardware::new().await;
        let (report, sent) = match ca {
            Ca::Asvk => vlek(&hardware),
            _ => (hardware.report(), vec![]),
        };
        hardware.kds.serve_crl(Product::Milan, revoking(&hardware, ca, 2));
        let source = hardware.source();
        assert_eq!(verdict(&source, &report, &sent).await, revoked(role));
        let others = list_of(&hardware, 0);
        hardware.kds.serve_crl(Product::Milan, others.clone());
        hardware.clock.advance(days(1));
        // Another process, too.
        for process in [source, hardware.source()] {
            assert_eq!(verdict(&process, &report, &sent).await, revoked(role));
            let kind = if ca == Ca::Asvk { "vlek" } else { "vcek" };
            let row = hardware.cache.row(&format!("Milan/{kind}/crl")).unwrap();
            assert_eq!(row.bytes, others, "the latest is the one that has to count");
        }
    }
}

/// A list does not say for which kind it is: whatever the ARK has revoked in either is revoked.
#[tokio::test]
async fn a_certificate_on_either_list_is_revoked() {
    let hardware = Hardware::new().await;
    let stale = CrlOptions {
        this_update: Some(BEGIN - days(400)),
        next_update: Some(BEGIN - days(200)),
        revoked: vec![Ca::Ask.serial(Product::Milan)],
        ..CrlOptions::default()
    };
    // However old it is.
    for other in [revoking(&hardware, Ca::Ask, 2), hardware.crl(&stale)] {
        hardware.cache.plant("Milan/vlek/crl", row(other, BEGIN));
        assert_eq!(verdict(&hardware.source(), &hardware.report(), &[]).await, revoked(Role::Ask));
        hardware.cache.remove("Milan/revoking");
        hardware.cache.remove(KEY);
    }
    // And an older one that is refused as a list.
    hardware.cache.remove("Milan/vlek/crl");
    let source = hardware.source();
    assert_eq!(verdict(&source, &hardware.report(), &[]).await, Ok(()));
    hardware.kds.serve_crl(Product::Milan, revoking(&hardware, Ca::Ask, 2));
    hardware.clock.advance(days(1));
    assert_eq!(verdict(&source, &hardware.report(), &[]).await, revoked(Role::Ask));
}

/// The other kind's list can only add to what is revoked: it does not stand in for the one that has to count.
#[tokio::test]
async fn the_other_kinds_list_is_not_enough() {
    let hardware = Hardware::new().await;
    hardware.cache.plant("Milan/vlek/crl", row(list_of(&hardware, 1), BEGIN));
    hardware.kds.script(Kind::Crl, vec![Behaviour::Status(503, None); 3]);
    assert_eq!(retry_after(again(&hardware, &hardware.source()).await), 5);
}

/// An operator can take back what AMD has listed by mistake: with the rows that say it.
#[tokio::test]
async fn a_revocation_lasts_as_long_as_the_table_says_it() {
    let hardware = Hardware::new().await;
    hardware.kds.serve_crl(Product::Milan, revoking(&hardware, Ca::Ask, 2));
    let source = hardware.source();
    assert_eq!(verdict(&source, &hardware.report(), &[]).await, revoked(Role::Ask));
    hardware.kds.serve_crl(Product::Milan, list_of(&hardware, 0));
    for key in [KEY, "Milan/revoking"] {
        assert_eq!(verdict(&source, &hardware.report(), &[]).await, revoked(Role::Ask));
        hardware.cache.remove(key);
        source.forget();
    }
    hardware.clock.advance(minutes(1));
    assert_eq!(verdict(&source, &hardware.report(), &[]).await, Ok(()));
}

/// A list that an operator brings while AMD is asked for another one is not passed over.
#[tokio::test]
async fn a_list_brought_during_a_renewal_counts_after_it() {
    let (hardware, source) = started().await;
    let source = Arc::new(source);
    hardware.clock.advance(days(1));
    hardware.kds.hold();
    let renewing = {
        let (source, report) = (Arc::clone(&source), hardware.report());
        tokio::spawn(async move { endorse(&source, &report).await.map(|_| ()) })
    };
    hardware.kds.arrived(Kind::Crl, 2).await;
    let brought = row(revoking(&hardware, Ca::Ask, 0), BEGIN);
    hardware.cache.plant(KEY, StoredEndorsement { edition: BEGIN.as_second(), ..brought });
    source.forget();
    hardware.kds.release();
    assert_eq!(renewing.await.unwrap(), Ok(()));
    assert_eq!(verdict(&source, &hardware.report(), &[]).await, revoked(Role::Ask));
}
