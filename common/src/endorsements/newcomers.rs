//! How fast one process asks AMD for chips that nobody has seen.
//!
//! Whoever can register a workload can make up reports that pass every check which needs no certificate, each of another
//! chip. AMD answers about one request for a VCEK per ten seconds and address, and turns away what is beyond that, for some
//! time and whoever asks: were each of those chips asked for, none that is real would get its turn. A chip that was seen
//! is in the cache or the table and never comes here, and neither does one that AMD said it does not know a while ago.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::EndorsementError;

/// As fast as AMD answers for long.
const EVERY: SignedDuration = SignedDuration::from_secs(10);
/// New chips at once, after a while without any: some hosts that are put into service together.
const BURST: i32 = 8;

/// A token bucket, as the time at which it will be full again.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    full_at: Mutex<Option<Timestamp>>,
}

impl Newcomers {
    /// Takes what one request for a new chip costs, if there is that much left.
    pub(super) fn admit(&self, now: Timestamp) -> Result<(), EndorsementError> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        // Never more than empty, or a clock that is set back would close the bucket for as long.
        let from = full_at.unwrap_or(now).clamp(now, now + EVERY * BURST);
        let room = now + EVERY * (BURST - 1);
        if from > room {
            *full_at = Some(from);
            let retry_after = from.duration_since(room).as_secs().unsigned_abs() + 1;
            return Err(EndorsementError::TooManyNewChips { retry_after });
        }
        *full_at = Some(from + EVERY);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Timestamp = Timestamp::constant(1_786_795_200, 0);

    /// How many are let in at `now` before one is not, and after how many seconds that one may try again.
    fn admitted(newcomers: &Newcomers, now: Timestamp) -> (usize, u64) {
        for count in 0..100 {
            if let Err(error) = newcomers.admit(now) {
                let EndorsementError::TooManyNewChips { retry_after } = error else { panic!("{error:?}") };
                return (count, retry_after);
            }
        }
        panic!("no end");
    }

    #[test]
    fn after_a_burst_one_comes_every_ten_seconds() {
        let newcomers = Newcomers::default();
        assert_eq!(admitted(&newcomers, BEGIN), (8, 11));
        assert_eq!(admitted(&newcomers, BEGIN + SignedDuration::from_secs(9)), (0, 2));
        assert_eq!(admitted(&newcomers, BEGIN + SignedDuration::from_secs(10)), (1, 11));
        assert_eq!(admitted(&newcomers, BEGIN + SignedDuration::from_secs(35)), (2, 6));
        assert_eq!(admitted(&newcomers, BEGIN + SignedDuration::from_hours(1)), (8, 11));
    }

    #[test]
    fn a_clock_set_back_closes_the_door_for_no_longer_than_an_empty_bucket() {
        let newcomers = Newcomers::default();
        admitted(&newcomers, BEGIN);
        let earlier = BEGIN - SignedDuration::from_hours(24);
        assert_eq!(admitted(&newcomers, earlier), (0, 11));
        assert_eq!(admitted(&newcomers, earlier + SignedDuration::from_secs(80)), (8, 11));
    }
}
