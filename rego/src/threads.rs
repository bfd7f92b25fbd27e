//! Threads that are kept for the next work, so that nobody waits for one to start.
//!
//! If the work panics, its thread ends with it, and nothing else does. The other threads wait for more work,
//! and end once nobody is left who could give them any.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        mpsc::{SendError, SyncSender, sync_channel},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use crate::thread;

/// A few threads, each for one work at a time that gives a `T`.
#[derive(Debug)]
pub(crate) struct Threads<T> {
    /// One for each thread that there may be. A job has one until its thread is idle again.
    places: Arc<Semaphore>,
    idle: Arc<Idle<T>>,
}

/// The threads that wait for work, the one that worked last at the end.
type Idle<T> = Mutex<Vec<SyncSender<Job<T>>>>;

struct Job<T> {
    work: Box<dyn FnOnce() -> T + Send>,
    place: OwnedSemaphorePermit,
    answer: oneshot::Sender<T>,
}

impl<T: Send + 'static> Threads<T> {
    /// So many at most. Each is started when it is first needed.
    pub(crate) fn new(most: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(most)), idle: Arc::default() }
    }

    /// Begins `work`. The receiver gets its result, or nothing if it panics. `None` if no place becomes free
    /// within `patience`, or no thread can be started.
    pub(crate) async fn begin(
        &self,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<oneshot::Receiver<T>> {
        let place = timeout(patience, Arc::clone(&self.places).acquire_owned()).await.ok()?.ok()?;
        let (answer, receiver) = oneshot::channel();
        self.give(Job { work: Box::new(work), place, answer }).ok()?;
        Some(receiver)
    }

    /// Gives `job` to the thread that worked last, or to a new one if none is idle. Each thread that is not
    /// idle has a place, as this job has one: so there are never more threads than places.
    fn give(&self, job: Job<T>) -> io::Result<()> {
        let idle = lock(&self.idle).pop();
        let job = match idle {
            Some(thread) => match thread.send(job) {
                Ok(()) => return Ok(()),
                Err(SendError(job)) => job,
            },
            None => job,
        };
        let idle = Arc::downgrade(&self.idle);
        thread::start(move || serve(job, &idle))
    }
}

/// The life of a thread.
fn serve<T>(mut job: Job<T>, idle: &Weak<Idle<T>>) {
    loop {
        let Job { work, place, answer } = job;
        let done = work();
        let (sender, next) = sync_channel(1);
        // Idle first: the work that takes the place finds this thread.
        match idle.upgrade() {
            Some(idle) => lock(&idle).push(sender),
            None => drop(sender),
        }
        drop(place);
        // Nobody may be waiting any longer.
        let _ = answer.send(done);
        // The sender is gone if nobody can give more work.
        let Ok(given) = next.recv() else { return };
        job = given;
    }
}

/// A panic while it is held leaves the list as it was, or with the change done.
fn lock<T>(idle: &Idle<T>) -> MutexGuard<'_, Vec<SyncSender<Job<T>>>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::mpsc::{Receiver, Sender, channel},
        thread::{ThreadId, current},
    };

    use super::*;

    /// Long enough for every thread to end what it does.
    const LONG: Duration = Duration::from_secs(30);

    async fn done<T: Send + 'static>(threads: &Threads<T>, work: impl FnOnce() -> T + Send + 'static) -> T {
        threads.begin(LONG, work).await.expect("a thread").await.expect("a result")
    }

    fn id() -> ThreadId {
        current().id()
    }

    #[tokio::test]
    async fn the_thread_that_is_there_takes_the_next_work() {
        let threads = Threads::new(4);
        let first = done(&threads, id).await;
        for _ in 0..100 {
            assert_eq!(done(&threads, id).await, first);
        }
        assert_ne!(id(), first);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn there_are_never_more_threads_than_places() {
        let threads = Arc::new(Threads::new(4));
        let ask = |_| {
            let threads = Arc::clone(&threads);
            tokio::spawn(async move { done(&threads, id).await })
        };
        let mut seen = BTreeSet::new();
        for asked in (0..1000).map(ask).collect::<Vec<_>>() {
            seen.insert(format!("{:?}", asked.await.unwrap()));
        }
        assert!(seen.len() <= 4, "{seen:?}");
    }

    /// Work that waits until it is let go.
    fn held() -> (Sender<()>, impl FnOnce() -> ThreadId + Send) {
        let (go, wait): (_, Receiver<()>) = channel();
        (go, move || {
            let _ = wait.recv();
            id()
        })
    }

    #[tokio::test]
    async fn work_that_goes_on_keeps_its_place() {
        let threads = Threads::new(1);
        let (go, work) = held();
        // Nobody waits for its result.
        drop(threads.begin(LONG, work).await.unwrap());
        assert!(threads.begin(Duration::from_millis(50), id).await.is_none());
        drop(go);
        done(&threads, id).await;
    }

    #[tokio::test]
    async fn a_panic_ends_its_thread_and_no_other() {
        let threads = Threads::new(2);
        let (go, work) = held();
        let other = threads.begin(LONG, work).await.unwrap();
        let before = done(&threads, id).await;
        for _ in 0..10 {
            let panicked = threads.begin(LONG, || panic!("of this work alone")).await.unwrap();
            assert!(panicked.await.is_err());
        }
        let after = done(&threads, id).await;
        assert_ne!(after, before);
        drop(go);
        assert!(![before, after].contains(&other.await.unwrap()));
    }

    /// Says so when its thread ends.
    struct Ends(Sender<()>);

    impl Drop for Ends {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    thread_local! {
        static ENDS: std::cell::RefCell<Option<Ends>> = const { std::cell::RefCell::new(None) };
    }

    #[tokio::test]
    async fn threads_end_once_nobody_can_give_them_work() {
        let threads = Threads::new(2);
        let (sender, ended) = channel();
        let noted = move || ENDS.set(Some(Ends(sender)));
        done(&threads, noted).await;
        assert!(ended.try_recv().is_err());
        drop(threads);
        assert_eq!(ended.recv_timeout(LONG), Ok(()));
    }
}
