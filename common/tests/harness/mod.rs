//! What the suites of this crate share: a clock that a test moves, simulated hardware, and a place to keep
//! things.
//!
//! Nobody sleeps to wait for something: time is the clock's, and AMD's KDS is held and released.

#![allow(dead_code, reason = "each suite uses its own part")]

pub(crate) mod cache;
pub(crate) mod clock;
pub(crate) mod guest;
pub(crate) mod hardware;
#[cfg(feature = "aws")]
pub(crate) mod moto;
#[cfg(feature = "aws")]
pub(crate) mod rounds;
pub(crate) mod rvp;
pub(crate) mod world;
