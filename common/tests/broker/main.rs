//! The broker's protocol on the embedded store: who gets the secret, who does not, and what the record says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod amended;
mod audit;
mod azure;
mod beside;
mod by_reference_values;
mod challenges;
mod early;
mod engines;
mod evidence;
mod faults;
mod forged;
mod init_data;
mod metrics;
mod native;
mod new_chips;
mod registration;
mod release;
mod repeated;
mod results;
mod selection;
mod signing;
mod strangers;
mod tampering;
mod tokens;
mod withheld;
