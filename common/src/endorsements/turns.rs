//! One process at a time per certificate, so that a thousand that start at once ask the network once.
//!
//! Whoever gets the lease looks into the table once more and then asks AMD. It ends its lease when what it
//! fetched is in the table, and not when it failed: then the others leave AMD alone, too, until the lease is
//! over. They look into the table meanwhile, at odd intervals, and for a limited time.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{EndorsementError, EndorsementSource, patience};
use crate::store::{Lease, StoreError};

/// For how long one process waits for what another is asking for.
pub(super) const WAIT: Duration = Duration::from_secs(12);
/// Shortest time between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// What is added to it at random, in milliseconds: those who came together should not look together.
const JITTER_MS: u128 = 500;

/// What came of waiting for one's turn.
#[derive(Debug)]
pub(super) enum Turn<T> {
    /// It is in the table by now.
    Found(T),
    /// AMD may be asked for it.
    Ours,
}

impl EndorsementSource {
    /// Waits until `look` finds something in the table, or until it is this process's turn to ask AMD for
    /// `key`; for about as long as `wait`.
    pub(super) async fn turn<T, F>(
        &self,
        key: &str,
        wait: Duration,
        look: impl Fn() -> F,
    ) -> Result<Turn<T>, EndorsementError>
    where
        F: Future<Output = Result<Option<T>, EndorsementError>>,
    {
        let deadline = Instant::now() + wait;
        let mut taken_until = Timestamp::MIN;
        loop {
            let now = self.clock.now();
            if taken_until <= now {
                match self.store.lease(key, &Lease::new(self.process, now)).await {
                    Ok(None) => return self.our_turn(key, look).await,
                    Ok(Some(other)) => taken_until = other.until,
                    Err(cause) => return Err(table_unavailable(&cause)),
                }
            }
            let pause = (PAUSE + jitter()).min(deadline.saturating_duration_since(Instant::now()));
            if pause.is_zero() {
                let cause = format!("another process is asking AMD's KDS for {key}");
                return Err(EndorsementError::Unavailable { retry_after: patience::SHORT, cause });
            }
            sleep(pause).await;
            if let Some(found) = look().await? {
                return Ok(Turn::Found(found));
            }
        }
    }

    /// Whoever had the lease before may have put it there since.
    async fn our_turn<T, F>(&self, key: &str, look: impl Fn() -> F) -> Result<Turn<T>, EndorsementError>
    where
        F: Future<Output = Result<Option<T>, EndorsementError>>,
    {
        match look().await {
            Ok(None) => Ok(Turn::Ours),
            Ok(Some(found)) => {
                self.end_turn(key).await;
                Ok(Turn::Found(found))
            }
            Err(error) => {
                self.end_turn(key).await;
                Err(error)
            }
        }
    }

    /// What `key` names is in the table: nobody needs a lease any more. One that cannot be ended ends by
    /// itself.
    pub(super) async fn end_turn(&self, key: &str) {
        if let Err(cause) = self.store.end_lease(key, self.process).await {
            tracing::warn!(key, %cause, "lease not ended");
        }
    }
}

/// The table cannot be read or written now.
pub(super) fn table_unavailable(cause: &StoreError) -> EndorsementError {
    EndorsementError::Unavailable { retry_after: patience::SHORT, cause: cause.to_string() }
}

fn jitter() -> Duration {
    let milliseconds = u64::try_from(Uuid::new_v4().as_u128() % JITTER_MS).unwrap_or_default();
    Duration::from_millis(milliseconds)
}
