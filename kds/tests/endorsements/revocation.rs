//! Revocation lists: renewed once a day, never rolled back, and never done without.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    config::KdsSettings,
    store::{StoreError, StoredEndorsement},
};
use keybroker_kds::EndorsementError;
use keybroker_simulator::{
    Product,
    kds::{Behaviour, Kind},
    pki::{Amd, Chip, CrlOptions, RsaKey},
};
use keybroker_snp::{
    certificate::{Defect, Role},
    crl::Crl,
    verify::Endorsements,
};
use tokio::task::JoinSet;

use crate::{
    harness::{
        clock::{BEGIN, days, minutes, seconds},
        hardware::{Hardware, Process, endorse, report, retry_after},
    },
    kds::waited,
};

pub(super) const KEY: &str = "Milan/vcek/crl";

/// A list of this many days before the test begins.
pub(super) fn list_of(hardware: &Hardware, days_ago: i64) -> Vec<u8> {
    hardware.crl(&CrlOptions { this_update: Some(BEGIN - days(days_ago)), ..CrlOptions::default() })
}

pub(super) fn row(bytes: Vec<u8>, fetched_at: Timestamp) -> StoredEndorsement {
    StoredEndorsement { bytes, fetched_at, edition: 0 }
}

/// A process, a chip and a list that are known.
pub(super) async fn started() -> (Hardware, Process) {
    let hardware = Hardware::new().await;
    let source = hardware.source();
    endorse(&source, &hardware.report()).await.unwrap();
    (hardware, source)
}

pub(super) async fn again(hardware: &Hardware, source: &Process) -> Result<Endorsements, EndorsementError> {
    endorse(source, &hardware.report()).await
}

#[tokio::test]
async fn a_list_is_asked_for_once_a_day() {
    let (hardware, source) = started().await;
    hardware.clock.advance(days(1) - seconds(1));
    again(&hardware, &source).await.unwrap();
    assert_eq!(hardware.kds.count(Kind::Crl), 1);
    hardware.clock.advance(seconds(1));
    for _ in 0..3 {
        again(&hardware, &source).await.unwrap();
        // Nor does another process ask: the table has it.
        endorse(&hardware.source(), &hardware.report()).await.unwrap();
    }
    assert_eq!(hardware.kds.count(Kind::Crl), 2);
}

/// One second, then on with the list held; and not again for ten minutes.
#[tokio::test]
async fn a_renewal_that_hangs_costs_one_guest_a_second() {
    let (hardware, source) = started().await;
    hardware.kds.otherwise(Behaviour::Hang);
    hardware.clock.advance(days(1));
    let (outcome, took) = waited(again(&hardware, &source)).await;
    outcome.unwrap();
    assert!(took < 2.0, "{took}");
    hardware.clock.advance(minutes(10) - seconds(1));
    again(&hardware, &source).await.unwrap();
    assert_eq!(hardware.kds.count(Kind::Crl), 2);
    hardware.kds.recover();
    hardware.clock.advance(seconds(1));
    again(&hardware, &source).await.unwrap();
    assert_eq!(hardware.kds.count(Kind::Crl), 3);
}

#[tokio::test]
async fn without_a_list_nobody_is_endorsed() {
    let hardware = Hardware::new().await;
    let source = hardware.source();
    hardware.kds.script(Kind::Crl, vec![Behaviour::Status(503, None); 3]);
    assert_eq!(retry_after(again(&hardware, &source).await), 5);
    // Remembered, for every guest depends on it and AMD is not to be stormed.
    for _ in 0..10 {
        assert_eq!(retry_after(again(&hardware, &source).await), 5);
    }
    assert_eq!(hardware.kds.count(Kind::Crl), 3);
    hardware.clock.advance(seconds(5));
    again(&hardware, &source).await.unwrap();
    assert_eq!(hardware.kds.count(Kind::Vcek), 1);
}

