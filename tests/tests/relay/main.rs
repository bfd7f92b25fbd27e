//! `keybroker relay`: for guests, for builds, and before a broker that misbehaves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may what it is made of"
)]

mod build;
mod command;
mod guest;
mod upstream;
