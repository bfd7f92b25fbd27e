//! Audit records, counted as they are read.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    rc::Rc,
};

use jiff::Timestamp;
use keybroker_common::{
    audit::{AuditRecord, Decision},
    ids::{AuditId, WorkloadId},
};

use super::{
    entry::Entry,
    kept::{Kept, Sorted},
    level::Level,
    span::Steps,
};
use crate::command::audit::name;

/// A figure: how many records, and the newest of them.
#[derive(Debug, Default)]
pub(super) struct Figure {
    pub(super) count: u64,
    pub(super) newest: Kept<(Timestamp, AuditId), Rc<Entry>>,
}

/// A record on its way into figures: it is put into words once, and only if a figure keeps it.
struct Counted<'a> {
    record: &'a AuditRecord,
    entry: OnceCell<Rc<Entry>>,
}

impl Counted<'_> {
    fn counts_in(&self, figure: &mut Figure) {
        figure.count += 1;
        let key = (self.record.time, self.record.id);
        figure.newest.offer(key, || Rc::clone(self.entry.get_or_init(|| Rc::new(Entry::of(self.record)))));
    }
}

/// The outcome of a request or an act, as the chart has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Attested,
    Released,
    /// Refused, or withheld after all.
    Refused,
    Undecided,
    /// A registration, or an operator's act.
    Changed,
}

impl Outcome {
    pub(super) const ALL: [Self; 5] =
        [Self::Attested, Self::Released, Self::Refused, Self::Undecided, Self::Changed];

    pub(super) fn of(decision: Decision) -> Self {
        match decision {
            Decision::Attested => Self::Attested,
            Decision::Released => Self::Released,
            Decision::Refused | Decision::Withheld => Self::Refused,
            Decision::Unavailable => Self::Undecided,
            Decision::Registered
            | Decision::Replaced
            | Decision::Revoked
            | Decision::TokenCreated
            | Decision::TokenRevoked
            | Decision::Restored
            | Decision::Deleted
            | Decision::ResourceSet
            | Decision::ResourceDeleted
            | Decision::KeysTurned
            | Decision::KeyPrepared
            | Decision::KeyImported
            | Decision::KeyRetired
            | Decision::Rewrapped
            | Decision::Pruned => Self::Changed,
        }
    }
}

/// The decisions of one hour, or of one step of the chart.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    counts: [u64; Outcome::ALL.len()],
    /// The newest records, refusals before others.
    pub(super) newest: Kept<(bool, Timestamp, AuditId), AuditId, 4>,
}

impl Tally {
    pub(super) fn count(&self, outcome: Outcome) -> u64 {
        self.counts.get(outcome as usize).copied().unwrap_or_default()
    }