#[tokio::test]
async fn a_list_that_amd_did_not_sign_or_that_does_not_count_is_none() {
    let hardware = Hardware::new().await;
    let genoa = Amd::new(Product::Genoa, BEGIN);
    let options = |options: CrlOptions| hardware.crl(&options);
    for list in [
        options(CrlOptions { signer: Some(RsaKey::Rogue), ..CrlOptions::default() }),
        options(CrlOptions { corrupt_signature: true, ..CrlOptions::default() }),
        options(CrlOptions { omit_next_update: true, ..CrlOptions::default() }),
        options(CrlOptions { this_update: Some(BEGIN + minutes(5) + seconds(1)), ..CrlOptions::default() }),
        options(CrlOptions { next_update: Some(BEGIN - seconds(1)), ..CrlOptions::default() }),
        genoa.crl(&CrlOptions::default()),
        b"garbage".to_vec(),
        vec![],
    ] {
        hardware.kds.serve_crl(Product::Milan, list.clone());
        assert_eq!(retry_after(again(&hardware, &hardware.source()).await), 5);
        // From the table neither.
        hardware.cache.plant(KEY, row(list, BEGIN));
        assert_eq!(retry_after(again(&hardware, &hardware.source()).await), 5);
        hardware.cache.plant(KEY, row(vec![], BEGIN));
    }
}

#[tokio::test]
async fn an_older_list_never_replaces_the_one_held() {
    let (hardware, source) = started().await;
    let held = hardware.cache.row(KEY).unwrap().bytes;
    let older = list_of(&hardware, 2);
    hardware.kds.serve_crl(Product::Milan, older.clone());
    hardware.clock.advance(days(1));
    assert_eq!(again(&hardware, &source).await.unwrap().crl.der(), held);
    assert_eq!(hardware.cache.row(KEY).unwrap().bytes, held);
    // Nor by way of the table.
    hardware.cache.plant(KEY, row(older, BEGIN + days(2)));
    hardware.clock.advance(days(1));
    assert_eq!(again(&hardware, &source).await.unwrap().crl.der(), held);
    // Nor in a process that reads the table first.
    hardware.cache.plant(KEY, row(held.clone(), BEGIN));
    assert_eq!(again(&hardware, &hardware.source()).await.unwrap().crl.der(), held);
}

#[tokio::test]
async fn a_newer_list_replaces_the_one_held() {
    let (hardware, source) = started().await;
    let newer = list_of(&hardware, 0);
    hardware.kds.serve_crl(Product::Milan, newer.clone());
    hardware.clock.advance(days(1));
    assert_eq!(again(&hardware, &source).await.unwrap().crl.der(), newer);
    assert_eq!(hardware.cache.row(KEY).unwrap().bytes, newer);
}

/// One that AMD dated ahead, or that this clock is behind, costs nobody the list that counts.
#[tokio::test]
async fn a_list_from_the_future_does_not_replace_the_one_held() {
    let (hardware, source) = started().await;
    let held = hardware.cache.row(KEY).unwrap().bytes;
    hardware.kds.serve_crl(Product::Milan, list_of(&hardware, -3));
    hardware.clock.advance(days(1));
    assert_eq!(again(&hardware, &source).await.unwrap().crl.der(), held);
    hardware.clock.advance(days(2));
    assert_ne!(again(&hardware, &source).await.unwrap().crl.der(), held, "now it counts");
}

/// AMD dates it by its own clock: the guest is told when it counts, and it counts then.
#[tokio::test]
async fn a_list_that_counts_in_a_moment_is_waited_for() {
    let hardware = Hardware::new().await;
    let source = hardware.source();
    hardware.kds.serve_crl(Product::Milan, {
        let this_update = Some(BEGIN + seconds(2));
        hardware.crl(&CrlOptions { this_update, ..CrlOptions::default() })
    });
    for _ in 0..2 {
        assert_eq!(retry_after(again(&hardware, &source).await), 2);
    }
    hardware.clock.advance(seconds(2));
    again(&hardware, &source).await.unwrap();
    assert_eq!(hardware.kds.count(Kind::Crl), 1);
}

