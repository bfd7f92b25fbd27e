//! AMD's patience is limited: what not to ask again, and until when.

use std::{collections::HashMap, sync::Mutex};

use cached::{Cached, LruCache};
use jiff::{SignedDuration, Timestamp};

use super::{EndorsementError, lock};
use crate::{
    clock::is_recent,
    endorsements::kds::{KdsError, VcekId},
};
use keybroker_snp::product::Product;

/// Seconds for which a failure is remembered when KDS does not say how long it wants to be left alone.
pub(super) const SHORT: u64 = 5;
/// Most seconds that KDS's Retry-After is believed.
const LONGEST: u64 = 300;
/// For how long a 404 is remembered: a chip may be provisioned later.
const ABSENT_FOR: SignedDuration = SignedDuration::from_mins(10);
/// Chips remembered as absent.
const ABSENT_CHIPS: usize = 4096;

/// What is remembered of KDS's refusals. Each is kept as the instant at which it was met, and counts for its
/// time after that and not before: else a clock that ran ahead would keep AMD from being asked for as long,
/// once it was put right.
#[derive(Debug)]
pub(super) struct Patience {
    absent: Mutex<LruCache<VcekId, Timestamp>>,
    resting: Mutex<HashMap<Product, (Timestamp, SignedDuration)>>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { absent: Mutex::new(LruCache::new(ABSENT_CHIPS)), resting: Mutex::default() }
    }
}

impl Patience {
    /// Whether KDS may be asked for something of `product` now.
    pub(super) fn check(&self, product: Product, now: Timestamp) -> Result<(), EndorsementError> {
        let rest = lock(&self.resting).get(&product).copied();
        match rest {
            Some((since, pause)) if is_recent(since, now, pause) => {
                let left = pause - now.duration_since(since);
                let retry_after = left.as_secs().unsigned_abs() + 1;
                let cause = "AMD's KDS failed a moment ago and is left alone".to_owned();
                Err(EndorsementError::Unavailable { retry_after, cause })
            }
            _ => Ok(()),
        }
    }

    /// Whether KDS may be asked for this chip now: it is not, for a while, after a 404.
    pub(super) fn check_chip(&self, id: &VcekId, now: Timestamp) -> Result<(), EndorsementError> {
        let since = lock(&self.absent).cache_get(id).copied();
        match since {
            Some(since) if is_recent(since, now, ABSENT_FOR) => Err(EndorsementError::UnknownChip),
            _ => self.check(id.product(), now),
        }
    }

    /// KDS knows no such chip.
    pub(super) fn note_absent(&self, id: &VcekId, now: Timestamp) {
        lock(&self.absent).cache_set(id.clone(), now);
    }

    /// KDS gave no answer: everything of the product rests, as long as KDS asked for or a few seconds.
    pub(super) fn note_failure(
        &self,
        product: Product,
        error: &KdsError,
        now: Timestamp,
    ) -> EndorsementError {
        let seconds = match error {
            // Not KDS's doing: nothing to rest for.
            KdsError::Busy => {
                return EndorsementError::Unavailable { retry_after: SHORT, cause: error.to_string() };
            }
            KdsError::Status { retry_after: Some(seconds), .. } => (*seconds).clamp(SHORT, LONGEST),
            _ => SHORT,
        };
        self.rest(product, seconds, error.to_string(), now)
    }

    /// KDS answered with something else than it was asked for.
    pub(super) fn note_unusable(&self, product: Product, cause: String, now: Timestamp) -> EndorsementError {
        self.rest(product, SHORT, format!("AMD's KDS gave no usable answer: {cause}"), now)
    }

    fn rest(&self, product: Product, seconds: u64, cause: String, now: Timestamp) -> EndorsementError {
        let pause = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        lock(&self.resting).insert(product, (now, pause));
        EndorsementError::Unavailable { retry_after: seconds, cause }
    }

    /// Remembers nothing any more.
    pub(super) fn forget(&self) {
        lock(&self.absent).cache_clear();
        lock(&self.resting).clear();
    }
}
