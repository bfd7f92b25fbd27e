//! How fast one process asks AMD for chips that nobody has seen, and for whom first.
//!
//! Whoever knows a workload's id and measurement can make up reports that pass every check which needs no
//! certificate, each of another chip. AMD answers about one request for a VCEK per ten seconds and address,
//! and turns away what is beyond that, for some time and whoever asks: were each of those chips asked for,
//! none that is real would get its turn. A chip that was seen is in the cache or the table and never comes
//! here, and neither does one that AMD said it does not know a while ago.
//!
//! What tells the real ones apart is that their reports are verified in the end. So the first report of a
//! chip that is verified gives back what was charged for it, and a chip of which one was verified is not
//! charged for newer firmware.

mod crowd;
mod line;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use cached::{Cached, LruCache};
use jiff::{SignedDuration, Timestamp};
use reqwest::Url;

use self::{
    crowd::{Crowd, Guest},
    line::{Line, Party, Place},
};
use super::{EndorsementError, lock, patience};
use crate::{
    bucket::Rate,
    clock::Clock,
    endorsements::kds::{Kds, VcekId},
    ids::WorkloadId,
};
use keybroker_snp::product::TcbVersion;

/// For how long a chip that was charged for is not charged for again: as long as AMD's word that it knows
/// none is believed.
const CHARGED_FOR: SignedDuration = SignedDuration::from_mins(10);
/// How many times in an hour a chip of which a report was verified is asked for at newer firmware without a
/// charge.
const PASSES: usize = 2;
/// The hour.
const PASSES_WITHIN: SignedDuration = SignedDuration::from_hours(1);
/// Chips remembered as charged for, and as verified.
const CHIPS: usize = 4096;

/// What an operator says of the pace at which chips that nobody has seen are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewChips {
    /// How many a minute for long; 0 for as many as come. Without it [`NewChips::PER_MINUTE`] of AMD's own
    /// KDS, and of another as many as come, unless `burst` is given.
    pub per_minute: Option<u32>,
    /// How many at once, after a while without any. Without it [`NewChips::BURST`].
    pub burst: Option<u32>,
}

impl NewChips {
    /// As fast as AMD answers for long.
    pub const PER_MINUTE: u32 = 6;
    /// Some hosts that are put into service together.
    pub const BURST: u32 = 8;
    /// The fastest pace that is one.
    pub const MAX_PER_MINUTE: u32 = 6000;
    /// The largest burst: it also bounds how many workloads are told apart.
    pub const MAX_BURST: u32 = 1000;

    /// The pace at which the service at `kds_url` is asked; `None`: any.
    fn rate(self, kds_url: &str) -> Option<Rate> {
        let per_minute = match (self.per_minute, self.burst) {
            (Some(0), _) => return None,
            (None, None) if !is_amds(kds_url) => return None,
            (per_minute, _) => per_minute.unwrap_or(Self::PER_MINUTE).min(Self::MAX_PER_MINUTE),
        };
        let burst = self.burst.unwrap_or(Self::BURST).clamp(1, Self::MAX_BURST);
        let every = SignedDuration::from_millis(60_000 / i64::from(per_minute));
        Some(Rate::new(every, i32::try_from(burst).unwrap_or(i32::MAX)))
    }
}

/// Whether it is AMD that is asked, however its name is spelt.
fn is_amds(kds_url: &str) -> bool {
    let host = |url: &str| {
        let url = Url::parse(url).ok()?;
        Some(url.host_str()?.trim_end_matches('.').to_owned())
    };
    host(kds_url) == host(Kds::AMD)
}

/// A chip at a TCB. Which product it is of is not known of every report, and does not make it two.
type ChipAtTcb = (Vec<u8>, TcbVersion);

/// Room for requests of new chips.
#[derive(Debug)]
pub(super) struct Newcomers {
    line: Line,
    crowd: Crowd,
    clock: Arc<dyn Clock>,
    charged: Mutex<LruCache<ChipAtTcb, Charge>>,
    verified: Mutex<LruCache<Vec<u8>, Verified>>,
}

/// That a chip was charged for.
#[derive(Debug, Clone)]
struct Charge {
    at: Timestamp,
    /// Who gets it back once the chip is known to be one.
    party: Party,
}

