//! Strangers who ask for challenges as fast as they can, and answer none.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Result, anyhow};
use tokio::{runtime, task::JoinSet};

use crate::{connection::Connection, guest::challenge_request};

/// How many there are.
pub(crate) const STRANGERS: usize = 64;

/// The strangers, on a thread of their own, so that no guest waits for them in this process.
pub(crate) struct Strangers {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<()>>,
}

#[derive(Default)]
struct Shared {
    /// Challenges until now.
    count: AtomicU64,
    stop: AtomicBool,
}

impl Strangers {
    /// They begin to ask the broker at `address`.
    pub(crate) fn start(address: SocketAddr) -> Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || runtime.block_on(ask(address, &shared))
        });
        Ok(Self { shared, thread })
    }

    /// How many challenges they got.
    pub(crate) fn count(&self) -> u64 {
        self.shared.count.load(Relaxed)
    }

    /// Whether they still ask: if one of them fails, all end.
    pub(crate) fn is_there(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Ends them. Fails if one of them got no challenge.
    pub(crate) fn stop(self) -> Result<()> {
        self.shared.stop.store(true, Relaxed);
        self.thread.join().map_err(|_| anyhow!("the strangers' thread panicked"))?
    }
}

async fn ask(address: SocketAddr, shared: &Arc<Shared>) -> Result<()> {
    let request = Arc::new(challenge_request(address));
    let mut strangers = JoinSet::new();
    for _ in 0..STRANGERS {
        let (request, shared) = (Arc::clone(&request), Arc::clone(shared));
        strangers.spawn(async move {
            let mut connection = Connection::to(address);
            while !shared.stop.load(Relaxed) {
                connection.exchange(request.as_bytes()).await?.ok("auth")?;
                shared.count.fetch_add(1, Relaxed);
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(ended) = strangers.join_next().await {
        ended??;
    }
    Ok(())
}
