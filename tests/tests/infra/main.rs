//! The templates of the AWS deployment, and the script that restores its tables.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

mod import;
mod restore;
mod storage;
mod templates;
mod yaml;
