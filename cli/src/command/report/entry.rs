//! A record as a page shows it.

use jiff::Timestamp;
use keybroker_common::{
    audit::AuditRecord,
    ids::{AuditId, WorkloadId},
};

use crate::{command::audit::explain, table::printable};

/// A record as a page shows it: text of strangers is short, and steers nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: AuditId,
    pub(super) time: Timestamp,
    pub(super) workload: Option<WorkloadId>,
    /// The outcome, in one sentence.
    pub(super) words: String,
    /// Why the operator acted, in the operator's words.
    pub(super) reason: Option<String>,
}

impl Entry {
    /// The characters of a cause or a reason that a page shows. `keybroker audit ID` shows all.
    const LENGTH: usize = 280;

    pub(super) fn of(record: &AuditRecord) -> Self {
        Self {
            id: record.id,
            time: record.time,
            workload: record.workload_id.clone(),
            words: shown(&brief(&explain::outcome(record))),
            reason: record.reason.as_deref().map(shown),
        }
    }
}

/// The beginning of `text`, which steers nothing.
fn shown(text: &str) -> String {
    let shown: String = text.chars().take(Entry::LENGTH).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    printable(&shown) + more
}

/// `words` with the beginnings of digests alone: nobody reads 96 digits.
fn brief(words: &str) -> String {
    const DIGITS: usize = 16;
    let mut text = String::new();
    let mut digits = 0;
    for c in words.chars() {
        digits = if c.is_ascii_hexdigit() { digits + 1 } else { 0 };
        if digits <= DIGITS {
            text.push(c);
        } else if digits == DIGITS + 1 {
            text.push('…');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use keybroker_common::audit::{Decision, FailedCheck, Operation};

    use super::*;

    #[test]
    fn a_cause_is_shown_in_brief() {
        let digest = "5a".repeat(48);
        let words = brief(&format!("The launch measurement is {digest}, registered is 4d4d."));
        assert_eq!(words, "The launch measurement is 5a5a5a5a5a5a5a5a…, registered is 4d4d.");
        let failed = Some(FailedCheck { check: "x".to_owned(), cause: "y ".repeat(5000) });
        let entry = Entry::of(&AuditRecord {
            failed,
            ..AuditRecord::new(Timestamp::UNIX_EPOCH, Operation::Attest, Decision::Refused)
        });
        assert_eq!(entry.words.chars().count(), Entry::LENGTH + 1);
        assert_eq!(entry.reason, None);
    }

    #[test]
    fn the_reason_of_an_act_is_shown() {
        let entry = |reason: &str| {
            Entry::of(&AuditRecord {
                principal: Some("uid/7".to_owned()),
                reason: Some(reason.to_owned()),
                ..AuditRecord::new(Timestamp::UNIX_EPOCH, Operation::Operate, Decision::Revoked)
            })
        };
        let shown = entry("INC-4711:\u{202e} leak");
        assert!(shown.words.starts_with("a workload was revoked by uid/7."), "{shown:?}");
        assert_eq!(shown.reason.as_deref(), Some("INC-4711:\\u{202e} leak"));
        let long = entry(&"r".repeat(5000)).reason.unwrap();
        assert_eq!(long.chars().count(), Entry::LENGTH + 1);
    }
}
