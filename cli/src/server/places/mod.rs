//! The places of connections, and the rule by which one makes room for another.
//!
//! A connection either waits for its client, or has a request in hand. A waiting connection can be closed,
//! which costs its client a new connection. A connection with a request in hand is never closed. So a new
//! client finds a place, however many places others hold.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, interval, timeout},
};

/// How long a connection may wait before it counts against its peer, and how long it may wait at the end.
const STALLED: Duration = Duration::from_secs(2);
/// How long every connection may wait: a client needs a moment to send its request.
const GRACE: Duration = Duration::from_millis(100);
/// How often to look for connections that count.
const EVERY: Duration = Duration::from_secs(1);
/// At most one line tells of closed connections in this number of looks.
const LOOKS_PER_LINE: u32 = 10;

/// The peer that a connection is counted against: an IPv4 address, or an IPv6 network, because one customer
/// has all addresses of such a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// Over IP.
    Network(IpAddr),
    /// A user of this machine, over a socket in its file system.
    Local,
}

impl Peer {
    /// The peer at `address`.
    pub(crate) fn at(address: IpAddr) -> Self {
        Self::Network(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
            address => address,
        })
    }
}

/// The number of places.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For all peers together.
    pub(crate) places: usize,
    /// For one peer. The rest is kept for others.
    pub(crate) per_peer: usize,
    /// For one peer's connections that have waited for longer than two seconds.
    pub(crate) stalled_per_peer: usize,
    /// The number of connections that may wait for a place.
    pub(crate) waiting: usize,
}

/// The lack of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The peer has all places that it may have. Another may get one.
    Peer,
    /// All places are taken.
    All,
}

impl Limits {
    /// `places` for several peers: one gets seven eighths at most, and a quarter at most for connections that
    /// wait.
    pub(crate) const fn shared(places: usize, waiting: usize) -> Self {
        Self { places, per_peer: places - places / 8, stalled_per_peer: places / 4, waiting }
    }

    /// `places` for one peer.
    pub(crate) const fn alone(places: usize) -> Self {
        Self { places, per_peer: places, stalled_per_peer: places, waiting: 8 * places }
    }
}

/// The greatest number of connections that have one of `places`, or had one: a connection that lost its place
/// needs a moment to end.
const fn open(places: usize) -> usize {
    places + places.div_ceil(8)
}

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    limits: Limits,
    /// Every connection that has not ended has one, even if it lost its place.
    seats: Mutex<Vec<Arc<Seat>>>,
    /// Notified when a connection has ended.
    ended: Notify,
    /// The origin of all instants here.
    begin: Instant,
    closed: AtomicU64,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            seats: Mutex::default(),
            ended: Notify::new(),
            begin: Instant::now(),
            closed: AtomicU64::new(0),
        })
    }

    /// A place for a connection of `peer`. If all are taken, [the first to go](first_to_go) makes room, if it
    /// has waited for a moment.
    pub(super) fn take(self: &Arc<Self>, peer: Peer) -> Result<Place, Full> {
        let mut seats = self.seats();
        if seats.len() >= open(self.limits.places) {
            return Err(Full::All);
        }
        if seats.iter().filter(|seat| seat.peer == peer).count() >= open(self.limits.per_peer) {
            return Err(Full::Peer);
        }
        let all: Vec<_> = seats.iter().filter(|seat| !seat.is_lost()).collect();
        let own: Vec<_> = all.iter().copied().filter(|seat| seat.peer == peer).collect();
        let (candidates, full) = if own.len() >= self.limits.per_peer {
            (own, Full::Peer)
        } else if all.len() >= self.limits.places {
            (all, Full::All)
        } else {
            (Vec::new(), Full::All)
        };
        if !candidates.is_empty() {
            let now = self.now();
            let (since, seat) = first_to_go(&candidates, now).ok_or(full)?;
            if now.saturating_sub(since) < millis(GRACE) {
                return Err(full);
            }
            self.close(seat);
        }
        let seat = Arc::new(Seat::new(peer));
        seats.push(Arc::clone(&seat));
        Ok(Place { seat, places: Arc::clone(self) })
    }

    /// Waits until there may be a place where there was none: a connection has ended, or one may have waited
    /// for long enough.
    pub(super) async fn changed(&self) {
        let _ = timeout(GRACE / 4, self.ended.notified()).await;
    }

    /// Closes, again and again, connections that have waited too long beyond the number that their peer may
    /// have, and now and then tells how many.
    pub(super) async fn watch(&self) {
        let (mut looks, mut look) = (0_u32, interval(EVERY));
        loop {
            look.tick().await;
            self.close_stalled();
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(LOOKS_PER_LINE) {
                self.tell();
            }
        }
    }

    /// Closes, again and again, every connection that has waited for two seconds since this began: at the end
    /// nobody waits for what may never come.
    pub(super) async fn end_waiting(&self) {
        let (begin, mut look) = (self.now(), interval(GRACE));
        loop {
            look.tick().await;
            self.close_waiting(begin);
        }
    }

    fn close_waiting(&self, begin: u64) {
        let seats = self.seats();
        let now = self.now();
        let waits = |seat: &Seat| {
            seat.waits_since().is_some_and(|at| now.saturating_sub(at.max(begin)) >= millis(STALLED))
        };
        for seat in seats.iter().filter(|seat| !seat.is_lost() && waits(seat)) {
            self.close(seat);
        }
    }

    fn close_stalled(&self) {
        let seats = self.seats();
        let since = self.now().saturating_sub(millis(STALLED));
        let held = seats.iter().filter(|seat| !seat.is_lost());
        let mut stalled: Vec<_> =
            held.filter(|seat| seat.waits_since().is_some_and(|at| at <= since)).collect();
        let mut beyond = count(stalled.iter().map(|seat| seat.peer));
        beyond.values_mut().for_each(|count| *count = count.saturating_sub(self.limits.stalled_per_peer));
        stalled.sort_by_key(|seat| seat.waits_since());
        for seat in stalled {
            if let Some(left @ 1..) = beyond.get_mut(&seat.peer) {
                *left -= 1;
                self.close(seat);
            }
        }
    }

    /// Writes one line with the number of closed connections.
    pub(super) fn tell(&self) {
        let closed = self.closed.swap(0, Ordering::Relaxed);
        if closed > 0 {
            tracing::warn!(
                connections = closed,
                "connections were closed: their peers hold too many, send no request or read no answer"
            );
        }
    }

    /// Counts a connection that was closed before it had a place.
    pub(super) fn turned_away(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    fn close(&self, seat: &Seat) {
        self.closed.fetch_add(1, Ordering::Relaxed);
        seat.lost.store(true, Ordering::Relaxed);
        seat.out.notify_one();
    }

    fn now(&self) -> u64 {
        millis(self.begin.elapsed())
    }

    fn seats(&self) -> MutexGuard<'_, Vec<Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection that has waited longest, of the peer with the most waiting connections; and since when it
/// waits. Connections that have just been answered and have received nothing since go last: their client may
/// send the next request before it learns that they are closed.
fn first_to_go<'a>(seats: &[&'a Arc<Seat>], now: u64) -> Option<(u64, &'a Arc<Seat>)> {
    [false, true].into_iter().find_map(|idle| {
        let waiting = || {
            let waiting = seats.iter().filter_map(|seat| Some((seat.waits_since()?, *seat)));
            waiting.filter(|(since, seat)| idle == seat.is_idle(*since, now))
        };
        let counts = count(waiting().map(|(_, seat)| seat.peer));
        let most = counts.values().max().copied();
        waiting().filter(|(_, seat)| counts.get(&seat.peer).copied() == most).min_by_key(|(since, _)| *since)
    })
}

