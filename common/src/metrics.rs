//! Measurements, as events of tracing: whoever runs the broker turns them into metrics, or does not.

use std::time::Instant;

/// Target of the events. `metric` is its name, `value` a number; one with a `stage` is a time in milliseconds, any other
/// a count.
pub const TARGET: &str = "keybroker::metrics";

/// Counts one `metric`.
pub(crate) fn count(metric: &'static str) {
    tracing::debug!(target: TARGET, metric, value = 1.0);
}

/// Does `work` and measures how long it takes.
pub(crate) async fn timed<T>(stage: &'static str, work: impl Future<Output = T>) -> T {
    let begin = Instant::now();
    let done = work.await;
    let value = begin.elapsed().as_secs_f64() * 1e3;
    tracing::debug!(target: TARGET, metric = "Latency", stage, value);
    done
}