/// A chip of which a report was verified.
#[derive(Debug, Clone)]
struct Verified {
    tcb: TcbVersion,
    /// When it was let through without a charge.
    passes: Vec<Timestamp>,
}

/// What asking for a chip costs, while it is asked for. If AMD is not asked in the end, it costs nothing.
#[derive(Debug)]
pub(super) struct Fare<'a> {
    newcomers: &'a Newcomers,
    _place: Place<'a>,
    charge: Option<(ChipAtTcb, Party)>,
}

impl Newcomers {
    pub(super) fn new(new_chips: NewChips, kds_url: &str, clock: Arc<dyn Clock>) -> Self {
        Self {
            line: Line::new(new_chips.rate(kds_url), Arc::clone(&clock)),
            crowd: Crowd::default(),
            clock,
            charged: Mutex::new(LruCache::new(CHIPS)),
            verified: Mutex::new(LruCache::new(CHIPS)),
        }
    }

    /// Lets a guest wait for a chip's certificate, with others of its chip or for its turn, unless too many
    /// do.
    pub(super) fn enter(&self, party: Option<&WorkloadId>) -> Result<Guest<'_>, EndorsementError> {
        let full = EndorsementError::TooManyNewChips { retry_after: patience::SHORT };
        self.crowd.enter(party.cloned()).ok_or(full)
    }

    /// Waits in line until `id` may be asked for.
    pub(super) async fn admit(
        &self,
        id: &VcekId,
        party: Option<&WorkloadId>,
    ) -> Result<Fare<'_>, EndorsementError> {
        let chip = (id.hwid().to_vec(), id.tcb());
        let party = party.cloned();
        let free = !self.line.has_a_pace() || self.is_charged(&chip) || self.has_a_pass(id, &party);
        let place = self.line.turn(&party, free).await;
        let place = place.map_err(|retry_after| EndorsementError::TooManyNewChips { retry_after })?;
        let charge = (!free).then_some((chip, party));
        Ok(Fare { newcomers: self, _place: place, charge })
    }

    /// A report of this chip was verified: it is real, and so is its firmware.
    pub(super) fn note_verified(&self, id: &VcekId) {
        if !self.line.has_a_pace() {
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
        // Once for a chip: whoever has one can have it report many a TCB.
        let charge = lock(&self.charged).cache_get(&(id.hwid().to_vec(), id.tcb())).cloned();
        if let Some(charge) = charge.filter(|charge| self.counts(charge)) {
            self.line.put_back(&charge.party);
        }
    }

    fn remember(&self, chip: ChipAtTcb, party: Party) {
        lock(&self.charged).cache_set(chip, Charge { at: self.clock.now(), party });
    }

    fn is_charged(&self, chip: &ChipAtTcb) -> bool {
        let charge = lock(&self.charged).cache_get(chip).cloned();
        charge.is_some_and(|charge| self.counts(&charge))
    }

    /// A time in the future is a clock's that was put right since.
    fn counts(&self, charge: &Charge) -> bool {
        within(charge.at, CHARGED_FOR, self.clock.now())
    }

    /// Whether the chip has newer firmware than a report of it that was verified, and was let through seldom
    /// enough. Counts as once more.
    fn has_a_pass(&self, id: &VcekId, party: &Party) -> bool {
        let now = self.clock.now();
        let mut verified = lock(&self.verified);
        let Some(known) = verified.cache_get_mut(id.hwid()) else { return false };
        known.passes.retain(|at| within(*at, PASSES_WITHIN, now));
        let passes = id.tcb().at_least(&known.tcb) && known.passes.len() < PASSES;
        if passes {
            known.passes.push(now);
            drop(verified);
            // Nor does it cost another pass if AMD fails and the guest comes again.
            self.remember((id.hwid().to_vec(), id.tcb()), party.clone());
        }
        passes
    }
}

fn within(at: Timestamp, time: SignedDuration, now: Timestamp) -> bool {
    at <= now && now.duration_since(at) < time
}

impl Fare<'_> {
    /// AMD is about to be asked: the charge stands.
    pub(super) fn pay(&mut self) {
        if let Some((chip, party)) = self.charge.take() {
            self.newcomers.remember(chip, party);
        }
    }
}

impl Drop for Fare<'_> {
    fn drop(&mut self) {
        if let Some((_, party)) = self.charge.take() {
            self.newcomers.line.put_back(&party);
        }
    }
}
