//! The requests that are not repeated, and the time until which they are not.

use keybroker_common::{broker::Presented, config::KdsSettings};
use keybroker_kds::EndorsementError;
use keybroker_simulator::{
    Product,
    kds::{Behaviour, Kind},
    pki::Chip,
};

use crate::harness::{
    clock::{BEGIN, days, minutes, seconds},
    hardware::{Hardware, endorse, endorse_as, endorse_with, report, retry_after},
};

#[tokio::test]
async fn a_failure_is_remembered_for_a_few_seconds() {
    let hardware = Hardware::new().await;
    let (source, report) = (hardware.source(), hardware.report());
    hardware.kds.otherwise(Behaviour::Status(503, None));
    assert_eq!(retry_after(endorse(&source, &report).await), 5);
    for _ in 0..20 {
        assert_eq!(retry_after(endorse(&source, &report).await), 6);
    }
    hardware.clock.advance(seconds(4));
    assert_eq!(retry_after(endorse(&source, &report).await), 2);
    assert_eq!(hardware.kds.count(Kind::Vcek), 3);

    hardware.kds.recover();
    hardware.clock.advance(seconds(1));
    endorse(&source, &report).await.unwrap();
}

#[tokio::test]
async fn kds_is_left_alone_for_as_long_as_it_asks() {
    let hardware = Hardware::new().await;
    let (source, report) = (hardware.source(), hardware.report());
    hardware.kds.script(Kind::Vcek, [Behaviour::Status(429, Some(60))]);
    assert_eq!(retry_after(endorse(&source, &report).await), 60);
    hardware.clock.advance(seconds(59));
    assert_eq!(retry_after(endorse(&source, &report).await), 2);
    assert_eq!(hardware.kds.count(Kind::Vcek), 1);
    hardware.clock.advance(seconds(1));
    endorse(&source, &report).await.unwrap();
}

#[tokio::test]
async fn one_product_rests_and_the_others_do_not() {
    let hardware = Hardware::new().await;
    let source = hardware.source();
    let genoa = Chip::new(Product::Genoa, 1);
    hardware.kds.add(&genoa);
    hardware.kds.script(Kind::Vcek, [Behaviour::Status(429, Some(60))]);
    assert_eq!(retry_after(endorse(&source, &hardware.report()).await), 60);
    let neighbour = Chip::new(Product::Milan, 2);
    assert_eq!(retry_after(endorse(&source, &report(&neighbour)).await), 61);
    endorse(&source, &report(&genoa)).await.unwrap();
}

#[tokio::test]
async fn an_unknown_chip_is_asked_for_every_ten_minutes() {
    let hardware = Hardware::new().await;
    let source = hardware.source();
    let stranger = Chip::new(Product::Milan, 2);
    for _ in 0..3 {
        let outcome = endorse(&source, &report(&stranger)).await;
        assert_eq!(outcome.unwrap_err(), EndorsementError::UnknownChip);
    }
    assert_eq!(hardware.kds.count(Kind::Vcek), 1);
    // Its neighbour has nothing to do with it.
    endorse(&source, &hardware.report()).await.unwrap();

    hardware.kds.add(&stranger);
    hardware.clock.advance(minutes(10) - seconds(1));
    let outcome = endorse(&source, &report(&stranger)).await;
    assert_eq!(outcome.unwrap_err(), EndorsementError::UnknownChip);
    hardware.clock.advance(seconds(1));
    endorse(&source, &report(&stranger)).await.unwrap();
}

#[tokio::test]
async fn new_chips_are_not_asked_for_where_the_operator_wants_none() {
    let hardware = Hardware::new().await;
    let settings = KdsSettings { known_chips_only: true, ..hardware.settings() };
    let closed = hardware.source_with(hardware.cache.clone(), &settings);
    let report = hardware.report();
    assert_eq!(endorse(&closed, &report).await.unwrap_err(), EndorsementError::NewChip);
    assert_eq!(hardware.kds.requests(), []);

    // Known by its own certificate, or since another process let it in.
    let sent = [hardware.vcek(), hardware.amd.ask().to_vec()];
    endorse_with(&closed, &report, None, &sent).await.unwrap();
    assert_eq!(hardware.kds.count(Kind::Vcek), 0);
    endorse(&hardware.source(), &crate::harness::hardware::report(&hardware.chip)).await.unwrap();
    let closed = hardware.source_with(hardware.cache.clone(), &settings);
    let asked = hardware.kds.count(Kind::Vcek);
    assert!(endorse(&closed, &report).await.is_ok() && hardware.kds.count(Kind::Vcek) == asked);
}

