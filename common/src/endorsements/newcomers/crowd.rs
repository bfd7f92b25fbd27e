//! How many guests wait for certificates of new chips, each workload's within bounds: a request that waits
//! takes one of the places that a process has for work.

use std::{collections::HashMap, sync::Mutex};

use super::{super::lock, line::Party};

/// Guests of one workload. All that a host starts at once are of one chip, and wait together.
pub(super) const OF_ONE: usize = 256;
/// Guests in all: fewer than a process works for at once.
pub(super) const IN_ALL: usize = 768;

/// Guests that wait, by workload.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<HashMap<Party, usize>>);

/// One of them, while this lives.
#[derive(Debug)]
pub(in crate::endorsements) struct Guest<'a> {
    crowd: &'a Crowd,
    party: Party,
}

impl Crowd {
    /// One more, if there is room.
    pub(super) fn enter(&self, party: Party) -> Option<Guest<'_>> {
        let mut waiting = lock(&self.0);
        let own = waiting.get(&party).copied().unwrap_or_default();
        if own >= OF_ONE || waiting.values().sum::<usize>() >= IN_ALL {
            return None;
        }
        waiting.insert(party.clone(), own + 1);
        Some(Guest { crowd: self, party })
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.crowd.0);
        if let Some(own) = waiting.get_mut(&self.party) {
            *own -= 1;
            if *own == 0 {
                waiting.remove(&self.party);
            }
        }
    }
}
