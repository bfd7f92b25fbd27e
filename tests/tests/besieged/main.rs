//! A thousand hostile connections come from one address, and honest guests boot meanwhile. They boot without
//! delay from another address, and through a relay even if an attacker uses the same relay. Each test prints
//! how long a boot took.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use keybroker_simulator::guest::{Error, KrunGuest};
use keybroker_tests::{
    hostile::{Crowd, Manner, allow_files},
    passphrase,
    relay::Relay,
    server::Server,
    starved::Starved,
    unique,
    world::World,
};
use tokio::task::JoinSet;

const HOSTILE: usize = 1000;
/// The address of the hostile connections. All others come from 127.0.0.1.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
const BESIDE: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// How many lines thousands of hostile connections may add to a log.
const FEW_LINES: usize = 150;
/// How long an honest guest may take, beside its and the broker's waits for the processor.
const SOON: Duration = Duration::from_secs(2);
/// How long one may take with these waits.
const AT_LAST: Duration = Duration::from_secs(30);
/// Nobody hangs for longer.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long this guest takes to boot. It can boot again.
async fn boot(guest: &mut KrunGuest, passphrase: &str) -> Duration {
    guest.state.deadline = PATIENCE;
    let begin = Instant::now();
    let booted = guest.boot().await;
    let took = begin.elapsed();
    assert_eq!(booted, Ok(passphrase.as_bytes().to_vec()), "after {took:?}");
    took
}

/// The same, as if the broker's process and this one had not waited for the processor.
async fn unstarved_boot(guest: &mut KrunGuest, passphrase: &str, world: &World) -> Duration {
    let starved = Starved::begin(world.server().pid());
    let took = boot(guest, passphrase).await;
    // A broker that keeps itself from the processor would not be seen otherwise.
    assert!(took < AT_LAST, "{took:?}");
    took.saturating_sub(starved.since())
}

/// Boots a guest again and again until each connection of the crowd has come twice. Returns the longest boot
/// and the number of boots.
async fn longest_boot(
    guest: &mut KrunGuest,
    passphrase: &str,
    world: &World,
    crowd: &Crowd,
    size: usize,
) -> (Duration, usize) {
    let (mut longest, mut boots) = (Duration::ZERO, 0);
    let until = Instant::now() + Duration::from_secs(30);
    while boots < 5 || (crowd.attempts() < 2 * size && Instant::now() < until) {
        longest = longest.max(unstarved_boot(guest, passphrase, world).await);
        boots += 1;
    }
    (longest, boots)
}

async fn besieged(manners: &'static [Manner]) {
    let world = World::serve(&[]);
    let authority = world.authority();
    besieged_by(world, manners, || Crowd::of(HOSTILE, manners, ELSEWHERE, &authority)).await;
}

async fn besieged_by(world: World, manners: &[Manner], crowd: impl FnOnce() -> Crowd) {
    let id = unique("w");
    let passphrase = world.register(&id).await;
    // The broker has the chip's certificate before the crowd comes.
    let mut guest = world.krun(&id, world.milan());
    boot(&mut guest, &passphrase).await;
    let quiet = boot(&mut guest, &passphrase).await;
    let crowd = crowd();
    let (during, boots) = longest_boot(&mut guest, &passphrase, &world, &crowd, HOSTILE).await;
    let came = crowd.attempts();
    drop(crowd);
    let after = unstarved_boot(&mut guest, &passphrase, &world).await;
    println!(
        "{manners:?}: a guest boots in {quiet:.0?} before, in {after:.0?} after, \
         and in at most {during:.0?} ({boots} boots) during {came} connections"
    );
    assert!(during < SOON && after < SOON, "{during:?}, {after:?}");
    let (server, _home, _kds) = world.into_parts();
    let log = server.terminate().log;
    let told = log.lines().filter(|line| line.contains("connections were closed")).count();
    assert!(log.lines().count() < FEW_LINES, "a line for each would be {came}:\n{log}");
    assert!(told >= 1, "{log}");
}

#[tokio::test]
async fn a_guest_boots_while_slow_heads_come_by_the_thousand() {
    besieged(&[Manner::SlowHead]).await;
}

#[tokio::test]
async fn a_guest_boots_while_slow_bodies_come_by_the_thousand() {
    besieged(&[Manner::SlowBody]).await;
}

#[tokio::test]
async fn a_guest_boots_while_a_thousand_clients_read_nothing() {
    besieged(&[Manner::NoReading]).await;
}

#[tokio::test]
async fn a_guest_boots_while_a_thousand_connections_are_half_open() {
    besieged(&[Manner::Silent, Manner::Silent, Manner::Silent, Manner::HalfClosed]).await;
}

#[tokio::test]
async fn a_guest_boots_while_a_thousand_clients_do_all_of_it() {
    besieged(&Manner::ALL).await;
}

