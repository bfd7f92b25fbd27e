//! Policies: what a registration demands in Rego, beyond fixed values.
//!
//! A [`PolicyText`] is one or more queries, reference values, and optionally one module. The reference values
//! are the root of `data`, the [`Claims`] of a report are `input`. Nothing is granted by default: each query
//! must be defined and give `true`, and nothing but `true`.
//!
//! This crate reads no Rego. The services hold a [`PolicyEngine`], and what it does not say yes to is neither
//! registered nor released to. A policy decides nothing alone: it is evaluated beside the floor of
//! [`crate::appraisal`], never in its place.

mod claims;
mod engine;
mod text;

#[cfg(feature = "schema")]
pub use claims::schema;
pub use claims::{Claims, CpuidClaims, FirmwareClaims, PlatformClaims, PolicyClaims, SnpClaims, TcbClaims};
pub use engine::{Denied, Gave, NotEvaluated, PolicyEngine, PolicyRefused};
pub use text::{MAX_MODULE, MAX_NESTING, MAX_QUERIES, MAX_QUERY, MAX_REFERENCE_VALUES, PolicyText};
