//! Commands that need no store: `demo`, `measure` and `verify`, and the files that they read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

mod credentials;
mod demo;
mod evidence;
mod files;
mod fleet;
mod id_block;
mod measure;
mod policy;
mod tcb;
mod verify;
