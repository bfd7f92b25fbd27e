//! Everything that a record can say has failed: the checks of verification and of appraisal, and the broker's
//! own.

use crate::appraisal::AppraisalCheck;
use keybroker_snp::verify::VerificationCheck;

/// What a failed check means, and what helps: for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// What it means that the check failed.
    pub means: &'static str,
    /// What an operator can do about it.
    pub helps: &'static str,
}

enumerate! {
    /// The session is known, open, and of the request's dialect.
    Session {
        name: "session",
        means: "A challenge is answered once, and a session lasts as long as --session-ttl says.",
        helps: "Start the guest again: it asks for a new challenge. Many of these at once are clients that \
            repeat themselves, or guess.",
    }
    /// The evidence is a report.
    Report {
        name: "report",
        means: "What was sent as a report is not one of SEV-SNP that this broker can read.",
        helps: "Find out what made it: other hardware, a newer firmware's report version, or something \
            between guest and broker.",
    }
    /// The workload is registered, unrevoked, and of the guest's dialect.
    Workload {
        name: "workload",
        means: "The guest's workload cannot be attested as, or its registration is no longer the one that \
            the guest attested under.",
        helps: "See it with `keybroker workload show ID`. Not registered: build the image again, or correct \
            the id. Revoked: restore it if that was a mistake. Replaced: start the guest again from the \
            newest image. Another dialect: it is another workload's client.",
    }
    /// AMD's certificates and revocation list are at hand.
    Endorsements {
        name: "endorsements",
        means: "No certificate of AMD's vouches for the key that should have signed the report.",
        helps: "A chip that AMD does not know: compare chip id and TCB with the host's own (snphost). A chip \
            id that is masked: have the host's owner turn MASK_CHIP_ID off. New chips not asked for (--kds \
            known-chips-only): bring theirs with `keybroker certificates prefetch --report FILE`. A VLEK: \
            the guest has to send its certificate along, and the ASVK above it where the KDS cannot be \
            asked.",
        undecided: {
            means: "AMD's certificates or revocation list are needed, are not in the store, and could not be \
                had.",
            helps: "Look at the KDS with `keybroker doctor`. A name that is not found, a refused connection, \
                or a proxy: open the way. A TLS authority that is not known: name it with --kds-ca. A chip's \
                certificate can be brought with `keybroker certificates import FILE` while KDS is down, and \
                so can a revocation list and the ASVK above a VLEK.",
        },
    }
    /// AMD is asked for this chip now.
    NewChips {
        name: "new-chips",
        means: "More chips that nobody has seen before came at once than AMD is asked for: this one waited \
            in line in vain, or found it full.",
        helps: "New hosts: start the guest again, or bring their certificates with `keybroker certificates \
            prefetch --report FILE` before they come. A KDS that answers faster: raise \
            --new-chips-per-minute and --new-chips-burst. Otherwise somebody invents chips under the \
            workload of these records: one who knows its id and measurement can.",
    }
    /// What the registration demands in Rego holds.
    Policy {
        name: "policy",
        means: "What the registration demands in Rego does not hold for this guest: each query must give \
            true.",
        helps: "Try it with `keybroker verify --report FILE --policy FILE` with the guest's report. A \
            changed demand is a new registration.",
        undecided: {
            means: "Every thread that evaluates policies was taken, by ones that do not end.",
            helps: "Find by the records of these minutes whose registration demands such a policy, and \
                revoke it.",
        },
    }
    /// The guest asks for the secret of the workload that it attested as.
    SessionWorkload {
        name: "session-workload",
        means: "A guest asked for the passphrase of another workload than it had attested as.",
        helps: "Look at the guest: no krun of ours does that. It got nothing.",
    }
    /// The workload has a secret of this name.
    Secret {
        name: "secret",
        means: "The guest attested, and asked for a secret that its workload was not registered with.",
        helps: "Compare the name with `keybroker workload show ID`, and correct the guest or register the \
            workload anew.",
    }
    /// The secret can be encrypted to the guest's key.
    GuestKey {
        name: "guest-key",
        means: "The secret could not be encrypted to the guest's key.",
        helps: "With a key of 2048 bits a secret has 245 bytes at most: register a shorter one.",
    }
    /// The wrapped secret belongs to the registration beside it.
    WrappedSecret {
        name: "wrapped-secret",
        means: "The secret in the store does not belong to the registration beside it, or to the wrapping \
            key at hand.",
        helps: "With the right key file, somebody wrote to the store: compare with the audit log, and \
            register the workload anew.",
    }
    /// The wrapping key can be used.
    WrappingKey {
        name: "wrapping-key",
        means: "The key that secrets are wrapped with could not be used.",
        helps: "`keybroker doctor` says what is wrong with it. On AWS: `aws kms describe-key`; enable the \
            key, or ask for a higher quota.",
    }
    /// The store answers.
    Store {
        name: "store",
        means: "The store did not answer, or a row in it cannot be read.",
        helps: "`keybroker doctor` looks into it. On AWS: the tables' throttles and health; on one machine: \
            the disk; the broker goes on by itself once there is room.",
    }
    /// Whoever registers is authenticated.
    Principal {
        name: "principal",
        means: "Only authenticated callers may register here, and the request brought along nothing that \
            says who asks.",
        helps: "Register with a token (`keybroker token create`), or through a build relay; on AWS also with \
            a signed request.",
    }
    /// Whoever registers holds a token that counts for it.
    Token {
        name: "token",
        means: "The token that the request brought along does not let it register this. A token is for one \
            workload and one build: it ends with its time, 30 minutes after its first use, or with the first \
            guest that attests.",
        helps: "Make another for the build: `keybroker token create`, with --workload-id if it is to replace \
            what is registered.",
    }
    /// The registration has a stored form.
    Registration {
        name: "registration",
        means: "The registration could not be written down.",
        helps: "This is an error in the broker: please report it with what was registered, without its \
            secrets.",
    }
    /// The registration may take the place of the one that is there.
    Replacement {
        name: "replacement",
        means: "The id is taken, and this registration may not take the place of the one that is there.",
        helps: "Give the new image an id of its own, or delete the old registration with `keybroker workload \
            delete ID`. Within 30 minutes of the first registration a build may replace its own passphrase, \
            and nothing else.",
        undecided: {
            means: "The registration that was in the way was deleted at the same moment.",
            helps: "Register it again.",
        },
    }
    /// No part of the broker panics.
    Internal {
        name: "internal",
        means: "A part of the broker panicked, and the request came to nothing. The broker goes on, and \
            nothing was released.",
        helps: "This is an error in the program: please report it with the location that the log has of that \
            time. If it comes again and again with one workload, revoke that.",
    }
}

