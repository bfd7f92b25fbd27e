//! One process at a time for each certificate, so that a thousand processes that start at once ask KDS once.
//!
//! The process that gets the lease looks into the table once more, and then asks KDS. It ends its lease when
//! what it fetched is in the table. It does not end it when it failed: then the others leave KDS alone, too,
//! until the lease is over. Meanwhile they look into the table, at odd intervals and for a limited time.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use keybroker_common::{
    clock::Clock,
    store::{EndorsementStore, Lease},
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::error::EndorsementError;

/// Shortest time between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// At most so many milliseconds are added to it at random: processes that came together should not look
/// together.
const JITTER_MS: u128 = 500;

/// The outcome of waiting for a lease.
#[derive(Debug)]
pub(crate) enum Turn<T> {
    /// It is in the table by now.
    Found(T),
    /// This process has the lease: KDS may be asked.
    Ours,
}

/// This process's leases in the table that it shares with others.
#[derive(Debug)]
pub(crate) struct Leases {
    store: Arc<dyn EndorsementStore>,
    clock: Arc<dyn Clock>,
    /// This process, as the others see it.
    process: Uuid,
}

impl Leases {
    pub(crate) fn new(store: Arc<dyn EndorsementStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, process: Uuid::new_v4() }
    }

    /// Waits until `look` finds something in the table, or until this process has the lease of `key`; for
    /// about as long as `wait`.
    pub(crate) async fn turn<T, F>(
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
                match self.store.lease(key, &Lease::new(self.process, now)).await? {
                    None => return self.our_turn(key, look).await,
                    Some(other) => taken_until = other.until,
                }
            }
            let pause = (PAUSE + jitter()).min(deadline.saturating_duration_since(Instant::now()));
            if pause.is_zero() {
                let cause = format!("another process is asking AMD's KDS for {key}");
                return Err(EndorsementError::not_now(cause));
            }
            sleep(pause).await;
            if let Some(found) = look().await? {
                return Ok(Turn::Found(found));
            }
        }
    }

    /// The process that had the lease before may have filled the row since.
    async fn our_turn<T, F>(&self, key: &str, look: impl Fn() -> F) -> Result<Turn<T>, EndorsementError>
    where
        F: Future<Output = Result<Option<T>, EndorsementError>>,
    {
        match look().await {
            Ok(None) => Ok(Turn::Ours),
            Ok(Some(found)) => {
                self.end(key).await;
                Ok(Turn::Found(found))
            }
            Err(error) => {
                self.end(key).await;
                Err(error)
            }
        }
    }

    /// Ends the lease of `key`, whose row is in the table. A lease that cannot be ended is over by itself in
    /// a while.
    pub(crate) async fn end(&self, key: &str) {
        if let Err(cause) = self.store.end_lease(key, self.process).await {
            tracing::warn!(key, %cause, "lease not ended");
        }
    }
}

fn jitter() -> Duration {
    let milliseconds = u64::try_from(Uuid::new_v4().as_u128() % JITTER_MS).unwrap_or_default();
    Duration::from_millis(milliseconds)
}
