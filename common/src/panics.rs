//! Panics, of other people's code above all: each ends the request that met it and nothing else, and says
//! nothing of what that request held.
//!
//! Data that such code holds at the time is lost with it. Data that the broker itself holds is not: its locks
//! are taken again after a panic, for the data under them is changed in one step or not at all, and a store
//! that panicked is opened again.

use std::{
    future::poll_fn,
    panic::{self, AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use crate::metrics::{self, Count};

/// Something panicked. Where, the log says; what was said is known to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a part of the broker panicked: the log says where")]
pub struct Panicked(());

impl Panicked {
    /// Counts it. To be called once for each panic, where it is met.
    pub fn met() -> Self {
        metrics::count(Count::Panicked);
        Self(())
    }
}

/// Has the log say where a panic was, and never what was said of it, in which may stand what was worked on.
/// For the whole process, once the log is there.
pub fn hush() {
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            location,
            "a panic: this is an error in the program, please report it with the location"
        );
    }));
}

/// Runs `work`. If it panics, it is dropped where it was, and the panic is the error.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    // After a panic it is not polled again, so nobody sees it half done.
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked::met())),
    })
    .await
}

/// The same of work that does not wait.
pub fn caught_here<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked::met())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_is_told_from_work_that_does_not() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        let later = async {
            tokio::task::yield_now().await;
            panic!("after it waited")
        };
        assert_eq!(caught::<()>(later).await, Err(Panicked(())));
    }
}
