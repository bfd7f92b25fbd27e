//! A store with many rows beside an empty one.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result};

use crate::{
    bench::Bench,
    broker::{Broker, Home},
    connection::Connection,
    disk,
    figure::{Figure, Metric, Runs, mb, ms},
    fill::fill,
    guest::challenge_request,
    load,
};

/// Guests at a time, after one alone.
const GUESTS: usize = 64;

/// The files of a broker in `directory`, with so many workloads and records in the store: filled unless there
/// is a store.
pub(crate) async fn full(
    bench: &Bench,
    program: &Path,
    directory: &Path,
    [workloads, records]: [usize; 2],
) -> Result<Home> {
    let home = Home::new(directory, &bench.anchors)?;
    if home.store().exists() {
        return Ok(home);
    }
    let broker = Broker::start(program, &home, &bench.kds.url())?;
    load::registered(&broker, &bench.fleet).await?;
    broker.stop()?;
    fill(&home.store(), workloads, records)
        .with_context(|| format!("{} is not filled: remove it", directory.display()))?;
    Ok(home)
}

/// Measures `program` over an empty store, and over a full one.
pub(crate) async fn compare(bench: &Bench, program: &Path, full: Home, runs: usize) -> Result<[Runs; 2]> {
    let directory = tempfile::tempdir_in(&bench.directory)?;
    let homes = [Home::new(directory.path(), &bench.anchors)?, full];
    let mut results = [Runs::default(), Runs::default()];
    for home in &homes {
        // The first start makes keys, and may have to mend or to convert what is there.
        let begin = Instant::now();
        Broker::start(program, home, &bench.kds.url())?.stop()?;
        eprintln!("first start and end: {:.0} ms", ms(begin.elapsed()));
    }
    for run in 0..runs {
        eprintln!("run {}", run + 1);
        measure(bench, program, &homes, &mut results).await?;
    }
    Ok(results)
}

/// One run over each of the stores.
async fn measure(bench: &Bench, program: &Path, homes: &[Home; 2], results: &mut [Runs; 2]) -> Result<()> {
    let mut brokers = Vec::new();
    let mut runs = Vec::new();
    for home in homes {
        disk::forget(&home.store())?;
        let (broker, cold) = first_answer(bench, program, home).await?;
        let memory = broker.memory()?;
        broker.stop()?;
        let (broker, warm) = first_answer(bench, program, home).await?;
        brokers.push(broker);
        runs.push(vec![
            Figure::new(Metric::FirstAnswerCold, 1, cold),
            Figure::new(Metric::FirstAnswerWarm, 1, warm),
            Figure::new(Metric::RssAtStart, 1, mb(memory.most)),
            Figure::new(Metric::File, 1, mb(home.store_len()?)),
        ]);
    }
    let both: Vec<&Broker> = brokers.iter().collect();
    let alone = load::alone(&both, &bench.fleet, bench.length).await?;
    for (((broker, mut run), alone), results) in brokers.into_iter().zip(runs).zip(alone).zip(results) {
        run.extend(alone);
        run.extend(load::crowd(&broker, &bench.fleet, GUESTS, bench.length).await?);
        broker.stop()?;
        results.0.push(run);
    }
    Ok(())
}

/// Starts the broker. Gives the milliseconds until it has answered a request for a challenge.
async fn first_answer(bench: &Bench, program: &Path, home: &Home) -> Result<(Broker, f64)> {
    let begin = Instant::now();
    let broker = Broker::start(program, home, &bench.kds.url())?;
    let request = challenge_request(broker.address);
    Connection::to(broker.address).exchange(request.as_bytes()).await?.ok("auth")?;
    Ok((broker, ms(begin.elapsed())))
}