/// It ends the time of a list that AMD would let count for months; and never lengthens it.
#[tokio::test]
async fn a_list_counts_no_longer_than_the_operator_lets_it() {
    let hardware = Hardware::new().await;
    let with = |age| {
        let settings = KdsSettings { crl_max_age: Some(age), ..hardware.settings() };
        hardware.source_with(hardware.cache.clone(), &settings)
    };
    // The list is a day old.
    let source = with(days(30));
    again(&hardware, &source).await.unwrap();
    let older = |outcome: Result<Endorsements, EndorsementError>| {
        let cause = "the revocation list is older than --crl-max-age lets it be".to_owned();
        assert_eq!(outcome.unwrap_err(), EndorsementError::Unavailable { retry_after: 5, cause });
    };
    older(again(&hardware, &with(days(1) - seconds(1))).await);
    hardware.clock.set(BEGIN + days(29));
    again(&hardware, &source).await.unwrap();
    hardware.clock.advance(seconds(1));
    older(again(&hardware, &source).await);
    // AMD's silence is no reason to let it count longer.
    hardware.down();
    hardware.clock.advance(minutes(10));
    older(again(&hardware, &source).await);
    hardware.kds.recover();
    hardware.kds.serve_crl(Product::Milan, list_of(&hardware, -29));
    hardware.clock.advance(minutes(10));
    again(&hardware, &source).await.unwrap();
    // Past its nextUpdate a list does not count, whatever the operator lets it.
    let generous = with(days(36_500));
    hardware.clock.set(BEGIN + days(181));
    assert_eq!(retry_after(again(&hardware, &generous).await), 5);
}

/// Written by a process that did not see the newer row, and was served an older list.
#[tokio::test]
async fn an_older_list_never_replaces_the_row_of_a_newer() {
    let (hardware, _) = started().await;
    let newer = hardware.cache.row(KEY).unwrap();
    let unreadable = StoreError::Corrupt { table: "endorsements".into(), cause: "by the test".to_owned() };
    hardware.cache.fail_reading(Some(unreadable));
    let older = list_of(&hardware, 2);
    hardware.kds.serve_crl(Product::Milan, older.clone());
    assert_eq!(again(&hardware, &hardware.source()).await.unwrap().crl.der(), older);
    assert_eq!(hardware.cache.row(KEY), Some(newer));
}

/// Seven days past nextUpdate, to the second; and the grace is handed on, so that verification agrees.
#[tokio::test]
async fn a_list_outlives_its_time_while_kds_is_down() {
    let (hardware, source) = started().await;
    hardware.down();
    hardware.clock.set(BEGIN + days(180));
    assert_eq!(again(&hardware, &source).await.unwrap().crl_grace, SignedDuration::ZERO);
    hardware.clock.advance(seconds(5));
    assert_eq!(again(&hardware, &source).await.unwrap().crl_grace, Crl::GRACE);
    for process in [source, hardware.source()] {
        hardware.clock.set(BEGIN + days(187));
        assert_eq!(again(&hardware, &process).await.unwrap().crl_grace, Crl::GRACE);
        hardware.clock.advance(seconds(1));
        assert_eq!(retry_after(again(&hardware, &process).await), 5);
    }
}

/// Only the request for the list itself can show a reason for the grace.
#[tokio::test]
async fn only_a_kds_that_does_not_answer_gives_a_list_more_time() {
    for (behaviour, silent) in [
        (Behaviour::Reset, true),
        (Behaviour::Status(429, None), true),
        (Behaviour::Status(503, None), true),
        (Behaviour::Status(404, None), false),
        (Behaviour::Status(403, None), false),
    ] {
        let (hardware, source) = started().await;
        hardware.clock.set(BEGIN + days(181));
        hardware.kds.otherwise(behaviour.clone());
        let outcome = again(&hardware, &source).await;
        assert_eq!(outcome.is_ok(), silent, "{behaviour:?}: {outcome:?}");
    }
    let (hardware, source) = started().await;
    hardware.clock.set(BEGIN + days(181));
    hardware.kds.serve_crl(Product::Milan, b"garbage".to_vec());
    assert_eq!(retry_after(again(&hardware, &source).await), 5);
}

