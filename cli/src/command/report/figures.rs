//! Audit records, counted as they are read.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    rc::Rc,
};

use jiff::Timestamp;
use keybroker_common::{
    audit::{AuditRecord, Decision, EvidenceSummary},
    ids::{AuditId, WorkloadId},
};

use super::{
    kept::{Kept, Sorted},
    span::Steps,
};
use crate::{
    command::audit::{explain, name},
    table::printable,
};

/// A record as a page shows it: text of strangers is short, and steers nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: AuditId,
    pub(super) time: Timestamp,
    pub(super) workload: Option<WorkloadId>,
    /// The outcome, in one sentence.
    pub(super) words: String,
}

impl Entry {
    /// The characters of a cause that a page shows. `keybroker audit ID` shows all.
    const LENGTH: usize = 280;

    fn of(record: &AuditRecord) -> Self {
        let words = explain::outcome(record);
        let shown: String = words.chars().take(Self::LENGTH).collect();
        let more = if shown.len() < words.len() { "…" } else { "" };
        Self {
            id: record.id,
            time: record.time,
            workload: record.workload_id.clone(),
            words: printable(&shown) + more,
        }
    }
}

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
            | Decision::Pruned => Self::Changed,
        }
    }
}

/// The decisions of one hour, or of one step of the chart.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    counts: [u64; Outcome::ALL.len()],
    /// The newest records, refusals before others.
    pub(super) newest: Kept<(bool, Timestamp, AuditId), AuditId>,
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

/// Guests whose reports were verified, at one level of one product.
#[derive(Debug, Default)]
pub(super) struct Guests {
    pub(super) figure: Figure,
    chips: HashSet<u64>,
}

impl Guests {
    /// The number of chips that signed their reports.
    pub(super) fn chips(&self) -> usize {
        self.chips.len()
    }
}

/// The level of a platform, as its reports name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Level {
    pub(super) platform: String,
    pub(super) tcb: String,
}

impl Level {
    fn of(evidence: &EvidenceSummary) -> Self {
        let unknown = || "unknown".to_owned();
        Self {
            platform: evidence.product.map_or_else(unknown, |product| product.to_string()),
            tcb: evidence.reported_tcb.map_or_else(unknown, |tcb| tcb.to_string()),
        }
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
        if let Some(evidence) = record.evidence.as_ref().filter(|evidence| evidence.verified) {
            let guests = self.levels.of(Level::of(evidence));
            counted.counts_in(&mut guests.figure);
            guests.chips.insert(self.digests.hash_one(&evidence.chip_id));
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
