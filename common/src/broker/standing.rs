//! Whether what a session rests on still stands.

use super::failure::{Failure, refused};
use crate::{
    audit::Check,
    dialect::Dialect,
    session::Session,
    workload::{Registration, Standing, Workload},
};

/// The registration that the session's guest was appraised against still stands, unrevoked since, and the
/// session is of one of `dialects`, in which the registration still has its guests ask.
pub(super) fn check_session_workload(
    workload: Option<Workload>,
    session: &Session,
    dialects: &[Dialect],
) -> Result<Workload, Failure> {
    if !dialects.contains(&session.dialect()) {
        return Err(refused(Check::Session, "the guest attested in another dialect"));
    }
    check_workload(workload, &session.standing(), session.dialect())
}

/// The registration that `standing` names still stands, unrevoked since, and has its guests ask in `dialect`.
pub(super) fn check_workload(
    workload: Option<Workload>,
    standing: &Standing,
    dialect: Dialect,
) -> Result<Workload, Failure> {
    let Some(workload) = workload else {
        return Err(refused(Check::Workload, "the workload is no longer registered"));
    };
    if let Some(revoked_at) = workload.revoked_at {
        return Err(refused(Check::Workload, format!("the workload is revoked since {revoked_at}")));
    }
    if workload.digest() != standing.registration {
        return Err(refused(
            Check::Workload,
            "the registration was replaced or altered since the guest attested",
        ));
    }
    if !workload.stands_as(standing) {
        return Err(refused(
            Check::Workload,
            "the workload was revoked and restored since the guest attested",
        ));
    }
    let registered = workload.read().map_err(|error| refused(Check::Workload, error))?;
    registered_for(registered.registration(), &[dialect])?;
    Ok(workload)
}

/// Which of `dialects` the guests of `registration` may speak.
pub(super) fn registered_for(registration: &Registration, dialects: &[Dialect]) -> Result<Dialect, Failure> {
    let spoken = dialects.iter().copied().find(|dialect| registration.dialects.contains(*dialect));
    spoken.ok_or_else(|| refused(Check::Workload, "the workload is registered for another dialect"))
}
