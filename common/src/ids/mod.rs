//! The names of things: what rows, records and requests refer to each other by.

mod audit;
mod claim;
mod registration;
mod session;
mod token;
mod workload;

pub use self::{
    audit::AuditId,
    claim::{CarriedId, Claim, KbsVersion, ReportHash, TrusteeClaim},
    registration::RegistrationDigest,
    session::SessionId,
    token::TokenId,
    workload::{HostData, WorkloadId, WorkloadIdError},
};
