//! What the suites of verification and appraisal share.
// Each suite is a crate of its own and uses a part of this.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../snp/tests/support/attempt.rs"]
pub mod attempt;
#[path = "../../../snp/tests/support/fields.rs"]
pub mod fields;
#[path = "../../../snp/tests/support/genuine.rs"]
pub mod genuine;

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