/// Made-up chips of one workload, one after the other: after some of them AMD is asked for one in twenty
/// seconds.
#[tokio::test]
async fn a_flood_of_new_chips_is_let_through_at_a_pace() {
    let hardware = Hardware::new().await;
    let source = hardware.source_with(hardware.cache.clone(), &hardware.paced());
    endorse(&source, &hardware.report()).await.unwrap();
    hardware.clock.advance(minutes(2));
    let stranger = |seed| report(&Chip::new(Product::Milan, seed));
    for seed in 2..6 {
        assert_eq!(endorse(&source, &stranger(seed)).await.unwrap_err(), EndorsementError::UnknownChip);
    }
    let asked = hardware.kds.count(Kind::Vcek);
    let genuine = Chip::new(Product::Milan, 99);
    hardware.kds.add(&genuine);
    tokio::time::pause();
    for guest in [stranger(10), report(&genuine)] {
        let outcome = endorse(&source, &guest).await;
        assert_eq!(outcome.unwrap_err(), EndorsementError::TooManyNewChips { retry_after: 21 });
    }
    tokio::time::resume();
    assert_eq!(hardware.kds.count(Kind::Vcek), asked);
    // Nothing of that is felt by a chip that was seen, here or elsewhere, nor by another process or another
    // workload.
    endorse(&source, &hardware.report()).await.unwrap();
    endorse(&hardware.source(), &report(&genuine)).await.unwrap();
    endorse(&source, &report(&genuine)).await.unwrap();
    let neighbour = Chip::new(Product::Milan, 98);
    hardware.kds.add(&neighbour);
    let neighbour = report(&neighbour);
    let request = Presented { report: &neighbour, claimed_product: None, certificates: &[] };
    endorse_as(&source, &request, "another").await.unwrap();
    // A chip that AMD does not know costs nothing when it is presented again.
    assert_eq!(endorse(&source, &stranger(2)).await.unwrap_err(), EndorsementError::UnknownChip);
    hardware.clock.advance(seconds(20));
    assert_eq!(endorse(&source, &stranger(10)).await.unwrap_err(), EndorsementError::UnknownChip);
    tokio::time::pause();
    assert_eq!(retry_after(endorse(&source, &stranger(11)).await), 21);
}

/// Neither the time that a line may cost nor what is charged is spent on a KDS of the operator's own.
#[tokio::test]
async fn another_kds_is_asked_for_as_many_as_come() {
    let hardware = Hardware::new().await;
    let source = hardware.source();
    for seed in 2..42 {
        let stranger = report(&Chip::new(Product::Milan, seed));
        assert_eq!(endorse(&source, &stranger).await.unwrap_err(), EndorsementError::UnknownChip);
    }
    assert_eq!(hardware.kds.count(Kind::Vcek), 40);
}

/// A request that AMD failed to answer was charged for: the guest that comes again takes no other's turn.
#[tokio::test]
async fn a_failure_of_amds_is_charged_for_once() {
    let hardware = Hardware::new().await;
    let source = hardware.source_with(hardware.cache.clone(), &hardware.paced());
    for _ in 0..10 {
        hardware.kds.script(Kind::Vcek, [Behaviour::Status(400, None)]);
        assert_eq!(retry_after(endorse(&source, &hardware.report()).await), 5);
        hardware.clock.advance(seconds(5));
    }
    endorse(&source, &hardware.report()).await.unwrap();
    assert_eq!(hardware.kds.count(Kind::Vcek), 11);
}

/// A clock that ran ahead by a month, while KDS failed, and was put right.
#[tokio::test]
async fn a_refusal_met_by_a_fast_clock_is_forgotten_once_it_is_right() {
    for behaviour in [
        Behaviour::Status(503, None),
        Behaviour::Status(429, Some(300)),
        Behaviour::Status(404, None),
        Behaviour::Html200,
    ] {
        let hardware = Hardware::new().await;
        let (source, report) = (hardware.source(), hardware.report());
        hardware.clock.advance(days(30));
        hardware.kds.otherwise(behaviour.clone());
        endorse(&source, &report).await.unwrap_err();
        hardware.kds.recover();
        hardware.clock.set(BEGIN);
        for process in [&source, &hardware.source()] {
            let outcome = endorse(process, &report).await;
            assert!(outcome.is_ok(), "{behaviour:?}: {outcome:?}");
        }
    }
}

/// After a clock was set back a little, a pause lasts as long as KDS asked for, and never longer.
#[tokio::test]
async fn no_rest_is_longer_than_kds_asked_for() {
    let hardware = Hardware::new().await;
    let (source, report) = (hardware.source(), hardware.report());
    hardware.kds.script(Kind::Vcek, [Behaviour::Status(429, Some(60))]);
    assert_eq!(retry_after(endorse(&source, &report).await), 60);
    hardware.clock.set(BEGIN + seconds(1));
    assert_eq!(retry_after(endorse(&source, &report).await), 60);
    hardware.clock.set(BEGIN - seconds(1));
    endorse(&source, &report).await.unwrap();
}
