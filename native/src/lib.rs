//! The broker's own protocol, `/v1`: two requests, and what both sides compute over them.
//!
//! A guest asks for a challenge, and sends one request for secrets with the evidence that it is the workload
//! whose secrets they are. REPORT_DATA of its report is the hash of that whole request ([`Ask::hash`]). The
//! answer holds the secrets, sealed to a key that the guest made for this request ([`Suite`]), under a
//! signature of the broker that covers the hash and every byte of the answer ([`Answer`]). So the guest knows
//! that the answer is to its own request, is whole, and comes from the broker that its owner named.
//!
//! | module | holds |
//! |---|---|
//! | `ask` | a request for secrets, and its hash |
//! | `evidence` | the evidence that goes with it, in either of its forms |
//! | `suite` | sealing: HPKE (RFC 9180) of rustls over aws-lc-rs |
//! | `sign` | the broker's signing key |
//! | `answer` | the answer, and what is signed of it |
//! | `client` | the guest's side: from a fresh key to opened secrets |
//!
//! docs/protocol.md has all of it byte by byte.

mod answer;
mod ask;
pub mod client;
mod encode;
mod evidence;
mod hash;
mod sign;
mod suite;

pub use answer::{Answer, AnswerError, Sealed, SealedSecret};
pub use ask::Ask;
pub use evidence::{Evidence, EvidenceForm};
pub use hash::AskHash;
pub use sign::{SigningKey, SigningKeyError, verify};
pub use suite::{SealError, Sealer, Suite};

/// A secret in the clear: zeroed when it is dropped.
pub type Secret = zeroize::Zeroizing<Vec<u8>>;
