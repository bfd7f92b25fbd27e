//! Properties of the parsers and of verification, over input at random.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod support;

mod evidence;
mod parsers;
