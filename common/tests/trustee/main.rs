//! The messages of Trustee's guests, read by the broker.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod certificates;
mod genuine;
mod random;
mod rebuilt;
mod refused;
mod shapes;
mod simulated;
mod vtpm;
