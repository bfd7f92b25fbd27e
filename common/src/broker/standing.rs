//! Whether what a session rests on still stands.

use super::failure::{Failure, refused};
use crate::{audit::Check, dialect::Dialect, session::Session, workload::Workload};

/// The registration that the guest was appraised against still stands, unrevoked since, and is of one of
/// `dialects`: of which.
pub(super) fn check_workload(
    workload: Option<Workload>,
    session: &Session,
    dialects: &[Dialect],
) -> Result<(Workload, Dialect), Failure> {
    let Some(workload) = workload else {
        return Err(refused(Check::Workload, "the workload is no longer registered"));
    };
    if let Some(revoked_at) = workload.revoked_at {
        return Err(refused(Check::Workload, format!("the workload is revoked since {revoked_at}")));
    }
    if workload.digest() != session.standing().registration {
        return Err(refused(
            Check::Workload,
            "the registration was replaced or altered since the guest attested",
        ));
    }
    if !workload.stands_as(&session.standing()) {
        return Err(refused(
            Check::Workload,
            "the workload was revoked and restored since the guest attested",
        ));
    }
    let registered = workload.read().map_err(|error| refused(Check::Workload, error))?;
    let dialect = registered.registration().dialect;
    if !dialects.contains(&dialect) {
        return Err(refused(Check::Workload, "the workload is registered for another dialect"));
    }
    Ok((workload, dialect))
}
