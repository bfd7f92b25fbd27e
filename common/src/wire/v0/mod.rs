//! buildah's registration and libkrun's SEV-SNP guest: KBS 0.0.0 as these two speak it.
//!
//! libkrun's guest ignores the status and copies bodies into fixed buffers with `strcpy`. To it an attestation succeeded
//! if the body is empty, and a key is whatever stands between the body's first and last byte. So a success of
//! [attest](evidence) has no body at all, and nothing else is ever without one.

mod attest;
mod auth;
mod certificates;
mod key;
mod register;

pub use attest::{evidence, report_data};
pub use auth::{auth_request, challenge, set_cookie};
pub use key::released;
pub use register::{register_request, registered};

/// The name of the one secret that a registration holds, and that a guest gets.
pub const PASSPHRASE: &str = "passphrase";

/// The cookie that names the session.
pub const SESSION_COOKIE: &str = "session_id";
