//! The columns of a listing of records: few for people, and all in CSV.

use keybroker_common::audit::{Act, AuditRecord, Operation};

use super::name::{decision, operation};
use crate::{
    listing::Form,
    table::{NONE, time},
};

/// For people: narrow, whatever texts the records have.
pub(super) const TABLE: Form<AuditRecord> = Form {
    header: &["time", "decision", "workload", "by", "detail", "id"],
    cells: |record| {
        let none = || NONE.to_owned();
        vec![
            time(record.time),
            decision(record.decision).to_owned(),
            record.workload_id.as_ref().map_or_else(none, ToString::to_string),
            by(record).unwrap_or_else(none),
            detail(record).unwrap_or_else(none),
            record.id.to_string(),
        ]
    },
};

/// For other programs. A later release may add columns at the end.
pub(super) const CSV: Form<AuditRecord> = Form {
    header: &[
        "time",
        "decision",
        "operation",
        "workload",
        "principal",
        "token",
        "registration",
        "secrets",
        "check",
        "cause",
        "verified",
        "product",
        "chip_id",
        "measurement",
        "attestation",
        "reason",
        "id",
        "act",
    ],
    cells: |record| {
        let (evidence, failed) = (record.evidence.as_ref(), record.failed.as_ref());
        let text = |text: Option<String>| text.unwrap_or_default();
        vec![
            record.time.to_string(),
            decision(record.decision).to_owned(),
            operation(record.operation).to_owned(),
            text(record.workload_id.as_ref().map(ToString::to_string)),
            text(record.principal.clone()),
            text(record.token.map(|id| id.to_string())),
            text(record.registration.map(|digest| digest.to_string())),
            secrets(record).join(" "),
            text(failed.map(|failed| failed.check.clone())),
            text(failed.map(|failed| failed.cause.clone())),
            text(evidence.map(|evidence| evidence.verified.to_string())),
            text(evidence.and_then(|evidence| Some(evidence.product?.to_string()))),
            text(evidence.map(|evidence| evidence.chip_id.clone())),
            text(evidence.map(|evidence| evidence.measurement.clone())),
            text(record.attestation.map(|id| id.to_string())),
            text(record.reason.clone()),
            record.id.to_string(),
            text(record.act.as_ref().and_then(|act| serde_json::to_string(act).ok())),
        ]
    },
};

/// At whose request. Guests ask without a name.
fn by(record: &AuditRecord) -> Option<String> {
    match (&record.principal, record.operation) {
        (Some(principal), _) => Some(short_name(principal)),
        (None, Operation::Register | Operation::Operate) => None,
        (None, Operation::Attest | Operation::Key | Operation::Resource | Operation::Release) => {
            Some("guest".to_owned())
        }
    }
}

/// The check that stopped it, the reason that an operator gave, or else what it is about.
fn detail(record: &AuditRecord) -> Option<String> {
    const LENGTH: usize = 32;
    let check = record.failed.as_ref().map(|failed| failed.check.clone());
    let text = check
        .or_else(|| record.reason.clone())
        .or_else(|| Some(record.token?.to_string()))
        .or_else(|| Some(secrets(record).join(" ")).filter(|names| !names.is_empty()))
        .or_else(|| record.act.as_ref().and_then(about))?;
    let (beginning, rest) = split(&text, LENGTH - 1);
    Some(if rest.chars().nth(1).is_none() { text } else { format!("{beginning}…") })
}

/// The thing that an operator's act is about.
fn about(act: &Act) -> Option<String> {
    match act {
        Act::Turned { ring, at_once: false } => Some(ring.to_string()),
        Act::Turned { ring, at_once: true } => Some(format!("{ring}, at once")),
        Act::SigningKey { key } => Some(key.to_string()),
        // The secret has a name.
        Act::Amended { .. } => None,
        Act::Rewrapped { ring: Some(ring), .. } => Some(ring.to_string()),
        Act::Rewrapped { ring: None, to, .. } => Some(short_name(to)),
        Act::Pruned { before, records } => Some(format!("{records} before {}", time(*before))),
    }
}

/// The name of a principal or a key, without its middle if it is long: the beginning tells the kind, and the
/// end tells it from others.
fn short_name(name: &str) -> String {
    const BEGINNING: usize = 7;
    const END: usize = 20;
    let length = name.chars().count();
    if length <= BEGINNING + 1 + END {
        return name.to_owned();
    }
    let (beginning, (_, end)) = (split(name, BEGINNING).0, split(name, length - END));
    format!("{beginning}…{end}")
}

/// The first `count` characters, and the rest.
fn split(text: &str, count: usize) -> (&str, &str) {
    let at = text.char_indices().nth(count).map_or(text.len(), |(at, _)| at);
    text.split_at(at)
}

