//! Where endorsements come from, put to the test against a KDS that misbehaves on demand and a table that
//! lies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod harness;

#[path = "endorsements/crowds.rs"]
mod crowds;
#[path = "endorsements/kds.rs"]
mod kds;
#[path = "endorsements/keeping.rs"]
mod keeping;
#[path = "endorsements/leases.rs"]
mod leases;
#[path = "endorsements/patience.rs"]
mod patience;
#[path = "endorsements/products.rs"]
mod products;
#[path = "endorsements/revocation.rs"]
mod revocation;
#[path = "endorsements/sent.rs"]
mod sent;
#[path = "endorsements/table.rs"]
mod table;
