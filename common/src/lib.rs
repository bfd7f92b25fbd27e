//! The key broker's core: everything that its functions and its embedded server share.
//!
//! RATS roles (RFC 9334): the guest is the Attester, AMD the Endorser, whoever registers the Reference Value
//! Provider; the broker is Verifier and Relying Party in one.

pub mod appraisal;
pub mod audit;
pub mod broker;
mod bucket;
pub mod clock;
pub mod config;
pub mod encoding;
pub mod endorsements;
pub mod http;
pub mod metrics;
pub mod panics;
pub mod problem;
pub mod rego;
pub mod sampled;
pub mod secret;
pub mod session;
pub mod store;
pub mod token;
pub mod wire;
pub mod workload;
