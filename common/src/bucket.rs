//! A token bucket: a burst at once, then one after each interval.

use std::sync::{Mutex, PoisonError};

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
        // Never more than empty, or a clock that is set back would close the bucket for as long. What is far beyond was noted
        // by a clock that ran ahead and was put right.
        let empty = self.every * self.burst;
        let believed = full_at.filter(|full_at| *full_at <= now + empty * 2);
        let from = believed.unwrap_or(now).clamp(now, now + empty);
        let room = now + self.every * (self.burst - 1);
        if from > room {
            *full_at = Some(from);
            return Err(from.duration_since(room).as_secs().unsigned_abs() + 1);
        }
        *full_at = Some(from + self.every);
        Ok(())
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
    fn a_clock_that_ran_ahead_does_not_close_it_once_it_is_put_right() {
        let bucket = bucket();
        taken(&bucket, BEGIN);
        let earlier = BEGIN - SignedDuration::from_hours(24);
        assert_eq!(taken(&bucket, earlier), (8, 11));
    }

    #[test]
    fn a_clock_set_back_a_little_closes_it_for_no_longer_than_an_empty_bucket() {
        let bucket = bucket();
        taken(&bucket, BEGIN);
        let earlier = BEGIN - SignedDuration::from_secs(80);
        assert_eq!(taken(&bucket, earlier), (0, 11));
        assert_eq!(taken(&bucket, earlier + SignedDuration::from_secs(80)), (8, 11));
    }
}
