//! A broker on one machine: every store in one redb file, and the wrapping key in a file beside it.
//!
//! One process has both open. Another one, an operator's command included, asks that process.

pub mod files;
pub mod key;
pub mod store;
