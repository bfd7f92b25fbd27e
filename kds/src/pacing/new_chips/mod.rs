//! How fast one process asks KDS for chips that nobody has seen, and for which workload first.
//!
//! Anybody who knows a workload's id and measurement can make up reports that pass every check which needs no
//! certificate, each of another chip. KDS answers about one request for a VCEK in ten seconds and address. It
//! turns away what is beyond that, for some time and for everybody at this address. If the broker asked for
//! each of those chips, no real chip would get its turn. A chip that was seen is in the cache or the table
//! and never comes here. Neither does one that KDS did not know a while ago.
//!
//! The real chips are those whose reports are verified in the end. So the first verified report of a chip
//! gives back what was charged for it, and a chip with a verified report is not charged for newer firmware.

mod guests;
mod queue;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use cached::{Cached, LruCache};
use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    bucket::Rate,
    clock::{Clock, is_recent},
    config::{KdsSettings, NewChips},
    ids::WorkloadId,
};
use keybroker_snp::product::TcbVersion;
use reqwest::Url;

use self::{
    guests::{WaitingGuest, WaitingGuests},
    queue::{Place, Queue, Requester},
};
use crate::{
    error::{EndorsementError, RETRY_AFTER},
    lock::lock,
    vcek_id::VcekId,
};

/// For how long a chip that was charged for is not charged for again: as long as a 404 is remembered.
const CHARGED_FOR: SignedDuration = SignedDuration::from_mins(10);
/// How many times in an hour a chip with a verified report is asked for at newer firmware without a charge.
const PASSES: usize = 2;
/// The hour.
const PASSES_WITHIN: SignedDuration = SignedDuration::from_hours(1);
/// Chips remembered as charged for, and as verified.
const CHIPS: usize = 4096;

/// The pace at which the service at `kds_url` is asked; `None`: any.
fn rate(new_chips: NewChips, kds_url: &str) -> Option<Rate> {
    let per_minute = match (new_chips.per_minute, new_chips.burst) {
        (Some(0), _) => return None,
        (None, None) if !is_amds(kds_url) => return None,
        (per_minute, _) => per_minute.unwrap_or(NewChips::PER_MINUTE).min(NewChips::MAX_PER_MINUTE),
    };
    let burst = new_chips.burst.unwrap_or(NewChips::BURST).clamp(1, NewChips::MAX_BURST);
    let every = SignedDuration::from_millis(60_000 / i64::from(per_minute));
    Some(Rate::new(every, i32::try_from(burst).unwrap_or(i32::MAX)))
}

/// Whether it is AMD that is asked, however its name is spelt.
fn is_amds(kds_url: &str) -> bool {
    let host = |url: &str| {
        let url = Url::parse(url).ok()?;
        Some(url.host_str()?.trim_end_matches('.').to_owned())
    };
    host(kds_url) == host(KdsSettings::AMD)
}

/// A chip at a TCB. Which product it is of is not known of every report, and does not make it two.
type ChipAtTcb = (Vec<u8>, TcbVersion);

/// Lets requests for new chips through, in turn and at a pace.
#[derive(Debug)]
pub(crate) struct NewChipLimiter {
    queue: Queue,
    guests: WaitingGuests,
    clock: Arc<dyn Clock>,
    charged: Mutex<LruCache<ChipAtTcb, Charge>>,
    verified: Mutex<LruCache<Vec<u8>, Verified>>,
}

/// The proof that a chip was charged for.
#[derive(Debug, Clone)]
struct Charge {
    at: Timestamp,
    /// The workload that gets it back once the chip is known to be real.
    requester: Requester,
}

/// A chip with a verified report.
#[derive(Debug, Clone)]
struct Verified {
    tcb: TcbVersion,
    /// When it was let through without a charge.
    passes: Vec<Timestamp>,
}

/// Leave to ask KDS for one chip, while this lives. If KDS is not asked in the end, it costs nothing.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    limiter: &'a NewChipLimiter,
    _place: Place<'a>,
    charge: Option<(ChipAtTcb, Requester)>,
}

