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
///
/// Its bytes are those that the guest was appraised against, so the dialect is one of theirs. They are read
/// all the same: another release may have appraised the guest, and this one releases nothing by a
/// registration that it cannot read.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::{
        audit::FailedCheck,
        ids::WorkloadId,
        requirements::{AppraisalPolicy, ReferenceValues},
    };

    /// A workload's row with these bytes.
    fn row(registration: Vec<u8>) -> Workload {
        Workload {
            id: WorkloadId::new("w").unwrap(),
            registration,
            secrets: BTreeMap::new(),
            first_registered_at: Timestamp::UNIX_EPOCH,
            revoked_at: None,
            released_at: None,
            restored_by: None,
            revocation: None,
        }
    }

    fn bytes() -> Vec<u8> {
        let registration = Registration {
            serial: Uuid::from_u128(1),
            dialects: Dialect::Native.into(),
            owner: None,
            reference_values: ReferenceValues { measurements: Vec::new() },
            policy: AppraisalPolicy::default(),
            rego: None,
        };
        registration.to_bytes().unwrap()
    }

    /// Why nothing is released by `workload` to a guest that was appraised as of it, by whatever release.
    fn cause(workload: Workload, dialect: Dialect) -> Option<FailedCheck> {
        let standing = workload.standing();
        match check_workload(Some(workload), &standing, dialect) {
            Ok(_) => None,
            Err(Failure::Refused(failed)) => Some(failed),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn refused_for(cause: &str) -> Option<FailedCheck> {
        Some(FailedCheck { check: "workload".to_owned(), cause: cause.to_owned() })
    }

    #[test]
    fn a_registration_that_only_another_release_reads_does_not_stand() {
        assert_eq!(cause(row(bytes()), Dialect::Native), None);
        let later = String::from_utf8(bytes()).unwrap().replace("\"format\":2", "\"format\":3");
        let unread = refused_for("the registration is not one that this release reads");
        assert_eq!(cause(row(later.into()), Dialect::Native), unread);
    }

    #[test]
    fn a_registration_stands_for_its_own_dialects_alone() {
        let another = refused_for("the workload is registered for another dialect");
        assert_eq!(cause(row(bytes()), Dialect::Trustee), another);
    }
}
