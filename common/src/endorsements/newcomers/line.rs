//! The line before AMD: whose turn it is to ask, so that no workload keeps the others waiting.
//!
//! Where there is a pace, each turn is taken out of two buckets: one for all, and one for the workload, which
//! holds half as much and fills half as fast. So a workload for which chips are made up leaves half of
//! everything to the others. Of those that wait, the one is next whose workload has the fewest turns at the
//! moment, then the one whose workload has the most left, or has had all for the longest, then the one who
//! came first.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::super::lock;
use crate::{
    bucket::{Level, Rate, whole_seconds},
    clock::Clock,
    endorsements::kds::Kds,
    ids::WorkloadId,
};

/// For whom a chip is asked for; `None`: for an operator.
pub(super) type Party = Option<WorkloadId>;

/// How long somebody waits for a turn.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How many wait where there is a pace: at AMD's own pace a line has no use for more in that time.
pub(super) const PLACES: usize = 64;

/// Above this many workloads, those to which all is left are forgotten. The others are bounded by the turns
/// that there are while a bucket fills.
const PARTIES: usize = 1024;

/// The turns of all, and each workload's share of them.
#[derive(Debug, Clone, Copy)]
struct Pace {
    all: Rate,
    each: Rate,
}

/// Whoever waits, and whoever has a turn.
#[derive(Debug)]
pub(super) struct Line {
    pace: Option<Pace>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Somebody may have come to be next.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    next: u64,
    waiting: Vec<Waiting>,
    /// Those whose turn it is. Never more than the client of the KDS makes requests at once.
    asking: Vec<(u64, Party)>,
    level: Level,
    /// What is left to each workload.
    parties: HashMap<WorkloadId, Level>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    party: Party,
    /// Whether the turn is taken out of no bucket.
    free: bool,
}

/// What one look at the line comes to.
enum Look {
    /// It is this one's turn.
    Turn,
    /// Somebody else got this one's place.
    TurnedAway,
    /// Not yet; and when to look again at the latest, if that is known.
    NotYet(Option<SignedDuration>),
}

/// A place in the line, and then a turn. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    line: &'a Line,
    number: u64,
}

impl Line {
    /// An empty one, at this pace.
    pub(super) fn new(rate: Option<Rate>, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            next: 0,
            waiting: Vec::new(),
            asking: Vec::new(),
            level: Level::FULL,
            parties: HashMap::new(),
        };
        let pace = rate.map(|all| Pace { all, each: all.half() });
        Self { pace, clock, state: Mutex::new(state), changed: Notify::new() }
    }

    /// Whether turns are taken out of buckets at all.
    pub(super) fn has_a_pace(&self) -> bool {
        self.pace.is_some()
    }

    /// Waits for a turn; where there is none in time, or too many wait, says after how many seconds to try
    /// again.
    pub(super) async fn turn(&self, party: &Party, free: bool) -> Result<Place<'_>, u64> {
        let deadline = Instant::now() + PATIENCE;
        let place = self.join(party, free)?;
        loop {
            let mut changed = pin!(self.changed.notified());
            // Before looking: what changes afterwards must not be missed.
            changed.as_mut().enable();
            let until = match self.look(place.number) {
                Look::Turn => return Ok(place),
                Look::TurnedAway => return Err(self.retry_after(party)),
                Look::NotYet(None) => deadline,
                Look::NotYet(Some(wait)) => deadline.min(Instant::now() + wait.unsigned_abs()),
            };
            if timeout_at(until, changed).await.is_err() && until == deadline {
                return Err(self.retry_after(party));
            }
        }
    }

    /// Puts back what a turn was taken out of: nobody was asked.
    pub(super) fn put_back(&self, party: &Party) {
        let Some(pace) = self.pace else { return };
        let mut state = lock(&self.state);
        pace.all.put_back(&mut state.level);
        if let Some(level) = party.as_ref().and_then(|party| state.parties.get_mut(party)) {
            pace.each.put_back(level);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Takes a place at the end. Where all are taken, the workload that has the most gives its last one up to
    /// another that has fewer.
    fn join(&self, party: &Party, free: bool) -> Result<Place<'_>, u64> {
        let mut state = lock(&self.state);
        if self.pace.is_some() && state.waiting.len() >= PLACES {
            let Some(last) = state.last_of_a_crowd(party) else {
                drop(state);
                return Err(self.retry_after(party));
            };
            state.waiting.remove(last);
            self.changed.notify_waiters();
        }
        let number = state.next;
        state.next += 1;
        state.waiting.push(Waiting { number, party: party.clone(), free });
        Ok(Place { line: self, number })
    }

    fn look(&self, number: u64) -> Look {
        let now = self.clock.now();
        let mut state = lock(&self.state);
        let Some(own) = state.waiting.iter().position(|one| one.number == number) else {
            return Look::TurnedAway;
        };
        if state.first(self.pace, now) == Some(number) {
            state.give_turn(own, self.pace, now);
            self.changed.notify_waiters();
            return Look::Turn;
        }
        let party = state.waiting.get(own).filter(|one| !one.free).map(|one| one.party.clone());
        let wait = party.map(|party| state.wait(self.pace, &party, now));
        Look::NotYet(wait.filter(|wait| wait.is_positive()))
    }

    fn retry_after(&self, party: &Party) -> u64 {
        let now = self.clock.now();
        whole_seconds(lock(&self.state).wait(self.pace, party, now))
    }
}

