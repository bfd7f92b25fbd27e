//! An audit record in words: what happened, what was expected and found, and what an operator can do about
//! it.
//!
//! The record's own cause says what was expected and found. One table, [`meaning`], says what each failed
//! check means and what helps.

use keybroker_common::{
    appraisal::Check as Appraisal,
    audit::{AuditRecord, Basis, Check, Decision, EvidenceSummary, FailedCheck},
};
use keybroker_snp::{report::GuestPolicy, verify::Check as Verification};

use super::basis;

/// The meaning of a failed check, and the advice about it.
struct Meaning {
    means: &'static str,
    advice: &'static str,
}

const fn meaning_of(means: &'static str, advice: &'static str) -> Meaning {
    Meaning { means, advice }
}

/// The record in whole sentences. The first says what happened. A check that this release does not know gives
/// its cause alone.
pub(super) fn words(record: &AuditRecord) -> Vec<String> {
    let mut words = Vec::new();
    match &record.failed {
        Some(failed) => words.extend(failure(record, failed)),
        None => words.push(decided(record)),
    }
    if record.decision == Decision::Withheld {
        words.push(
            "The broker had recorded the release under another id, but the secret did not leave it."
                .to_owned(),
        );
    }
    if let Some(evidence) = &record.evidence {
        words.push(self::evidence(evidence, record.basis.as_ref()));
    }
    words.extend(basis::words(record));
    words
}

fn failure(record: &AuditRecord, failed: &FailedCheck) -> Vec<String> {
    let mut words = vec![match failed.cause.as_str() {
        "" => format!("The check {} failed.", failed.check),
        cause => sentence(cause),
    }];
    let unavailable = record.decision == Decision::Unavailable;
    if let Some(check) = Check::parse(&failed.check) {
        let Meaning { means, advice } = meaning(check, unavailable);
        words.push(means.to_owned());
        if names_policy(check)
            && let Some(policy) = record.evidence.as_ref().and_then(|evidence| guest_policy(&evidence.policy))
        {
            words.push(policy);
        }
        words.push(advice.to_owned());
    }
    if unavailable {
        words.push(
            "The broker decided nothing and spent nothing: the same request may succeed later.".to_owned(),
        );
    }
    words
}

/// The first sentence about a decision that no check stopped.
fn decided(record: &AuditRecord) -> String {
    let workload = record.workload_id.as_ref().map_or("a workload".to_owned(), ToString::to_string);
    let by = record.principal.as_ref().map(|principal| format!(" by {principal}")).unwrap_or_default();
    match record.decision {
        Decision::Registered => {
            format!("{workload} was registered{by}. From now on guests can attest as it.")
        }
        Decision::Replaced => format!(
            "The registration of {workload} was replaced{by}. Guests that attested under the earlier one get \
             nothing more."
        ),
        Decision::Revoked => {
            format!(
                "{workload} was revoked{by}. From the next request on, no guest can attest as it or get its \
                 secrets."
            )
        }
        Decision::Restored => {
            format!(
                "The revocation of {workload} was taken back{by}. Guests can attest as it again. A guest \
                 that had attested before must attest again."
            )
        }
        Decision::Deleted => format!(
            "{workload} and its secrets were deleted{by}. Nobody can open an image that was built for it."
        ),
        Decision::TokenCreated | Decision::TokenRevoked => {
            let token = record.token.map_or("A token".to_owned(), |id| format!("The token {id}"));
            let done = if record.decision == Decision::TokenCreated { "made" } else { "revoked" };
            match &record.workload_id {
                Some(workload) => format!("{token} was {done}{by}, for {workload}."),
                None => format!("{token} was {done}{by}."),
            }
        }
        Decision::Attested => {
            format!(
                "A guest attested as {workload}: every check held. It may fetch the secrets of {workload}."
            )
        }
        Decision::Released => {
            let secret = record.secret.as_deref().unwrap_or("passphrase");
            let attestation = record.attestation.map(|id| format!(" (record {id})")).unwrap_or_default();
            format!(
                "The secret {secret:?} of {workload} was released, encrypted to the key of the guest that \
                 attested{attestation}."
            )
        }
        Decision::Withheld => "The broker withheld a secret, and the record does not say why.".to_owned(),
        Decision::Refused => "The broker refused the request, and the record does not say why.".to_owned(),
        Decision::Unavailable => "The broker could not decide, and the record does not say why.".to_owned(),
    }
}

