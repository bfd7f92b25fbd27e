//! The common code of the suites of several crates: the contracts of the stores as tests, stores that fail on
//! demand, simulated evidence, and a world of one broker with everything around it. Never ships.
//!
//! Nobody sleeps to wait for something: time is the clock's, and AMD's KDS is held and released.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::new_without_default,
    reason = "a test stops where its premise fails, and its parts are named for what they are"
)]

#[cfg(feature = "broker")]
pub mod announced;
pub mod attempt;
#[cfg(feature = "broker")]
pub mod cache;
#[cfg(feature = "broker")]
pub mod clock;
#[cfg(feature = "broker")]
pub mod contract;
#[cfg(feature = "broker")]
pub mod earlier;
#[cfg(feature = "broker")]
pub mod faulty;
pub mod fields;
#[cfg(feature = "broker")]
pub mod forged;
#[cfg(feature = "broker")]
pub mod forms;
pub mod genuine;
#[cfg(feature = "broker")]
pub mod guest;
#[cfg(feature = "broker")]
pub mod hardware;
pub mod krunfw;
#[cfg(feature = "aws")]
pub mod moto;
#[cfg(feature = "broker")]
pub mod native;
pub mod ovmf;
#[cfg(feature = "aws")]
pub mod rounds;
#[cfg(feature = "broker")]
pub mod rvp;
#[cfg(feature = "broker")]
pub mod sample;
#[cfg(feature = "broker")]
pub mod signer;
#[cfg(feature = "vtpm")]
pub mod vtpm;
#[cfg(feature = "broker")]
pub mod world;
#[cfg(feature = "broker")]
pub mod yaml;

use jiff::Timestamp;
use keybroker_simulator as sim;
use keybroker_snp::product;

pub use attempt::{Attempt, Refusal};

/// The product as the simulator calls it.
pub fn simulated(product: product::Product) -> sim::Product {
    match product {
        product::Product::Milan => sim::Product::Milan,
        product::Product::Genoa => sim::Product::Genoa,
        product::Product::Turin => sim::Product::Turin,
    }
}

pub fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// `bytes` with one bit turned, counted from the lowest of the first byte.
pub fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    *bytes.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
    bytes
}

/// Calls `check` with every number below `count`, on every core.
pub fn for_each_below(count: usize, check: impl Fn(usize) + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for first in 0..threads {
            let check = &check;
            scope.spawn(move || (first..count).step_by(threads).for_each(check));
        }
    });
}
