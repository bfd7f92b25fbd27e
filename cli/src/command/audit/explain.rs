//! An audit record in words: what happened, what was expected and found, and what an operator can do.
//!
//! Expected and found are in the record's own cause. What it means and what helps is in one table,
//! [`meaning`], which has an entry for everything that the broker can refuse for.

use keybroker_common::{
    appraisal::Check as Appraisal,
    audit::{AuditRecord, Basis, Check, Decision, EvidenceSummary, FailedCheck},
};
use keybroker_snp::{report::GuestPolicy, verify::Check as Verification};

use super::basis;

/// What a failed check means, and what helps.
struct Meaning {
    means: &'static str,
    advice: &'static str,
}

const fn meaning_of(means: &'static str, advice: &'static str) -> Meaning {
    Meaning { means, advice }
}

/// The record in whole sentences, the first what happened. Of a check that this release does not know, the
/// cause alone.
pub(super) fn words(record: &AuditRecord) -> Vec<String> {
    let mut words = Vec::new();
    match &record.failed {
        Some(failed) => words.extend(failure(record, failed)),
        None => words.push(decided(record)),
    }
    if record.decision == Decision::Withheld {
        words.push(
            "The release had been put on record, under another id, and the secret did not leave.".to_owned(),
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
            "Nothing was decided and nothing was spent: the same request may succeed later.".to_owned(),
        );
    }
    words
}

/// What went well.
fn decided(record: &AuditRecord) -> String {
    let workload = record.workload_id.as_ref().map_or("a workload".to_owned(), ToString::to_string);
    let by = record.principal.as_ref().map(|principal| format!(" by {principal}")).unwrap_or_default();
    match record.decision {
        Decision::Registered => {
            format!("{workload} was registered{by}. From now on guests can attest as it.")
        }
        Decision::Replaced => format!(
            "The registration of {workload} was replaced{by}. Guests that attested under the earlier one get nothing more."
        ),
        Decision::Revoked => {
            format!(
                "{workload} was revoked{by}. From the next request on no guest attests as it or gets its secrets."
            )
        }
        Decision::Restored => {
            format!(
                "The revocation of {workload} was taken back{by}. From now on guests can attest as it again; those that had attested before must do so anew."
            )
        }
        Decision::Deleted => format!(
            "{workload} was deleted{by}, its secrets included. Images that were built as it can no longer be opened."
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
                "The secret {secret:?} of {workload} was released, encrypted to the key of the guest that attested{attestation}."
            )
        }
        Decision::Withheld => "It was withheld, and the record does not say why.".to_owned(),
        Decision::Refused => "It was refused, and the record does not say why.".to_owned(),
        Decision::Unavailable => "It could not be decided, and the record does not say why.".to_owned(),
    }
}

/// What is known of the host, and how well.
fn evidence(evidence: &EvidenceSummary, basis: Option<&Basis>) -> String {
    let product = evidence.product.map_or("an unknown product".to_owned(), |product| product.to_string());
    let tcb = evidence.reported_tcb.map(|tcb| format!(" at TCB {tcb}")).unwrap_or_default();
    let chip: String = evidence.chip_id.chars().take(16).collect();
    let host = format!("{product}, chip {chip}…{tcb}");
    if evidence.verified && basis.is_some_and(|basis| basis.simulated) {
        format!("The signature was verified, by a root that is none of AMD's: the host calls itself {host}.")
    } else if evidence.verified {
        format!("AMD's signature was verified: the host is {host}.")
    } else {
        format!("No signature was verified, so this is what the guest's side claims of itself: {host}.")
    }
}

/// The causes of these leave open what else the guest policy says.
fn names_policy(check: Check) -> bool {
    let Check::Appraisal(check) = check else { return false };
    check.name().starts_with("guest-policy-")
}

/// A guest policy bit by bit, or nothing if it is none.
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
        if allowed.is_empty() { "none of what can be allowed".to_owned() } else { allowed.join(", ") };
    Some(format!("The guest policy {text} allows {allowed}; lowest ABI {major}.{minor}."))
}

/// A cause as a sentence of its own.
fn sentence(cause: &str) -> String {
    let mut characters = cause.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let end = if cause.ends_with(['.', '…', '!']) { "" } else { "." };
    format!("{first}{}{end}", characters.as_str())
}

const OTHER_REGISTRATION: &str = "If this is wanted, register the workload anew with other requirements.";
const UPDATE_FIRMWARE: &str = "Update the host's firmware and commit to it (snphost commit); compare with what the other hosts report before raising a floor.";
const LAUNCH: &str = "Launch it with krun as it comes.";

