//! `keybroker relay`: for guests, for builds, and in front of a broker that misbehaves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

mod build;
mod command;
mod guest;
mod upstream;
