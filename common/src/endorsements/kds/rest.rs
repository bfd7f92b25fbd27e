//! AMD counts requests, not who makes them: while one request of a product is turned away, those under way
//! beside it wait, too.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Kds, KdsError};

/// HTTP's "Too Many Requests".
const TOO_MANY_REQUESTS: u16 = 429;

/// By product, as the KDS's paths name it. A rest is gone with the last request that was under way: who comes
/// later asks the memory of the endorsements first.
#[derive(Debug, Default)]
pub(super) struct Rests(Mutex<HashMap<String, Rest>>);

#[derive(Debug, Default)]
struct Rest {
    under_way: usize,
    until: Option<Instant>,
}

impl Rests {
    /// A request for `path` is under way while what this gives lives.
    pub(super) fn enter(&self, path: &str) -> UnderWay<'_> {
        let product = path.split('/').nth(3).unwrap_or_default().to_owned();
        self.lock().entry(product.clone()).or_default().under_way += 1;
        UnderWay { rests: self, product }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Rest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way, with all its attempts.
#[derive(Debug)]
pub(super) struct UnderWay<'a> {
    rests: &'a Rests,
    product: String,
}

impl UnderWay<'_> {
    /// Whether AMD may be asked now.
    pub(super) fn check(&self) -> Result<(), KdsError> {
        let until = self.rests.lock().get(&self.product).and_then(|rest| rest.until);
        let left = until.map(|until| until.saturating_duration_since(Instant::now())).unwrap_or_default();
        if left.is_zero() {
            return Ok(());
        }
        let retry_after = (left > Kds::PAUSE).then(|| left.as_secs() + 1);
        Err(KdsError::Status { status: TOO_MANY_REQUESTS, retry_after })
    }

    /// AMD gave no certificate. If it asked to be left alone, it is.
    pub(super) fn note(&self, error: &KdsError) {
        let rest = match error {
            KdsError::Status { retry_after: Some(seconds), .. } => {
                Duration::from_secs(*seconds).min(Kds::BUDGET)
            }
            KdsError::Status { status: TOO_MANY_REQUESTS, .. } => Kds::PAUSE,
            _ => return,
        };
        if let Some(held) = self.rests.lock().get_mut(&self.product) {
            held.until = Some(Instant::now() + rest);
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut rests = self.rests.lock();
        if let Some(rest) = rests.get_mut(&self.product) {
            rest.under_way -= 1;
            if rest.under_way == 0 {
                rests.remove(&self.product);
            }
        }
    }
}
