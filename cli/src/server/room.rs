//! The room in which accepted connections wait for a place.
//!
//! Each peer has a line of its own, and the peers take turns. So a peer with all its places keeps no other
//! waiting, however many more connections it opens.

use std::{collections::VecDeque, sync::Arc};

use super::places::{Full, Peer, Place, Places};

/// Connections without a place. Nothing of them is read.
#[derive(Debug)]
pub(super) struct Room<S> {
    limit: usize,
    /// None of them is empty.
    lines: VecDeque<Line<S>>,
}

/// The connections of one peer. The first came first.
#[derive(Debug)]
struct Line<S> {
    peer: Peer,
    waiting: VecDeque<S>,
}

impl<S> Room<S> {
    /// An empty room for `limit` connections.
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, lines: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Lets one more connection in. If that is one too many, the last of the longest line has to go: the
    /// return value.
    pub(super) fn enter(&mut self, peer: Peer, stream: S) -> Option<S> {
        match self.lines.iter_mut().find(|line| line.peer == peer) {
            Some(line) => line.waiting.push_back(stream),
            None => self.lines.push_back(Line { peer, waiting: VecDeque::from([stream]) }),
        }
        let waiting: usize = self.lines.iter().map(|line| line.waiting.len()).sum();
        if waiting <= self.limit {
            return None;
        }
        let longest = self.lines.iter_mut().max_by_key(|line| line.waiting.len())?;
        let last = longest.waiting.pop_back();
        self.lines.retain(|line| !line.waiting.is_empty());
        last
    }

    /// The next connection that gets a place.
    pub(super) fn next(&mut self, places: &Arc<Places>) -> Option<(S, Place)> {
        for _ in 0..self.lines.len() {
            match places.take(self.lines.front()?.peer) {
                Ok(place) => {
                    let mut line = self.lines.pop_front()?;
                    let stream = line.waiting.pop_front()?;
                    if !line.waiting.is_empty() {
                        self.lines.push_back(line);
                    }
                    return Some((stream, place));
                }
                Err(Full::Peer) => self.lines.rotate_left(1),
                Err(Full::All) => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{super::places::Limits, *};

    fn peer(number: u8) -> Peer {
        Peer::at(Ipv4Addr::new(192, 0, 2, number).into())
    }

    /// Those that get a place, in their order.
    fn admitted(room: &mut Room<&'static str>, places: &Arc<Places>) -> (Vec<&'static str>, Vec<Place>) {
        std::iter::from_fn(|| room.next(places)).unzip()
    }

    #[test]
    fn a_peer_with_all_its_places_waits_alone_and_peers_take_turns() {
        let places = Places::new(Limits { places: 8, per_peer: 5, stalled_per_peer: 5, waiting: 20 });
        let mut room = Room::new(20);
        for (number, stream) in [(1, "1a"), (1, "1b"), (1, "1c"), (1, "1d"), (1, "1e"), (1, "1f"), (2, "2a")]
        {
            assert_eq!(room.enter(peer(number), stream), None);
        }
        let (first, held) = admitted(&mut room, &places);
        assert_eq!(first, ["1a", "2a", "1b", "1c", "1d", "1e"]);
        for (number, stream) in [(3, "3a"), (3, "3b"), (2, "2b"), (2, "2c")] {
            assert_eq!(room.enter(peer(number), stream), None);
        }
        let (second, _held) = admitted(&mut room, &places);
        assert_eq!(second, ["3a", "2b"], "then all places are taken");
        drop(held);
        assert_eq!(admitted(&mut room, &places).0, ["3b", "2c", "1f"]);
        assert!(room.is_empty());
    }

    #[test]
    fn the_last_of_the_longest_line_leaves_a_full_room() {
        let mut room = Room::new(4);
        for (number, stream, leaves) in [
            (1, "1a", None),
            (1, "1b", None),
            (1, "1c", None),
            (1, "1d", None),
            (1, "1e", Some("1e")),
            (2, "2a", Some("1d")),
            (3, "3a", Some("1c")),
            (2, "2b", Some("2b")),
            (4, "4a", Some("1b")),
            (5, "5a", Some("5a")),
        ] {
            assert_eq!(room.enter(peer(number), stream), leaves, "{stream}");
        }
        let places = Places::new(Limits::alone(16));
        assert_eq!(admitted(&mut room, &places).0, ["1a", "2a", "3a", "4a"]);
    }
}
