//! An audit record in words: what happened, what was expected and found, and what an operator can do about
//! it.
//!
//! The record's own cause says what was expected and found. The tables of the checks ([`Check::meaning`]) say
//! what each failed check means and what helps.

use std::collections::BTreeSet;

use keybroker_common::{
    audit::{Act, AuditRecord, Basis, Check, Decision, EvidenceSummary, FailedCheck, Meaning, Operation},
    keyring::Purpose,
    requirements::EvidenceForm,
};
use keybroker_snp::report::GuestPolicy;

use super::basis;
use crate::counted::counted;

/// The record in whole sentences. The first says what happened. A check that this release does not know gives
/// its cause alone.
pub(super) fn words(record: &AuditRecord) -> Vec<String> {
    let mut words = vec![outcome(record)];
    words.extend(record.failed.iter().flat_map(|failed| failure(record, failed)));
    words.extend(record.reason.as_ref().map(|reason| format!("The reason that was given: {reason}")));
    if record.decision == Decision::Withheld {
        words.push(
            "The broker had recorded the release under another id, but the secret did not leave it."
                .to_owned(),
        );
    }
    if let Some(evidence) = &record.evidence {
        words.push(self::evidence(evidence, record.basis.as_ref()));
    }
    if let Some(tcb) = &record.tcb {
        words.push(format!("The platform was {tcb}. Nothing was decided by that."));
    }
    words.extend(basis::words(record));
    words
}

/// The outcome, in one sentence.
pub(in crate::command) fn outcome(record: &AuditRecord) -> String {
    match &record.failed {
        None => decided(record),
        Some(FailedCheck { check, cause }) if cause.is_empty() => format!("The check {check} failed."),
        Some(failed) => sentence(&failed.cause),
    }
}

/// The meaning of the failed check, and the advice about it.
fn failure(record: &AuditRecord, failed: &FailedCheck) -> Vec<String> {
    let mut words = Vec::new();
    let unavailable = record.decision == Decision::Unavailable;
    if let Some(check) = Check::parse(&failed.check) {
        let Meaning { means, helps } = check.meaning(unavailable);
        words.push(means.to_owned());
        if names_policy(check)
            && let Some(policy) = record.evidence.as_ref().and_then(|evidence| guest_policy(&evidence.policy))
        {
            words.push(policy);
        }
        words.push(helps.to_owned());
    }
    if unavailable {
        let spent = match record.operation {
            // The decision may be on record before the secrets can be released.
            Operation::Release => "No secret left the broker. The guest asks again, with another challenge.",
            _ => "The broker decided nothing and spent nothing: the same request may succeed later.",
        };
        words.push(spent.to_owned());
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
                "A revocation of {workload} was taken back{by}, if there was one. Guests can attest as it. A \
                 guest that had attested before a revocation must attest again."
            )
        }
        Decision::Deleted => format!(
            "{workload} and its secrets were deleted{by}. Nobody can open an image that was built for it."
        ),
        Decision::ResourceSet | Decision::ResourceDeleted => {
            let secret =
                record.secret.as_deref().map_or("A secret".to_owned(), |name| format!("The secret {name:?}"));
            let done = if record.decision == Decision::ResourceSet { "set" } else { "deleted" };
            format!(
                "{secret} of {workload} was {done}{by}. Guests that had attested before get nothing more, and \
                 must attest again."
            )
        }
        Decision::TokenCreated | Decision::TokenRevoked => {
            let token = record.token.map_or("A token".to_owned(), |id| format!("The token {id}"));
            let done = if record.decision == Decision::TokenCreated { "made" } else { "revoked" };
            match &record.workload_id {
                Some(workload) => format!("{token} was {done}{by}, for {workload}."),
                None => format!("{token} was {done}{by}."),
            }
        }
        Decision::KeysTurned
        | Decision::KeyPrepared
        | Decision::KeyImported
        | Decision::KeyRetired
        | Decision::Rewrapped
        | Decision::Pruned => acted(record, &by),
        Decision::Attested => {
            format!(
                "A guest attested as {workload}: every check held. It may fetch the secrets of {workload}."
            )
        }
        Decision::Released if !record.secrets.is_empty() => format!(
            "A guest attested as {workload}: every check held. The broker released {} to it, encrypted to its key.",
            record.secrets.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
        ),
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

