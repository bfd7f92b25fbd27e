//! Chips that nobody has seen, many at once.

use std::time::{Duration, Instant};

use keybroker_common::audit::Check;
use keybroker_simulator::{
    kds::{Behaviour, Kind},
    pki::Chip,
};
use keybroker_testing::{
    announced,
    guest::{KEY, evidence},
    world::{Broker, World, workload_id},
};
use tokio::task::JoinSet;

/// How long the KDS takes for an answer.
const ANSWER: Duration = Duration::from_millis(300);

/// How many guests of `chips`, at once, attest to `broker`.
async fn attested(world: &World, broker: &Broker, chips: &[Chip]) -> usize {
    world.hardware.kds.otherwise(Behaviour::Slow(ANSWER));
    let mut guests = JoinSet::new();
    for chip in chips {
        let challenge = broker.challenge("w").await;
        let evidence = evidence(chip, &KEY, &challenge);
        let attest = broker.attest.clone();
        guests.spawn(async move { attest.attest(&challenge.session_id, evidence).await.is_ok() });
    }
    guests.join_all().await.into_iter().filter(|attested| *attested).count()
}

fn chips(world: &World, count: u8) -> Vec<Chip> {
    let chips: Vec<_> = (1..=count).map(|seed| Chip::new(world.hardware.chip.product(), seed)).collect();
    for chip in chips.iter().skip(1) {
        world.hardware.kds.add(chip);
    }
    chips
}

/// At the pace that holds towards AMD, and at that of another KDS. The broker's clock stands still: no bucket
/// fills.
#[tokio::test]
async fn twenty_honest_new_chips_at_once_all_boot() {
    for paced in [true, false] {
        let world = World::new().await;
        world.broker().registered("w").await;
        let broker = if paced { world.paced_broker() } else { world.broker() };
        let chips = chips(&world, 20);
        let begun = Instant::now();
        let booted = attested(&world, &broker, &chips).await;
        println!(
            "twenty new chips at once, paced as for AMD: {paced}: {booted} boot within {:?}",
            begun.elapsed()
        );
        assert_eq!(booted, 20);
        assert_eq!(world.hardware.kds.count(Kind::Vcek), 20);
        assert!(world.hardware.kds.peak() <= 5, "four certificates, and a list");
    }
}

/// Chips that AMD does not vouch for are what the pace is for.
#[tokio::test]
async fn made_up_chips_are_asked_for_up_to_half_a_burst() {
    let world = World::new().await;
    let broker = world.paced_broker();
    broker.registered("made-up").await;
    let mut guests = JoinSet::new();
    for seed in 2..22 {
        let challenge = broker.challenge("made-up").await;
        let made_up = Chip::new(world.hardware.chip.product(), seed);
        let (evidence, attest) = (evidence(&made_up, &KEY, &challenge), broker.attest.clone());
        guests.spawn(async move { attest.attest(&challenge.session_id, evidence).await.is_ok() });
    }
    for _ in 0..4 {
        assert!(!guests.join_next().await.unwrap().unwrap(), "AMD knows none of them");
    }
    // The others wait in line now, and nothing but time ends that.
    tokio::time::pause();
    assert!(guests.join_all().await.into_iter().all(|attested| !attested));
    assert_eq!(world.hardware.kds.count(Kind::Vcek), 4);
    let waited = announced::undecided(Check::NewChips.name());
    let here = waited.iter().filter(|record| record.workload_id == Some(workload_id("made-up")));
    assert_eq!(here.count(), 16);
}
