//! When a registration may take the place of one that is there.

use super::authority::Authority;
use crate::{
    audit::AuditRecord,
    dialect::Dialect,
    store::Build,
    token::Dead,
    workload::{Registration, Workload, build_window_is_over},
};

/// Why a registration may not take the place of the one that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReplacementRefused {
    #[error("the workload is revoked")]
    Revoked,
    #[error("the id is that of a registration by reference values, or would become one")]
    ByReferenceValues,
    #[error("no build registers for this dialect: a caller must have the authority to replace it")]
    NoBuild,
    #[error("a guest has attested as this workload: its registration is final")]
    Released,
    #[error("the build window of 30 minutes from the first registration is over")]
    WindowOver,
    #[error("the registration that is there is another owner's")]
    OtherOwner,
    #[error("the registration asks for another measurement or policy than the one that is there")]
    OtherRequirements,
    #[error("the stored registration is not one that this release reads")]
    Unreadable,
    #[error("the init data's digest, as HOST_DATA, selects the guests of another workload")]
    Selects,
    #[error("the registration that was there changed meanwhile")]
    Raced,
    #[error("the row that was in the way is gone")]
    Gone,
}

impl ReplacementRefused {
    /// The reason why a refused replacement ends the token that registered before. Such a token may only
    /// replace its own registration.
    pub(super) fn kills_token(self) -> Option<Dead> {
        match self {
            Self::Released => Some(Dead::Released),
            Self::WindowOver => Some(Dead::WindowOver),
            Self::OtherOwner | Self::Gone => Some(Dead::Gone),
            Self::Revoked
            | Self::ByReferenceValues
            | Self::NoBuild
            | Self::OtherRequirements
            | Self::Unreadable
            | Self::Selects
            | Self::Raced => None,
        }
    }
}

/// A revoked workload stays as it is, and so does a registration by reference values, whose id no client
/// chose. In the place of any other registration, a caller with the authority may begin a new build at any
/// time: guests that attested under the earlier registration get nothing more. Every other caller must be the
/// same owner with the same requirements, in the build window, before the first attestation.
pub(super) fn replaceable(
    held: &Workload,
    registration: &Registration,
    authority: &Authority,
    record: &AuditRecord,
) -> Result<Build, ReplacementRefused> {
    if held.revoked_at.is_some() {
        return Err(ReplacementRefused::Revoked);
    }
    let stored = Registration::from_bytes(&held.registration).map_err(|_| ReplacementRefused::Unreadable)?;
    let by_reference_values = |of: &Registration| of.dialects.contains(Dialect::Keybroker);
    if by_reference_values(&stored) || by_reference_values(registration) {
        return Err(ReplacementRefused::ByReferenceValues);
    }
    if authority.may_take_over(&held.id, stored.owner.as_deref()) {
        return Ok(Build::New);
    }
    if stored.dialects.only() != Some(Dialect::Libkrun) {
        return Err(ReplacementRefused::NoBuild);
    }
    if held.released_at.is_some() {
        return Err(ReplacementRefused::Released);
    }
    if build_window_is_over(held.first_registered_at, record.time) {
        return Err(ReplacementRefused::WindowOver);
    }
    if stored.owner != registration.owner {
        return Err(ReplacementRefused::OtherOwner);
    }
    if stored.same_requirements(registration) {
        Ok(Build::Same)
    } else {
        Err(ReplacementRefused::OtherRequirements)
    }
}
