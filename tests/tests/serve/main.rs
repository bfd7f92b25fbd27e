//! `keybroker serve` as a process: its connections, its certificate, its store after a crash, and the end of
//! sessions.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

mod connection;
mod durability;
mod expiry;
mod tls;