/// They ask as fast as they are answered, and more of them come than their address has places.
#[tokio::test]
async fn a_guest_boots_while_a_thousand_clients_ask_without_end() {
    let world = World::serve(&[]);
    let id = unique("w");
    let passphrase = world.register(&id).await;
    let mut guest = world.krun(&id, world.milan());
    boot(&mut guest, &passphrase).await;
    let crowd = Crowd::of(HOSTILE, &[Manner::Asking], ELSEWHERE, &world.authority());
    let mut boots = Vec::new();
    for _ in 0..19 {
        boots.push(boot(&mut guest, &passphrase).await);
    }
    boots.sort_unstable();
    let [shortest, middle, longest] = [boots[0], boots[9], boots[18]];
    println!(
        "a guest boots in {shortest:.0?}, {middle:.0?} and {longest:.0?} at best, in the middle and at worst, \
         beside {} connections of clients that ask without end",
        crowd.attempts()
    );
    // All share the processor: some boots may take longer.
    assert!(middle < SOON, "{middle:?}");
}

/// The same through TLS.
#[tokio::test]
async fn a_guest_boots_while_a_thousand_clients_do_all_of_it_over_tls() {
    let world = World::serve_tls(&[]);
    let (authority, tls) = (world.tls_authority(), world.connector());
    besieged_by(world, &Manner::ALL, || Crowd::over(tls, HOSTILE, &Manner::ALL, ELSEWHERE, &authority)).await;
}

#[tokio::test]
async fn a_guest_boots_while_slow_handshakes_come_by_the_thousand() {
    let manners = &[Manner::SlowHello, Manner::Silent];
    let world = World::serve_tls(&[]);
    let authority = world.tls_authority();
    besieged_by(world, manners, || Crowd::of(HOSTILE, manners, ELSEWHERE, &authority)).await;
}

const THROUGH_ONE_RELAY: usize = 200;

/// Boots all guests at once and returns how long the last one took. They can boot again.
async fn all_at_once(guests: &mut Vec<KrunGuest>, passphrase: &str, relay: &Relay) -> Duration {
    let begin = Instant::now();
    let mut crowd = JoinSet::new();
    for mut guest in guests.drain(..) {
        guest.state.deadline = PATIENCE;
        crowd.spawn(async move { (guest.boot().await, guest) });
    }
    let booted: Vec<Result<Vec<u8>, Error>>;
    (booted, *guests) = crowd.join_all().await.into_iter().unzip();
    let took = begin.elapsed();
    let expected = Ok(passphrase.as_bytes().to_vec());
    let failed: Vec<_> = booted.iter().filter(|booted| **booted != expected).collect();
    assert!(
        failed.is_empty(),
        "{} of {}: {:?}\n{}",
        failed.len(),
        booted.len(),
        failed.first(),
        relay.server.log_until_now()
    );
    took
}

fn through(relay: &Relay, world: &World, id: &str) -> Vec<KrunGuest> {
    let machine = world.milan();
    (0..THROUGH_ONE_RELAY).map(|_| relay.krun(id, machine.clone())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_guests_boot_through_one_relay_under_attack() {
    allow_files();
    let world = World::serve(&[]);
    let relay = Relay::to(&world.url, &[]);
    let id = passphrase();
    let secret = world.register(&id).await;
    let host = relay.url().strip_prefix("http://").unwrap().to_owned();
    // The guests make their keys before the measurement starts.
    let mut guests = through(&relay, &world, &id);
    boot(&mut guests[0], &secret).await;
    let quiet = all_at_once(&mut guests, &secret, &relay).await;
    let crowd = Crowd::of(HOSTILE, &Manner::ALL, ELSEWHERE, &world.authority());
    let broker = all_at_once(&mut guests, &secret, &relay).await;
    drop(crowd);
    let crowd = Crowd::of(HOSTILE, &Manner::ALL, BESIDE, &host);
    let beside = all_at_once(&mut guests, &secret, &relay).await;
    let came = crowd.attempts();
    drop(crowd);
    println!(
        "{THROUGH_ONE_RELAY} guests through one relay: {quiet:.0?}; {broker:.0?} while the broker is \
         attacked; {beside:.0?} while a guest beside them attacks the relay, with {came} connections"
    );
    let log = relay.terminate().log;
    assert!(log.contains("connections were closed") && log.lines().count() < FEW_LINES, "{log}");
}

/// A broker that may open few files stays within that limit.
#[tokio::test]
async fn a_guest_boots_where_the_process_may_open_128_files() {
    let home = keybroker_tests::server::Home::new(&keybroker_tests::world::anchors());
    let kds = std::sync::Arc::new(keybroker_tests::world::kds());
    let serve = home.command(&kds.url(), &[]);
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "ulimit -n 128 && exec \"$0\" \"$@\""])
        .arg(serve.get_program())
        .args(serve.get_args());
    limited.env_clear();
    let server = Server::start(limited);
    let world = World::of(server, home, kds);
    let id = unique("w");
    let passphrase = world.register(&id).await;
    let crowd = Crowd::of(300, &Manner::ALL, ELSEWHERE, &world.authority());
    let mut guest = world.krun(&id, world.milan());
    boot(&mut guest, &passphrase).await;
    let (took, _) = longest_boot(&mut guest, &passphrase, &world, &crowd, 300).await;
    drop(crowd);
    assert!(took < SOON, "{took:?}");
    let (server, _home, _kds) = world.into_parts();
    let log = server.terminate().log;
    assert!(!log.contains("no connection can be accepted"), "{log}");
}
