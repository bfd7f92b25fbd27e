//! Which records of a listing are shown, beside what the store is asked for.

use std::collections::BTreeMap;

use keybroker_common::{
    audit::{AuditRecord, Check, Decision},
    ids::TokenId,
};

use super::name;
use crate::{chip_prefix::ChipPrefix, exit::Failure, given::GivenId, hex};

/// The filters. A record must match one value of each option that is given.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Filters")]
pub(super) struct Filter {
    /// Only decisions about guests on this chip: its id in hex, or the first 16 or more digits of it
    ///
    /// Each filter can be given several times: a decision must match one value of each option. On AWS no
    /// filter but --workload saves reads.
    #[arg(long, value_name = "HEX", value_parser = ChipPrefix::parse, conflicts_with = "id")]
    chip_id: Vec<ChipPrefix>,
    /// Only decisions about guests with this launch measurement: in hex, or the first 8 or more digits of it
    #[arg(long, value_name = "HEX", value_parser = MeasurementPrefix::parse, conflicts_with = "id")]
    measurement: Vec<MeasurementPrefix>,
    /// Only this decision: refused, unavailable, released, revoked and so on, as the column has it
    #[arg(long, value_name = "DECISION", value_parser = name::parse_decision, conflicts_with = "id")]
    decision: Vec<Decision>,
    /// Only decisions that this check stopped: measurement, guest-policy-debug and so on
    #[arg(long, value_name = "CHECK", conflicts_with = "id")]
    check: Vec<String>,
    /// Only what was decided at the request of this principal, as records name it: uid/0, token/…
    #[arg(long, value_name = "PRINCIPAL", conflicts_with = "id")]
    principal: Vec<String>,
    /// Only what was done with this token, or to it: its id, which is not the token
    #[arg(long, value_name = "ID", value_parser = GivenId::of_token, conflicts_with = "id")]
    token: Vec<GivenId<TokenId>>,
}

impl Filter {
    /// Whether `record` is shown.
    pub(super) fn wants(&self, record: &AuditRecord) -> bool {
        let check = record.failed.as_ref().map(|failed| failed.check.as_str());
        self.wants_evidence(record)
            && one(&self.decision, |asked| record.decision == *asked)
            && one(&self.check, |asked| check == Some(asked))
            && one(&self.principal, |asked| record.principal.as_ref() == Some(asked))
            && one(&self.token, |asked| {
                let GivenId::Id(asked) = asked else { return false };
                record.token == Some(*asked) || record.principal.as_deref() == Some(&asked.principal())
            })
    }

    /// The same, as far as the evidence decides.
    fn wants_evidence(&self, record: &AuditRecord) -> bool {
        let evidence = record.evidence.as_ref();
        one(&self.chip_id, |asked| evidence.is_some_and(|evidence| asked.begins(&evidence.chip_id)))
            && one(&self.measurement, |asked| {
                evidence.is_some_and(|evidence| asked.begins(&evidence.measurement))
            })
    }

    /// Whether it asks for something of the evidence.
    pub(super) fn is_on_evidence(&self) -> bool {
        !self.chip_id.is_empty() || !self.measurement.is_empty()
    }

    /// Fails if something in place of a token's id was given.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.token.iter().try_for_each(|given| given.id().map(drop))
    }

    /// Warns of names of checks that this release does not have. A record may have the name of a later
    /// release's.
    pub(super) fn warn(&self) {
        for check in self.check.iter().filter(|check| Check::parse(check).is_none()) {
            say!("warning: this release has no check of the name {check:?}");
        }
    }

    /// A watch on the beginnings of measurements that it asks for.
    pub(super) fn watch(&self) -> Watch {
        let asked = self.measurement.iter().map(|asked| (asked.0.clone(), Met::None));
        Watch(asked.collect())
    }
}

/// Whether nothing is asked for, or one of the values is met.
fn one<T>(asked: &[T], met: impl Fn(&T) -> bool) -> bool {
    asked.is_empty() || asked.iter().any(met)
}

/// The beginning of a launch measurement in hex.
#[derive(Debug, Clone)]
struct MeasurementPrefix(String);

impl MeasurementPrefix {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let digits = hex::digits(text);
        let are_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if are_hex && (8..=96).contains(&digits.len()) {
            Ok(Self(digits.to_ascii_lowercase()))
        } else {
            Err("not 8 to 96 hex digits")
        }
    }

    fn begins(&self, measurement: &str) -> bool {
        measurement.starts_with(&self.0)
    }
}

/// Tells a person whose beginning of a measurement is that of several.
#[derive(Debug)]
pub(super) struct Watch(BTreeMap<String, Met>);

#[derive(Debug)]
enum Met {
    None,
    One(String),
    Several,
}

impl Watch {
    /// Looks at a record that is shown.
    pub(super) fn look(&mut self, record: &AuditRecord) {
        let Some(evidence) = record.evidence.as_ref().filter(|_| !self.0.is_empty()) else { return };
        for (asked, met) in &mut self.0 {
            if !evidence.measurement.starts_with(asked.as_str()) {
                continue;
            }
            match met {
                Met::None => *met = Met::One(evidence.measurement.clone()),
                Met::One(first) if *first != evidence.measurement => *met = Met::Several,
                Met::One(_) | Met::Several => {}
            }
        }
    }

    /// Warns at the end.
    pub(super) fn warn(&self) {
        for (asked, _) in self.0.iter().filter(|(_, met)| matches!(met, Met::Several)) {
            say!("warning: several measurements begin with {asked}: give more digits of the one");
        }
    }
}
