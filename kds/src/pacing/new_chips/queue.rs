//! The queue before KDS: which chip is asked for next, so that no workload keeps the others waiting.
//!
//! Where there is a pace, each turn is taken out of two buckets: one for all, and one for the workload, which
//! holds half as much and fills half as fast. So a workload for which chips are made up leaves half of
//! everything to the others. The chip is next whose workload has the fewest turns at the moment. Among
//! several, it is the one whose workload has the most left, or has had all for the longest; then the one that
//! came first.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    bucket::{Level, Rate, whole_seconds},
    clock::Clock,
    ids::WorkloadId,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::super::CONCURRENCY;
use crate::lock::lock;

/// The workload that a chip is asked for; `None`: an operator asks.
pub(super) type Requester = Option<WorkloadId>;

/// How long a chip waits for its turn.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// How many wait where there is a pace: at AMD's own pace a queue has no use for more in that time.
pub(super) const PLACES: usize = 64;

/// Above this many workloads, those to which all is left are forgotten. The others are bounded by the turns
/// that a bucket gives while it fills.
const WORKLOADS: usize = 1024;

/// The turns of all, and each workload's share of them.
#[derive(Debug, Clone, Copy)]
struct Pace {
    all: Rate,
    each: Rate,
}

/// The chips that wait, and those that have a turn.
#[derive(Debug)]
pub(super) struct Queue {
    pace: Option<Pace>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Another chip may be next.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    next: u64,
    waiting: Vec<Waiting>,
    /// Those whose turn it is. Never more than the client of the KDS makes requests at once.
    asking: Vec<(u64, Requester)>,
    level: Level,
    /// The rest of each workload's burst.
    workloads: HashMap<WorkloadId, Level>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    requester: Requester,
    /// Whether the turn is taken out of no bucket.
    free: bool,
}

/// The outcome of one look at the queue.
enum Look {
    /// It is this chip's turn.
    Turn,
    /// Another workload's chip got this one's place.
    TurnedAway,
    /// Not yet; and when to look again at the latest, if that is known.
    NotYet(Option<SignedDuration>),
}

/// A place in the queue, and then a turn. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    queue: &'a Queue,
    number: u64,
}

impl Queue {
    /// An empty one, at this pace.
    pub(super) fn new(rate: Option<Rate>, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            next: 0,
            waiting: Vec::new(),
            asking: Vec::new(),
            level: Level::FULL,
            workloads: HashMap::new(),
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
    pub(super) async fn turn(&self, requester: &Requester, free: bool) -> Result<Place<'_>, u64> {
        let deadline = Instant::now() + LONGEST_WAIT;
        let place = self.join(requester, free)?;
        loop {
            let mut changed = pin!(self.changed.notified());
            // Before looking: what changes afterwards must not be missed.
            changed.as_mut().enable();
            let until = match self.look(place.number) {
                Look::Turn => return Ok(place),
                Look::TurnedAway => return Err(self.retry_after(requester)),
                Look::NotYet(None) => deadline,
                Look::NotYet(Some(wait)) => deadline.min(Instant::now() + wait.unsigned_abs()),
            };
            if timeout_at(until, changed).await.is_err() && until == deadline {
                return Err(self.retry_after(requester));
            }
        }
    }

    /// Gives back what a turn was charged: KDS was not asked.
    pub(super) fn put_back(&self, requester: &Requester) {
        let Some(pace) = self.pace else { return };
        let mut state = lock(&self.state);
        pace.all.put_back(&mut state.level);
        if let Some(level) = requester.as_ref().and_then(|requester| state.workloads.get_mut(requester)) {
            pace.each.put_back(level);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Takes a place at the end. Where all are taken, the workload that has the most gives its last one up to
    /// another that has fewer.
    fn join(&self, requester: &Requester, free: bool) -> Result<Place<'_>, u64> {
        let mut state = lock(&self.state);
        if self.pace.is_some() && state.waiting.len() >= PLACES {
            let Some(last) = state.last_of_a_crowd(requester) else {
                drop(state);
                return Err(self.retry_after(requester));
            };
            state.waiting.remove(last);
            self.changed.notify_waiters();
        }
        let number = state.next;
        state.next += 1;
        state.waiting.push(Waiting { number, requester: requester.clone(), free });
        Ok(Place { queue: self, number })
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
        let requester = state.waiting.get(own).filter(|one| !one.free).map(|one| one.requester.clone());
        let wait = requester.map(|requester| state.wait(self.pace, &requester, now));
        Look::NotYet(wait.filter(|wait| wait.is_positive()))
    }

    fn retry_after(&self, requester: &Requester) -> u64 {
        let now = self.clock.now();
        whole_seconds(lock(&self.state).wait(self.pace, requester, now))
    }
}

impl State {
    /// How long the buckets of `requester` have nothing left.
    fn wait(&mut self, pace: Option<Pace>, requester: &Requester, now: Timestamp) -> SignedDuration {
        let Some(pace) = pace else { return SignedDuration::ZERO };
        let all = pace.all.wait(&mut self.level, now);
        let level = requester.as_ref().and_then(|requester| self.workloads.get_mut(requester));
        level.map_or(all, |level| pace.each.wait(level, now).max(all))
    }

    /// The number of the chip whose turn it is, if there is one.
    fn first(&mut self, pace: Option<Pace>, now: Timestamp) -> Option<u64> {
        if self.asking.len() >= CONCURRENCY {
            return None;
        }
        let Self { waiting, asking, level, workloads, .. } = self;
        let all_wait = pace.is_some_and(|pace| pace.all.wait(level, now).is_positive());
        let mut order = Vec::new();
        for Waiting { number, requester, free } in waiting.iter() {
            let mut own = requester
                .as_ref()
                .and_then(|requester| workloads.get(requester))
                .copied()
                .unwrap_or(Level::FULL);
            let own_wait = pace.is_some_and(|pace| pace.each.wait(&mut own, now).is_positive());
            if *free || !all_wait && !own_wait {
                let turns = asking.iter().filter(|(_, other)| other == requester).count();
                order.push((turns, own, *number));
            }
        }
        order.into_iter().min().map(|(_, _, number)| number)
    }

    fn give_turn(&mut self, position: usize, pace: Option<Pace>, now: Timestamp) {
        let Waiting { number, requester, free } = self.waiting.remove(position);
        if let Some(pace) = pace.filter(|_| !free) {
            pace.all.take(&mut self.level, now);
            if self.workloads.len() >= WORKLOADS {
                self.workloads.retain(|_, level| !level.is_full(now));
            }
            if let Some(requester) = &requester {
                pace.each.take(self.workloads.entry(requester.clone()).or_insert(Level::FULL), now);
            }
        }
        self.asking.push((number, requester));
    }

    /// The last place of the workload that has the most, if that is more than `requester` would have then.
    fn last_of_a_crowd(&self, requester: &Requester) -> Option<usize> {
        let count =
            |requester: &Requester| self.waiting.iter().filter(|one| one.requester == *requester).count();
        let (last, most) = self.waiting.iter().enumerate().max_by_key(|(_, one)| count(&one.requester))?;
        let crowd = &most.requester;
        let last = self.waiting.iter().rposition(|one| one.requester == *crowd).unwrap_or(last);
        (count(crowd) > count(requester) + 1).then_some(last)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.queue.state);
        state.waiting.retain(|one| one.number != self.number);
        state.asking.retain(|(number, _)| *number != self.number);
        drop(state);
        self.queue.changed.notify_waiters();
    }
}
