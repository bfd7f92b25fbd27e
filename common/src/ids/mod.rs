//! The names of things: what rows, records and requests refer to each other by.

mod audit;
mod registration;
mod session;
mod token;
mod workload;

pub use self::{
    audit::AuditId,
    registration::RegistrationDigest,
    session::{CarriedId, Claim, SessionId},
    token::TokenId,
    workload::{HostData, WorkloadId, WorkloadIdError},
};
