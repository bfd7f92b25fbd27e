//! Clock and pauses.

use std::{
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;

/// The time of a machine.
pub trait Time {
    /// The time since some moment: it goes forward alone.
    fn elapsed(&self) -> Duration;
    /// The date, by a clock that the host sets.
    fn now(&self) -> Timestamp;
    /// Waits.
    fn sleep(&self, pause: Duration);
}

/// How long a boot waits for what drivers bring: the document, the interface for reports.
pub const DRIVERS: Duration = Duration::from_secs(10);
/// How often something is looked for that is to come.
pub const LOOK: Duration = Duration::from_millis(100);

/// Looks for something until it is there, or the time is over.
pub fn until<T>(time: &dyn Time, within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = time.elapsed() + within;
    loop {
        match look() {
            Some(found) => return Some(found),
            None if time.elapsed() >= deadline => return None,
            None => time.sleep(LOOK),
        }
    }
}

/// This machine's time.
#[derive(Debug, Clone, Copy)]
pub struct MachineTime(Instant);

impl MachineTime {
    /// Counts from now on.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Time for MachineTime {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep(&self, pause: Duration) {
        thread::sleep(pause);
    }
}
