//! What each client says and must be answered, by a broker of each kind: `keybroker serve`, or the functions.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may what it is made of"
)]

mod buildah;
mod keybroker;
mod libkrun;
mod openapi;
mod policies_document;
mod tokens;