/// The host, and how well the broker knows it.
fn evidence(evidence: &EvidenceSummary, basis: Option<&Basis>) -> String {
    let product = evidence.product.map_or("an unknown product".to_owned(), |product| product.to_string());
    let tcb = evidence.reported_tcb.map(|tcb| format!(" at TCB {tcb}")).unwrap_or_default();
    let chip: String = evidence.chip_id.chars().take(16).collect();
    let host = format!("{product}, chip {chip}…{tcb}");
    if evidence.verified && basis.is_some_and(|basis| basis.simulated) {
        format!("The signature was verified up to a root that is not AMD's: the host calls itself {host}.")
    } else if evidence.verified {
        format!("AMD's signature was verified: the host is {host}.")
    } else {
        format!("No signature was verified: the guest's side claims to be {host}.")
    }
}

/// Whether the failed check is one of the guest policy. Its cause leaves open what else the policy says.
fn names_policy(check: Check) -> bool {
    let Check::Appraisal(check) = check else { return false };
    check.name().starts_with("guest-policy-")
}

/// A guest policy bit by bit; `None` if `text` is not one.
fn guest_policy(text: &str) -> Option<String> {
    let bits = u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()?;
    let policy = GuestPolicy::new(bits);
    let (major, minor) = policy.abi();
    let named = [
        (policy.debug_allowed(), "debugging by the host"),
        (policy.migrate_ma_allowed(), "a migration agent"),
        (policy.smt_allowed(), "SMT"),
        (!policy.single_socket(), "more than one socket"),
        (!policy.ciphertext_hiding(), "ciphertext that the host can see"),
    ];
    let allowed: Vec<_> = named.iter().filter(|(allowed, _)| *allowed).map(|(_, name)| *name).collect();
    let allowed =
        if allowed.is_empty() { "nothing that a policy can allow".to_owned() } else { allowed.join(", ") };
    Some(format!("The guest policy {text} allows {allowed}; its lowest ABI is {major}.{minor}."))
}

/// A cause as a sentence of its own.
fn sentence(cause: &str) -> String {
    let mut characters = cause.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let end = if cause.ends_with(['.', '…', '!']) { "" } else { "." };
    format!("{first}{}{end}", characters.as_str())
}

const OTHER_REGISTRATION: &str =
    "If the guest should be accepted, register the workload again with other requirements.";
const UPDATE_FIRMWARE: &str = "Update the host's firmware and commit to it (snphost commit). Before you \
                               raise a floor, compare it with what the other hosts report.";
const LAUNCH: &str = "Launch the guest with krun's own settings.";

