//! Launch measurements, beside those of other implementations, and what could not be launched.
//!
//! No SEV-SNP machine was at hand. So no measurement that a chip reported stands here.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod explain;
mod image;
mod krun;
mod others;
mod table;
