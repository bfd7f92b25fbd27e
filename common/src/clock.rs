//! Time as an argument: no decision in this crate reads the system's clock but through [`SystemClock`]. The ids of audit
//! records are drawn with the system's time, so that they sort by it; nothing is decided by them.

use std::fmt::Debug;

use jiff::Timestamp;

/// Where a broker takes its time from.
pub trait Clock: Debug + Send + Sync {
    /// The time now, UTC.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
