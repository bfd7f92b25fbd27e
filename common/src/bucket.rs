//! A token bucket: a burst at once, then one after each interval.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use jiff::{SignedDuration, Timestamp};

/// The bucket, as the time at which it will be full again.
#[derive(Debug)]
pub(crate) struct Bucket {
    every: SignedDuration,
    burst: i32,
    full_at: Mutex<Option<Timestamp>>,
}

impl Bucket {
    /// A full one: `burst` at once, and one more for each `every` that passes.
    pub(crate) const fn new(every: SignedDuration, burst: i32) -> Self {
        Self { every, burst, full_at: Mutex::new(None) }
    }

    /// Takes one, or says after how many seconds there will be one again.
    pub(crate) fn take(&self, now: Timestamp) -> Result<(), u64> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        // Never more than empty, or a clock that is set back would close the bucket for as long.
        let from = full_at.unwrap_or(now).clamp(now, now + self.every * self.burst);
        let room = now + self.every * (self.burst - 1);
        if from > room {
            *full_at = Some(from);
            return Err(from.duration_since(room).as_secs().unsigned_abs() + 1);
        }
        *full_at = Some(from + self.every);
        Ok(())
    }
}

/// For a log's lines about what anybody can cause as often as they like: a burst of them, then one in a while that says how
/// many were left out.
#[derive(Debug)]
pub(crate) struct Sampler {
    bucket: Bucket,
    left_out: AtomicU64,
}

impl Sampler {
    /// So many lines at once, and one more in each second.
    const BURST: i32 = 30;

    /// One that has left nothing out.
    pub(crate) const fn new() -> Self {
        Self { bucket: Bucket::new(SignedDuration::from_secs(1), Self::BURST), left_out: AtomicU64::new(0) }
    }

    /// Whether a line is due at `now`; if so, how many were left out before it.
    pub(crate) fn due(&self, now: Timestamp) -> Option<u64> {
        if self.bucket.take(now).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Timestamp = Timestamp::constant(1_786_795_200, 0);

    fn bucket() -> Bucket {
        Bucket::new(SignedDuration::from_secs(10), 8)
    }

    /// How many are let in at `now` before one is not, and after how many seconds that one may try again.
    fn taken(bucket: &Bucket, now: Timestamp) -> (usize, u64) {
        (0..100).find_map(|count| bucket.take(now).err().map(|after| (count, after))).expect("an end")
    }

    #[test]
    fn after_a_burst_one_comes_with_every_interval() {
        let bucket = bucket();
        assert_eq!(taken(&bucket, BEGIN), (8, 11));
        assert_eq!(taken(&bucket, BEGIN + SignedDuration::from_secs(9)), (0, 2));
        assert_eq!(taken(&bucket, BEGIN + SignedDuration::from_secs(10)), (1, 11));
        assert_eq!(taken(&bucket, BEGIN + SignedDuration::from_secs(35)), (2, 6));
        assert_eq!(taken(&bucket, BEGIN + SignedDuration::from_hours(1)), (8, 11));
    }

    #[test]
    fn the_line_behind_a_flood_says_how_many_were_left_out() {
        let sampler = Sampler::new();
        let due = |seconds| sampler.due(BEGIN + SignedDuration::from_secs(seconds));
        let lines: Vec<_> = (0..500).filter_map(|_| due(0)).collect();
        assert_eq!(lines, [0; 30]);
        assert_eq!([due(1), due(1), due(60), due(60)], [Some(470), None, Some(1), Some(0)]);
    }

    #[test]
    fn a_clock_set_back_closes_it_for_no_longer_than_an_empty_bucket() {
        let bucket = bucket();
        taken(&bucket, BEGIN);
        let earlier = BEGIN - SignedDuration::from_hours(24);
        assert_eq!(taken(&bucket, earlier), (0, 11));
        assert_eq!(taken(&bucket, earlier + SignedDuration::from_secs(80)), (8, 11));
    }
}