/// A failure while the list needed no grace, which may have had too little time, says nothing about later.
#[tokio::test]
async fn a_failure_before_next_update_gives_no_grace_after_it() {
    let (hardware, source) = started().await;
    hardware.down();
    hardware.clock.set(BEGIN + days(180));
    again(&hardware, &source).await.unwrap();
    hardware.kds.recover();
    hardware.clock.advance(seconds(5));
    assert_eq!(retry_after(again(&hardware, &source).await), 5);
}

/// If KDS leaves chips unanswered, or wants no more of them, lists are fetched nevertheless.
#[tokio::test]
async fn a_list_is_renewed_while_kds_rests() {
    let (hardware, source) = started().await;
    hardware.clock.set(BEGIN + days(181));
    let newer = hardware.crl(&CrlOptions { next_update: Some(BEGIN + days(365)), ..CrlOptions::default() });
    hardware.kds.serve_crl(Product::Milan, newer.clone());
    hardware.kds.script(Kind::Vcek, [Behaviour::Status(429, Some(60))]);
    assert_eq!(retry_after(endorse(&source, &report(&Chip::new(Product::Milan, 2))).await), 60);
    let renewed = again(&hardware, &source).await.unwrap();
    assert_eq!((renewed.crl.der(), renewed.crl_grace), (newer.as_slice(), SignedDuration::ZERO));
}

/// As many requests for chips as are allowed hang: the one for the list goes beside them.
#[tokio::test]
async fn a_list_is_renewed_while_chips_keep_kds_busy() {
    let (hardware, source) = started().await;
    hardware.clock.set(BEGIN + days(181));
    let newer = hardware.crl(&CrlOptions { next_update: Some(BEGIN + days(365)), ..CrlOptions::default() });
    hardware.kds.serve_crl(Product::Milan, newer.clone());
    hardware.kds.script(Kind::Vcek, vec![Behaviour::Hang; 8]);
    let source = Arc::new(source);
    let mut strangers = JoinSet::new();
    for seed in 2..10 {
        let (source, report) = (Arc::clone(&source), report(&Chip::new(Product::Milan, seed)));
        strangers.spawn(async move { endorse(&source, &report).await.map(|_| ()) });
    }
    hardware.kds.arrived(Kind::Vcek, 1 + 4).await;
    let renewed = again(&hardware, &source).await.unwrap();
    assert_eq!((renewed.crl.der(), renewed.crl_grace), (newer.as_slice(), SignedDuration::ZERO));
    assert_eq!(hardware.kds.count(Kind::Vcek), 1 + 4, "the list did not wait for chips");
}

#[tokio::test]
async fn lists_are_renewed_where_no_new_chips_are_asked_for() {
    let (hardware, _) = started().await;
    let settings = KdsSettings { known_chips_only: true, ..hardware.settings() };
    let closed = hardware.source_with(hardware.cache.clone(), &settings);
    hardware.clock.advance(days(1));
    again(&hardware, &closed).await.unwrap();
    assert_eq!(hardware.kds.count(Kind::Crl), 2);
}

/// One process tells all others that KDS does not answer. An attacker who writes the table cannot say so for
/// longer than it would be believed, nor where it is not asked.
#[tokio::test]
async fn a_silent_kds_is_told_from_process_to_process() {
    let (hardware, source) = started().await;
    hardware.down();
    hardware.clock.set(BEGIN + days(181));
    again(&hardware, &source).await.unwrap();
    let asked = hardware.kds.count(Kind::Crl);
    hardware.clock.advance(minutes(10) - seconds(1));
    assert_eq!(again(&hardware, &hardware.source()).await.unwrap().crl_grace, Crl::GRACE);
    assert_eq!(hardware.kds.count(Kind::Crl), asked);
    // No longer, and not from the future.
    hardware.kds.recover();
    hardware.clock.advance(seconds(1));
    assert_eq!(retry_after(again(&hardware, &hardware.source()).await), 5);
    hardware.cache.plant("Milan/vcek/crl/silence", row(vec![], BEGIN + days(200)));
    assert_eq!(retry_after(again(&hardware, &hardware.source()).await), 5);
}

