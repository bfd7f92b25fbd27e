//! Time as an argument: no decision in this crate reads the system's clock but through [`SystemClock`]. The
//! ids of audit records are drawn with the system's time, so that they sort by it; nothing is decided by
//! them.

use std::{fmt::Debug, time::Duration};

use jiff::{SignedDuration, Timestamp};

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

/// Whether `instant` was less than `lasts` ago. One that is yet to come was noted by a clock that ran ahead
/// and was put right since: it counts for nothing.
pub fn is_recent(instant: Timestamp, now: Timestamp, lasts: SignedDuration) -> bool {
    instant <= now && now.duration_since(instant) < lasts
}

/// How far the clocks of two instances may be apart.
pub const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(60);

/// Whether `instant` was noted less than `lasts` ago, by a clock that may be ahead of this one by
/// [`CLOCKS_DIFFER`].
pub fn has_been(instant: Timestamp, now: Timestamp, lasts: SignedDuration) -> bool {
    is_recent(instant.min(now), now, lasts) && instant <= now + CLOCKS_DIFFER
}

/// Whether what lasts for `lasts` and ends at `end` is over at `now`. An end further off was set by a clock
/// that ran ahead and was put right since: it does not count.
pub fn is_over(end: Timestamp, now: Timestamp, lasts: Duration) -> bool {
    let left = end.duration_since(now);
    !left.is_positive()
        || left > SignedDuration::try_from(lasts).unwrap_or(SignedDuration::MAX).saturating_add(SOON)
}

/// If something begins to count within this time, the broker waits for it: clocks differ, and AMD dates some
/// things at the moment of asking.
const SOON: SignedDuration = SignedDuration::from_mins(5);

/// After how many seconds `from` will have come, if it is yet to come and that is a matter of minutes.
pub fn seconds_until(from: Timestamp, now: Timestamp) -> Option<u64> {
    let left = from.duration_since(now);
    (left.is_positive() && left <= SOON)
        .then(|| left.as_secs().unsigned_abs() + u64::from(left.subsec_nanos() > 0))
}