/// What a failed check means and what helps: one entry for each. `unavailable`: it was not refused, it could
/// not be decided.
fn meaning(check: Check, unavailable: bool) -> Meaning {
    match check {
        Check::Verification(check) => verification(check),
        Check::Appraisal(check) => appraisal(check),
        Check::Session => meaning_of(
            "A challenge is answered once, and a session lasts as long as --session-ttl says.",
            "Start the guest again: it asks for a new challenge. Many of these at once are clients that repeat themselves, or guess.",
        ),
        Check::Report => meaning_of(
            "What was sent as a report is not one of SEV-SNP that this broker can read.",
            "Find out what made it: other hardware, a newer firmware's report version, or something between guest and broker.",
        ),
        Check::Workload => meaning_of(
            "The guest's workload cannot be attested as, or its registration is no longer the one that the guest attested under.",
            "See it with `keybroker workload show ID`. Not registered: build the image again, or correct the id. Revoked: restore it if that was a mistake. Replaced: start the guest again from the newest image. Another dialect: it is another workload's client.",
        ),
        Check::Endorsements if unavailable => meaning_of(
            "AMD's certificates or revocation list are needed, are not in the store, and could not be had.",
            "Look at the KDS with `keybroker doctor`. A name that is not found, a refused connection, or a proxy: open the way. A TLS authority that is not known: name it with --kds-ca. A chip's certificate can be brought with `keybroker certificates import FILE` while KDS is down, and so can a revocation list and the ASVK above a VLEK.",
        ),
        Check::Endorsements => meaning_of(
            "No certificate of AMD's vouches for the key that should have signed the report.",
            "A chip that AMD does not know: compare chip id and TCB with the host's own (snphost). A chip id that is masked: have the host's owner turn MASK_CHIP_ID off. New chips not asked for (--kds known-chips-only): bring theirs with `keybroker certificates prefetch --report FILE`. A VLEK: the guest has to send its certificate along, and the ASVK above it where the KDS cannot be asked.",
        ),
        Check::NewChips => meaning_of(
            "More chips that nobody has seen before came at once than AMD is asked for: this one waited in line in vain, or found it full.",
            "New hosts: start the guest again, or bring their certificates with `keybroker certificates prefetch --report FILE` before they come. A KDS that answers faster: raise --new-chips-per-minute and --new-chips-burst. Otherwise somebody invents chips under the workload of these records: one who knows its id and measurement can.",
        ),
        Check::Policy if unavailable => meaning_of(
            "Every thread that evaluates policies was taken, by ones that do not end.",
            "Find by the records of these minutes whose registration demands such a policy, and revoke it.",
        ),
        Check::Policy => meaning_of(
            "What the registration demands in Rego does not hold for this guest: each query must give true.",
            "Try it with `keybroker verify --report FILE --policy FILE` with the guest's report. A changed demand is a new registration.",
        ),
        Check::SessionWorkload => meaning_of(
            "A guest asked for the passphrase of another workload than it had attested as.",
            "Look at the guest: no krun of ours does that. It got nothing.",
        ),
        Check::Secret => meaning_of(
            "The guest attested, and asked for a secret that its workload was not registered with.",
            "Compare the name with `keybroker workload show ID`, and correct the guest or register the workload anew.",
        ),
        Check::GuestKey => meaning_of(
            "The secret could not be encrypted to the guest's key.",
            "With a key of 2048 bits a secret has 245 bytes at most: register a shorter one.",
        ),
        Check::WrappedSecret => meaning_of(
            "The secret in the store does not belong to the registration beside it, or to the wrapping key at hand.",
            "With the right key file, somebody wrote to the store: compare with the audit log, and register the workload anew.",
        ),
        Check::WrappingKey => meaning_of(
            "The key that secrets are wrapped with could not be used.",
            "`keybroker doctor` says what is wrong with it. On AWS: `aws kms describe-key`; enable the key, or ask for a higher quota.",
        ),
        Check::Store => meaning_of(
            "The store did not answer, or a row in it cannot be read.",
            "`keybroker doctor` looks into it. On AWS: the tables' throttles and health; on one machine: the disk; the broker goes on by itself once there is room.",
        ),
        Check::Principal => meaning_of(
            "Only authenticated callers may register here, and the request brought along nothing that says who asks.",
            "Register with a token (`keybroker token create`), or through a build relay; on AWS also with a signed request.",
        ),
        Check::Token => meaning_of(
            "The token that the request brought along does not let it register this. A token is for one workload and one build: it ends with its time, 30 minutes after its first use, or with the first guest that attests.",
            "Make another for the build: `keybroker token create`, with --workload-id if it is to replace what is registered.",
        ),
        Check::Registration => meaning_of(
            "The registration could not be written down.",
            "This is an error in the broker: please report it with what was registered, without its secrets.",
        ),
        Check::Internal => meaning_of(
            "A part of the broker panicked, and the request came to nothing. The broker goes on, and nothing was released.",
            "This is an error in the program: please report it with the location that the log has of that time. If it comes again and again with one workload, revoke that.",
        ),
        Check::Replacement if unavailable => meaning_of(
            "The registration that was in the way was deleted at the same moment.",
            "Register it again.",
        ),
        Check::Replacement => meaning_of(
            "The id is taken, and this registration may not take the place of the one that is there.",
            "Give the new image an id of its own, or delete the old registration with `keybroker workload delete ID`. Within 30 minutes of the first registration a build may replace its own passphrase, and nothing else.",
        ),
    }
}

