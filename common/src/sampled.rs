//! Lines of the log that strangers can have written: so many at once and then one a second, with a count of
//! those that were left out. Audit records are never left out.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};

use crate::bucket::Bucket;

/// Lines of one kind.
#[derive(Debug)]
pub struct Sampled {
    bucket: Bucket,
    left_out: AtomicU64,
}

/// A line that may be written.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// How many of its kind were left out before it, if any.
    pub left_out: Option<u64>,
}

impl Sampled {
    /// Lines that may be written at once.
    pub const BURST: i32 = 50;

    /// None was written yet.
    pub const fn new() -> Self {
        Self { bucket: Bucket::new(SignedDuration::from_secs(1), Self::BURST), left_out: AtomicU64::new(0) }
    }

    /// The next line. `None` if it is left out, and counted.
    pub fn line(&self) -> Option<Line> {
        self.line_at(Timestamp::now())
    }

    /// The same at `now`.
    pub(crate) fn line_at(&self, now: Timestamp) -> Option<Line> {
        if self.bucket.take(now).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        Some(Line { left_out: (left_out > 0).then_some(left_out) })
    }
}

impl Default for Sampled {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_left_out_are_counted_in_the_next_line() {
        let begin = Timestamp::constant(1_786_795_200, 0);
        let lines = Sampled::new();
        for _ in 0..Sampled::BURST {
            assert_eq!(lines.line_at(begin), Some(Line { left_out: None }));
        }
        for _ in 0..1000 {
            assert_eq!(lines.line_at(begin), None);
        }
        let later = begin + SignedDuration::from_secs(1);
        assert_eq!(lines.line_at(later), Some(Line { left_out: Some(1000) }));
        assert_eq!(lines.line_at(later), None);
    }
}
