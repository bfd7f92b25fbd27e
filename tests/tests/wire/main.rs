//! The requests of each client and the answers that it must get, from `keybroker serve` or from the
//! functions.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

mod azure;
mod buildah;
mod guest;
mod jwe;
mod keybroker;
mod libkrun;
mod native;
mod openapi;
mod policies_document;
mod readers;
mod results;
mod tokens;