fn verification(check: Verification) -> Meaning {
    match check {
        Verification::Challenge => meaning_of(
            "The report was made for another challenge or another key: an old one, or another guest's.",
            "Start the guest again. If it happens again, something between guest and broker replaces reports or keys.",
        ),
        Verification::Signed => meaning_of(
            "The host told its firmware not to sign with the chip's key, so nothing proves what hardware this is.",
            "Have the host's owner turn MASK_CHIP_KEY off, or take another host.",
        ),
        Verification::SigningKey => meaning_of(
            "The certificate is for a key of another kind than the one that signed the report.",
            "Send the VLEK's certificate with a VLEK's report, and the VCEK's or none with a VCEK's.",
        ),
        Verification::Chain => meaning_of(
            "The certificate of the signing key does not lead to a root of AMD's.",
            "A simulated machine: only a broker with --trust-anchor believes it. Otherwise the certificate is not AMD's.",
        ),
        Verification::Validity => meaning_of(
            "A certificate is outside its time. AMD had no other, or was not asked; where it begins within five minutes the guest was told to wait, and keeps its challenge.",
            "Compare the broker's clock (`keybroker doctor`). A VLEK lives for a year: have the provider's host load a new one.",
        ),
        Verification::Revocation => meaning_of(
            "AMD no longer stands by the certificate, or there is no revocation list that says it does.",
            "Stale: look whether the KDS answers (`keybroker doctor`), or import a list with `keybroker certificates import FILE`. Revoked: no guest on such hosts gets anything until AMD reissues.",
        ),
        Verification::Product => meaning_of(
            "The CPU is of another product than the certificate, or one that this broker does not know.",
            "Compare with the host's CPU. A new product needs a newer release of the broker.",
        ),
        Verification::ReportedTcb => meaning_of(
            "The certificate is for other firmware than the host reports: AMD makes one for each TCB.",
            "If the guest or host brings a certificate along, renew it after a firmware update (snphost fetch vek). If its firmware signs under the VCEK of current_tcb, update the firmware and commit to it (snphost commit).",
        ),
        Verification::Identity => meaning_of(
            "The key that signed belongs to another chip, or to a cloud provider that is not accepted, or the report names no chip.",
            "A provider that you trust: name it with --accept-csp-id (AcceptCspIds). A chip id that the host masks: have its owner turn MASK_CHIP_ID off.",
        ),
        Verification::Signature => meaning_of(
            "The report is not what the chip signed under this certificate's key.",
            "Where current_tcb is another than reported_tcb, the firmware may have signed under the VCEK of current_tcb: update it, and commit to it on the host (snphost commit). Otherwise look for what alters the report between guest and broker: nobody but AMD's firmware can make one.",
        ),
    }
}

