//! The program's commands that need no store: `demo`, `verify`, and what they read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may what it is made of"
)]

mod demo;
mod evidence;
mod fleet;
mod policy;
mod verify;
