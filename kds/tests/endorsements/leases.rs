//! Processes that share a table: one asks AMD, the others wait for what it brings.

use std::sync::Arc;

use keybroker_common::store::{EndorsementStore, Lease, StoredEndorsement};
use keybroker_embedded::store::EmbeddedStore;
use keybroker_kds::EndorsementError;
use keybroker_simulator::{
    kds::{Behaviour, Kind},
    pki::{Ca, Chip},
};
use keybroker_snp::crl::Crl;
use tempfile::TempDir;
use uuid::Uuid;

use crate::harness::{
    clock::{BEGIN, days, minutes, seconds},
    hardware::{Hardware, Process, endorse, report, retry_after, row},
};

const CRL: &str = "Milan/vcek/crl";

struct Shared {
    hardware: Hardware,
    store: Arc<EmbeddedStore>,
    _dir: TempDir,
}

impl Shared {
    async fn new() -> Self {
        let hardware = Hardware::new().await;
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(dir.path(), hardware.clock.clone()).unwrap();
        Self { hardware, store: Arc::new(store), _dir: dir }
    }

    /// A process that has seen nothing yet.
    fn process(&self) -> Process {
        self.hardware.source_with(self.store.clone(), &self.hardware.settings())
    }

    /// A lease of somebody else on `key`, if nobody has it.
    async fn lease(&self, key: &str) -> Option<Lease> {
        let now = keybroker_common::clock::Clock::now(&*self.hardware.clock);
        self.store.lease(key, &Lease::new(Uuid::new_v4(), now)).await.unwrap()
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) {
        let row: StoredEndorsement = row(bytes);
        self.store.put_endorsement(key, &row).await.unwrap();
    }
}

#[tokio::test]
async fn after_success_nobody_holds_a_lease() {
    let shared = Shared::new().await;
    endorse(&shared.process(), &shared.hardware.report()).await.unwrap();
    for key in [shared.hardware.vcek_key().as_str(), "Milan/vcek/chain", CRL] {
        assert_eq!(shared.lease(key).await, None, "{key}");
    }
}

#[tokio::test]
async fn a_request_of_another_process_is_waited_for() {
    let shared = Shared::new().await;
    let key = shared.hardware.vcek_key();
    shared.lease(&key).await;
    let (process, report) = (shared.process(), shared.hardware.report());
    let waiting = tokio::spawn(async move { endorse(&process, &report).await.map(|_| ()) });
    tokio::task::yield_now().await;
    shared.put("Milan/vcek/chain", shared.hardware.amd.chain_pem(Ca::Ask).into_bytes()).await;
    shared.put(&key, shared.hardware.vcek()).await;
    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!(shared.hardware.kds.count(Kind::Vcek), 0);
}

/// The lease of a process that died, or that AMD refused, keeps the others from AMD until it is over.
#[tokio::test]
async fn a_process_that_fails_keeps_the_lease_until_it_is_over() {
    let shared = Shared::new().await;
    let report = shared.hardware.report();
    shared.hardware.kds.otherwise(Behaviour::Status(429, None));
    retry_after(endorse(&shared.process(), &report).await);
    let key = shared.hardware.vcek_key();
    assert!(shared.lease(&key).await.is_some());
    shared.hardware.kds.recover();
    shared.hardware.clock.advance(seconds(15));
    endorse(&shared.process(), &report).await.unwrap();
}