/// The meaning of a failed check and the advice about it. `unavailable`: the broker refused nothing, because
/// it could not decide.
fn meaning(check: Check, unavailable: bool) -> Meaning {
    match check {
        Check::Verification(check) => verification(check),
        Check::Appraisal(check) => appraisal(check),
        Check::Session => meaning_of(
            "A challenge can be answered once, and a session lasts for the seconds that --session-ttl sets.",
            "Start the guest again: it asks for a new challenge. If there are many such records at once, \
             clients repeat their requests or guess session ids.",
        ),
        Check::Report => meaning_of(
            "The guest sent something that this broker cannot read as an SEV-SNP report.",
            "Find out what made the report: other hardware, newer firmware with another report version, or \
             something between guest and broker.",
        ),
        Check::Workload => meaning_of(
            "No guest can attest as this workload, or its registration is another one than the guest \
             attested under.",
            "Look at it with `keybroker workload show ID`. If it is not registered, build the image again or \
             correct the id. If it was revoked by mistake, restore it. If it was replaced, start the guest \
             again from the newest image. If it has another dialect, the guest is the client of another \
             workload.",
        ),
        Check::Endorsements if unavailable => meaning_of(
            "The broker needs AMD's certificates or revocation list, does not have them in the store, and \
             could not fetch them.",
            "Run `keybroker doctor` to see whether the KDS answers. If its name is not found, the connection \
             is refused or a proxy is in the way, open the way to it. If its TLS authority is not known, \
             name that with --kds-ca. While the KDS is down, `keybroker certificates import FILE` brings a \
             chip's certificate, a revocation list, or the ASVK above a VLEK.",
        ),
        Check::Endorsements => meaning_of(
            "No certificate of AMD's vouches for the key that should have signed the report.",
            "If AMD does not know the chip, compare chip id and TCB with the host's own (snphost). If the \
             chip id is masked, ask the host's owner to turn MASK_CHIP_ID off. If the broker does not ask \
             for new chips (--kds known-chips-only), fetch their certificates with \
             `keybroker certificates prefetch --report FILE`. If the key is a VLEK, the guest must send its \
             certificate, and also the ASVK above it where the KDS cannot be asked.",
        ),
        Check::NewChips => meaning_of(
            "More new chips came at once than the broker asks AMD for: this one waited in line in vain, or \
             found the line full.",
            "If the hosts are new, start the guest again, or fetch their certificates with \
             `keybroker certificates prefetch --report FILE` before their guests start. If your KDS answers \
             faster than AMD's, raise --new-chips-per-minute and --new-chips-burst. Otherwise somebody \
             invents chips under the workload of these records: anybody who knows its id and measurement \
             can.",
        ),
        Check::Policy if unavailable => meaning_of(
            "Every thread that evaluates policies was busy with policies that do not end.",
            "Search the records of these minutes for the workload whose registration demands such a policy, \
             and revoke it.",
        ),
        Check::Policy => meaning_of(
            "The registration's Rego policy does not hold for this guest: each query must give true.",
            "Try the policy on the guest's report with `keybroker verify --report FILE --policy FILE`. To \
             change the policy, register the workload again.",
        ),
        Check::SessionWorkload => meaning_of(
            "A guest asked for the passphrase of another workload than it had attested as.",
            "Look at the guest: krun's own guest does not do that. It got nothing.",
        ),
        Check::Secret => meaning_of(
            "The guest attested, and asked for a secret that its workload was not registered with.",
            "Compare the name with `keybroker workload show ID`, and correct the guest or register the \
             workload again.",
        ),
        Check::GuestKey => meaning_of(
            "The broker could not encrypt the secret to the guest's key.",
            "With a key of 2048 bits, a secret has at most 245 bytes: register a shorter one.",
        ),
        Check::WrappedSecret => meaning_of(
            "The secret in the store does not belong to the registration beside it or to the current wrapping \
             key.",
            "If the key file is the right one, somebody wrote to the store: compare it with the audit log, \
             and register the workload again.",
        ),
        Check::WrappingKey => meaning_of(
            "The broker could not use the key that wraps the secrets.",
            "Run `keybroker doctor` to see what is wrong with the key. On AWS, run `aws kms describe-key`, \
             then enable the key or ask for a higher quota.",
        ),
        Check::Store => meaning_of(
            "The store did not answer, or a row in it cannot be read.",
            "Run `keybroker doctor`. On AWS, look at the tables' throttling and health. On one machine, look \
             at the disk: the broker goes on by itself once there is room.",
        ),
        Check::Principal => meaning_of(
            "Only authenticated callers may register here, and the request carried no credential.",
            "Register with a token (`keybroker token create`) or through a build relay. On AWS, a signed \
             request does as well.",
        ),
        Check::Token => meaning_of(
            "The request's token does not permit this registration. A token is for one workload and one \
             build: it ends when it expires, 30 minutes after its first use, or when the first guest \
             attests.",
            "Make another token for the build with `keybroker token create`. Add --workload-id if the build \
             is to replace a registration.",
        ),
        Check::Registration => meaning_of(
            "The broker could not put the registration into the form in which it is stored.",
            "This is a bug in the broker: please report it with the registration, without its secrets.",
        ),
        Check::Internal => meaning_of(
            "Code in the broker panicked, and the request failed. The broker goes on, and nothing was \
             released.",
            "This is a bug in the broker: please report it with the source location that the log has from \
             that time. If one workload causes it again and again, revoke that workload.",
        ),
        Check::Replacement if unavailable => meaning_of(
            "The registration that was in the way was deleted at the same moment.",
            "Register the workload again.",
        ),
        Check::Replacement => meaning_of(
            "The id is taken, and this registration may not replace the one that is there.",
            "Give the new image an id of its own, or delete the old registration with \
             `keybroker workload delete ID`. Within 30 minutes of the first registration a build may replace \
             its own passphrase, and nothing else.",
        ),
    }
}