/// A KDS that can be reached and has nothing newer is no excuse, nor a reason to ask it for every guest.
#[tokio::test]
async fn a_list_does_not_outlive_its_time_while_kds_answers() {
    let (hardware, source) = started().await;
    hardware.clock.set(BEGIN + days(180) + seconds(1));
    for _ in 0..10 {
        assert_eq!(retry_after(again(&hardware, &source).await), 5);
    }
    assert_eq!(hardware.kds.count(Kind::Crl), 2);
    hardware.clock.advance(seconds(5));
    assert_eq!(retry_after(again(&hardware, &source).await), 5);
    assert_eq!(hardware.kds.count(Kind::Crl), 3);
}

/// An attacker who writes the table cannot put renewal off, nor make every guest ask.
#[tokio::test]
async fn a_time_of_fetching_in_the_future_is_not_believed() {
    let (hardware, _) = started().await;
    let mut planted = hardware.cache.row(KEY).unwrap();
    planted.fetched_at = BEGIN + days(365);
    hardware.cache.plant(KEY, planted);
    let source = hardware.source();
    for _ in 0..3 {
        again(&hardware, &source).await.unwrap();
        assert_eq!(hardware.kds.count(Kind::Crl), 2);
        hardware.clock.advance(minutes(10));
    }
    assert_eq!(hardware.cache.row(KEY).unwrap().fetched_at, BEGIN);
    hardware.clock.advance(days(1));
    again(&hardware, &source).await.unwrap();
    assert_eq!(hardware.kds.count(Kind::Crl), 3);
}

/// The documented limit: an attacker who writes the table can give a new process an older list, until that is
/// a day old.
#[tokio::test]
async fn a_list_rolled_back_in_the_table_lasts_a_day() {
    let (hardware, running) = started().await;
    let (held, older) = (hardware.cache.row(KEY).unwrap().bytes, list_of(&hardware, 2));
    hardware.cache.plant(KEY, row(older.clone(), BEGIN));
    assert_eq!(again(&hardware, &running).await.unwrap().crl.der(), held);
    let new = hardware.source();
    assert_eq!(again(&hardware, &new).await.unwrap().crl.der(), older);
    hardware.clock.advance(days(1));
    assert_eq!(again(&hardware, &new).await.unwrap().crl.der(), held);
}

#[tokio::test]
async fn a_list_altered_in_the_table_is_none() {
    let (hardware, _) = started().await;
    let revoking = CrlOptions { revoked: vec![vec![1, 0, 1]], ..CrlOptions::default() };
    let mut altered = hardware.crl(&revoking);
    // The revoked serial number, turned into another.
    let at = altered.windows(5).position(|bytes| bytes == [2, 3, 1, 0, 1]).unwrap();
    altered[at + 4] = 9;
    hardware.cache.plant(KEY, row(altered, BEGIN));
    hardware.kds.serve_crl(Product::Milan, hardware.crl(&revoking));
    let endorsements = again(&hardware, &hardware.source()).await.unwrap();
    let revoked = Err(Role::Ask.has(Defect::Revoked));
    assert_eq!(endorsements.chain.check_revocation(&endorsements.crl), revoked);
    assert_eq!(hardware.kds.count(Kind::Crl), 2);
}

/// Clocks are corrected: one that was ahead must not leave a list unrenewed until it is overtaken.
#[tokio::test]
async fn a_clock_set_back_does_not_put_renewal_off() {
    let (hardware, source) = started().await;
    hardware.clock.advance(SignedDuration::from_hours(-1));
    hardware.clock.advance(minutes(20));
    again(&hardware, &source).await.unwrap();
    assert_eq!(hardware.kds.count(Kind::Crl), 2);
}
