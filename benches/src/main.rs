//! Measures what a boot costs: two builds of `keybroker serve`, side by side.

mod bench;
mod broker;
mod connection;
mod disk;
mod figure;
mod fill;
mod guest;
mod load;
mod plot;
mod record;
mod scale;
mod strangers;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;

use crate::bench::{Bench, GUESTS};

/// Measures boots of simulated guests against `keybroker serve` on this machine, and prints a table in
/// Markdown.
///
/// Guests and brokers share the processor: the table says how much of it the guests take for themselves. That
/// is little, because the guests share one chip and a few keys, and decrypt one passphrase in 64.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program that is the baseline.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "scale")]
    before: Option<PathBuf>,
    /// The program that is compared with it, or measured alone.
    #[arg(long, value_name = "PROGRAM")]
    after: PathBuf,
    /// Compares the program over an empty store with itself over a large one in DIR.
    ///
    /// The first time, the large store is made and filled. It stays, and grows by what is registered
    /// meanwhile. For a second time, KEYBROKER_SIMULATOR_KEYS must name the same directory as for the first,
    /// or else the stored certificates have no trust anchor.
    #[arg(long, value_name = "DIR")]
    scale: Option<PathBuf>,
    /// The workloads of the large store.
    #[arg(long, default_value_t = 1_000_000, value_name = "NUMBER")]
    workloads: usize,
    /// The audit records of the large store.
    #[arg(long, default_value_t = 2_000_000, value_name = "NUMBER")]
    records: usize,
    /// A directory on the disk to measure on. Stores are made below it, and removed.
    #[arg(long, default_value = "target/benches/data", value_name = "DIR")]
    directory: PathBuf,
    /// How long each load is measured in each run.
    #[arg(
        long,
        default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..),
        value_name = "SECONDS"
    )]
    seconds: u64,
    /// How often everything is measured. The table holds medians.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How many challenges strangers get before the data file is measured again. This is done once. 0 leaves
    /// it out.
    #[arg(long, default_value_t = 1_000_000, value_name = "NUMBER")]
    challenges: u64,
    /// Writes every figure of every run here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a plot here.
    #[arg(long, requires = "before", value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&arguments))
}

async fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { before, after, directory, seconds, runs, .. } = arguments;
    disk::prepare(directory)?;
    eprintln!("making keys");
    let bench = Bench::new(directory, Duration::from_secs(*seconds)).await?;
    let conditions = format!(
        "Medians of {runs} runs of {seconds} s; {} processors; a page is written and synced in {:.2} ms, a report \
         signed in {:.2} ms.",
        thread::available_parallelism()?,
        disk::sync_time(directory)?,
        bench.fleet.signing_time(),
    );
    let (names, results) = match (&arguments.scale, before) {
        (Some(full), _) => {
            disk::prepare(full)?;
            let full = scale::full(&bench, after, full, [arguments.workloads, arguments.records]).await?;
            (vec!["empty", "full"], scale::compare(&bench, after, full, *runs).await?.to_vec())
        }
        (None, Some(before)) => (vec!["before", "after"], loads(&bench, &[before, after], arguments).await?),
        (None, None) => (vec!["after"], loads(&bench, &[after], arguments).await?),
    };
    println!("{conditions}\n\n{}", table::medians(&names, &results));
    if let Some(file) = &arguments.json {
        let json = record::json(&conditions, names.iter().copied().zip(&results));
        write(file, &format!("{json:#}\n"))?;
    }
    if let (Some(file), [before, after]) = (&arguments.svg, results.as_slice()) {
        write(file, &plot::plot(before, after, &GUESTS, &conditions))?;
    }
    Ok(())
}

/// Every load against each program, and then the data file.
async fn loads(bench: &Bench, programs: &[&PathBuf], arguments: &Arguments) -> Result<Vec<figure::Runs>> {
    let programs: Vec<&Path> = programs.iter().map(|program| program.as_path()).collect();
    let mut results = bench.compare(&programs, arguments.runs).await?;
    if arguments.challenges > 0 {
        for (program, runs) in programs.iter().zip(&mut results) {
            eprintln!("{} challenges: {}", arguments.challenges, program.display());
            runs.0.push(bench.data_file(program, arguments.challenges).await?);
        }
    }
    Ok(results)
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| file.display().to_string())
}
