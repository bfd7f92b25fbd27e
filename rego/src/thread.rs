//! Threads with a stack that the parser and the interpreter cannot exhaust.

use std::{io, thread::Builder};

/// Both recurse: [`crate::text`] and [`crate::restrict`] bound how deep. The deepest that they accept takes
/// less than a sixteenth of this, and the C library keeps a stack of this size for the next thread.
const STACK: usize = if cfg!(debug_assertions) { 256 << 20 } else { 16 << 20 };

/// Starts `work`. Pages of the stack that it does not touch cost nothing.
pub(crate) fn start(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    Builder::new().name("policy".to_owned()).stack_size(STACK).spawn(work).map(|_| ())
}

/// Runs `work` to its end and gives what it gave.
pub(crate) fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    Builder::new()
        .name("policy".to_owned())
        .stack_size(STACK)
        .spawn(work)?
        .join()
        .map_err(|_| io::Error::other("the thread panicked"))
}
