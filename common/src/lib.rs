//! The key broker's core: everything that its functions and its embedded server share.
//!
//! RATS roles (RFC 9334): the guest is the Attester, AMD the Endorser, the party that registers the Reference
//! Value Provider; the broker is Verifier and Relying Party in one.

pub mod admission;
pub mod advisories;
pub mod amend;
pub mod appraisal;
pub mod audit;
pub mod binding;
pub mod broker;
pub mod bucket;
pub mod challenge;
pub mod clock;
pub mod config;
pub mod decision;
pub mod dialect;
pub mod ear;
pub mod encoding;
pub mod function;
pub mod http;
pub mod ids;
pub mod keyring;
pub mod keys;
pub mod metrics;
pub mod panics;
pub mod platform;
pub mod policy;
pub mod problem;
pub mod random;
pub mod requirements;
pub mod revocation;
pub mod rewrap;
pub mod sampled;
pub mod secret;
pub mod session;
pub mod signing;
pub mod store;
pub mod token;
pub mod wire;
pub mod workload;
