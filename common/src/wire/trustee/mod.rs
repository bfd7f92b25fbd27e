//! Trustee's protocol (KBS) in the four versions that its guests speak, on the routes of the handshake.
//!
//! | module | contents |
//! |---|---|
//! | `auth` | the version, the hash function and the workload that a request for a challenge names |
//! | `attest` | the evidence of each version |
//! | `key` | the guest's key, in the forms that each version has |
//! | `runtime_data` | what REPORT_DATA is the hash of |
//! | [`evidence`](mod@evidence) | the report, from the JSON of the sev crate to the bytes that were signed |
//! | `resource` | names of resources, and how a released one is written |

mod attest;
mod auth;
pub mod evidence;
mod key;
mod resource;
mod runtime_data;
#[cfg(test)]
mod tests;

pub use attest::evidence;
pub use auth::{AZURE, Offered, asks, claim, selected_hash};
pub use key::KeyFault;
pub use resource::{ResourceName, released};

use super::{Manners, SessionManners};
use crate::{dialect::Dialect, secret::bounds::is_path};

/// Trustee's row. The answer to evidence is the attestation result.
pub const MANNERS: Manners = Manners {
    dialect: Dialect::Trustee,
    name: "trustee",
    guest: "Trustee's guest",
    bound_by: "the launch measurement or ID key alone: the id in the URL is only the guest's claim",
    names_secret: is_path,
    session: Some(SessionManners {
        cookie: "kbs-session-id",
        // base64url and dots: nothing in it needs an escape.
        attested: |attested| match &attested.result {
            Some(result) => format!(r#"{{"token":"{}"}}"#, result.expose()).into_bytes(),
            None => Vec::new(),
        },
    }),
};
