//! The pace of challenges. Anybody gets them, and a broker that does nothing else gives tens of thousands in
//! a second: then guests that attest would wait behind strangers who only ask.
//!
//! A connection's first challenge waits for nothing. For each further one the connection waits for its turn,
//! and the more connections there are, the longer. A guest asks for one.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// The time between two challenges of all connections together, if all ask as fast as they can: about 40,000
/// in a second.
const BETWEEN: Duration = Duration::from_micros(25);

/// The connections that share the pace.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU32);

impl Pace {
    /// The turns of one more connection.
    pub(super) fn join(self: &Arc<Self>) -> Turns {
        self.0.fetch_add(1, Ordering::Relaxed);
        Turns { pace: Arc::clone(self), next: Mutex::default() }
    }
}

/// The turns of a connection.
#[derive(Debug)]
pub(super) struct Turns {
    pace: Arc<Pace>,
    /// When the next challenge may be asked for; `None` before the first.
    next: Mutex<Option<Instant>>,
}

impl Turns {
    /// Until the connection may be given its next challenge.
    pub(super) fn turn(&self) -> impl Future<Output = ()> + Send + use<> {
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = next.map_or(now, |next| next.max(now));
        *next = Some(turn + BETWEEN * self.pace.0.load(Ordering::Relaxed));
        async move {
            if turn > now {
                sleep_until(turn).await;
            }
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.pace.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time for which `turns` keeps its connection waiting.
    async fn waited(turns: &Turns) -> Duration {
        let begin = Instant::now();
        turns.turn().await;
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_waits_from_its_second_challenge_on() {
        let pace = Arc::new(Pace::default());
        let strangers: Vec<_> = (0..79).map(|_| pace.join()).collect();
        let turns = pace.join();
        assert_eq!(waited(&turns).await, Duration::ZERO);
        for _ in 0..5 {
            assert_eq!(waited(&turns).await, 80 * BETWEEN);
        }
        // Others' turns are their own, and a pause makes up for nothing.
        assert_eq!(waited(&strangers[0]).await, Duration::ZERO);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(waited(&turns).await, Duration::ZERO);
        assert_eq!(waited(&turns).await, 80 * BETWEEN);
        // Fewer connections, shorter waits: from the turn after the next on.
        drop(strangers);
        assert_eq!(waited(&turns).await, 80 * BETWEEN);
        assert!(waited(&turns).await <= Duration::from_millis(1));
    }
}
