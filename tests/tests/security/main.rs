//! Attacks, bad input, and what the audit records and the log say of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

mod attacks;
mod audit;
mod bad_input;
mod secrets_in_logs;