impl NewChipLimiter {
    pub(crate) fn new(new_chips: NewChips, kds_url: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            queue: Queue::new(rate(new_chips, kds_url), Arc::clone(&clock)),
            guests: WaitingGuests::default(),
            clock,
            charged: Mutex::new(LruCache::new(CHIPS)),
            verified: Mutex::new(LruCache::new(CHIPS)),
        }
    }

    /// Lets a guest wait for a chip's certificate, with others of its chip or for its turn, unless too many
    /// guests wait already.
    pub(crate) fn enter(&self, requester: Option<&WorkloadId>) -> Result<WaitingGuest<'_>, EndorsementError> {
        let full = EndorsementError::TooManyNewChips { retry_after: RETRY_AFTER };
        self.guests.enter(requester.cloned()).ok_or(full)
    }

    /// Waits in the queue until `id` may be asked for.
    pub(crate) async fn admit(
        &self,
        id: &VcekId,
        requester: Option<&WorkloadId>,
    ) -> Result<Permit<'_>, EndorsementError> {
        let chip = (id.hwid().to_vec(), id.tcb());
        let requester = requester.cloned();
        let free = !self.queue.has_a_pace() || self.is_charged(&chip) || self.has_a_pass(id, &requester);
        let place = self.queue.turn(&requester, free).await;
        let place = place.map_err(|retry_after| EndorsementError::TooManyNewChips { retry_after })?;
        let charge = (!free).then_some((chip, requester));
        Ok(Permit { limiter: self, _place: place, charge })
    }

    /// A report of this chip was verified: it is real, and so is its firmware.
    pub(crate) fn note_verified(&self, id: &VcekId) {
        if !self.queue.has_a_pace() {
            return;
        }
        let mut verified = lock(&self.verified);
        if let Some(known) = verified.cache_get_mut(id.hwid()) {
            if id.tcb().at_least(&known.tcb) {
                known.tcb = id.tcb();
            }
            return;
        }
        verified.cache_set(id.hwid().to_vec(), Verified { tcb: id.tcb(), passes: Vec::new() });
        drop(verified);
        // Once for a chip: its owner can have it report many a TCB.
        let charge = lock(&self.charged).cache_get(&(id.hwid().to_vec(), id.tcb())).cloned();
        if let Some(charge) = charge.filter(|charge| self.counts(charge)) {
            self.queue.put_back(&charge.requester);
        }
    }

    fn remember(&self, chip: ChipAtTcb, requester: Requester) {
        lock(&self.charged).cache_set(chip, Charge { at: self.clock.now(), requester });
    }

    fn is_charged(&self, chip: &ChipAtTcb) -> bool {
        let charge = lock(&self.charged).cache_get(chip).cloned();
        charge.is_some_and(|charge| self.counts(&charge))
    }

    /// Whether the chip is still charged for.
    fn counts(&self, charge: &Charge) -> bool {
        is_recent(charge.at, self.clock.now(), CHARGED_FOR)
    }

    /// Whether the chip has newer firmware than its verified report, and has a free pass left. Uses up one.
    fn has_a_pass(&self, id: &VcekId, requester: &Requester) -> bool {
        let now = self.clock.now();
        let mut verified = lock(&self.verified);
        let Some(known) = verified.cache_get_mut(id.hwid()) else { return false };
        known.passes.retain(|at| is_recent(*at, now, PASSES_WITHIN));
        let passes = id.tcb().at_least(&known.tcb) && known.passes.len() < PASSES;
        if passes {
            known.passes.push(now);
            drop(verified);
            // If KDS fails and the guest comes again, that costs no other pass.
            self.remember((id.hwid().to_vec(), id.tcb()), requester.clone());
        }
        passes
    }
}

impl Permit<'_> {
    /// KDS is about to be asked: the charge stands.
    pub(crate) fn spend(&mut self) {
        if let Some((chip, requester)) = self.charge.take() {
            self.limiter.remember(chip, requester);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some((_, requester)) = self.charge.take() {
            self.limiter.queue.put_back(&requester);
        }
    }
}