impl State {
    /// How long the buckets of `party` have nothing left.
    fn wait(&mut self, pace: Option<Pace>, party: &Party, now: Timestamp) -> SignedDuration {
        let Some(pace) = pace else { return SignedDuration::ZERO };
        let all = pace.all.wait(&mut self.level, now);
        let level = party.as_ref().and_then(|party| self.parties.get_mut(party));
        level.map_or(all, |level| pace.each.wait(level, now).max(all))
    }

    /// The number of the one whose turn it is, if it is anybody's.
    fn first(&mut self, pace: Option<Pace>, now: Timestamp) -> Option<u64> {
        if self.asking.len() >= Kds::CONCURRENCY {
            return None;
        }
        let Self { waiting, asking, level, parties, .. } = self;
        let all_wait = pace.is_some_and(|pace| pace.all.wait(level, now).is_positive());
        let mut order = Vec::new();
        for Waiting { number, party, free } in waiting.iter() {
            let mut own = party.as_ref().and_then(|party| parties.get(party)).copied().unwrap_or(Level::FULL);
            let own_wait = pace.is_some_and(|pace| pace.each.wait(&mut own, now).is_positive());
            if *free || !all_wait && !own_wait {
                let turns = asking.iter().filter(|(_, other)| other == party).count();
                order.push((turns, own, *number));
            }
        }
        order.into_iter().min().map(|(_, _, number)| number)
    }

    fn give_turn(&mut self, position: usize, pace: Option<Pace>, now: Timestamp) {
        let Waiting { number, party, free } = self.waiting.remove(position);
        if let Some(pace) = pace.filter(|_| !free) {
            pace.all.take(&mut self.level, now);
            if self.parties.len() >= PARTIES {
                self.parties.retain(|_, level| !level.is_full(now));
            }
            if let Some(party) = &party {
                pace.each.take(self.parties.entry(party.clone()).or_insert(Level::FULL), now);
            }
        }
        self.asking.push((number, party));
    }

    /// The last place of the workload that has the most, if that is more than `party` would have then.
    fn last_of_a_crowd(&self, party: &Party) -> Option<usize> {
        let count = |party: &Party| self.waiting.iter().filter(|one| one.party == *party).count();
        let (last, most) = self.waiting.iter().enumerate().max_by_key(|(_, one)| count(&one.party))?;
        let crowd = &most.party;
        let last = self.waiting.iter().rposition(|one| one.party == *crowd).unwrap_or(last);
        (count(crowd) > count(party) + 1).then_some(last)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.line.state);
        state.waiting.retain(|one| one.number != self.number);
        state.asking.retain(|(number, _)| *number != self.number);
        drop(state);
        self.line.changed.notify_waiters();
    }
}
