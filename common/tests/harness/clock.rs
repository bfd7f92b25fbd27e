//! Time that moves when a test says so.

use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use keybroker_common::clock::Clock;

/// When every test begins.
pub(crate) const BEGIN: Timestamp = Timestamp::constant(1_786_795_200, 0);

/// Stands still until it is moved.
#[derive(Debug)]
pub(crate) struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(BEGIN))
    }

    pub(crate) fn advance(&self, by: SignedDuration) {
        *self.0.lock().unwrap() += by;
    }

    pub(crate) fn set(&self, to: Timestamp) {
        *self.0.lock().unwrap() = to;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

pub(crate) fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

pub(crate) fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

pub(crate) fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}
