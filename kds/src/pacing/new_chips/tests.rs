//! Time is tokio's, which stands still unless everybody waits.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, advance, sleep, timeout},
};

use super::*;
use keybroker_snp::product::Product;

const BEGIN: Timestamp = Timestamp::constant(1_786_795_200, 0);
const TCB: TcbVersion = TcbVersion { fmc: None, boot_loader: 4, tee: 0, snp: 22, microcode: 213 };

#[derive(Debug)]
struct Ticking(Instant);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        BEGIN + self.0.elapsed()
    }
}

fn limiter(new_chips: NewChips) -> Arc<NewChipLimiter> {
    Arc::new(NewChipLimiter::new(new_chips, KdsSettings::AMD, Arc::new(Ticking(Instant::now()))))
}

/// The limiter towards AMD under the default settings.
fn amds() -> Arc<NewChipLimiter> {
    limiter(NewChips::default())
}

/// A chip that nobody has seen.
fn chip() -> VcekId {
    static CHIPS: AtomicU64 = AtomicU64::new(1);
    let mut hwid = [0xAB; 64];
    hwid[..8].copy_from_slice(&CHIPS.fetch_add(1, Relaxed).to_be_bytes());
    VcekId::new(Product::Milan, &hwid, TCB).unwrap()
}

fn at(id: &VcekId, tcb: TcbVersion) -> VcekId {
    VcekId::new(id.product(), id.hwid(), tcb).unwrap()
}

fn workload(name: &str) -> WorkloadId {
    WorkloadId::new(name).unwrap()
}

/// Whether `id` may be asked for at once; AMD answers at once.
async fn at_once(limiter: &NewChipLimiter, id: &VcekId, party: &WorkloadId) -> bool {
    match timeout(Duration::ZERO, limiter.admit(id, Some(party))).await {
        Ok(permit) => {
            permit.unwrap().spend();
            true
        }
        Err(_) => false,
    }
}

/// Presents made-up chips under `party` for ever, a hundred at once. The number of those that AMD was asked
/// for.
fn flood(limiter: &Arc<NewChipLimiter>, party: &str, crowd: &mut JoinSet<()>) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let (limiter, party, asked) = (Arc::clone(limiter), workload(party), Arc::clone(&asked));
        crowd.spawn(async move {
            loop {
                match limiter.admit(&chip(), Some(&party)).await {
                    Ok(mut permit) => {
                        permit.spend();
                        asked.fetch_add(1, Relaxed);
                        sleep(Duration::from_millis(300)).await;
                    }
                    Err(_) => sleep(Duration::from_secs(7)).await,
                }
            }
        });
    }
    asked
}