fn count<T: Ord>(all: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    all.for_each(|one| *counts.entry(one).or_default() += 1);
    counts
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

/// An instant that never comes.
const NEVER: u64 = u64::MAX;
/// An instant that is not known yet, because nobody has looked whether the client has sent anything.
const NOT_YET: u64 = NEVER - 1;

/// The state of a connection.
#[derive(Debug)]
struct Seat {
    peer: Peer,
    /// The instant since which the client owes the rest of a request.
    owes: AtomicU64,
    /// The instant since which the client does not read its answer.
    unread: AtomicU64,
    /// Whether the client was answered, and has sent nothing since.
    answered: AtomicBool,
    /// Whether the place was given to another connection.
    lost: AtomicBool,
    out: Notify,
}

impl Seat {
    fn new(peer: Peer) -> Self {
        Self {
            peer,
            owes: AtomicU64::new(NOT_YET),
            unread: AtomicU64::new(NEVER),
            answered: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            out: Notify::new(),
        }
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    fn waits_since(&self) -> Option<u64> {
        let since = self.owes.load(Ordering::Relaxed).min(self.unread.load(Ordering::Relaxed));
        (since < NOT_YET).then_some(since)
    }

    /// Whether the connection has been between two requests for a short time only.
    fn is_idle(&self, since: u64, now: u64) -> bool {
        let unread = self.unread.load(Ordering::Relaxed) != NEVER;
        self.answered.load(Ordering::Relaxed) && !unread && now.saturating_sub(since) < millis(STALLED)
    }

    fn has_request(&self) -> bool {
        self.owes.load(Ordering::Relaxed) == NEVER && self.waits_since().is_none()
    }
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    seat: Arc<Seat>,
    places: Arc<Places>,
}

impl Place {
    /// Ends once the place was given to another connection.
    pub(super) async fn lost(&self) {
        self.seat.out.notified().await;
    }

    /// Whether there is a whole request that is not answered.
    pub(super) fn has_request(&self) -> bool {
        self.seat.has_request()
    }

    /// The reporter with which the connection tells its progress.
    pub(super) fn progress(&self) -> Progress {
        Progress { seat: Arc::clone(&self.seat), places: Arc::clone(&self.places) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.seats().retain(|seat| !Arc::ptr_eq(seat, &self.seat));
        self.places.ended.notify_one();
    }
}

/// The reporter of one connection's progress.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    seat: Arc<Seat>,
    places: Arc<Places>,
}

impl Progress {
    /// The client has sent nothing that can be read now.
    pub(super) fn nothing_to_read(&self) {
        let owes = &self.seat.owes;
        let now = self.places.now();
        let _ = owes.compare_exchange(NOT_YET, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The client has sent something.
    pub(super) fn something_to_read(&self) {
        self.seat.answered.store(false, Ordering::Relaxed);
    }

    /// The client has sent a whole request.
    pub(super) fn request_in_hand(&self) {
        self.seat.owes.store(NEVER, Ordering::Relaxed);
    }

    /// There is an answer. The next request may have arrived already. Returns whether the connection has lost
    /// its place meanwhile, so that this answer is its last one.
    pub(super) fn answered(&self) -> bool {
        self.seat.answered.store(true, Ordering::Relaxed);
        self.seat.owes.store(NOT_YET, Ordering::Relaxed);
        self.seat.is_lost()
    }

    /// The client does not read its answer at the moment.
    pub(super) fn unread(&self) {
        self.seat.unread.store(self.places.now(), Ordering::Relaxed);
    }

    /// The client has read all of its answer.
    pub(super) fn read(&self) {
        self.seat.unread.store(NEVER, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
