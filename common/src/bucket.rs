//! A token bucket: a burst at once, then one after each interval.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// How many may be taken: a burst at once, and one more for each interval that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    every: SignedDuration,
    burst: i32,
}

/// The rest of a burst, as the time at which all of it will be there again. A later time means that less is
/// left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(Timestamp);

impl Level {
    /// All of it.
    pub const FULL: Self = Self(Timestamp::MIN);

    /// Whether nothing is missing: such a level is worth no memory.
    pub fn is_full(self, now: Timestamp) -> bool {
        self.0 <= now
    }
}

impl Rate {
    /// `burst` at once, and one more for each `every` that passes.
    pub const fn new(every: SignedDuration, burst: i32) -> Self {
        Self { every, burst }
    }

    /// Half of it, and no less than one at once.
    pub fn half(self) -> Self {
        Self { every: self.every * 2, burst: (self.burst / 2).max(1) }
    }

    /// How long it takes until there is one to be taken: no time at all if there is one.
    pub fn wait(self, level: &mut Level, now: Timestamp) -> SignedDuration {
        // Never more than empty, or a clock that is set back would close the bucket for as long. If the time
        // is far beyond that, it was noted by a clock that ran ahead and was put right.
        let empty = self.every * self.burst;
        level.0 = if level.0 > now + empty * 2 { Timestamp::MIN } else { level.0.min(now + empty) };
        let room = now + self.every * (self.burst - 1);
        level.0.duration_since(room).max(SignedDuration::ZERO)
    }

    /// Takes one, which must be there.
    pub fn take(self, level: &mut Level, now: Timestamp) {
        level.0 = level.0.max(now) + self.every;
    }

    /// Puts one back.
    pub fn put_back(self, level: &mut Level) {
        level.0 = level.0.checked_sub(self.every).unwrap_or(Timestamp::MIN);
    }
}

/// A rate and what is left of it.
#[derive(Debug)]
pub struct Bucket {
    rate: Rate,
    level: Mutex<Level>,
}

impl Bucket {
    /// A full one: `burst` at once, and one more for each `every` that passes.
    pub const fn new(every: SignedDuration, burst: i32) -> Self {
        Self { rate: Rate::new(every, burst), level: Mutex::new(Level::FULL) }
    }

    /// Takes one, or says after how many seconds there will be one again.
    pub fn take(&self, now: Timestamp) -> Result<(), u64> {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.rate.wait(&mut level, now);
        if wait.is_positive() {
            return Err(whole_seconds(wait));
        }
        self.rate.take(&mut level, now);
        Ok(())
    }
}

/// A time to wait, as a client is told it: in seconds, after which it is over.
pub fn whole_seconds(wait: SignedDuration) -> u64 {
    wait.as_secs().unsigned_abs() + 1
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
    fn a_bucket_is_open_once_a_clock_that_ran_ahead_is_put_right() {
        let bucket = bucket();
        taken(&bucket, BEGIN);
        let earlier = BEGIN - SignedDuration::from_hours(24);
        assert_eq!(taken(&bucket, earlier), (8, 11));
    }

    #[test]
    fn a_clock_set_back_a_little_waits_no_longer_than_if_empty() {
        let bucket = bucket();
        taken(&bucket, BEGIN);
        let earlier = BEGIN - SignedDuration::from_secs(80);
        assert_eq!(taken(&bucket, earlier), (0, 11));
        assert_eq!(taken(&bucket, earlier + SignedDuration::from_secs(80)), (8, 11));
    }

    #[test]
    fn a_part_put_back_is_there_again_within_the_burst() {
        let rate = Rate::new(SignedDuration::from_secs(10), 2);
        let mut level = Level::FULL;
        rate.put_back(&mut level);
        for _ in 0..2 {
            assert_eq!(rate.wait(&mut level, BEGIN), SignedDuration::ZERO);
            rate.take(&mut level, BEGIN);
        }
        assert_eq!(rate.wait(&mut level, BEGIN), SignedDuration::from_secs(10));
        rate.put_back(&mut level);
        assert_eq!(rate.wait(&mut level, BEGIN), SignedDuration::ZERO);
        for _ in 0..5 {
            rate.put_back(&mut level);
        }
        assert!(level.is_full(BEGIN));
        for _ in 0..2 {
            assert_eq!(rate.wait(&mut level, BEGIN), SignedDuration::ZERO);
            rate.take(&mut level, BEGIN);
        }
        assert!(rate.wait(&mut level, BEGIN).is_positive());
    }
}