/// How many of `count` honest chips that come at once get their certificates from an AMD that answers in 0.3
/// s, and after how long the last one does.
async fn honest(limiter: &Arc<NewChipLimiter>, party: &str, count: usize) -> (usize, Duration) {
    let begun = Instant::now();
    let mut guests = JoinSet::new();
    for _ in 0..count {
        let (limiter, party) = (Arc::clone(limiter), workload(party));
        guests.spawn(async move {
            let id = chip();
            let Ok(mut permit) = limiter.admit(&id, Some(&party)).await else { return false };
            permit.spend();
            sleep(Duration::from_millis(300)).await;
            drop(permit);
            limiter.note_verified(&id);
            true
        });
    }
    let booted = guests.join_all().await.into_iter().filter(|booted| *booted).count();
    (booted, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn twenty_honest_chips_at_once_all_get_their_turn() {
    for limiter in [amds(), limiter(NewChips { per_minute: Some(0), burst: None })] {
        let (booted, took) = honest(&limiter, "w", 20).await;
        assert_eq!(booted, 20);
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

/// With a hundred made-up chips of another workload at every moment, before and meanwhile.
#[tokio::test(start_paused = true)]
async fn a_flood_under_one_workload_does_not_starve_another() {
    let limiter = amds();
    let mut crowd = JoinSet::new();
    let asked = flood(&limiter, "flooded", &mut crowd);
    sleep(Duration::from_secs(600)).await;
    let before = asked.load(Relaxed);
    assert!((4 + 29..=4 + 31).contains(&before), "half of what AMD answers: {before}");
    let (booted, took) = honest(&limiter, "w", 20).await;
    assert_eq!(booted, 20, "after {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

/// Where many workloads are flooded, each new one takes its turn among them.
#[tokio::test(start_paused = true)]
async fn a_workload_that_took_nothing_of_late_is_next() {
    let limiter = amds();
    let mut crowd = JoinSet::new();
    let flooded = ["a", "b", "c", "d"].map(|party| flood(&limiter, party, &mut crowd));
    sleep(Duration::from_secs(600)).await;
    let asked: Vec<_> = flooded.iter().map(|asked| asked.load(Relaxed)).collect();
    let all: usize = asked.iter().sum();
    assert!((8 + 59..=8 + 61).contains(&all), "no faster than AMD answers: {asked:?}");
    assert!(asked.iter().all(|one| one.abs_diff(all / 4) <= 2), "each its share: {asked:?}");
    let (booted, took) = honest(&limiter, "w", 1).await;
    assert_eq!(booted, 1);
    assert!(took <= Duration::from_millis(10_300), "{took:?}");
}

/// Where there is no pace, turns are as many as requests are made at once, and just as fair.
#[tokio::test(start_paused = true)]
async fn turns_are_shared_where_there_is_no_pace() {
    let limiter = limiter(NewChips { per_minute: Some(0), burst: None });
    let mut crowd = JoinSet::new();
    let asked = flood(&limiter, "flooded", &mut crowd);
    sleep(Duration::from_secs(60)).await;
    assert!(asked.load(Relaxed) > 700, "{asked:?}");
    let (booted, took) = honest(&limiter, "w", 20).await;
    assert_eq!(booted, 20);
    assert!(took < Duration::from_secs(4), "half of the turns: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_longer_than_twenty_seconds() {
    let limiter = limiter(NewChips { per_minute: Some(1), burst: Some(1) });
    let w = workload("w");
    assert!(at_once(&limiter, &chip(), &w).await);
    let begun = Instant::now();
    let outcome = limiter.admit(&chip(), Some(&w)).await.map(|_| ());
    // Its workload's bucket fills half as fast as the one of all, within 120 s, of which it waited 20.
    assert_eq!(outcome, Err(EndorsementError::TooManyNewChips { retry_after: 101 }));
    assert_eq!(begun.elapsed(), queue::LONGEST_WAIT);
    assert_eq!(queue::LONGEST_WAIT, Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn a_chip_is_charged_for_once_and_its_retries_are_not() {
    let limiter = limiter(NewChips { per_minute: Some(1), burst: Some(1) });
    let (w, paid) = (workload("w"), chip());
    for _ in 0..5 {
        assert!(at_once(&limiter, &paid, &w).await);
    }
    // Nor is what may be another product's.
    let genoas = VcekId::new(Product::Genoa, paid.hwid(), paid.tcb()).unwrap();
    assert!(at_once(&limiter, &genoas, &w).await);
    // At another TCB it is another request to AMD, and a client that makes chips up could make these up, too.
    assert!(!at_once(&limiter, &at(&paid, TcbVersion { snp: 23, ..TCB }), &w).await);
    advance(Duration::from_secs(599)).await;
    assert!(at_once(&limiter, &chip(), &w).await);
    assert!(at_once(&limiter, &paid, &w).await);
    advance(Duration::from_secs(1)).await;
    assert!(!at_once(&limiter, &paid, &w).await, "ten minutes later it is charged for anew");
}

#[tokio::test(start_paused = true)]
async fn a_charge_stands_only_if_amd_is_asked() {
    let limiter = limiter(NewChips { per_minute: Some(1), burst: Some(1) });
    let w = workload("w");
    drop(limiter.admit(&chip(), Some(&w)).await.unwrap());
    assert!(at_once(&limiter, &chip(), &w).await);
    assert!(!at_once(&limiter, &chip(), &w).await);
}

#[tokio::test(start_paused = true)]
async fn newer_firmware_of_a_verified_chip_passes_twice_an_hour() {
    let limiter = limiter(NewChips { per_minute: Some(1), burst: Some(1) });
    let (w, known) = (workload("w"), chip());
    limiter.note_verified(&known);
    assert!(at_once(&limiter, &chip(), &w).await, "the bucket is empty from now on");
    let tcb = |boot_loader, snp| at(&known, TcbVersion { boot_loader, snp, ..TCB });
    for lower in [tcb(3, 22), tcb(9, 21), tcb(3, 99)] {
        assert!(!at_once(&limiter, &lower, &w).await, "{lower}");
    }
    for snp in [23, 23, 24, 24, 23] {
        assert!(at_once(&limiter, &tcb(4, snp), &w).await, "a retry is no other time");
    }
    assert!(!at_once(&limiter, &tcb(4, 25), &w).await, "a third one in the hour");
    // The TCB that was verified since is the one that counts.
    limiter.note_verified(&tcb(4, 24));
    advance(Duration::from_secs(3600)).await;
    assert!(at_once(&limiter, &chip(), &w).await, "the bucket is empty again");
    assert!(!at_once(&limiter, &tcb(4, 23), &w).await);
    assert!(at_once(&limiter, &tcb(4, 25), &w).await);
}

/// The owner of a chip can have it report many a TCB, and have every one verified.
#[tokio::test(start_paused = true)]
async fn a_chip_gives_back_what_it_was_charged_once() {
    let limiter = limiter(NewChips { per_minute: Some(1), burst: Some(1) });
    let (w, real) = (workload("w"), chip());
    assert!(at_once(&limiter, &real, &w).await);
    limiter.note_verified(&real);
    let lower = at(&real, TcbVersion { snp: 1, ..TCB });
    assert!(at_once(&limiter, &lower, &w).await);
    limiter.note_verified(&lower);
    assert!(!at_once(&limiter, &chip(), &w).await);
}

#[tokio::test(start_paused = true)]
async fn a_full_line_has_room_for_another_workload() {
    let limiter = limiter(NewChips { per_minute: Some(6), burst: Some(1) });
    assert!(at_once(&limiter, &chip(), &workload("first")).await);
    let mut crowd = JoinSet::new();
    let wait = |crowd: &mut JoinSet<_>, party: &'static str| {
        let limiter = Arc::clone(&limiter);
        crowd.spawn(async move {
            let begun = Instant::now();
            let permit = limiter.admit(&chip(), Some(&workload(party))).await;
            (party, permit.map(|mut permit| permit.spend()).is_ok(), begun.elapsed().as_secs())
        });
    };
    for _ in 0..queue::PLACES {
        wait(&mut crowd, "flooded");
    }
    // A few tasks at a time are let to begin.
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    // One more of it is turned away at once.
    let begun = Instant::now();
    assert!(limiter.admit(&chip(), Some(&workload("flooded"))).await.is_err());
    assert_eq!(begun.elapsed(), Duration::ZERO);
    wait(&mut crowd, "w");
    assert_eq!(crowd.join_next().await.unwrap().unwrap(), ("flooded", false, 0), "the last of the crowd");
    let done = crowd.join_all().await;
    assert!(done.iter().any(|(party, booted, after)| *party == "w" && *booted && *after <= 20), "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn guests_that_wait_are_within_bounds() {
    let limiter = amds();
    let name = |number: usize| workload(&format!("w{number}"));
    let enter = |party: &WorkloadId| limiter.enter(Some(party));
    let mut guests: Vec<_> = (0..guests::OF_ONE_WORKLOAD).map(|_| enter(&name(0)).unwrap()).collect();
    let full = EndorsementError::TooManyNewChips { retry_after: RETRY_AFTER };
    assert_eq!(enter(&name(0)).unwrap_err(), full);
    guests.extend((guests::OF_ONE_WORKLOAD..guests::IN_ALL).map(|number| enter(&name(number)).unwrap()));
    assert_eq!(enter(&name(9999)).unwrap_err(), full);
    guests.pop();
    assert!(enter(&name(9999)).is_ok());
}

/// By its name, and not by how its URL is spelt: it is AMD that turns us away.
#[test]
fn the_pace_is_amds_unless_another_service_is_asked() {
    let default = NewChips::default();
    let amds = Some(Rate::new(SignedDuration::from_secs(10), 8));
    for url in [
        KdsSettings::AMD,
        "https://kdsintf.amd.com/",
        "https://KDSINTF.AMD.COM:443",
        "http://kdsintf.amd.com.",
        "https://user@kdsintf.amd.com/x",
    ] {
        assert_eq!(rate(default, url), amds, "{url}");
    }
    for url in ["http://127.0.0.1:8090", "https://kds.example", "https://kdsintf.amd.com.example"] {
        assert_eq!(rate(default, url), None, "{url}");
        assert_eq!(rate(NewChips { burst: Some(8), ..default }, url), amds, "{url}");
        assert_eq!(rate(NewChips { per_minute: Some(6), ..default }, url), amds, "{url}");
    }
    assert_eq!(rate(NewChips { per_minute: Some(0), burst: Some(8) }, KdsSettings::AMD), None);
    let fastest = rate(NewChips { per_minute: Some(6000), burst: Some(1000) }, KdsSettings::AMD);
    assert_eq!(fastest, Some(Rate::new(SignedDuration::from_millis(10), 1000)));
}
