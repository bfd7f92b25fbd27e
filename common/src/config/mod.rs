//! The functions' settings: one table of variables, and one structure per function, read from the environment
//! once.
//!
//! A setting that is missing or makes no sense is named, all of them at once, and stops the function. So is a
//! variable with our prefix that no function reads, for it may be one that somebody counts on, mistyped. A
//! variable of another function is ignored: deployments may give one environment to all three. An empty value
//! is no value.

mod functions;
mod kds;
mod reading;
mod table;

pub use self::{
    functions::{AttestConfig, AuthConfig, FleetConfig, OriginConfig, RegisterConfig},
    kds::{KdsSettings, NewChips},
    reading::{ConfigError, Configuration, Fault, Reader, base_url, read},
    table::{VARIABLES, Variable, nearest},
};

/// The beginning of every setting's name.
pub const PREFIX: &str = "KEYBROKER_";

#[cfg(test)]
mod tests;
