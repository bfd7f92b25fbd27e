//! Everything that a record can say has failed: the checks of verification and of appraisal, and the broker's
//! own.

use crate::appraisal::AppraisalCheck;
use keybroker_snp::verify::VerificationCheck;

/// The meaning of a failed check and the advice about it, for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// The meaning of the failure.
    pub means: &'static str,
    /// The advice: things that an operator can do about it.
    pub helps: &'static str,
}

enumerate! {
    /// The session is known, open, and of the request's dialect.
    Session {
        name: "session",
        means: "A challenge can be answered once, and a session lasts for the seconds that --session-ttl \
            sets.",
        helps: "Start the guest again: it asks for a new challenge. If there are many such records at once, \
            clients repeat their requests or guess session ids.",
    }
    /// The evidence is a report.
    Report {
        name: "report",
        means: "The guest sent something that this broker cannot read as an SEV-SNP report.",
        helps: "Find out what made the report: other hardware, newer firmware with another report version, \
            or something between guest and broker.",
    }
    /// The workload is registered, unrevoked, and of the guest's dialect.
    Workload {
        name: "workload",
        means: "No guest can attest as this workload, or its registration is another one than the guest \
            attested under.",
        helps: "Look at it with `keybroker workload show ID`. If it is not registered, build the image again \
            or correct the id. If it was revoked by mistake, restore it. If it was replaced, start the guest \
            again from the newest image; guests of Trustee attest again by themselves. If it has another \
            dialect, the guest is the client of another workload.",
    }
    /// AMD's certificates and revocation list are at hand.
    Endorsements {
        name: "endorsements",
        means: "No certificate of AMD's vouches for the key that should have signed the report.",
        helps: "If AMD does not know the chip, compare chip id and TCB with the host's own (snphost). If the \
            chip id is masked, ask the host's owner to turn MASK_CHIP_ID off. If the broker does not ask for \
            new chips (--kds known-chips-only), fetch their certificates with `keybroker certificates \
            prefetch --report FILE`. If the key is a VLEK, the guest must send its certificate, and also the \
            ASVK above it where the KDS cannot be asked.",
        undecided: {
            means: "The broker needs AMD's certificates or revocation list, does not have them in the store, \
                and could not fetch them.",
            helps: "Run `keybroker doctor` to see whether the KDS answers. If its name is not found, the \
                connection is refused or a proxy is in the way, open the way to it. If its TLS authority is \
                not known, name that with --kds-ca. While the KDS is down, `keybroker certificates import \
                FILE` brings a chip's certificate, a revocation list, or the ASVK above a VLEK.",
        },
    }
    /// AMD is asked for this chip now.
    NewChips {
        name: "new-chips",
        means: "More new chips came at once than the broker asks AMD for: this one waited in line in vain, \
            or found the line full.",
        helps: "If the hosts are new, start the guest again, or fetch their certificates with `keybroker \
            certificates prefetch --report FILE` before their guests start. If your KDS answers faster than \
            AMD's, raise --new-chips-per-minute and --new-chips-burst. Otherwise somebody invents chips \
            under the workload of these records: anybody who knows its id and measurement can.",
    }
    /// The guest satisfies the registration's policy in Rego.
    Policy {
        name: "policy",
        means: "The registration's Rego policy does not hold for this guest: each query must give true.",
        helps: "Try the policy on the guest's report with `keybroker verify --report FILE --policy FILE`. To \
            change the policy, register the workload again.",
        undecided: {
            means: "Every thread that evaluates policies was busy with policies that do not end.",
            helps: "Search the records of these minutes for the workload whose registration demands such a \
                policy, and revoke it.",
        },
    }
    /// The guest asks for the secret of the workload that it attested as.
    SessionWorkload {
        name: "session-workload",
        means: "A guest asked for the passphrase of another workload than it had attested as.",
        helps: "Look at the guest: krun's own guest does not do that. It got nothing.",
    }
    /// The workload has a secret of this name.
    Secret {
        name: "secret",
        means: "The guest attested, and asked for a secret that its workload was not registered with.",
        helps: "Compare the name with `keybroker workload show ID`, and correct the guest or register the \
            workload again.",
    }
    /// The secret can be encrypted to the guest's key.
    GuestKey {
        name: "guest-key",
        means: "The broker could not encrypt the secret to the guest's key.",
        helps: "With a key of 2048 bits, a secret has at most 245 bytes: register a shorter one.",
    }
    /// The broker has a signing key that the guest accepts.
    SigningKey {
        name: "broker-signing-key",
        means: "The guest's document names none of the keys that this broker signs with, so the guest could trust \
            no answer.",
        helps: "Compare `keybroker keys list` with the document's broker keys. If the broker's key was rotated, \
            write the document anew and register the workload with it; if the document is another broker's, the \
            guest asked the wrong one.",
        undecided: {
            means: "The broker could not sign its answer.",
            helps: "Run `keybroker doctor`, which opens the signing keys.",
        },
    }
    /// The wrapped secret belongs to the registration beside it.
    WrappedSecret {
        name: "wrapped-secret",
        means: "The secret in the store does not belong to the registration beside it or to the current \
            wrapping key.",
        helps: "If the key file is the right one, somebody wrote to the store: compare it with the audit \
            log, and register the workload again.",
    }
    /// The wrapping key can be used.
    WrappingKey {
        name: "wrapping-key",
        means: "The broker could not use the key that wraps the secrets.",
        helps: "Run `keybroker doctor` to see what is wrong with the key. On AWS, run `aws kms \
            describe-key`, then enable the key or ask for a higher quota.",
    }
    /// The broker has keys of its own for challenges and sessions.
    BrokerKeys {
        name: "broker-keys",
        means: "The broker could not read, open or make the keys by which it recognises its own challenges and \
            sessions.",
        helps: "Run `keybroker doctor`. The wrapping key must open the keys in the store. If it never will, \
            run `keybroker keys rotate --now`: guests under way must boot again.",
    }
    /// The store answers.
    Store {
        name: "store",
        means: "The store did not answer, or a row in it cannot be read.",
        helps: "Run `keybroker doctor`. On AWS, look at the tables' throttling and health. On one machine, \
            look at the disk: the broker goes on by itself once there is room.",
    }
    /// The caller that registers is authenticated.
    Principal {
        name: "principal",
        means: "Only authenticated callers may register here, and the request carried no credential.",
        helps: "Register with a token (`keybroker token create`) or through a build relay. On AWS, a signed \
            request does as well.",
    }
    /// The caller holds a token that permits this registration.
    Token {
        name: "token",
        means: "The request's token does not permit this registration. A token is for one workload and one \
            build: it ends when it expires, 30 minutes after its first use, or when the first guest attests.",
        helps: "Make another token for the build with `keybroker token create`. Add --workload-id if the \
            build is to replace a registration.",
    }
    /// The registration has a stored form.
    Registration {
        name: "registration",
        means: "The broker could not put the registration into the form in which it is stored.",
        helps: "This is a bug in the broker: please report it with the registration, without its secrets.",
    }
    /// The registration may take the place of the one that is there.
    Replacement {
        name: "replacement",
        means: "The id is taken, and this registration may not replace the one that is there. Or, as the cause \
            says, the digest of its init data selects another workload as HOST_DATA.",
        helps: "If the cause names HOST_DATA, change the document, or delete the workload that has the same \
            init data: `keybroker workload list` names all workloads, and `workload show` prints the init data \
            of one. If the cause says that the workload is revoked, restore it first. Otherwise give the new \
            image an id of its own, or delete the old registration with `keybroker workload delete ID`. Within \
            30 minutes of the first registration a build may replace its own passphrase, and nothing else.",
        undecided: {
            means: "The registration that was in the way was deleted at the same moment.",
            helps: "Register the workload again.",
        },
    }
    /// No part of the broker panics.
    Internal {
        name: "internal",
        means: "Code in the broker panicked, and the request failed. The broker goes on, and nothing was \
            released.",
        helps: "This is a bug in the broker: please report it with the source location that the log has from \
            that time. If one workload causes it again and again, revoke that workload.",
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
                   wrapped-secret wrapping-key broker-keys broker-signing-key store principal token registration \
                   replacement internal";
        let verification = "challenge signed signing-key certificate-chain certificate-validity revocation \
                            product reported-tcb chip-or-provider signature";
        let appraisal = "guest-policy-debug guest-policy-migrate-ma guest-policy-form vmpl fleet-product fleet-chip \
                         fleet-minimum-tcb fleet-minimum-committed-tcb fleet-minimum-current-tcb \
                         fleet-minimum-launch-tcb fleet-current-mitigations fleet-launch-mitigations \
                         fleet-platform-info fleet-minimum-firmware admitted-product admitted-chip minimum-current-tcb \
                         current-mitigations launch-mitigations platform-info minimum-firmware measurement guest-policy-smt guest-policy-single-socket \
                         guest-policy-ciphertext-hiding guest-policy-abi minimum-tcb minimum-committed-tcb \
                         minimum-launch-tcb host-data init-data id-key-digest author-key-digest family-id image-id \
                         guest-svn";
        let recorded = [verification, appraisal, own].join(" ");
        let forgotten: Vec<_> = recorded.split(' ').filter(|name| Check::parse(name).is_none()).collect();
        assert!(forgotten.is_empty(), "{forgotten:?}");
    }

    /// Words that are the same in both cases say too little in one of them.
    #[test]
    fn a_check_that_was_not_decided_has_its_own_words() {
        let apart: Vec<_> =
            Check::all().filter(|check| check.meaning(true) != check.meaning(false)).collect();
        assert_eq!(apart, [Check::Endorsements, Check::Policy, Check::SigningKey, Check::Replacement]);
    }
}
