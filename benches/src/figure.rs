//! Figures, and the median of several runs.

use std::time::Duration;

/// A quantity that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Metric {
    /// Registrations, each with its boot.
    BootsPerSecond,
    /// Register, auth, attest and key of one guest.
    BootP50,
    /// The same.
    BootP99,
    /// The request to attest alone.
    AttestP50,
    /// The same.
    AttestP99,
    /// Processor time of the broker.
    BrokerCpu,
    /// Processor time of this process.
    GuestCpu,
    /// Challenges over kept connections.
    AuthPerSecond,
    /// Processor time of the broker.
    AuthCpu,
    /// Auth, attest and key of one guest while nobody else is there.
    IdleBoot,
    /// The same while strangers ask for challenges.
    FloodedBoot,
    /// The second by the first.
    FloodFactor,
    /// Challenges that the strangers got meanwhile.
    FloodPerSecond,
    /// The store's file.
    File,
    /// The store's file before strangers asked for challenges.
    FileBefore,
    /// The same afterwards.
    FileAfter,
    /// Resident memory at the end of a run.
    Rss,
    /// The most that was resident in it.
    RssMost,
    /// Resident memory once strangers have asked for many challenges.
    RssAfterChallenges,
    /// Resident memory after the first answer.
    RssAtStart,
    /// From the start of the process to the first answer, with nothing of the store in the system's memory.
    FirstAnswerCold,
    /// The same with the store in memory, as far as there is room.
    FirstAnswerWarm,
}

impl Metric {
    /// Its words in a table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BootsPerSecond => "registrations with boot",
            Self::BootP50 => "registration with boot, p50",
            Self::BootP99 => "registration with boot, p99",
            Self::AttestP50 => "attest, p50",
            Self::AttestP99 => "attest, p99",
            Self::BrokerCpu => "the broker's processor time per boot",
            Self::GuestCpu => "the guests' processor time per boot",
            Self::AuthPerSecond => "challenges",
            Self::AuthCpu => "the broker's processor time per challenge",
            Self::IdleBoot => "boot while idle, median",
            Self::FloodedBoot => "boot under flood, median",
            Self::FloodFactor => "boot under flood / idle",
            Self::FloodPerSecond => "challenges of the flood meanwhile",
            Self::File => "data file",
            Self::FileBefore => "data file before the challenges",
            Self::FileAfter => "data file after the challenges",
            Self::Rss => "resident memory at the end",
            Self::RssMost => "resident memory, the most",
            Self::RssAfterChallenges => "resident memory after the challenges, the most",
            Self::RssAtStart => "resident memory after the first answer, the most",
            Self::FirstAnswerCold => "start to first answer, page cache cold",
            Self::FirstAnswerWarm => "start to first answer, page cache warm",
        }
    }

    /// Its unit.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::BootsPerSecond | Self::AuthPerSecond | Self::FloodPerSecond => "1/s",
            Self::FloodFactor => "×",
            Self::File | Self::FileBefore | Self::FileAfter => "MB",
            Self::Rss | Self::RssMost | Self::RssAfterChallenges | Self::RssAtStart => "MB",
            _ => "ms",
        }
    }
}

/// One figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figure {
    /// The quantity.
    pub(crate) metric: Metric,
    /// The number of guests or strangers at a time.
    pub(crate) clients: usize,
    /// The value, in the metric's unit.
    pub(crate) value: f64,
}

impl Figure {
    pub(crate) fn new(metric: Metric, clients: usize, value: f64) -> Self {
        Self { metric, clients, value }
    }
}

/// The figures of one run of one program, always in the same order.
pub(crate) type Run = Vec<Figure>;

/// The runs of one program.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs(pub(crate) Vec<Run>);

impl Runs {
    /// The values of one figure, a run each.
    pub(crate) fn values(&self, metric: Metric, clients: usize) -> Vec<f64> {
        let figures = self.0.iter().flatten();
        let these = figures.filter(|figure| (figure.metric, figure.clients) == (metric, clients));
        these.map(|figure| figure.value).collect()
    }

    /// Their median.
    pub(crate) fn median(&self, metric: Metric, clients: usize) -> Option<f64> {
        at(&mut self.values(metric, clients), 50)
    }

    /// The names of all figures, in the order of a run, those included that one run alone has.
    pub(crate) fn names(&self) -> Vec<(Metric, usize)> {
        let mut names = Vec::new();
        for figure in self.0.iter().flatten() {
            let name = (figure.metric, figure.clients);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// The value that `percent` of all reach at most.
pub(crate) fn at(values: &mut [f64], percent: usize) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) * percent / 100).copied()
}

/// Milliseconds.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Megabytes: millions of bytes.
pub(crate) fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_value_in_the_middle() {
        let run = |value| vec![Figure::new(Metric::Rss, 1, value), Figure::new(Metric::Rss, 8, 0.0)];
        let runs = Runs([5.0, 1.0, 4.0, 2.0, 3.0].map(run).to_vec());
        assert_eq!(runs.median(Metric::Rss, 1), Some(3.0));
        assert_eq!(runs.median(Metric::Rss, 64), None);
        assert_eq!(runs.names(), [(Metric::Rss, 1), (Metric::Rss, 8)]);
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut values: Vec<f64> = (0..200).map(f64::from).collect();
        assert_eq!(at(&mut values, 0), Some(0.0));
        assert_eq!(at(&mut values, 99), Some(197.0));
        assert_eq!(at(&mut values, 100), Some(199.0));
        assert_eq!(at(&mut [], 50), None);
    }
}
