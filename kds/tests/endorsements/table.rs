//! The shared table: the requests that it saves, and attacks by its writers, which gain nothing.

use keybroker_common::store::StoreError;
use keybroker_simulator::{
    Product,
    kds::Kind,
    pki::{Ca, Chip, RsaKey, pem},
};

use crate::harness::hardware::{Hardware, endorse, retry_after, row};

const ASK_KEY: &str = "Milan/vcek/chain";

#[tokio::test]
async fn a_chip_once_seen_boots_while_kds_is_down() {
    let hardware = Hardware::new().await;
    let (source, report) = (hardware.source(), hardware.report());
    endorse(&source, &report).await.unwrap();
    let asked = hardware.kds.requests().len();
    hardware.down();
    endorse(&source, &report).await.unwrap();
    // And in a process that has seen nothing.
    let endorsements = endorse(&hardware.source(), &report).await.unwrap();
    assert_eq!(endorsements.chain.vek().der(), hardware.vcek());
    assert_eq!(hardware.kds.requests().len(), asked);
}

/// A certificate in the row is verified again, and compared with the one that it should be: otherwise AMD is
/// asked.
#[tokio::test]
async fn a_row_that_is_not_the_chips_certificate_counts_as_none() {
    let hardware = Hardware::new().await;
    let report = hardware.report();
    endorse(&hardware.source(), &report).await.unwrap();
    let (key, sound) = (hardware.vcek_key(), row(hardware.vcek()));
    for planted in [
        hardware.amd.vcek(&Chip::new(Product::Milan, 2)).certificate,
        hardware.self_made_vcek(),
        hardware.amd.ask().to_vec(),
        hardware.vcek()[..100].to_vec(),
        b"garbage".to_vec(),
        vec![],
    ] {
        let asked = hardware.kds.count(Kind::Vcek);
        hardware.cache.plant(&key, row(planted));
        let endorsements = endorse(&hardware.source(), &report).await.unwrap();
        assert_eq!(endorsements.chain.vek().der(), hardware.vcek());
        assert_eq!(hardware.kds.count(Kind::Vcek), asked + 1);
        assert_eq!(hardware.cache.row(&key), Some(sound.clone()), "it gives way");
    }
    hardware.cache.plant(&key, row(hardware.self_made_vcek()));
    hardware.down();
    assert_eq!(retry_after(endorse(&hardware.source(), &report).await), 5);
}

#[tokio::test]
async fn a_chain_in_the_table_must_lead_to_an_anchor() {
    let hardware = Hardware::new().await;
    let genoa = keybroker_simulator::pki::Amd::new(Product::Genoa, hardware.amd.now());
    for planted in [
        hardware.self_made_chain(Ca::Ask),
        hardware.amd.chain_pem(Ca::Asvk),
        hardware.amd.ark_pem(),
        genoa.chain_pem(Ca::Ask),
        "garbage".to_owned(),
        pem(b"garbage"),
    ] {
        let asked = hardware.kds.count(Kind::Chain);
        hardware.cache.plant(ASK_KEY, row(planted.into_bytes()));
        hardware.cache.plant(&hardware.vcek_key(), row(hardware.self_made_vcek()));
        let endorsements = endorse(&hardware.source(), &hardware.report()).await.unwrap();
        assert_eq!(endorsements.chain.vek().der(), hardware.vcek());
        assert_eq!(hardware.kds.count(Kind::Chain), asked + 1);
    }
}

/// Both rows by the same hand, and fitting each other.
#[tokio::test]
async fn self_made_rows_that_fit_each_other_gain_nothing() {
    RsaKey::prepare(&[RsaKey::Rogue]);
    let hardware = Hardware::new().await;
    hardware.cache.plant(ASK_KEY, row(hardware.self_made_chain(Ca::Ask).into_bytes()));
    hardware.cache.plant(&hardware.vcek_key(), row(hardware.self_made_vcek()));
    hardware.down();
    assert_eq!(retry_after(endorse(&hardware.source(), &hardware.report()).await), 5);
}

#[tokio::test]
async fn a_table_that_takes_nothing_costs_no_guest() {
    let hardware = Hardware::new().await;
    hardware.cache.fail_writing(Some(StoreError::Unavailable("by the test".to_owned())));
    let source = hardware.source();
    endorse(&source, &hardware.report()).await.unwrap();
    hardware.down();
    endorse(&source, &hardware.report()).await.unwrap();
}

/// AMD's patience is not spent on a table that is out of reach for a moment.
#[tokio::test]
async fn a_table_that_cannot_be_read_is_waited_for() {
    let hardware = Hardware::new().await;
    hardware.cache.fail_reading(Some(StoreError::Unavailable("by the test".to_owned())));
    assert_eq!(retry_after(endorse(&hardware.source(), &hardware.report()).await), 5);
    assert_eq!(hardware.kds.requests(), []);
}

#[tokio::test]
async fn a_row_that_is_no_row_counts_as_none() {
    let hardware = Hardware::new().await;
    let corrupt = StoreError::Corrupt { table: "endorsements".into(), cause: "by the test".to_owned() };
    hardware.cache.fail_reading(Some(corrupt));
    endorse(&hardware.source(), &hardware.report()).await.unwrap();
}
