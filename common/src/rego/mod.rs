//! Policies in Rego: what a registration demands beyond fixed values.
//!
//! A policy is one or more queries, reference values, and optionally one module. The reference values are the
//! root of `data`, the [`Claims`] of a report are `input`. Nothing is granted by default: each query must be
//! defined and give `true`, and nothing but `true` ([`evaluate`]).
//!
//! Whoever registers writes the policy, so that it is input like any other. [`Policy::compile`] accepts a
//! part of Rego that cannot reach the network, the time or randomness, cannot recurse, and cannot build
//! values out of proportion ([`restrict`]); [`Evaluator`] bounds what is left in time. A [`Policy`] decides
//! nothing alone: it is evaluated beside the floor of [`crate::appraisal`], never in its place.

pub mod claims;
pub mod evaluate;
pub mod evaluator;
pub mod policy;
pub mod reference;
pub mod restrict;
pub mod text;

mod builtins;
mod chip;
mod query;
mod thread;

pub use claims::Claims;
pub use evaluate::{Denied, Gave};
#[cfg(test)]
pub(crate) use evaluator::PANICS;
pub use evaluator::{Evaluator, NotEvaluated};
pub use policy::{Policy, PolicyError, PolicyText, allow_query};

/// Longest module, in bytes.
pub const MAX_MODULE: usize = 16 << 10;
/// Longest text of the reference values, in bytes.
pub const MAX_REFERENCE_VALUES: usize = 16 << 10;
/// Most queries.
pub const MAX_QUERIES: usize = 16;
/// Longest query, in bytes.
pub const MAX_QUERY: usize = 4 << 10;
/// Deepest nesting of brackets and of JSON.
pub const MAX_NESTING: usize = 32;
