//! The attempts of one request.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tokio::time::{Instant, sleep};

use super::{ATTEMPTS, PAUSE};
use crate::error::KdsError;

/// Makes an attempt, and others after it while the error is a passing one and there is time.
pub(crate) async fn retried<F>(attempt: impl FnMut() -> F, deadline: Instant) -> Result<Vec<u8>, KdsError>
where
    F: Future<Output = Result<Vec<u8>, KdsError>>,
{
    let pauses = ExponentialBuilder::new().with_min_delay(PAUSE).with_max_times(ATTEMPTS - 1).with_jitter();
    attempt
        .retry(pauses)
        .sleep(sleep)
        .when(KdsError::is_passing)
        .adjust(|error, delay| {
            let delay = match error {
                KdsError::Status { retry_after: Some(seconds), .. } => {
                    delay.map(|delay| delay.max(Duration::from_secs(*seconds)))
                }
                _ => delay,
            };
            delay.filter(|delay| *delay < deadline.saturating_duration_since(Instant::now()))
        })
        .await
}
