//! How many guests wait for certificates of new chips, each workload's within bounds: a request that waits
//! takes one of the places that a process has for work.

use std::{collections::HashMap, sync::Mutex};

use super::queue::Requester;
use crate::lock::lock;

/// Guests of one workload. All that a host starts at once are on one chip, and wait together.
pub(super) const OF_ONE_WORKLOAD: usize = 256;
/// Guests in all: fewer than a process works for at once.
pub(super) const IN_ALL: usize = 768;

/// Guests that wait, by workload.
#[derive(Debug, Default)]
pub(super) struct WaitingGuests(Mutex<HashMap<Requester, usize>>);

/// One of them, while this lives.
#[derive(Debug)]
pub(crate) struct WaitingGuest<'a> {
    all: &'a WaitingGuests,
    requester: Requester,
}

impl WaitingGuests {
    /// One more, if there is room.
    pub(super) fn enter(&self, requester: Requester) -> Option<WaitingGuest<'_>> {
        let mut waiting = lock(&self.0);
        let own = waiting.get(&requester).copied().unwrap_or_default();
        if own >= OF_ONE_WORKLOAD || waiting.values().sum::<usize>() >= IN_ALL {
            return None;
        }
        waiting.insert(requester.clone(), own + 1);
        Some(WaitingGuest { all: self, requester })
    }
}

impl Drop for WaitingGuest<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.all.0);
        if let Some(own) = waiting.get_mut(&self.requester) {
            *own -= 1;
            if *own == 0 {
                waiting.remove(&self.requester);
            }
        }
    }
}
