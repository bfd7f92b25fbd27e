//! Policies in Rego: the broker's [`PolicyEngine`](keybroker_common::policy::PolicyEngine) on regorus.
//!
//! The party that registers writes the policy, so that it is input like any other. [`Policy::compile`]
//! accepts a part of Rego that cannot reach the network, the time or randomness, cannot recurse, and cannot
//! build values out of proportion (see [`Forbidden`]); [`RegoEngine`] bounds what is left in time.
//!
//! This crate decides about no guest: it says what a policy gives. [`keybroker_common::policy`] defines the
//! parts of a policy and the claims that it sees.

mod builtins;
mod chip;
mod compile;
mod engine;
mod error;
mod evaluate;
mod input;
mod policy;
mod query;
mod reference;
mod restrict;
mod said;
mod text;
mod thread;
mod threads;

pub use compile::{allow_query, beginning_with_not_or_every};
pub use engine::RegoEngine;
pub use error::{Blame, Part, PolicyError};
pub use policy::Policy;
pub use reference::{MAX_VALUES, ReferenceError};
pub use restrict::Forbidden;
pub use text::{Position, TextFault};
