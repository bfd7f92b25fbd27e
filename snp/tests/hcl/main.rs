//! The blob of an Azure confidential VM: read as the paravisor wrote it, and every defect refused by its own
//! error.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod claims;
mod form;
mod properties;

use std::sync::LazyLock;

use keybroker_simulator::{guest::Machine, pki::Amd, pki::Chip};
use keybroker_testing::time;

/// The 64 bytes that the guest wrote.
const USER_DATA: [u8; 64] = {
    let mut bytes = [0xA5; 64];
    bytes[0] = 0;
    bytes[63] = 0x0F;
    bytes
};

/// A machine whose chip signs.
static MACHINE: LazyLock<Machine> = LazyLock::new(|| {
    let product = keybroker_simulator::Product::Milan;
    Machine::new(&Amd::new(product, time("2026-06-01T00:00:00Z")), &Chip::new(product, 1))
});
