//! KDS counts requests, not who makes them: while it turns away one request of a product, those under way
//! beside it wait, too.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use tokio::time::Instant;

use super::{PAUSE, REQUEST};
use crate::{error::KdsError, lock::lock};

/// HTTP's "Too Many Requests".
const TOO_MANY_REQUESTS: u16 = 429;

/// By product, as the KDS's paths name it. A pause is gone with the last request that was under way:
/// requests that come later go by [`Backoff`](super::Backoff).
#[derive(Debug, Default)]
pub(crate) struct Pauses(Mutex<HashMap<String, Pause>>);

#[derive(Debug, Default)]
struct Pause {
    under_way: usize,
    until: Option<Instant>,
}

impl Pauses {
    /// A request for `path` is under way while what this gives lives.
    pub(crate) fn enter(&self, path: &str) -> UnderWay<'_> {
        let product = path.split('/').nth(3).unwrap_or_default().to_owned();
        lock(&self.0).entry(product.clone()).or_default().under_way += 1;
        UnderWay { pauses: self, product }
    }
}

/// A request under way, with all its attempts.
#[derive(Debug)]
pub(crate) struct UnderWay<'a> {
    pauses: &'a Pauses,
    product: String,
}

impl UnderWay<'_> {
    /// Whether KDS may be asked now. During a pause the answer is as if KDS had given it.
    pub(crate) fn check(&self) -> Result<(), KdsError> {
        let until = lock(&self.pauses.0).get(&self.product).and_then(|pause| pause.until);
        let left = until.map(|until| until.saturating_duration_since(Instant::now())).unwrap_or_default();
        if left.is_zero() {
            return Ok(());
        }
        let retry_after = (left > PAUSE).then(|| left.as_secs() + 1);
        Err(KdsError::Status { status: TOO_MANY_REQUESTS, retry_after })
    }

    /// KDS gave no certificate. If it asked to be left alone, it is.
    pub(crate) fn note(&self, error: &KdsError) {
        let time = match error {
            KdsError::Status { retry_after: Some(seconds), .. } => Duration::from_secs(*seconds).min(REQUEST),
            KdsError::Status { status: TOO_MANY_REQUESTS, .. } => PAUSE,
            _ => return,
        };
        if let Some(pause) = lock(&self.pauses.0).get_mut(&self.product) {
            pause.until = Some(Instant::now() + time);
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut pauses = lock(&self.pauses.0);
        if let Some(pause) = pauses.get_mut(&self.product) {
            pause.under_way -= 1;
            if pause.under_way == 0 {
                pauses.remove(&self.product);
            }
        }
    }
}
