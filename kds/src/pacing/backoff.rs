//! The requests that KDS refused a while ago, and the time until which it is not asked again.

use std::{collections::HashMap, sync::Mutex};

use cached::{Cached, LruCache};
use jiff::{SignedDuration, Timestamp};
use keybroker_common::clock::is_recent;
use keybroker_snp::product::Product;

use crate::{
    error::{EndorsementError, KdsError, RETRY_AFTER},
    lock::lock,
    vcek_id::VcekId,
};

/// Most seconds that KDS's Retry-After is believed.
const LONGEST: u64 = 300;
/// For how long a 404 is remembered: a chip may be provisioned later.
const ABSENT_FOR: SignedDuration = SignedDuration::from_mins(10);
/// Chips remembered as absent.
const ABSENT_CHIPS: usize = 4096;

/// The refusals of KDS. Each is kept as the instant at which it was met, and counts for its time after that
/// and not before. Otherwise a clock that ran ahead would keep KDS from being asked for as long, once it was
/// put right.
#[derive(Debug)]
pub(crate) struct Backoff {
    absent: Mutex<LruCache<VcekId, Timestamp>>,
    failed: Mutex<HashMap<Product, (Timestamp, SignedDuration)>>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { absent: Mutex::new(LruCache::new(ABSENT_CHIPS)), failed: Mutex::default() }
    }
}

impl Backoff {
    /// Whether KDS may be asked for something of `product` now.
    pub(crate) fn check(&self, product: Product, now: Timestamp) -> Result<(), EndorsementError> {
        let failed = lock(&self.failed).get(&product).copied();
        match failed {
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
    pub(crate) fn check_chip(&self, id: &VcekId, now: Timestamp) -> Result<(), EndorsementError> {
        let since = lock(&self.absent).cache_get(id).copied();
        match since {
            Some(since) if is_recent(since, now, ABSENT_FOR) => Err(EndorsementError::UnknownChip),
            _ => self.check(id.product(), now),
        }
    }

    /// KDS knows no such chip.
    pub(crate) fn note_absent(&self, id: &VcekId, now: Timestamp) {
        lock(&self.absent).cache_set(id.clone(), now);
    }

    /// KDS gave no answer: it is not asked for anything of the product, as long as it wants or a few seconds.
    pub(crate) fn note_failure(
        &self,
        product: Product,
        error: &KdsError,
        now: Timestamp,
    ) -> EndorsementError {
        let seconds = match error {
            // Not KDS's doing: there is nothing to remember.
            KdsError::Busy => return EndorsementError::not_now(error),
            KdsError::Status { retry_after: Some(seconds), .. } => (*seconds).clamp(RETRY_AFTER, LONGEST),
            _ => RETRY_AFTER,
        };
        self.back_off(product, seconds, error.to_string(), now)
    }

    /// KDS answered with something else than it was asked for.
    pub(crate) fn note_unusable(&self, product: Product, cause: String, now: Timestamp) -> EndorsementError {
        let cause = format!("AMD's KDS gave no usable answer: {cause}");
        self.back_off(product, RETRY_AFTER, cause, now)
    }

    fn back_off(&self, product: Product, seconds: u64, cause: String, now: Timestamp) -> EndorsementError {
        let pause = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        lock(&self.failed).insert(product, (now, pause));
        EndorsementError::Unavailable { retry_after: seconds, cause }
    }

    /// Forgets all of it.
    pub(crate) fn forget(&self) {
        lock(&self.absent).cache_clear();
        lock(&self.failed).clear();
    }
}
