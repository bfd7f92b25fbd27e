//! One load against one program at a time, each over an empty store.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use keybroker_simulator::{
    Product,
    guest::Machine,
    kds::Kds,
    pki::{Amd, Chip},
};
use tempfile::TempDir;

use crate::{
    broker::{Broker, Home},
    figure::{Figure, Metric, Run, Runs, mb},
    guest::Fleet,
    load,
    strangers::STRANGERS,
};

/// Guests at a time, for a plot.
pub(crate) const GUESTS: [usize; 4] = [1, 8, 64, 256];
/// Loads for one broker at a time, with all processors for it and its guests.
const LOADS: [Load; 5] = [Load::Crowd(8), Load::Crowd(64), Load::Crowd(256), Load::Challenges, Load::Flood];
/// Keys of RSA that the guests share. More would show nothing: the broker keeps none of them.
const KEYS: usize = 16;

/// The parts that all measurements share.
pub(crate) struct Bench {
    /// Where stores are made.
    pub(crate) directory: PathBuf,
    /// How long a load is measured.
    pub(crate) length: Duration,
    /// The guests.
    pub(crate) fleet: Arc<Fleet>,
    /// The KDS that knows their chip.
    pub(crate) kds: Kds,
    /// The trust anchor that vouches for it.
    pub(crate) anchors: String,
}

/// A broker over a store of its own. The broker ends first when this is dropped, and then its files go.
struct Started {
    broker: Broker,
    home: Home,
    _directory: TempDir,
}

/// A load.
#[derive(Debug, Clone, Copy)]
enum Load {
    /// Boots of so many guests at a time.
    Crowd(usize),
    /// Challenges.
    Challenges,
    /// Boots among strangers.
    Flood,
}

impl Bench {
    /// Makes AMD, a chip and the guests' keys.
    pub(crate) async fn new(directory: &Path, length: Duration) -> Result<Self> {
        let amd = Amd::new(Product::Milan, Timestamp::now());
        let chip = Chip::new(Product::Milan, 1);
        let kds = Kds::start([amd.clone()]).await?;
        kds.add(&chip);
        let fleet = Arc::new(Fleet::new(Machine::new(&amd, &chip), KEYS));
        Ok(Self { directory: directory.to_owned(), length, fleet, kds, anchors: amd.ark_pem() })
    }

    /// Measures every load `runs` times against each of the programs, in turns.
    pub(crate) async fn compare(&self, programs: &[&Path], runs: usize) -> Result<Vec<Runs>> {
        let mut results = vec![Runs::default(); programs.len()];
        for run in 0..runs {
            eprintln!("run {}: one guest: all programs in turns", run + 1);
            for (runs, figures) in results.iter_mut().zip(self.alone(programs).await?) {
                runs.0.push(figures);
            }
            for load in LOADS {
                // Each program is the first in every second run.
                let mut order: Vec<_> = programs.iter().zip(&mut results).collect();
                if run % 2 == 1 {
                    order.reverse();
                }
                for (program, runs) in order {
                    eprintln!("run {}: {load:?}: {}", run + 1, program.display());
                    let figures = self.measure(program, load).await?;
                    runs.0.last_mut().context("a run")?.extend(figures);
                }
            }
        }
        Ok(results)
    }

    async fn alone(&self, programs: &[&Path]) -> Result<Vec<Run>> {
        let started: Vec<_> = programs.iter().map(|program| self.start(program)).collect::<Result<_>>()?;
        let brokers: Vec<&Broker> = started.iter().map(|started| &started.broker).collect();
        load::alone(&brokers, &self.fleet, self.length).await
    }

    async fn measure(&self, program: &Path, load: Load) -> Result<Run> {
        let Started { broker, .. } = &self.start(program)?;
        match load {
            Load::Crowd(guests) => load::crowd(broker, &self.fleet, guests, self.length).await,
            Load::Challenges => load::challenges(broker, self.length).await,
            Load::Flood => load::flood(broker, &self.fleet, self.length).await,
        }
    }

    /// The store's file before and after `count` challenges, and the memory that the broker holds then.
    pub(crate) async fn data_file(&self, program: &Path, count: u64) -> Result<Run> {
        let Started { broker, home, .. } = &self.start(program)?;
        load::registered(broker, &self.fleet).await?;
        let before = home.store_len()?;
        load::many_challenges(broker, count).await?;
        let figure = |metric, bytes| Figure::new(metric, STRANGERS, mb(bytes));
        Ok(vec![
            figure(Metric::FileBefore, before),
            figure(Metric::FileAfter, home.store_len()?),
            figure(Metric::RssAfterChallenges, broker.memory()?.most),
        ])
    }

    /// A broker over an empty store.
    fn start(&self, program: &Path) -> Result<Started> {
        let directory = tempfile::tempdir_in(&self.directory)?;
        let home = Home::new(directory.path(), &self.anchors)?;
        let broker = Broker::start(program, &home, &self.kds.url())?;
        Ok(Started { broker, home, _directory: directory })
    }
}
