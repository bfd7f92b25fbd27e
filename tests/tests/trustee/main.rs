//! The guests of kata and Confidential Containers, who speak Trustee's protocol in four versions, through
//! HTTP.
//!
//! | file | what it shows |
//! |---|---|
//! | `versions` | every version of the field gets its secret, on every product, however it asks |
//! | `keys` | the forms of a guest's key, and those that are refused |
//! | `evidence` | evidence that a hostile host alters |
//! | `azure` | Azure confidential VMs: every version, under either name of them |
//! | `negotiation` | versions and hash algorithms |
//! | `selection` | which registration a guest is held to: by its URL, or by its init data |
//! | `owners` | nothing is global: owners, paths and names |
//! | `tokens` | hostile tokens and cookies |
//! | `results` | the token as a third party reads it |
//! | `standing` | revocation, replacement and changes between token and resource |
//! | `repeated` | answers to the same evidence, and to another |
//! | `others` | guests of other dialects at a registration of Trustee's, and the other way round |
//! | `crowd` | many at once |
//! | `document` | what docs/kata.md says |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

mod azure;
mod crowd;
mod document;
mod evidence;
mod keys;
mod negotiation;
mod others;
mod owners;
mod repeated;
mod results;
mod scene;
mod selection;
mod standing;
mod tokens;
mod versions;
