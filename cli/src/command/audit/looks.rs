//! The query of each look for new records, by which none is shown twice and none is missed.
//!
//! A record can be read some time after its own: its writer waits for the store, and an index follows its
//! table. So each look begins [`LATE`] before the last one, and a record that was met is not new. On one
//! machine records stand by their ids, and the id of a decision about a challenge has the challenge's time,
//! up to a day earlier. So most looks leave out what differs by more than [`LEAD`], and one in each [`SWEEP`]
//! does not.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use keybroker_common::{audit::AuditRecord, ids::AuditId, store::AuditQuery};
use uuid::Uuid;

/// The time until a record can be read, at most, together with the difference of two clocks.
const LATE: SignedDuration = SignedDuration::from_mins(2);
/// How far the id of a record may be before it, for the record to be found at once.
const LEAD: SignedDuration = SignedDuration::from_mins(10);
/// The time between two looks that leave nothing out.
const SWEEP: SignedDuration = SignedDuration::from_mins(10);

/// The looks until now.
#[derive(Debug)]
pub(super) struct Looks {
    /// Nothing before it is asked for.
    begin: Timestamp,
    /// When the last look began that succeeded, and the last that left nothing out.
    looked: Option<Timestamp>,
    swept: Option<Timestamp>,
    /// The records that were met and may be met again.
    met: BTreeSet<(Timestamp, AuditId)>,
}

/// One look.
#[derive(Debug)]
pub(super) struct Look {
    now: Timestamp,
    sweeps: bool,
    /// A record of this time or a later one may be met again by a later look.
    again: Timestamp,
}

impl Looks {
    /// Looks for what is recorded from `begin` on.
    pub(super) fn new(begin: Timestamp) -> Self {
        Self { begin, looked: None, swept: None, met: BTreeSet::new() }
    }

    /// Whether one has succeeded.
    pub(super) fn have_begun(&self) -> bool {
        self.looked.is_some()
    }

    /// Whether a look at `now` leaves nothing out.
    pub(super) fn sweeps(&self, now: Timestamp) -> bool {
        self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP)
    }

    /// The next look, `now`, and its query: `query` with a span of time.
    pub(super) fn next(&self, now: Timestamp, query: AuditQuery) -> (Look, AuditQuery) {
        let sweeps = self.sweeps(now);
        let last = if sweeps { self.swept } else { self.looked };
        let since = last.map_or(self.begin, |last| late(last).max(self.begin));
        let swept = self.swept.filter(|_| !sweeps).unwrap_or(now);
        let lead = (!sweeps).then_some(LEAD);
        (Look { now, sweeps, again: late(swept) }, AuditQuery { since: Some(since), lead, ..query })
    }

    /// Whether `record`, which `look` met, was not met before.
    pub(super) fn is_new(&mut self, look: &Look, record: &AuditRecord) -> bool {
        let key = (record.time, record.id);
        if self.met.contains(&key) {
            return false;
        }
        // The first look may meet years, and the command ends if it fails. A later one that fails is made
        // again.
        if self.have_begun() || record.time >= look.again {
            self.met.insert(key);
        }
        true
    }

    /// Notes that `look` has met all that there was.
    pub(super) fn ended(&mut self, look: &Look) {
        self.looked = Some(look.now);
        if look.sweeps {
            self.swept = Some(look.now);
        }
        self.met = self.met.split_off(&(look.again, AuditId(Uuid::nil())));
    }
}

/// The time from which on records may come after a look at `time`.
fn late(time: Timestamp) -> Timestamp {
    time.checked_sub(LATE).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use keybroker_common::audit::{Decision, Operation};

    use super::*;

    const BEGIN: Timestamp = Timestamp::constant(1_786_795_200, 0);

    fn at(seconds: i64) -> Timestamp {
        BEGIN + SignedDuration::from_secs(seconds)
    }

    /// A record, the time of its id, and from when on it can be read.
    struct Written {
        record: AuditRecord,
        id_of: Timestamp,
        readable: Timestamp,
    }

    fn written(time: i64, challenged_before: i64, readable_after: i64) -> Written {
        let record = AuditRecord::new(at(time), Operation::Attest, Decision::Attested);
        Written { record, id_of: at(time - challenged_before), readable: at(time + readable_after) }
    }

    /// A store on one machine, as far as a query goes.
    fn found<'a>(store: &'a [Written], now: Timestamp, query: &AuditQuery) -> Vec<&'a AuditRecord> {
        let since = query.since.unwrap();
        let from = since - query.lead.unwrap_or(AuditQuery::LEAD);
        let there = store.iter().filter(|row| row.readable <= now && row.id_of >= from);
        there.map(|row| &row.record).filter(|record| query.matches(record)).collect()
    }

    /// Two hours of a busy broker, looked at with pauses, failures and a long outage between.
    #[test]
    fn every_record_is_new_once() {
        const DAY: i64 = 24 * 3600;
        let mut store = Vec::new();
        for second in 0..7200 {
            let challenged_before = [0, 3, 290, 599, 3600, DAY][usize::try_from(second).unwrap() % 6];
            let readable_after = [0, 1, 30, 119][usize::try_from(second).unwrap() % 4];
            store.push(written(second, challenged_before, readable_after));
        }
        let (mut looks, mut now, mut told, mut most) = (Looks::new(BEGIN), 0, Vec::new(), 0);
        while now < 9000 {
            let (look, query) = looks.next(at(now), AuditQuery::default());
            let met = found(&store, at(now), &query);
            // Every fifth look fails half way, and with it some of those that leave nothing out.
            let fails = looks.have_begun() && now / 3 % 5 == 0;
            for (count, record) in met.into_iter().enumerate() {
                if fails && count == 40 {
                    break;
                }
                if looks.is_new(&look, record) {
                    told.push(record.id);
                }
            }
            if !fails {
                looks.ended(&look);
            }
            most = most.max(looks.met.len());
            now += if now == 3000 { 900 } else { 3 };
        }
        let unique: BTreeSet<_> = told.iter().collect();
        assert_eq!((told.len(), unique.len()), (7200, 7200));
        assert!(most < 2000, "{most} of 7200 are held");
    }

    /// At once, unless its challenge is old.
    #[test]
    fn a_record_is_found_by_the_next_look() {
        let store = [written(100, 0, 0), written(100, 480, 0), written(100, 3600, 0)];
        let mut looks = Looks::new(BEGIN);
        let mut new = |now: i64| {
            let (look, query) = looks.next(at(now), AuditQuery::default());
            let met = found(&store, at(now), &query);
            let new = met.into_iter().filter(|record| looks.is_new(&look, record)).count();
            looks.ended(&look);
            new
        };
        assert_eq!((new(0), new(98), new(100), new(102), new(590)), (0, 0, 2, 0, 0));
        assert_eq!((new(600), new(602)), (1, 0));
    }
}
