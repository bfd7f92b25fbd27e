//! Where endorsements come from, put to the test against a KDS that misbehaves on demand and a table that
//! lies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use keybroker_testing as harness;

mod age;
mod crowds;
mod kds;
mod keeping;
mod leases;
mod patience;
mod products;
mod revocation;
mod sent;
mod table;
mod union;
