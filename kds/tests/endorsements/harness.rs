//! The simulated hardware and the table that the broker's own suites use, too.

#![allow(dead_code, reason = "the suites use different parts")]

#[path = "../../../common/tests/harness/cache.rs"]
pub(crate) mod cache;
#[path = "../../../common/tests/harness/clock.rs"]
pub(crate) mod clock;
#[path = "../../../common/tests/harness/hardware.rs"]
pub(crate) mod hardware;
