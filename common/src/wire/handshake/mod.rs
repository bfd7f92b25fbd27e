//! KBS 0.0.0 up to the session: `POST /kbs/v0/auth` and `POST /kbs/v0/attest`, as libkrun's guest and
//! keybroker's speak it.
//!
//! The two differ in the identity that the guest claims, and in the name of the cookie, which tells them
//! apart from then on. libkrun's guest ignores the status and copies bodies into fixed buffers with `strcpy`:
//! to it an attestation succeeded if the body is empty. So a success of [attest](evidence) has no body at
//! all, and every other answer has one.

mod attest;
mod auth;
mod certificates;

pub use attest::{KeyTexts, evidence, is_trustees, report_data};
pub use auth::{auth_request, challenge, set_cookie};
