//! Verification: is this report AMD's word about a guest that answers this challenge?
//!
//! [`verify`] establishes that a genuine chip of a trusted product signed these very bytes, with a key that
//! AMD certified for this chip (or accepted provider) and this TCB, in answer to the challenge. It does not
//! establish that the guest is one that anybody should trust: that is appraisal.
//!
//! No I/O, no clock: the time, the endorsements and the challenge are arguments.

#[macro_use]
mod table;
#[macro_use]
mod enumerate;

mod check;
#[cfg(feature = "verify")]
mod error;
#[cfg(feature = "verify")]
mod rules;
mod verified;

pub use self::{
    check::{Outcome, VerificationCheck},
    verified::VerifiedReport,
};
#[cfg(feature = "verify")]
pub use self::{
    error::VerifyError,
    rules::{Endorsements, Inputs, ReportData, belongs, examine, refuse_early, verify},
};