/// The sentence about an operator's act that has details.
fn acted(record: &AuditRecord, by: &str) -> String {
    match (&record.act, record.decision) {
        (Some(Act::Turned { ring, at_once: false }), _) => format!(
            "The broker's keys of the ring {ring} were rotated{by}: the broker made a next key, and honoured the \
             earlier one until everything that was made under it was over."
        ),
        (Some(Act::Turned { ring, at_once: true }), _) => format!(
            "The broker's keys of the ring {ring} were dropped{by}: nothing that was made under them counted any \
             more, so guests under way had to start again."
        ),
        (Some(Act::Pruned { before, records }), _) => {
            let deleted = if *records == 1 { "was deleted" } else { "were deleted" };
            format!("{} from before {before} {deleted}{by}.", counted(records, "audit record"))
        }
        (Some(Act::Rewrapped { ring, from, to }), _) => rewrapped(record, *ring, from, to, by),
        // Said with the decision itself.
        (Some(Act::Amended { .. }), _) => String::new(),
        (Some(Act::SigningKey { key }), decision) => {
            signing_key(&format!("The signing key {key}"), decision, by)
        }
        (None, Decision::KeyPrepared | Decision::KeyImported | Decision::KeyRetired) => {
            signing_key("A signing key", record.decision, by)
        }
        (None, Decision::KeysTurned) => format!("The broker's own keys were rotated{by}."),
        (None, Decision::Rewrapped) => format!("Another wrapping key took over secrets or keys{by}."),
        (None, _) => format!("Old audit records were deleted{by}."),
    }
}

/// The sentence about what another wrapping key wraps.
fn rewrapped(
    record: &AuditRecord,
    ring: Option<Purpose>,
    from: &BTreeSet<String>,
    to: &str,
    by: &str,
) -> String {
    let what = match (ring, &record.workload_id) {
        (Some(ring), _) => format!("The broker's keys of the ring {ring}"),
        (None, Some(workload)) => format!("The secrets of {workload}"),
        (None, None) => "Secrets".to_owned(),
    };
    let from = from.iter().map(String::as_str).collect::<Vec<_>>().join(" and ");
    format!("{what} were moved from the wrapping key {from} to {to}{by}. They stayed the same.")
}

/// The sentence about what an operator did to `key`.
fn signing_key(key: &str, decision: Decision, by: &str) -> String {
    const UNUSED: &str =
        "If it was not the first, the broker signed nothing with it before the ring was rotated.";
    match decision {
        Decision::KeyImported => format!("{key} was brought from outside{by}. {UNUSED}"),
        Decision::KeyRetired => format!("{key} was retired{by}: the broker did not sign with it any more."),
        Decision::KeysTurned => format!(
            "{key} was made the current one{by}. Earlier keys went on signing for guests that did not know it."
        ),
        _ => format!("{key} was made{by}. {UNUSED}"),
    }
}

