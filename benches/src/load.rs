//! The requests that a broker gets while it is measured.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    broker::{Broker, own_cpu},
    figure::{Figure, Metric, Run, at, mb, ms},
    guest::{Fleet, Guest, Steps},
    strangers::{STRANGERS, Strangers},
};

/// How long a load goes on before it is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// How often to look whether something has happened.
const LOOK: Duration = Duration::from_millis(5);
/// How often each broker has its turn.
const TURNS: u32 = 20;

/// Boots within some time, and their cost.
#[derive(Debug, Default)]
struct Boots {
    steps: Vec<Steps>,
    took: Duration,
    /// Processor time of the broker.
    broker: Duration,
    /// Processor time of the guests.
    guests: Duration,
}

impl Boots {
    fn figures(&self, broker: &Broker, guests: usize) -> Result<Run> {
        let mut whole: Vec<f64> = self.steps.iter().map(|steps| ms(steps.iter().sum())).collect();
        let mut attest: Vec<f64> = self.steps.iter().map(|[_, _, attest, _]| ms(*attest)).collect();
        let count = self.steps.len() as f64;
        let memory = broker.memory()?;
        let none = || format!("no boot of {guests} guests ended within {:?}: measure for longer", self.took);
        let percentile = |values: &mut Vec<f64>, percent| at(values, percent).with_context(none);
        Ok([
            (Metric::BootsPerSecond, count / self.took.as_secs_f64()),
            (Metric::BootP50, percentile(&mut whole, 50)?),
            (Metric::BootP99, percentile(&mut whole, 99)?),
            (Metric::AttestP50, percentile(&mut attest, 50)?),
            (Metric::AttestP99, percentile(&mut attest, 99)?),
            (Metric::BrokerCpu, ms(self.broker) / count),
            (Metric::GuestCpu, ms(self.guests) / count),
            (Metric::Rss, mb(memory.now)),
            (Metric::RssMost, mb(memory.most)),
        ]
        .map(|(metric, value)| Figure::new(metric, guests, value))
        .to_vec())
    }
}

/// One guest registers and boots, and then boots what is registered. The brokers take turns of a fraction of
/// a second: the time that a disk takes to sync changes all the while, and such a boot is little else.
pub(crate) async fn alone(brokers: &[&Broker], fleet: &Fleet, length: Duration) -> Result<Vec<Run>> {
    let mut subjects = Vec::new();
    for broker in brokers {
        let guest = registered(broker, fleet).await?;
        subjects.push((*broker, guest, Boots { broker: broker.cpu()?, ..Boots::default() }, Vec::new()));
    }
    for _ in 0..TURNS {
        for (_, guest, boots, _) in &mut subjects {
            let (begin, own) = (Instant::now(), own_cpu());
            while begin.elapsed() < length / TURNS {
                boots.steps.push(guest.register_and_boot(fleet.workload()).await?);
            }
            boots.took += begin.elapsed();
            boots.guests += own_cpu() - own;
        }
    }
    for (broker, _, boots, _) in &mut subjects {
        boots.broker = broker.cpu()? - boots.broker;
    }
    for _ in 0..TURNS {
        for (_, guest, _, again) in &mut subjects {
            again.extend(boots_of(guest, length / TURNS).await?);
        }
    }
    let run = |(broker, _, boots, mut again): (&Broker, Guest, Boots, Vec<f64>)| {
        let mut run = boots.figures(broker, 1)?;
        run.push(Figure::new(Metric::IdleBoot, 1, at(&mut again, 50).context("no boot")?));
        Ok(run)
    };
    subjects.into_iter().map(run).collect()
}

