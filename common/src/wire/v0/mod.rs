//! buildah's registration, and the key as libkrun's SEV-SNP guest fetches it.
//!
//! To that guest a key is whatever stands between the body's first and last byte.

mod key;
mod register;

pub use key::released;
#[cfg(all(test, feature = "schema"))]
pub(crate) use register::Body as RegisterBody;
pub use register::{register_request, registered};

/// The name of the one secret that a registration holds, and that a guest gets.
pub const PASSPHRASE: &str = "passphrase";