/// The host, and how well the broker knows it.
fn evidence(evidence: &EvidenceSummary, basis: Option<&Basis>) -> String {
    let product = evidence.product.map_or("an unknown product".to_owned(), |product| product.to_string());
    let tcb = evidence.reported_tcb.map(|tcb| format!(" at TCB {tcb}")).unwrap_or_default();
    let chip: String = evidence.chip_id.chars().take(16).collect();
    let asked_by = match evidence.form {
        EvidenceForm::Snp => "",
        EvidenceForm::AzSnpVtpm => ", under a paravisor of Azure's, which asked for the report",
    };
    let host = format!("{product}, chip {chip}…{tcb}{asked_by}");
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use jiff::Timestamp;
    use keybroker_common::{audit::Operation, encoding::Hex, ids::WorkloadId, keyring::Purpose};

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
            let Meaning { means, .. } = check.meaning(false);
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

    /// There the decision is written before the secrets are unwrapped.
    #[test]
    fn a_release_that_could_not_be_made_spends_its_challenge() {
        let undecided = |operation| {
            let record = record(Decision::Unavailable, "wrapping-key", "KMS does not answer");
            words(&AuditRecord { operation, ..record }).pop().unwrap()
        };
        assert!(undecided(Operation::Key).contains("spent nothing"));
        let release = undecided(Operation::Release);
        assert_eq!(release, "No secret left the broker. The guest asks again, with another challenge.");
    }

    /// A later release can write such a record.
    #[test]
    fn a_check_that_is_not_known_is_told_by_its_cause() {
        assert_eq!(words(&record(Decision::Refused, "quantum", "the cat is dead")), ["The cat is dead."]);
        assert_eq!(words(&record(Decision::Refused, "quantum", "")), ["The check quantum failed."]);
    }

    #[test]
    fn an_act_is_told_with_its_details() {
        let told = |decision, act| {
            let record = AuditRecord::new(Timestamp::UNIX_EPOCH, Operation::Operate, decision);
            let principal = Some("uid/0".to_owned());
            words(&AuditRecord { principal, act, ..record }).join(" ")
        };
        let turned = |at_once| Some(Act::Turned { ring: Purpose::Challenge, at_once });
        let in_time = told(Decision::KeysTurned, turned(false));
        assert!(
            in_time.starts_with("The broker's keys of the ring challenge were rotated by uid/0: "),
            "{in_time}"
        );
        let at_once = told(Decision::KeysTurned, turned(true));
        assert!(at_once.contains("were dropped by uid/0") && at_once.contains("start again"), "{at_once}");
        let before = Timestamp::UNIX_EPOCH;
        assert_eq!(
            told(Decision::Pruned, Some(Act::Pruned { before, records: 7 })),
            "7 audit records from before 1970-01-01T00:00:00Z were deleted by uid/0."
        );
        // A later release may know other acts.
        assert_eq!(told(Decision::Pruned, None), "Old audit records were deleted by uid/0.");
        assert_eq!(told(Decision::KeysTurned, None), "The broker's own keys were rotated by uid/0.");
    }

    #[test]
    fn an_act_on_a_signing_key_names_the_key() {
        let id = "7".repeat(64);
        for (decision, expected) in [
            (Decision::KeyPrepared, "was made by uid/0. If it was not the first"),
            (Decision::KeyImported, "was brought from outside by uid/0. If it was not the first"),
            (Decision::KeyRetired, "was retired by uid/0: the broker did not sign with it"),
            (Decision::KeysTurned, "was made the current one by uid/0. Earlier keys went on signing"),
        ] {
            let record = AuditRecord::new(Timestamp::UNIX_EPOCH, Operation::Operate, decision);
            let act = Act::SigningKey { key: Hex([0x77; 32]) };
            let told = words(&AuditRecord { act: Some(act), principal: Some("uid/0".to_owned()), ..record });
            assert!(told[0].starts_with(&format!("The signing key {id} {expected}")), "{told:?}");
        }
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
        (released.operation, released.secrets) =
            (Operation::Release, ["tls.key", "passphrase"].map(str::to_owned).to_vec());
        released.secret = None;
        assert_eq!(
            words(&released),
            [
                "A guest attested as my-app: every check held. The broker released \"tls.key\", \"passphrase\" to it, \
              encrypted to its key."
            ]
        );
        released.secrets.clear();
        released.decision = Decision::Registered;
        released.principal = Some("arn:aws:iam::1:role/build".to_owned());
        assert_eq!(
            words(&released),
            ["my-app was registered by arn:aws:iam::1:role/build. From now on guests can attest as it."]
        );
    }
}
