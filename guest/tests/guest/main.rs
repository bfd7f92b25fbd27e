//! The guest against doubles: a kernel, a host, a broker, a network and a clock that do what a test says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io;

mod configfs;
mod doubles;
mod found;
mod headers;
mod looks;
mod memory;
mod network;
mod opened;
mod paravisor;
mod program;
mod releases;
mod served;
#[cfg(feature = "simulated-hardware")]
mod simulated;
mod unlocks;
mod vtpm;
mod vtpm_faults;
mod world;

/// A user that is not root, and that no system gives anything to.
const NOBODY: u32 = 65_534;

/// Prints why a part of a test does not run here. The line goes around the test harness, which would hide the
/// output of a test that passes.
fn skip(why: &str) {
    // It is no fault if nobody reads it.
    let _ = io::Write::write_all(&mut io::stdout(), format!("\nskipped: {why}\n").as_bytes());
}