    pub(super) fn all(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn add(&mut self, record: &AuditRecord) {
        let outcome = Outcome::of(record.decision);
        if let Some(count) = self.counts.get_mut(outcome as usize) {
            *count += 1;
        }
        let stopped = matches!(outcome, Outcome::Refused | Outcome::Undecided);
        self.newest.offer((stopped, record.time, record.id), || record.id);
    }

    fn merge(&mut self, other: Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        other.newest.into_pairs().for_each(|(key, id)| self.newest.offer(key, || id));
    }
}

/// The requests that one check stopped.
#[derive(Debug, Default)]
pub(super) struct Stopped {
    pub(super) figure: Figure,
    workloads: HashSet<u64>,
}

impl Stopped {
    /// The number of workloads that the stopped requests named.
    pub(super) fn workloads(&self) -> usize {
        self.workloads.len()
    }
}

/// Guests that attested on platforms at one level.
#[derive(Debug, Default)]
pub(super) struct Guests {
    pub(super) figure: Figure,
    /// The chips, without those that a host masks.
    chips: HashSet<u64>,
}

impl Guests {
    /// The number of chips that signed their reports.
    pub(super) fn chips(&self) -> usize {
        self.chips.len()
    }
}

/// Everything that a page says about records.
///
/// It grows with the hours, workloads and chips that records name, by some bytes for each, and not with the
/// records.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) records: u64,
    pub(super) first: Option<Timestamp>,
    /// Those about guests first.
    decisions: BTreeMap<(Outcome, &'static str), (Decision, Figure)>,
    hours: BTreeMap<i64, Tally>,
    /// By the check's name, and the name of the decision: a check can refuse, or be out of reach.
    pub(super) stopped: Sorted<(String, &'static str), Stopped>,
    pub(super) levels: Sorted<Level, Guests>,
    /// Registrations and operators' acts, by the principal that records name.
    pub(super) principals: Sorted<Principal, Figure>,
    /// Attestations up to a root that is not AMD's.
    pub(super) simulated: Figure,
    /// The record of the registration, for workloads that a page shows.
    registered: HashMap<WorkloadId, Option<(Timestamp, AuditId)>>,
    /// Workloads and chips are counted by digests under a key that is drawn for the command.
    digests: RandomState,
}

impl Figures {
    /// No records yet. A page will show the workloads `shown`.
    pub(super) fn of(shown: impl IntoIterator<Item = WorkloadId>) -> Self {
        Self { registered: shown.into_iter().map(|id| (id, None)).collect(), ..Self::default() }
    }

    /// Counts a record.
    pub(super) fn add(&mut self, record: &AuditRecord) {
        self.records += 1;
        self.first = Some(self.first.map_or(record.time, |first| first.min(record.time)));
        self.hours.entry(record.time.as_second().div_euclid(Steps::HOUR)).or_default().add(record);
        let counted = Counted { record, entry: OnceCell::new() };
        let by_name = (Outcome::of(record.decision), name::decision(record.decision));
        let decision = self.decisions.entry(by_name);
        counted.counts_in(&mut decision.or_insert_with(|| (record.decision, Figure::default())).1);
        if let Some(failed) = &record.failed {
            let stopped = self.stopped.of((failed.check.clone(), name::decision(record.decision)));
            counted.counts_in(&mut stopped.figure);
            stopped.workloads.extend(record.workload_id.as_ref().map(|id| self.digests.hash_one(id)));
        }
        let attested = matches!(record.decision, Decision::Attested | Decision::Released);
        if let Some(evidence) = record.evidence.as_ref().filter(|evidence| attested && evidence.verified) {
            let guests = self.levels.of(Level::of(record, evidence));
            counted.counts_in(&mut guests.figure);
            if evidence.chip_id.bytes().any(|digit| digit != b'0') {
                guests.chips.insert(self.digests.hash_one(&evidence.chip_id));
            }
        }
        if record.basis.as_ref().is_some_and(|basis| basis.simulated) {
            counted.counts_in(&mut self.simulated);
        }
        if Outcome::of(record.decision) == Outcome::Changed {
            counted.counts_in(self.principals.of(Principal::of(record.principal.as_deref())));
        }
        self.note_registration(record);
    }

    fn note_registration(&mut self, record: &AuditRecord) {
        let registers = matches!(record.decision, Decision::Registered | Decision::Replaced);
        let noted =
            record.workload_id.as_ref().filter(|_| registers).and_then(|id| self.registered.get_mut(id));
        if let Some(noted) = noted {
            *noted = (*noted).max(Some((record.time, record.id)));
        }
    }

    /// How many records have this decision.
    pub(super) fn count(&self, decision: Decision) -> u64 {
        let by_name = (Outcome::of(decision), name::decision(decision));
        self.decisions.get(&by_name).map_or(0, |(_, figure)| figure.count)
    }

    /// The decisions that records have, those about guests first.
    pub(super) fn decisions(&self) -> impl Iterator<Item = (Decision, &Figure)> {
        self.decisions.values().map(|(decision, figure)| (*decision, figure))
    }

    /// The decisions of each of these steps.
    pub(super) fn over(&self, steps: &Steps) -> Vec<Tally> {
        let mut tallies: Vec<_> = steps.begins().map(|_| Tally::default()).collect();
        for (hour, tally) in &self.hours {
            let index = steps.index(hour.saturating_mul(Steps::HOUR));
            if let Some(whole) = index.and_then(|index| tallies.get_mut(index)) {
                whole.merge(tally.clone());
            }
        }
        tallies
    }

    /// The newest record of a registration of `id` in the span.
    pub(super) fn registration(&self, id: &WorkloadId) -> Option<AuditId> {
        self.registered.get(id).copied().flatten().map(|(_, id)| id)
    }
}

/// A principal, or an owner. A token is for one build, so all of them count as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Principal {
    Named(String),
    Tokens,
    Nobody,
}

impl Principal {
    pub(super) fn of(name: Option<&str>) -> Self {
        match name {
            None => Self::Nobody,
            Some(token) if token.starts_with("token/") => Self::Tokens,
            Some(name) => Self::Named(name.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use keybroker_common::{
        advisories::TcbVerdict,
        audit::{FailedCheck, Operation},
    };
    use serde_json::json;

    use super::*;
    use crate::{
        command::report::{level::Standing, span::Span},
        when::When,
    };

    fn now() -> Timestamp {
        "2026-11-29T08:35:00Z".parse().unwrap()
    }

    fn record(decision: Decision, minutes_ago: i64) -> AuditRecord {
        let time = now() - SignedDuration::from_mins(minutes_ago);
        AuditRecord::new(time, Operation::Attest, decision)
    }

    fn figures(records: &[AuditRecord]) -> Figures {
        let mut figures = Figures::of([WorkloadId::new("web").unwrap()]);
        records.iter().for_each(|record| figures.add(record));
        figures
    }

    fn on_chip(chip: &str, verified: bool) -> AuditRecord {
        let evidence = json!({
            "verified": verified, "report_version": 3, "measurement": "4d".repeat(48),
            "chip_id": chip.repeat(64), "product": "milan", "endorsement": "vcek",
            "policy": "0x30000", "vmpl": 0,
            "reported_tcb": {"boot_loader": 4, "tee": 0, "snp": 24, "microcode": 219},
        });
        AuditRecord {
            evidence: Some(serde_json::from_value(evidence).unwrap()),
            ..record(Decision::Attested, 1)
        }
    }

    fn judged(verdict: serde_json::Value) -> AuditRecord {
        let verdict: TcbVerdict = serde_json::from_value(verdict).unwrap();
        AuditRecord { tcb: Some(verdict), ..on_chip("7b", true) }
    }

    #[test]
    fn records_are_counted_by_decision_and_check() {
        let failed = |check: &str, decision, workload: &str| AuditRecord {
            failed: Some(FailedCheck { check: check.to_owned(), cause: String::new() }),
            workload_id: Some(WorkloadId::new(workload).unwrap()),
            ..record(decision, 5)
        };
        let figures = figures(&[
            failed("measurement", Decision::Refused, "a"),
            failed("measurement", Decision::Refused, "b"),
            failed("measurement", Decision::Refused, "b"),
            failed("store", Decision::Refused, "a"),
            failed("store", Decision::Unavailable, "a"),
            record(Decision::Attested, 9),
        ]);
        assert_eq!((figures.records, figures.count(Decision::Refused)), (6, 4));
        assert_eq!(figures.count(Decision::Released), 0);
        let stopped = figures.stopped.by(|stopped| stopped.figure.count);
        let stopped: Vec<_> = stopped
            .into_iter()
            .map(|(key, stopped)| (key.unwrap().clone(), stopped.figure.count, stopped.workloads()))
            .collect();
        let of = |check: &str, decision| (check.to_owned(), decision);
        assert_eq!(
            stopped,
            [
                (of("measurement", "refused"), 3, 2),
                (of("store", "refused"), 1, 1),
                (of("store", "unavailable"), 1, 1)
            ]
        );
        let decisions: Vec<_> =
            figures.decisions().map(|(decision, figure)| (decision, figure.count)).collect();
        assert_eq!(
            decisions,
            [(Decision::Attested, 1), (Decision::Refused, 4), (Decision::Unavailable, 1)],
            "those about guests first"
        );
    }

    #[test]
    fn levels_are_those_of_genuine_reports_on_chips_that_can_be_told_apart() {
        let refused = AuditRecord { decision: Decision::Refused, ..on_chip("11", true) };
        let figures = figures(&[
            on_chip("7b", true),
            on_chip("7b", true),
            on_chip("7c", true),
            on_chip("00", true),
            on_chip("7d", false),
            refused,
        ]);
        let levels = figures.levels.by(|guests| guests.figure.count);
        let [(Some(level), guests)] = levels.as_slice() else { panic!("{levels:?}") };
        assert_eq!((guests.figure.count, guests.chips()), (4, 2));
        assert_eq!((level.platform.as_str(), level.standing), ("Milan", Standing::Unjudged));
        assert_eq!(level.reported, "bl 4 tee 0 snp 24 ucode 219");
    }

    #[test]
    fn a_level_has_the_verdict_of_its_records() {
        let verdict = |name: &str, bulletins: &[&str]| {
            json!({
                "table": "2026-11-29", "verdict": name, "bulletins": bulletins,
                "rows": 6, "unconfirmed": 6, "silicon": "0x00A00F11",
            })
        };
        let figures = figures(&[
            judged(verdict("behind", &["AMD-SB-3016"])),
            judged(verdict("behind-nothing", &[])),
            judged(verdict("a-later-release's", &[])),
        ]);
        let levels = figures.levels.by(|guests| guests.figure.count);
        let mut found: Vec<_> = levels.into_iter().map(|(level, _)| level.unwrap().clone()).collect();
        found.sort_by_key(|level| level.standing);
        let standings: Vec<_> = found.iter().map(|level| level.standing).collect();
        assert_eq!(standings, [Standing::Behind, Standing::NotBehind, Standing::Unjudged]);
        assert_eq!(found[0].platform, "milan-b1");
        assert!(found[0].verdict.starts_with("behind AMD-SB-3016 by a table of 2026-11-29"), "{found:?}");
    }

    #[test]
    fn each_step_has_its_decisions_and_its_refusals_first() {
        let records: Vec<_> = (0..600)
            .map(|n| record(if n % 100 == 50 { Decision::Refused } else { Decision::Released }, n * 10))
            .collect();
        let figures = figures(&records);
        let span = Span::new(When::parse("7d").unwrap(), None, now()).unwrap();
        let steps = span.steps(figures.first);
        let tallies = figures.over(&steps);
        assert_eq!(tallies.iter().map(Tally::all).sum::<u64>(), 600);
        assert_eq!(tallies.iter().map(|tally| tally.count(Outcome::Refused)).sum::<u64>(), 6);
        let refused: Vec<_> = records.iter().filter(|record| record.decision == Decision::Refused).collect();
        for record in refused {
            let step = tallies.get(steps.index(record.time.as_second()).unwrap()).unwrap();
            assert_eq!(step.newest.rows().next(), Some(&record.id));
        }
    }

    #[test]
    fn changes_are_counted_by_principal_and_tokens_together() {
        let by = |principal: Option<&str>| AuditRecord {
            principal: principal.map(str::to_owned),
            ..record(Decision::Registered, 1)
        };
        let figures = figures(&[
            by(Some("token/1")),
            by(Some("token/2")),
            by(Some("uid/0")),
            by(None),
            AuditRecord { principal: Some("uid/0".to_owned()), ..record(Decision::Refused, 1) },
        ]);
        let principals = figures.principals.by(|figure| figure.count);
        let principals: Vec<_> = principals
            .into_iter()
            .map(|(principal, figure)| (principal.unwrap().clone(), figure.count))
            .collect();
        let named = Principal::Named("uid/0".to_owned());
        assert_eq!(principals, [(Principal::Tokens, 2), (named, 1), (Principal::Nobody, 1)]);
    }

    #[test]
    fn the_newest_registration_of_a_workload_on_the_page_is_found() {
        let web = WorkloadId::new("web").unwrap();
        let registered =
            |decision, ago| AuditRecord { workload_id: Some(web.clone()), ..record(decision, ago) };
        let (first, second) = (registered(Decision::Registered, 30), registered(Decision::Replaced, 20));
        let other = AuditRecord {
            workload_id: Some(WorkloadId::new("other").unwrap()),
            ..record(Decision::Registered, 1)
        };
        let figures = figures(&[second.clone(), first, registered(Decision::Revoked, 10), other.clone()]);
        assert_eq!(figures.registration(&web), Some(second.id));
        assert_eq!(figures.registration(&other.workload_id.unwrap()), None, "the page does not show it");
    }
}