/// The same process may ask again when its own patience says so.
#[tokio::test]
async fn a_process_that_failed_may_ask_again_itself() {
    let shared = Shared::new().await;
    let (process, report) = (shared.process(), shared.hardware.report());
    shared.hardware.kds.otherwise(Behaviour::Status(503, None));
    assert_eq!(retry_after(endorse(&process, &report).await), 5);
    shared.hardware.kds.recover();
    shared.hardware.clock.advance(seconds(5));
    endorse(&process, &report).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_twelve_seconds() {
    let shared = Shared::new().await;
    shared.lease(&shared.hardware.vcek_key()).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(retry_after(endorse(&shared.process(), &shared.hardware.report()).await), 5);
    assert_eq!(begun.elapsed().as_secs(), 12);
    assert_eq!(shared.hardware.kds.requests(), []);
}

/// One process tells the others for ten minutes that AMD knows no such chip.
#[tokio::test]
async fn an_unknown_chip_is_asked_for_by_one_process() {
    let shared = Shared::new().await;
    let unknown = Chip::new(shared.hardware.chip.product(), 7);
    for _ in 0..3 {
        let outcome = endorse(&shared.process(), &report(&unknown)).await;
        assert_eq!(outcome.unwrap_err(), EndorsementError::UnknownChip);
    }
    assert_eq!(shared.hardware.kds.count(Kind::Vcek), 1);
    shared.hardware.clock.advance(minutes(10));
    shared.hardware.kds.add(&unknown);
    endorse(&shared.process(), &report(&unknown)).await.unwrap();
}

/// A process that holds a list that counts waits a second for another's renewal, and goes on with its own.
#[tokio::test(start_paused = true)]
async fn a_renewal_by_another_process_costs_a_second_at_most() {
    let shared = Shared::new().await;
    let (process, report) = (shared.process(), shared.hardware.report());
    tokio::time::resume();
    endorse(&process, &report).await.unwrap();
    tokio::time::pause();
    let asked = shared.hardware.kds.count(Kind::Crl);
    for wait in [days(1), days(31)] {
        shared.hardware.clock.advance(wait);
        assert_eq!(shared.lease(CRL).await, None);
        let begun = tokio::time::Instant::now();
        endorse(&process, &report).await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 1, "after {wait}");
    }
    assert_eq!(shared.hardware.kds.count(Kind::Crl), asked);
}

/// Past nextUpdate a lease of another's says nothing about AMD: the process waits, and has no list that
/// counts.
#[tokio::test(start_paused = true)]
async fn anothers_lease_gives_an_expired_list_no_grace() {
    let shared = Shared::new().await;
    let (process, report) = (shared.process(), shared.hardware.report());
    tokio::time::resume();
    endorse(&process, &report).await.unwrap();
    tokio::time::pause();
    shared.hardware.clock.advance(days(181));
    assert_eq!(shared.lease(CRL).await, None);
    assert_eq!(retry_after(endorse(&process, &report).await), 5);
}

/// Until that other process has found that AMD does not answer.
#[tokio::test]
async fn anothers_failure_is_waited_for() {
    let shared = Shared::new().await;
    let (process, report) = (shared.process(), shared.hardware.report());
    endorse(&process, &report).await.unwrap();
    shared.hardware.clock.advance(days(181));
    assert_eq!(shared.lease(CRL).await, None);
    let asked = shared.hardware.kds.count(Kind::Crl);
    let waiting = tokio::spawn(async move { endorse(&process, &report).await.map(|found| found.crl_grace) });
    tokio::task::yield_now().await;
    let silence = StoredEndorsement { fetched_at: BEGIN + days(181), ..row(vec![]) };
    shared.store.put_endorsement("Milan/vcek/crl/silence", &silence).await.unwrap();
    assert_eq!(waiting.await.unwrap(), Ok(Crl::GRACE));
    assert_eq!(shared.hardware.kds.count(Kind::Crl), asked);
}

/// A chip that has to wait for its turn keeps no other process from asking.
#[tokio::test]
async fn a_process_that_does_not_ask_keeps_no_lease() {
    let shared = Shared::new().await;
    let process = shared.hardware.source_with(shared.store.clone(), &shared.hardware.paced());
    let chips: Vec<_> = (2..7).map(|seed| Chip::new(shared.hardware.chip.product(), seed)).collect();
    for chip in &chips[..4] {
        assert_eq!(endorse(&process, &report(chip)).await.unwrap_err(), EndorsementError::UnknownChip);
    }
    shared.hardware.kds.add(&chips[4]);
    tokio::time::pause();
    retry_after(endorse(&process, &report(&chips[4])).await);
    tokio::time::resume();
    endorse(&shared.process(), &report(&chips[4])).await.unwrap();
    assert_eq!(shared.hardware.kds.count(Kind::Vcek), 5);
}