fn verification(check: Verification) -> Meaning {
    match check {
        Verification::Challenge => meaning_of(
            "The report was made for another challenge or another key: it is old, or it is another guest's.",
            "Start the guest again. If it happens again, something between guest and broker replaces reports \
             or keys.",
        ),
        Verification::Signed => meaning_of(
            "The host told its firmware not to sign with the chip's key, so nothing proves what hardware \
             this is.",
            "Ask the host's owner to turn MASK_CHIP_KEY off, or use another host.",
        ),
        Verification::SigningKey => meaning_of(
            "The certificate is for a key of another kind than the one that signed the report.",
            "Send the VLEK's certificate with a VLEK's report, and the VCEK's or none with a VCEK's.",
        ),
        Verification::Chain => meaning_of(
            "The certificate of the signing key does not lead to a root of AMD's.",
            "If the machine is simulated, only a broker with --trust-anchor accepts it. Otherwise the \
             certificate is not AMD's.",
        ),
        Verification::Validity => meaning_of(
            "A certificate is not valid at this time, and AMD had no other or was not asked. If it becomes \
             valid within five minutes, the broker told the guest to wait, and the guest keeps its \
             challenge.",
            "Check the broker's clock (`keybroker doctor`). A VLEK is valid for a year: the provider's host \
             must load a new one.",
        ),
        Verification::Revocation => meaning_of(
            "AMD has revoked the certificate, or the broker has no valid revocation list that shows the \
             opposite.",
            "If the list is stale, check whether the KDS answers (`keybroker doctor`), or import a list with \
             `keybroker certificates import FILE`. If the certificate is revoked, no guest on such hosts \
             gets anything until AMD issues another.",
        ),
        Verification::Product => meaning_of(
            "The CPU is of another product than the certificate, or one that this broker does not know.",
            "Compare with the host's CPU. A new product needs a newer release of the broker.",
        ),
        Verification::ReportedTcb => meaning_of(
            "The certificate is for other firmware than the host reports: AMD makes one for each TCB.",
            "If the guest or the host sends a certificate, renew it after a firmware update (snphost fetch \
             vek). If its firmware signs under the VCEK of current_tcb, update the firmware and commit to it \
             (snphost commit).",
        ),
        Verification::Identity => meaning_of(
            "The signing key belongs to another chip or to a cloud provider that is not accepted, or the \
             report names no chip.",
            "If you trust the provider, name it with --accept-csp-id (AcceptCspIds). If the host masks its \
             chip id, ask its owner to turn MASK_CHIP_ID off.",
        ),
        Verification::Signature => meaning_of(
            "This certificate's key did not make this signature over this report.",
            "If current_tcb differs from reported_tcb, the firmware may have signed with the VCEK of \
             current_tcb: update it, and commit to it on the host (snphost commit). Otherwise find out what \
             alters the report between guest and broker: only AMD's firmware can make one.",
        ),
    }
}

