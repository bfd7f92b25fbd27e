//! Measurements, as events of tracing: the program around the broker turns them into metrics, or does not.

use std::time::Instant;

use jiff::SignedDuration;

/// Target of the events. `metric` is its name, `value` a number; one with a `stage` is a time in
/// milliseconds, [`LIST_AGE`] days, any other a count.
pub const TARGET: &str = "keybroker::metrics";

/// The metric of all times, whose events have a stage.
pub const LATENCY: &str = "Latency";

/// The days since a revocation list was last fetched from AMD, at each use of the list.
pub const LIST_AGE: &str = "ListAge";

/// The events that are counted beside the decisions on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// A chip's certificate was at hand.
    KdsHit,
    /// A chip's certificate was not at hand.
    KdsMiss,
    /// AMD's KDS answered with 429.
    KdsThrottled,
    /// A registration was refused for what it brought along to say who asks, on record or not.
    Unauthenticated,
    /// A guest's request was refused for want of a session that counts, on record or not.
    NoSession,
    /// A guest's evidence was appraised without any floor of the TCB, and no operator says that this is
    /// meant.
    NoTcbFloor,
    /// A part of the broker panicked, and the request that met it was answered with 500.
    Panicked,
}

impl Count {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::KdsHit,
        Self::KdsMiss,
        Self::KdsThrottled,
        Self::Unauthenticated,
        Self::NoSession,
        Self::NoTcbFloor,
        Self::Panicked,
    ];

    /// The metric's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::KdsHit => "KdsHit",
            Self::KdsMiss => "KdsMiss",
            Self::KdsThrottled => "KdsThrottled",
            Self::Unauthenticated => "Unauthenticated",
            Self::NoSession => "NoSession",
            Self::NoTcbFloor => "NoTcbFloor",
            Self::Panicked => "Panicked",
        }
    }
}

/// A part of the work whose time is measured, done or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Getting a certificate that was not at hand.
    Kds,
    /// The cryptography over a report.
    Verify,
    /// Writing a registration, or opening a session.
    Transaction,
    /// Encrypting a secret with the wrapping key.
    Wrap,
    /// Decrypting one.
    Unwrap,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Kds, Self::Verify, Self::Transaction, Self::Wrap, Self::Unwrap];

    /// The stage's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kds => "kds",
            Self::Verify => "verify",
            Self::Transaction => "transaction",
            Self::Wrap => "wrap",
            Self::Unwrap => "unwrap",
        }
    }
}

/// Counts one.
pub fn count(count: Count) {
    tracing::debug!(target: TARGET, metric = count.name(), value = 1.0);
}

/// Notes how old a list was when it was used.
pub fn list_age(age: SignedDuration) {
    tracing::debug!(target: TARGET, metric = LIST_AGE, value = age.as_secs_f64() / 86_400.0);
}

/// Does `work` and measures how long it takes.
pub async fn timed<T>(stage: Stage, work: impl Future<Output = T>) -> T {
    let begin = Instant::now();
    let done = work.await;
    let value = begin.elapsed().as_secs_f64() * 1e3;
    tracing::debug!(target: TARGET, metric = LATENCY, stage = stage.name(), value);
    done
}
