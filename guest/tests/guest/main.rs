//! The guest against doubles: a kernel, a host, a broker, a network and a clock that do what a test says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod configfs;
mod doubles;
mod found;
mod headers;
mod looks;
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