fn appraisal(check: Appraisal) -> Meaning {
    match check {
        Appraisal::Debug => meaning_of(
            "The host can read the guest's memory, so nothing is released.",
            "Launch the guest with krun's own settings, without debugging.",
        ),
        Appraisal::MigrateMa => meaning_of(
            "A migration agent is another VM, which gets the guest's state: nothing is released to such a \
             guest.",
            LAUNCH,
        ),
        Appraisal::PolicyForm => meaning_of(
            "The broker does not know what these bits permit. They might permit what DEBUG permits.",
            "Launch the guest with krun's own settings. A newer ABI of AMD's needs a newer release of the \
             broker.",
        ),
        Appraisal::Vmpl => meaning_of(
            "Software at a less privileged level asked for the report, and the measurement does not cover \
             that software.",
            "Ask for the report at VMPL 0: snpguest asks at VMPL 1 unless it is given --vmpl 0. A guest \
             behind a paravisor cannot.",
        ),
        Appraisal::FleetProduct => meaning_of(
            "The host's product is not in the operator's list of products.",
            "If the product should be accepted, add it to --accept-product (AcceptProducts).",
        ),
        Appraisal::FleetTcb => meaning_of(
            "The host's firmware is below the floor that the operator sets for every guest.",
            UPDATE_FIRMWARE,
        ),
        Appraisal::Measurement => meaning_of(
            "The host launched something else than was registered: other firmware, kernel, initrd, or number \
             of vCPUs.",
            "If the host has another libkrunfw or starts the guest with other --cpus, build the image again, \
             so that it is registered with what the host launches. Otherwise ask the host's owner what was \
             launched.",
        ),
        Appraisal::Smt => meaning_of(
            "With SMT another guest may share a core with this one, and the registration does not permit \
             that.",
            OTHER_REGISTRATION,
        ),
        Appraisal::SingleSocket => {
            meaning_of("The registration demands a guest that is bound to one socket.", OTHER_REGISTRATION)
        }
        Appraisal::CiphertextHiding => meaning_of(
            "The registration demands that the host cannot see the ciphertext of the guest's memory.",
            "Launch the guest with ciphertext hiding on a host that has it, or register the workload again \
             without that demand.",
        ),
        Appraisal::Abi => meaning_of(
            "The guest policy lets older firmware start the guest than the registration permits.",
            "Launch it with a guest policy of at least that ABI, or register the workload again.",
        ),
        Appraisal::MinimumTcb => meaning_of(
            "The host's firmware is below what the registration demands, or the registration names no floor \
             for this product.",
            UPDATE_FIRMWARE,
        ),
        Appraisal::MinimumCommittedTcb => meaning_of(
            "The host could be rolled back to firmware below what the registration demands.",
            "Commit to the newer firmware on the host (snphost commit). Nobody can take a commit back.",
        ),
        Appraisal::MinimumLaunchTcb => meaning_of(
            "The guest was started while the host still had older firmware than the registration demands.",
            "Update the host if it still has the older firmware, then start the guest again.",
        ),
        Appraisal::HostData => meaning_of(
            "No registration has this HOST_DATA, or the registration demands another one.",
            "Launch the guest with exactly the HOST_DATA that the broker answered when the workload was \
             registered.",
        ),
        Appraisal::IdKey => meaning_of(
            "The guest has no ID block, or another key signed it than the registration demands.",
            "Launch the guest with the ID block that the owner of the key signed.",
        ),
        Appraisal::AuthorKey => meaning_of(
            "No author key certified the key of the guest's ID block, or another one did than the \
             registration demands.",
            "Launch the guest with an ID block whose key the author certified (AUTHOR_KEY_EN).",
        ),
        Appraisal::FamilyId => meaning_of(
            "The guest is of another family than the registration demands.",
            "Launch the image that was registered, with its own ID block.",
        ),
        Appraisal::ImageId => meaning_of(
            "The guest is another image than the registration demands.",
            "Launch the image that was registered, with its own ID block.",
        ),
        Appraisal::GuestSvn => meaning_of(
            "The guest is an older version than the registration demands.",
            "Roll the newer image out to this host.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use jiff::Timestamp;
    use keybroker_common::{audit::Operation, ids::WorkloadId};

    use super::*;

    fn record(decision: Decision, check: &str, cause: &str) -> AuditRecord {
        let mut record = AuditRecord::new(Timestamp::UNIX_EPOCH, Operation::Attest, decision);
        record.workload_id = WorkloadId::new("my-app").ok();
        record.failed = Some(FailedCheck { check: check.to_owned(), cause: cause.to_owned() });
        record
    }

    fn debug_guest(verified: bool) -> EvidenceSummary {
        serde_json::from_value(serde_json::json!({
            "verified": verified, "report_version": 3,
            "measurement": "4d".repeat(48), "chip_id": "7b".repeat(64),
            "product": "milan", "endorsement": "vcek",
            "reported_tcb": {"boot_loader": 4, "tee": 0, "snp": 24, "microcode": 219},
            "policy": "0xb0000", "vmpl": 0
        }))
        .unwrap()
    }

    #[test]
    fn every_check_has_words_of_its_own() {
        let mut meanings = std::collections::HashSet::new();
        for check in Check::all() {
            for decision in [Decision::Refused, Decision::Unavailable] {
                let words = words(&record(decision, check.name(), "the cause"));
                let tail = usize::from(decision == Decision::Unavailable);
                assert_eq!(words.len(), 3 + tail, "{}: {words:?}", check.name());
                assert_eq!(words[0], "The cause.");
                for word in &words {
                    assert!(
                        word.ends_with('.') && word.chars().next().unwrap_or('a').is_uppercase()
                            || word.starts_with('`'),
                        "{word}"
                    );
                }
            }
            let Meaning { means, .. } = meaning(check, false);
            assert!(meanings.insert(means), "{}: somebody else's words", check.name());
        }
    }

    #[test]
    fn debug_is_told_with_the_policy_and_what_to_do() {
        let cause = "the host launched the guest with DEBUG set: policy 0xb0000";
        let mut record = record(Decision::Refused, "guest-policy-debug", cause);
        record.evidence = Some(debug_guest(false));
        assert_eq!(
            words(&record),
            [
                "The host launched the guest with DEBUG set: policy 0xb0000.",
                "The host can read the guest's memory, so nothing is released.",
                "The guest policy 0xb0000 allows debugging by the host, SMT, more than one socket, \
                 ciphertext that the host can see; its lowest ABI is 0.0.",
                "Launch the guest with krun's own settings, without debugging.",
                "No signature was verified: the guest's side claims to be Milan, chip \
                 7b7b7b7b7b7b7b7b… at TCB bl 4 tee 0 snp 24 ucode 219.",
            ]
        );
        record.evidence = Some(debug_guest(true));
        assert!(words(&record)[4].starts_with("AMD's signature was verified: the host is Milan, chip 7b7b"));
    }

    /// Every command that the advice names exists.
    #[test]
    fn the_commands_in_the_advice_are_there() {
        let mut named = 0;
        for check in Check::all() {
            for decision in [Decision::Refused, Decision::Unavailable] {
                let text = words(&record(decision, check.name(), "the cause")).join(" ");
                for quoted in text.split('`').skip(1).step_by(2) {
                    let Some(rest) = quoted.strip_prefix("keybroker ") else { continue };
                    let mut command = crate::Cli::command();
                    for word in
                        rest.split(' ').take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()))
                    {
                        let found = command.find_subcommand(word);
                        command = found.unwrap_or_else(|| panic!("{quoted}")).clone();
                        named += 1;
                    }
                }
            }
        }
        assert!(named > 10, "{named}");
    }

    /// A later release can write such a record.
    #[test]
    fn a_check_that_is_not_known_is_told_by_its_cause() {
        assert_eq!(words(&record(Decision::Refused, "quantum", "the cat is dead")), ["The cat is dead."]);
        assert_eq!(words(&record(Decision::Refused, "quantum", "")), ["The check quantum failed."]);
    }

    #[test]
    fn a_decision_without_a_failure_is_told_too() {
        let mut released = record(Decision::Released, "", "");
        (released.failed, released.secret) = (None, Some("passphrase".to_owned()));
        assert_eq!(
            words(&released),
            ["The secret \"passphrase\" of my-app was released, encrypted to the key of the guest that \
              attested."]
        );
        released.decision = Decision::Registered;
        released.principal = Some("arn:aws:iam::1:role/build".to_owned());
        assert_eq!(
            words(&released),
            ["my-app was registered by arn:aws:iam::1:role/build. From now on guests can attest as it."]
        );
    }
}
