//! The one thread that writes. Requests that wait for it share a transaction and its sync to the disk.

use std::{
    io, iter,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{Builder, JoinHandle},
};

use keybroker_common::{panics::caught_here, store::StoreError};
use tokio::sync::oneshot;

use super::disk::{Disk, Outcome, Write};

/// The most writes that share a transaction: it bounds how long the first of them waits for the others.
const MOST: usize = 256;

/// The thread and the way to it.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` once the store is closed.
    waiting: Option<Sender<Waiting>>,
    thread: Option<JoinHandle<()>>,
}

/// A write, and where its outcome is waited for.
type Waiting = (Write, oneshot::Sender<Outcome>);

impl Writer {
    /// Starts the thread.
    pub(super) fn start(disk: Arc<Disk>) -> io::Result<Self> {
        let (waiting, writes) = channel();
        let thread = Builder::new().name("store".to_owned()).spawn(move || run(&disk, &writes))?;
        Ok(Self { waiting: Some(waiting), thread: Some(thread) })
    }

    /// Has the thread do `write`. It does so even if the caller goes away.
    pub(super) async fn write(&self, write: Write) -> Outcome {
        let (ended, outcome) = oneshot::channel();
        let sent = self.waiting.as_ref().is_some_and(|waiting| waiting.send((write, ended)).is_ok());
        let lost = || StoreError::Unavailable("the store's writer ended".to_owned());
        if !sent {
            return Err(lost());
        }
        outcome.await.unwrap_or_else(|_| Err(lost()))
    }
}

impl Drop for Writer {
    /// Waits for the writes that were asked for.
    fn drop(&mut self) {
        drop(self.waiting.take());
        if let Some(thread) = self.thread.take() {
            // It catches its panics.
            let _ = thread.join();
        }
    }
}

/// Does what waits, and all of it at once: what comes meanwhile waits for the next transaction, and nothing
/// waits for company.
fn run(disk: &Disk, writes: &Receiver<Waiting>) {
    while let Ok(first) = writes.recv() {
        let (batch, ended): (Vec<_>, Vec<_>) = iter::once(first).chain(writes.try_iter()).take(MOST).unzip();
        let Ok(outcomes) = caught_here(|| disk.write(&batch)) else { continue };
        for (ended, outcome) in ended.into_iter().zip(outcomes) {
            // A caller that went away does not ask.
            let _ = ended.send(outcome);
        }
    }
}
