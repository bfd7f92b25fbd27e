//! One defect in a header each, and the one error that names it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod judge;
mod luks1;
mod luks2;
mod metadata;

#[path = "../support/headers.rs"]
mod headers;

use keybroker_initdata::luks::{Header, HeaderError};

/// Why a header is refused.
fn refusal(header: &[u8]) -> HeaderError {
    match Header::parse(header) {
        Ok(_) => panic!("the header was taken"),
        Err(error) => error,
    }
}
