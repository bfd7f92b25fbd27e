//! The templates of the AWS deployment, and the scripts beside them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

mod account;
mod alarms;
mod front;
mod import;
mod manual;
mod operators;
mod reconcile;
mod restore;
mod roles;
mod runbook;
mod set;
mod shape;
mod storage;
mod templates;
mod watch;
mod yaml;
