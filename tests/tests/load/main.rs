//! Many guests boot for a while: no answer is a 5xx, and no registration is lost.
//!
//! New guests come for `KEYBROKER_TEST_LOAD_SECONDS` seconds, by default 3. The test prints the speed and
//! asserts nothing about it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use keybroker_simulator::{Product, build::Buildah, guest::PoliteGuest};
use keybroker_tests::{passphrase, unique, world::World};
use tokio::task::JoinSet;

/// Guests at a time.
const GUESTS: u8 = 64;
const STEPS: [&str; 4] = ["register", "auth", "attest", "key"];

/// How long each step of one guest took.
type Times = [Duration; 4];

/// Longer than a request should take on a busy machine. API Gateway waits for 30 seconds, but here requests
/// queue.
const PATIENCE: Duration = Duration::from_secs(120);

/// Registers a workload and boots a guest that fetches its passphrase. Panics at any other outcome.
async fn cycle(world: &World, guest: &mut PoliteGuest) -> Times {
    let (id, passphrase) = (unique("w"), passphrase());
    guest.state.workload_id.clone_from(&id);
    let build = Buildah { deadline: PATIENCE, ..world.build(&id, &passphrase) };
    let mut times = Times::default();
    let mut begin = Instant::now();
    let mut lap = |step: usize| times[step] = std::mem::replace(&mut begin, Instant::now()).elapsed();
    let response = build.register().await.expect("a response to the registration");
    assert!(Buildah::accepts(&response), "register: {} {}", response.status, response.text());
    lap(0);
    guest.auth().await.unwrap_or_else(|error| panic!("auth: {error}"));
    lap(1);
    guest.attest().await.unwrap_or_else(|error| panic!("attest: {error}"));
    lap(2);
    let got = guest.key().await.unwrap_or_else(|error| panic!("key: {error}"));
    lap(3);
    assert_eq!(got, passphrase.into_bytes(), "{id}");
    times
}

fn seconds() -> u64 {
    env::var("KEYBROKER_TEST_LOAD_SECONDS").map_or(3, |seconds| seconds.parse().expect("a number of seconds"))
}

fn report(mut cycles: Vec<Times>, took: Duration) {
    let requests = cycles.len() * STEPS.len();
    let rate = requests as f64 / took.as_secs_f64();
    println!(
        "{GUESTS} guests at a time for {:.1} s: {} cycles, {rate:.0} requests/s",
        took.as_secs_f64(),
        cycles.len()
    );
    for (index, step) in STEPS.into_iter().enumerate() {
        cycles.sort_unstable_by_key(|times| times[index]);
        let at = |percent: usize| cycles[(cycles.len() - 1) * percent / 100][index].as_secs_f64() * 1e3;
        println!("{step:9} p50 {:7.1} ms   p99 {:7.1} ms   most {:7.1} ms", at(50), at(99), at(100));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_guests_at_a_time_all_get_their_passphrase() {
    let world = Arc::new(World::start());
    // The guests make their keys before the measurement starts. They share a few chips, because the broker
    // turns away guests of many new chips at once.
    let mut guests = JoinSet::new();
    for number in 0..GUESTS {
        let world = Arc::clone(&world);
        guests.spawn_blocking(move || world.polite("", world.machine(Product::Milan, number % 4)));
    }
    let guests = guests.join_all().await;
    let begin = Instant::now();
    let until = begin + Duration::from_secs(seconds());
    let mut crowd = JoinSet::new();
    for mut guest in guests {
        guest.state.deadline = PATIENCE;
        let world = Arc::clone(&world);
        crowd.spawn(async move {
            let mut cycles = Vec::new();
            while cycles.is_empty() || Instant::now() < until {
                cycles.push(cycle(&world, &mut guest).await);
            }
            cycles
        });
    }
    let cycles = crowd.join_all().await.concat();
    assert!(cycles.len() >= usize::from(GUESTS));
    report(cycles, begin.elapsed());
}
