//! Work that is not broken off when its client goes away.
//!
//! hyper drops a handler whose connection was closed. A decision would then be neither recorded nor printed,
//! a challenge that failed not spent, and what AMD's service answered not remembered: a client could ask for
//! it again and again.

use tokio::sync::Semaphore;
use tracing::Instrument as _;

use crate::{broker::Error, panics::Panicked, problem::Problem};

/// How much work may be under way, whose clients may be gone. More waits, and is broken off with its client.
const ROOM: usize = 1024;

/// Carries `work` to its end, even if nobody waits for it.
pub(super) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Problem> {
    static PLACES: Semaphore = Semaphore::const_new(ROOM);
    // No place means a closed semaphore, and nobody closes it.
    let place = PLACES.acquire().await.ok();
    let carried = tokio::spawn(
        async move {
            let _place = place;
            work.await
        }
        .in_current_span(),
    );
    let done = carried.await.unwrap_or_else(|lost| {
        let ending = Error::Unavailable { id: None, retry_after: 1 };
        Err(if lost.is_panic() { Panicked::met().into() } else { ending })
    });
    Ok(done?)
}
