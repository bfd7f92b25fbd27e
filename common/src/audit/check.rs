//! Everything that a record can say has failed: the one list.

use crate::appraisal;
use keybroker_snp::verify;

/// A check of the broker, or something that a decision needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// A check of the cryptography.
    Verification(verify::Check),
    /// A check of what the evidence says.
    Appraisal(appraisal::Check),
    /// The session is known, open, and of the request's dialect.
    Session,
    /// The evidence is a report.
    Report,
    /// The workload is registered, unrevoked, and of the guest's dialect.
    Workload,
    /// AMD's certificates and revocation list are at hand.
    Endorsements,
    /// AMD is asked for this chip now.
    NewChips,
    /// What the registration demands in Rego holds.
    Policy,
    /// The guest asks for the secret of the workload that it attested as.
    SessionWorkload,
    /// The workload has a secret of this name.
    Secret,
    /// The secret can be encrypted to the guest's key.
    GuestKey,
    /// The wrapped secret belongs to the registration beside it.
    WrappedSecret,
    /// The wrapping key can be used.
    WrappingKey,
    /// The store answers.
    Store,
    /// Whoever registers is authenticated.
    Principal,
    /// Whoever registers holds a token that counts for it.
    Token,
    /// The registration has a stored form.
    Registration,
    /// The registration may take the place of the one that is there.
    Replacement,
    /// No part of the broker panics.
    Internal,
}

impl Check {
    /// Those of the broker itself.
    const OWN: [Self; 17] = [
        Self::Session,
        Self::Report,
        Self::Workload,
        Self::Endorsements,
        Self::NewChips,
        Self::Policy,
        Self::SessionWorkload,
        Self::Secret,
        Self::GuestKey,
        Self::WrappedSecret,
        Self::WrappingKey,
        Self::Store,
        Self::Principal,
        Self::Token,
        Self::Registration,
        Self::Replacement,
        Self::Internal,
    ];

    /// Every check that a record can name.
    pub fn all() -> impl Iterator<Item = Self> {
        let verification = verify::Check::all().map(Self::Verification);
        verification.chain(appraisal::Check::all().map(Self::Appraisal)).chain(Self::OWN)
    }

    /// The check of this name, if this release knows it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::all().find(|check| check.name() == name)
    }

    /// Its stable name, as records and metrics carry it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verification(check) => check.name(),
            Self::Appraisal(check) => check.name(),
            Self::Session => "session",
            Self::Report => "report",
            Self::Workload => "workload",
            Self::Endorsements => "endorsements",
            Self::NewChips => "new-chips",
            Self::Policy => "policy",
            Self::SessionWorkload => "session-workload",
            Self::Secret => "secret",
            Self::GuestKey => "guest-key",
            Self::WrappedSecret => "wrapped-secret",
            Self::WrappingKey => "wrapping-key",
            Self::Store => "store",
            Self::Principal => "principal",
            Self::Token => "token",
            Self::Registration => "registration",
            Self::Replacement => "replacement",
            Self::Internal => "internal",
        }
    }
}

impl From<verify::Check> for Check {
    fn from(check: verify::Check) -> Self {
        Self::Verification(check)
    }
}

impl From<appraisal::Check> for Check {
    fn from(check: appraisal::Check) -> Self {
        Self::Appraisal(check)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_is_one_checks() {
        let names: HashSet<_> = Check::all().map(Check::name).collect();
        assert_eq!(names.len(), Check::all().count());
        assert!(Check::all().all(|check| Check::parse(check.name()) == Some(check)));
        assert_eq!(Check::parse("no-such-check"), None);
    }

    /// One that is missing from the list could be recorded and would never be explained.
    #[test]
    fn every_variant_is_in_the_list() {
        let source = include_str!("check.rs");
        let (_, body) = source.split_once("pub enum Check {").unwrap();
        let (body, _) = body.split_once("\n}\n").unwrap();
        let lines =
            body.lines().map(str::trim).filter(|line| line.ends_with(',') && !line.starts_with("///"));
        let own = lines.filter(|line| !line.contains('(')).count();
        assert_eq!(own, Check::OWN.len());
    }
}
