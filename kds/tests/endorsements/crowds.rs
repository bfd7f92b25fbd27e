//! Many guests at once.

use std::sync::Arc;

use keybroker_simulator::{
    kds::{Behaviour, Kind},
    pki::Chip,
};
use tokio::task::JoinSet;

use crate::harness::{
    clock::days,
    hardware::{Hardware, endorse, report, retry_after},
};

#[tokio::test]
async fn fifty_guests_of_one_chip_ask_once() {
    let hardware = Hardware::new().await;
    let (source, report) = (Arc::new(hardware.source()), hardware.report());
    hardware.kds.hold();
    let mut guests = JoinSet::new();
    for _ in 0..50 {
        let (source, report) = (Arc::clone(&source), report.clone());
        guests.spawn(async move { endorse(&source, &report).await.map(|_| ()) });
    }
    hardware.kds.arrived(Kind::Vcek, 1).await;
    hardware.kds.release();
    assert_eq!(guests.join_all().await, vec![Ok(()); 50]);
    for kind in [Kind::Vcek, Kind::Chain, Kind::Crl] {
        assert_eq!(hardware.kds.count(kind), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn fifty_guests_of_one_chip_fail_together() {
    let hardware = Hardware::new().await;
    let (source, report) = (Arc::new(hardware.source()), hardware.report());
    hardware.kds.otherwise(Behaviour::Status(503, None));
    let mut guests = JoinSet::new();
    for _ in 0..50 {
        let (source, report) = (Arc::clone(&source), report.clone());
        guests.spawn(async move { retry_after(endorse(&source, &report).await) });
    }
    assert!(guests.join_all().await.into_iter().all(|seconds| seconds == 5 || seconds == 6));
    assert_eq!(hardware.kds.count(Kind::Vcek), 3, "the attempts of the first guest");
}

#[tokio::test]
async fn four_requests_are_under_way_at_most() {
    let hardware = Hardware::new().await;
    let source = Arc::new(hardware.source());
    hardware.kds.hold();
    let mut guests = JoinSet::new();
    for seed in 10..18 {
        let chip = Chip::new(hardware.chip.product(), seed);
        hardware.kds.add(&chip);
        let source = Arc::clone(&source);
        guests.spawn(async move { endorse(&source, &report(&chip)).await.map(|_| ()) });
    }
    hardware.kds.arrived(Kind::Vcek, 4).await;
    hardware.kds.release();
    assert_eq!(guests.join_all().await, vec![Ok(()); 8]);
    assert_eq!(hardware.kds.peak(), 4);
}

/// A guest that gives up does not leave the others waiting for it.
#[tokio::test]
async fn a_guest_that_goes_away_hands_over() {
    let hardware = Hardware::new().await;
    let (source, report) = (Arc::new(hardware.source()), hardware.report());
    hardware.kds.hold();
    let guest =
        |source: Arc<_>, report| tokio::spawn(async move { endorse(&source, &report).await.map(|_| ()) });
    let first = guest(Arc::clone(&source), report.clone());
    hardware.kds.arrived(Kind::Vcek, 1).await;
    let second = guest(source, report);
    first.abort();
    hardware.kds.arrived(Kind::Vcek, 2).await;
    hardware.kds.release();
    assert_eq!(second.await.unwrap(), Ok(()));
}

/// While one guest asks for a newer list, the others go on with the one held.
#[tokio::test]
async fn nobody_waits_for_another_guests_renewal() {
    let hardware = Hardware::new().await;
    let (source, report) = (Arc::new(hardware.source()), hardware.report());
    endorse(&source, &report).await.unwrap();
    hardware.clock.advance(days(1));
    hardware.kds.hold();
    let renewing = {
        let (source, report) = (Arc::clone(&source), report.clone());
        tokio::spawn(async move { endorse(&source, &report).await.map(|_| ()) })
    };
    hardware.kds.arrived(Kind::Crl, 2).await;
    endorse(&source, &report).await.unwrap();
    assert!(!renewing.is_finished());
    hardware.kds.release();
    assert_eq!(renewing.await.unwrap(), Ok(()));
    assert_eq!(hardware.kds.count(Kind::Crl), 2);
}