/// The names of the secrets that a record is about. No name has a blank in it.
pub(super) fn secrets(record: &AuditRecord) -> Vec<String> {
    record.secret.iter().chain(&record.secrets).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;
    use keybroker_common::{
        audit::{Check, Decision, FailedCheck},
        encoding::Hex,
        ids::TokenId,
        keyring::Purpose,
    };

    use super::*;

    fn record(operation: Operation, decision: Decision) -> AuditRecord {
        AuditRecord::new(Timestamp::UNIX_EPOCH, operation, decision)
    }

    fn shown(record: &AuditRecord) -> [String; 2] {
        let cells = (TABLE.cells)(record);
        [cells[3].clone(), cells[4].clone()]
    }

    #[test]
    fn a_row_says_who_and_why() {
        let operated = |decision| AuditRecord {
            principal: Some("uid/7".to_owned()),
            ..record(Operation::Operate, decision)
        };
        let token = TokenId::parse("0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60");
        let reason = Some("INC-4711".to_owned());
        let act = |decision, act| shown(&AuditRecord { act: Some(act), ..operated(decision) });
        let revoked = operated(Decision::TokenRevoked);
        for (record, expected) in [
            (AuditRecord { reason: reason.clone(), ..operated(Decision::Revoked) }, ["uid/7", "INC-4711"]),
            (operated(Decision::Revoked), ["uid/7", "-"]),
            (AuditRecord { token, ..revoked.clone() }, ["uid/7", "0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60"]),
            (AuditRecord { token, reason, ..revoked }, ["uid/7", "INC-4711"]),
            (record(Operation::Register, Decision::Registered), ["-", "-"]),
            (record(Operation::Attest, Decision::Attested), ["guest", "-"]),
            (
                AuditRecord {
                    secrets: ["a", "b"].map(str::to_owned).to_vec(),
                    ..record(Operation::Release, Decision::Released)
                },
                ["guest", "a b"],
            ),
        ] {
            assert_eq!(shown(&record), expected, "{record:?}");
        }
        let turned = |at_once| Act::Turned { ring: Purpose::Session, at_once };
        assert_eq!(act(Decision::KeysTurned, turned(false))[1], "session");
        assert_eq!(act(Decision::KeysTurned, turned(true))[1], "session, at once");
        let pruned = Act::Pruned { before: Timestamp::UNIX_EPOCH, records: 7 };
        assert_eq!(act(Decision::Pruned, pruned)[1], "7 before 1970-01-01T00:00:00Z");
        let key = Act::SigningKey { key: Hex([0x77; 32]) };
        assert_eq!(act(Decision::KeyPrepared, key)[1], format!("{}…", "7".repeat(31)));
        let (from, to) =
            (BTreeSet::new(), "arn:aws:kms:eu-central-1:1:key/0a9f5c1e-2b7d-4c3f-8e6a".to_owned());
        let rewrapped =
            |ring| act(Decision::Rewrapped, Act::Rewrapped { ring, from: from.clone(), to: to.clone() });
        assert_eq!(rewrapped(None)[1], "arn:aws…f5c1e-2b7d-4c3f-8e6a");
        assert_eq!(rewrapped(Some(Purpose::Result))[1], "result");
    }

    #[test]
    fn a_row_is_narrow() {
        let long = |text: &str| {
            let principal = Some(text.repeat(100));
            let reason = Some(text.repeat(200));
            shown(&AuditRecord { principal, reason, ..record(Operation::Operate, Decision::Revoked) })
        };
        for text in ["r", "ü"] {
            assert_eq!(long(text).map(|cell| cell.chars().count()), [28, 32]);
        }
        let by = |principal: &str| {
            shown(&AuditRecord {
                principal: Some(principal.to_owned()),
                ..record(Operation::Register, Decision::Registered)
            })[0]
                .clone()
        };
        assert_eq!(by("aws-access-key/ASIAIOSFODNN7EXAMPLE"), "aws-acc…ASIAIOSFODNN7EXAMPLE");
        assert_eq!(by(&"p".repeat(28)), "p".repeat(28));
        // No check is cut, and so each can be given to --check.
        for check in Check::all() {
            let failed = Some(FailedCheck { check: check.name().to_owned(), cause: String::new() });
            let refused = AuditRecord { failed, ..record(Operation::Attest, Decision::Refused) };
            assert_eq!(shown(&refused)[1], check.name());
        }
    }

    /// Programs may read columns by their place.
    #[test]
    fn columns_come_at_the_end() {
        let mut pruned = record(Operation::Operate, Decision::Pruned);
        pruned.act = Some(Act::Pruned { before: Timestamp::UNIX_EPOCH, records: 7 });
        let cells = (CSV.cells)(&pruned);
        assert_eq!(cells.len(), CSV.header.len());
        assert_eq!(CSV.header[16..], ["id", "act"]);
        assert_eq!(cells[16], pruned.id.to_string());
        assert_eq!(cells[17], r#"{"pruned":{"before":"1970-01-01T00:00:00Z","records":7}}"#);
    }
}
