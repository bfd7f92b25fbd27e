//! The broker's protocol on the embedded store: who gets the secret, who does not, and what the record says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod harness;

#[path = "broker/audit.rs"]
mod audit;
#[path = "broker/by_reference_values.rs"]
mod by_reference_values;
#[path = "broker/challenges.rs"]
mod challenges;
#[path = "broker/early.rs"]
mod early;
#[path = "broker/engines.rs"]
mod engines;
#[path = "broker/evidence.rs"]
mod evidence;
#[path = "broker/faults.rs"]
mod faults;
#[path = "broker/metrics.rs"]
mod metrics;
#[path = "broker/new_chips.rs"]
mod new_chips;
#[path = "broker/registration.rs"]
mod registration;
#[path = "broker/release.rs"]
mod release;
#[path = "broker/repeated.rs"]
mod repeated;
#[path = "broker/strangers.rs"]
mod strangers;
#[path = "broker/tampering.rs"]
mod tampering;
#[path = "broker/tokens.rs"]
mod tokens;
#[path = "broker/withheld.rs"]
mod withheld;
