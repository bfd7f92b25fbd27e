//! Many guests at once: the broker asks AMD as rarely as possible, and every guest boots in the end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use keybroker_simulator::{
    Product, Tcb,
    guest::{Error, KrunGuest, Machine, PoliteGuest},
    kds::{Behaviour, Kind},
    pki::Chip,
};
use keybroker_tests::{
    DEADLINE, unique,
    world::{World, amd},
};
use tokio::{sync::Barrier, task::JoinSet};

#[tokio::test]
async fn fifty_guests_of_one_new_chip_ask_amd_once() {
    const GUESTS: usize = 50;
    let world = World::serve(&[]);
    let id = unique("w");
    let passphrase = world.register(&id).await;
    let barrier = Arc::new(Barrier::new(GUESTS));
    let mut crowd = JoinSet::new();
    for _ in 0..GUESTS {
        let mut guest: KrunGuest = world.krun(&id, world.milan());
        let barrier = Arc::clone(&barrier);
        crowd.spawn(async move {
            guest.auth().await?;
            barrier.wait().await;
            guest.attest().await?;
            guest.key().await
        });
    }
    let booted = crowd.join_all().await;
    assert_eq!(booted, vec![Ok(passphrase.into_bytes()); GUESTS]);
    assert_eq!(world.kds.count(Kind::Vcek), 1, "{:?}", world.kds.requests());
    assert!(world.kds.count(Kind::Chain) <= 1, "{:?}", world.kds.requests());
    assert!(world.kds.count(Kind::Crl) <= 1, "{:?}", world.kds.requests());
    let (server, _home, _kds) = world.into_parts();
    let released = server.terminate().out.matches(r#""decision":"released""#).count();
    assert_eq!(released, GUESTS);
}

/// Sends this guest's evidence and returns the status of the answer.
async fn attest(guest: &PoliteGuest) -> u16 {
    match guest.attest().await {
        Ok(response) => response.status,
        Err(Error::Refused(said)) => said.status,
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn guests_of_new_chips_get_503_while_amd_says_429() {
    const GUESTS: u8 = 20;
    let world = World::serve(&[]);
    let id = unique("w");
    let passphrase = world.register(&id).await;
    world.kds.otherwise(Behaviour::Status(429, Some(2)));
    let mut guests = Vec::new();
    for seed in 1..=GUESTS {
        let mut guest = world.polite(&id, world.machine(Product::Milan, seed));
        guest.auth().await.unwrap();
        guests.push(guest);
    }
    let mut crowd = JoinSet::new();
    for guest in guests {
        crowd.spawn(async move { (attest(&guest).await, guest) });
    }
    let (statuses, mut guests): (Vec<_>, Vec<_>) = crowd.join_all().await.into_iter().unzip();
    assert_eq!(statuses, vec![503; usize::from(GUESTS)]);

    assert!(world.kds.requests().len() <= 12, "{}", world.kds.requests().len());
    assert!(world.kds.peak() <= 4);

    // A guest that comes within the next seconds is told when to come back, and the broker does not ask AMD.
    // One that comes later has AMD asked, and so it comes again.
    let cookie = format!("Cookie: session_id={}", guests[0].state.session_id.as_ref().unwrap());
    let evidence = guests[0].state.attest_body().unwrap();
    let until = Instant::now() + DEADLINE;
    loop {
        let asked = world.kds.requests().len();
        let response = world.ask("POST", "/kbs/v0/attest", &[&cookie], Some(&evidence));
        assert_eq!(response.status, 503, "{}", response.text());
        let retry_after: u64 = response.header("retry-after")[0].parse().unwrap();
        assert!((1..=10).contains(&retry_after), "{retry_after}");
        assert!((3..=199).contains(&response.body.len()));
        if world.kds.requests().len() == asked {
            break;
        }
        assert!(Instant::now() < until, "the broker asks AMD for every guest");
    }

    // Once AMD answers again and it is this chip's turn, the same challenge succeeds.
    world.kds.recover();
    let until = Instant::now() + DEADLINE;
    let guest = &mut guests[0];
    while attest(guest).await != 200 {
        assert!(Instant::now() < until, "the broker does not recover");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(guest.key().await, Ok(passphrase.into_bytes()));
}

/// As docs/runbook/kds-down.md says.
#[tokio::test]
async fn a_seen_chip_boots_while_amd_is_out_and_waits_at_a_new_level() {
    let mut world = World::serve(&[]);
    let id = unique("w");
    let passphrase = Ok(world.register(&id).await.into_bytes());
    let boot = async |world: &World, chip: &Chip| {
        world.polite(&id, Machine::new(amd(Product::Milan), chip)).boot().await
    };
    let chip = world.chip(Product::Milan, 1);
    let updated = chip.at(Tcb { snp: chip.tcb.snp + 1, ..chip.tcb });
    assert_eq!(boot(&world, &chip).await, passphrase);
    for (arguments, waits) in [(&[][..], 503), (&["--kds", "known-chips-only"], 403)] {
        // Another process: all that it knows of the chip is in the store.
        let (server, home, kds) = world.into_parts();
        server.terminate();
        world = World::over(home, kds, arguments);
        world.kds.otherwise(Behaviour::Status(500, None));
        assert_eq!(boot(&world, &chip).await, passphrase);
        let Err(Error::Refused(said)) = boot(&world, &updated).await else { panic!("no answer") };
        assert_eq!(said.status, waits, "{arguments:?}: {said:?}");
    }
}

/// A fleet starts, or is updated, all at once. Tested at the pace that the broker keeps towards AMD, and at
/// the pace for another KDS.
#[tokio::test]
async fn twenty_honest_new_chips_at_once_all_boot() {
    const AMDS: [&str; 4] = ["--new-chips-per-minute", "6", "--new-chips-burst", "8"];
    for arguments in [&AMDS[..], &[]] {
        let world = World::serve(arguments);
        let id = unique("w");
        let passphrase = world.register(&id).await;
        world.kds.otherwise(Behaviour::Slow(Duration::from_millis(300)));
        let mut guests = Vec::new();
        for seed in 1..=20 {
            let mut guest: KrunGuest = world.krun(&id, world.machine(Product::Milan, seed));
            guest.auth().await.unwrap();
            guests.push(guest);
        }
        let begun = Instant::now();
        let mut crowd = JoinSet::new();
        for mut guest in guests {
            crowd.spawn(async move {
                guest.attest().await?;
                guest.key().await
            });
        }
        let booted = crowd.join_all().await;
        assert_eq!(booted, vec![Ok(passphrase.into_bytes()); 20], "{arguments:?}");
        println!("twenty new chips at once, {arguments:?}: all boot within {:?}", begun.elapsed());
        assert_eq!(world.kds.count(Kind::Vcek), 20);
        assert!(world.kds.peak() <= 5, "four certificates, and a list: {}", world.kds.peak());
    }
}