impl Check {
    /// The check of this name, if this release knows it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::all().find(|check| check.name() == name)
    }
}

impl From<VerificationCheck> for Check {
    fn from(check: VerificationCheck) -> Self {
        Self::Verification(check)
    }
}

impl From<AppraisalCheck> for Check {
    fn from(check: AppraisalCheck) -> Self {
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

    /// Stored records and metrics carry these: a name that changes is a check that nobody finds again.
    #[test]
    fn names_on_record_are_known() {
        let own = "session report workload endorsements new-chips policy session-workload secret guest-key \
                   wrapped-secret wrapping-key store principal token registration replacement internal";
        let verification = "challenge signed signing-key certificate-chain certificate-validity revocation \
                            product reported-tcb chip-or-provider signature";
        let appraisal = "guest-policy-debug guest-policy-migrate-ma guest-policy-form vmpl fleet-product \
                         fleet-minimum-tcb measurement guest-policy-smt guest-policy-single-socket \
                         guest-policy-ciphertext-hiding guest-policy-abi minimum-tcb minimum-committed-tcb \
                         minimum-launch-tcb host-data id-key-digest author-key-digest family-id image-id \
                         guest-svn";
        let recorded = [verification, appraisal, own].join(" ");
        let forgotten: Vec<_> = recorded.split(' ').filter(|name| Check::parse(name).is_none()).collect();
        assert!(forgotten.is_empty(), "{forgotten:?}");
    }

    /// Words that are the same in both cases say too little in one of them.
    #[test]
    fn what_could_not_be_decided_has_words_of_its_own() {
        let apart: Vec<_> =
            Check::all().filter(|check| check.meaning(true) != check.meaning(false)).collect();
        assert_eq!(apart, [Check::Endorsements, Check::Policy, Check::Replacement]);
    }
}
