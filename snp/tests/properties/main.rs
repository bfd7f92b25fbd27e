//! Properties of the parsers and of verification, over input at random.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod evidence;
mod parsers;