fn appraisal(check: Appraisal) -> Meaning {
    match check {
        Appraisal::Debug => meaning_of(
            "Its memory can be read by the host, so nothing is released.",
            "Launch it with krun as it comes, without debugging.",
        ),
        Appraisal::MigrateMa => meaning_of(
            "A migration agent is another VM, which gets the guest's state: nothing is released to such a guest.",
            LAUNCH,
        ),
        Appraisal::PolicyForm => meaning_of(
            "What these bits permit is not known, and might be what DEBUG permits.",
            "Launch it with krun as it comes. A newer ABI of AMD's needs a newer release of the broker.",
        ),
        Appraisal::Vmpl => meaning_of(
            "Software at a less privileged level asked for the report, and the measurement says nothing of it.",
            "Ask for the report at VMPL 0: snpguest asks at VMPL 1 unless it is given --vmpl 0. A guest behind a paravisor cannot.",
        ),
        Appraisal::FleetProduct => meaning_of(
            "The operator's list of products does not have the host's.",
            "As was demanded, unless --accept-product (AcceptProducts) is wrong.",
        ),
        Appraisal::FleetTcb => meaning_of(
            "The host's firmware is below what the operator demands of every guest.",
            UPDATE_FIRMWARE,
        ),
        Appraisal::Measurement => meaning_of(
            "The host launched something else than was registered: other firmware, kernel, initrd, or number of vCPUs.",
            "Rolled out with another libkrunfw or other --cpus: build the image again, so that it is registered with what the host has. Otherwise ask the host's owner what was launched.",
        ),
        Appraisal::Smt => meaning_of(
            "Two guests may share a core while this one runs, which its registration does not permit.",
            OTHER_REGISTRATION,
        ),
        Appraisal::SingleSocket => {
            meaning_of("The registration demands a guest that is bound to one socket.", OTHER_REGISTRATION)
        }
        Appraisal::CiphertextHiding => meaning_of(
            "The registration demands that the host cannot see the ciphertext of the guest's memory.",
            "Launch the guest with ciphertext hiding on a host that has it, or register the workload anew without it.",
        ),
        Appraisal::Abi => meaning_of(
            "The guest may be started by older firmware than its registration permits.",
            "Launch it with a guest policy of at least that ABI, or register the workload anew.",
        ),
        Appraisal::MinimumTcb => meaning_of(
            "The host's firmware is below what the registration demands, or it names no floor for this product.",
            UPDATE_FIRMWARE,
        ),
        Appraisal::MinimumCommittedTcb => meaning_of(
            "The host could be rolled back to firmware below what the registration demands.",
            "Commit to the newer firmware on the host (snphost commit). It cannot be taken back.",
        ),
        Appraisal::MinimumLaunchTcb => meaning_of(
            "The guest was started while the host still had older firmware than the registration demands.",
            "Start the guest again, now that the host is updated; otherwise update it first.",
        ),
        Appraisal::HostData => meaning_of(
            "HOST_DATA is no registration's, or not the one that the registration demands.",
            "Launch the guest with exactly the HOST_DATA that registering answered.",
        ),
        Appraisal::IdKey => meaning_of(
            "The guest's ID block was signed with another key than the registration demands, or there is none.",
            "Launch the guest with the ID block that the owner of the key signed.",
        ),
        Appraisal::AuthorKey => meaning_of(
            "The key of the guest's ID block was certified by another author key than the registration demands, or by none.",
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
            "verified": verified, "report_version": 3, "measurement": "4d".repeat(48), "chip_id": "7b".repeat(64),
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
                "Its memory can be read by the host, so nothing is released.",
                "The guest policy 0xb0000 allows debugging by the host, SMT, more than one socket, \
                 ciphertext that the host can see; lowest ABI 0.0.",
                "Launch it with krun as it comes, without debugging.",
                "No signature was verified, so this is what the guest's side claims of itself: Milan, chip \
                 7b7b7b7b7b7b7b7b… at TCB bl 4 tee 0 snp 24 ucode 219.",
            ]
        );
        record.evidence = Some(debug_guest(true));
        assert!(words(&record)[4].starts_with("AMD's signature was verified: the host is Milan, chip 7b7b"));
    }

    /// Advice that names a command names one that there is.
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

    /// A record of a later release.
    #[test]
    fn a_check_that_is_not_known_is_told_by_its_cause() {
        assert_eq!(words(&record(Decision::Refused, "quantum", "the cat is dead")), ["The cat is dead."]);
        assert_eq!(words(&record(Decision::Refused, "quantum", "")), ["The check quantum failed."]);
    }

    #[test]
    fn what_went_well_is_told_too() {
        let mut released = record(Decision::Released, "", "");
        (released.failed, released.secret) = (None, Some("passphrase".to_owned()));
        assert_eq!(
            words(&released),
            [
                "The secret \"passphrase\" of my-app was released, encrypted to the key of the guest that attested."
            ]
        );
        released.decision = Decision::Registered;
        released.principal = Some("arn:aws:iam::1:role/build".to_owned());
        assert_eq!(
            words(&released),
            ["my-app was registered by arn:aws:iam::1:role/build. From now on guests can attest as it."]
        );
    }
}