/// New workloads are registered and booted by `guests` guests at a time. A boot counts if it ends within the
/// time that is measured.
pub(crate) async fn crowd(
    broker: &Broker,
    fleet: &Arc<Fleet>,
    guests: usize,
    length: Duration,
) -> Result<Run> {
    let (ready, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut crowd = JoinSet::new();
    for number in 0..guests {
        let mut guest = fleet.guest(broker.address, number)?;
        let (fleet, ready, stop) = (Arc::clone(fleet), Arc::clone(&ready), Arc::clone(&stop));
        crowd.spawn(async move {
            guest.register_and_boot(fleet.workload()).await?;
            ready.fetch_add(1, Relaxed);
            let mut boots = Vec::new();
            while !stop.load(Relaxed) {
                let steps = guest.register_and_boot(fleet.workload()).await?;
                boots.push((Instant::now(), steps));
            }
            Ok::<_, anyhow::Error>(boots)
        });
    }
    while ready.load(Relaxed) < guests {
        if let Some(ended) = crowd.try_join_next() {
            ended??;
        }
        sleep(LOOK).await;
    }
    sleep(WARM_UP).await;
    let (begin, cpu, own) = (Instant::now(), broker.cpu()?, own_cpu());
    sleep(length).await;
    let (end, cpu, own) = (Instant::now(), broker.cpu()? - cpu, own_cpu() - own);
    stop.store(true, Relaxed);
    let mut boots = Boots { took: end - begin, broker: cpu, guests: own, ..Boots::default() };
    while let Some(ended) = crowd.join_next().await {
        let within = ended??.into_iter().filter(|(ended, _)| (begin..end).contains(ended));
        boots.steps.extend(within.map(|(_, steps)| steps));
    }
    boots.figures(broker, guests)
}

/// Challenges for strangers who ask for nothing else.
pub(crate) async fn challenges(broker: &Broker, length: Duration) -> Result<Run> {
    let strangers = Strangers::start(broker.address)?;
    sleep(WARM_UP).await;
    let (begin, cpu, before) = (Instant::now(), broker.cpu()?, strangers.count());
    sleep(length).await;
    let count = (strangers.count() - before) as f64;
    let (took, cpu) = (begin.elapsed(), broker.cpu()? - cpu);
    strangers.stop()?;
    Ok(vec![
        Figure::new(Metric::AuthPerSecond, STRANGERS, count / took.as_secs_f64()),
        Figure::new(Metric::AuthCpu, STRANGERS, ms(cpu) / count),
    ])
}

/// The boot of one guest, of a workload that has booted before: alone, among strangers, and alone again.
pub(crate) async fn flood(broker: &Broker, fleet: &Fleet, length: Duration) -> Result<Run> {
    let mut guest = registered(broker, fleet).await?;
    let mut idle = boots_of(&mut guest, length / 2).await?;
    let strangers = Strangers::start(broker.address)?;
    sleep(WARM_UP).await;
    let (begin, before) = (Instant::now(), strangers.count());
    let mut flooded = boots_of(&mut guest, length).await?;
    let speed = (strangers.count() - before) as f64 / begin.elapsed().as_secs_f64();
    strangers.stop()?;
    idle.extend(boots_of(&mut guest, length / 2).await?);
    let median = |boots: &mut [f64]| at(boots, 50).context("no boot");
    let (idle, flooded) = (median(&mut idle)?, median(&mut flooded)?);
    Ok([
        (Metric::IdleBoot, idle),
        (Metric::FloodedBoot, flooded),
        (Metric::FloodFactor, flooded / idle),
        (Metric::FloodPerSecond, speed),
    ]
    .map(|(metric, value)| Figure::new(metric, STRANGERS, value))
    .to_vec())
}

/// Strangers ask until there were `count` challenges.
pub(crate) async fn many_challenges(broker: &Broker, count: u64) -> Result<()> {
    let strangers = Strangers::start(broker.address)?;
    while strangers.count() < count && strangers.is_there() {
        sleep(LOOK).await;
    }
    strangers.stop()
}

/// A guest whose workload is registered and has booted once.
pub(crate) async fn registered(broker: &Broker, fleet: &Fleet) -> Result<Guest> {
    let mut guest = fleet.guest(broker.address, 0)?;
    guest.register_and_boot(fleet.workload()).await?;
    Ok(guest)
}

/// The milliseconds that each boot takes, one after the other.
async fn boots_of(guest: &mut Guest, length: Duration) -> Result<Vec<f64>> {
    let begin = Instant::now();
    let mut boots = Vec::new();
    while begin.elapsed() < length {
        boots.push(ms(guest.boot().await?.iter().sum()));
    }
    Ok(boots)
}
