//! Where AMD's certificates come from: the process's cache, what the guest sent, the shared store, AMD's KDS;
//! in this order.
//!
//! A chain is kept, in memory and in the store, once a report was verified under it, and verified again when
//! it is read from the store. A chain that is expired, or that has an issuer which a list in hand revokes, is
//! as good as none, wherever it is kept. Nothing here decides about validity or revocation:
//! [`keybroker_snp::verify`] looks at both.

mod at_hand;
mod fetch;
mod issuers;
mod keep;
mod operators;
pub(crate) mod parsed;
mod prefetch;
mod revocation;

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Mutex},
    time::Duration,
};

use cached::{Cached, LruCache};
use jiff::Timestamp;
use keybroker_common::{
    broker::Presented,
    clock::{Clock, seconds_until},
    config::KdsSettings,
    ids::WorkloadId,
    metrics::{self, Count, Stage},
    store::EndorsementStore,
};
use keybroker_snp::{
    anchors::TrustAnchors,
    certificate::{CertificateError, Defect},
    chain::Chain,
    verify::Endorsements,
};
use tokio::time::timeout;

pub use self::{
    at_hand::Found,
    issuers::chain_key,
    operators::CHANGED_KEY,
    prefetch::Fetched,
    revocation::{crl_key, revoking_key},
};

use self::{
    fetch::FetchedChain,
    issuers::Issuers,
    operators::Operators,
    revocation::{Lists, RevocationLists},
};
use crate::{
    client::Kds,
    error::EndorsementError,
    lock::lock,
    pacing::{Backoff, Leases, NewChipLimiter, SingleFlight},
    vcek_id::VcekId,
};

/// Finding all that one report needs may take this long, the wait in the queue of new chips included: a guest
/// waits for a minute, API Gateway for half of one.
const BUDGET: Duration = Duration::from_secs(25);
/// Chips, and VLEKs sent by guests, that a process remembers.
const CACHED_CHAINS: usize = 4096;

/// Where a chain came from.
#[derive(Debug)]
enum Origin {
    /// This process's memory: a report was verified under it before.
    Memory,
    /// The table.
    Table,
    /// The guest.
    Guest,
    /// AMD, a moment ago. The lease under this key is to be ended.
    Amd { lease: Option<String> },
}

/// Endorsements for one report. New ones are kept once the report was verified under them, and not before:
/// see [`EndorsementSource::settle`].
#[derive(Debug)]
pub struct Obtained {
    endorsements: Endorsements,
    origin: Origin,
}

impl Deref for Obtained {
    type Target = Endorsements;

    fn deref(&self) -> &Endorsements {
        &self.endorsements
    }
}

/// Finds endorsements and remembers them.
pub struct EndorsementSource {
    anchors: TrustAnchors,
    store: Arc<dyn EndorsementStore>,
    clock: Arc<dyn Clock>,
    kds: Kds,
    known_chips_only: bool,
    /// Chains of chips that a report was verified under.
    chips: Mutex<LruCache<VcekId, Arc<Chain>>>,
    /// The same for VLEKs, by SHA-256 of the certificate.
    vleks: Mutex<LruCache<[u8; 32], Arc<Chain>>>,
    /// The chains that AMD sent a moment ago, so that guests who came together ask once.
    fetched: Mutex<LruCache<VcekId, FetchedChain>>,
    issuers: Issuers,
    operators: Operators,
    revocation: RevocationLists,
    backoff: Backoff,
    new_chips: NewChipLimiter,
    single_flight: SingleFlight,
    leases: Leases,
}

impl fmt::Debug for EndorsementSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndorsementSource").field("anchors", &self.anchors).finish_non_exhaustive()
    }
}

impl EndorsementSource {
    /// A source that trusts `anchors` and nothing else.
    pub fn new(
        anchors: TrustAnchors,
        store: Arc<dyn EndorsementStore>,
        clock: Arc<dyn Clock>,
        settings: &KdsSettings,
    ) -> Self {
        let new_chips = NewChipLimiter::new(settings.new_chips, &settings.kds_url, Arc::clone(&clock));
        let leases = Leases::new(Arc::clone(&store), Arc::clone(&clock));
        Self {
            anchors,
            store,
            clock,
            kds: Kds::new(settings.kds_url.as_str(), settings.kds_authorities.as_slice()),
            known_chips_only: settings.known_chips_only,
            chips: Mutex::new(LruCache::new(CACHED_CHAINS)),
            vleks: Mutex::new(LruCache::new(CACHED_CHAINS)),
            fetched: Mutex::new(LruCache::new(CACHED_CHAINS)),
            issuers: Issuers::default(),
            operators: Operators::default(),
            revocation: RevocationLists::new(settings.crl_max_age),
            backoff: Backoff::default(),
            new_chips,
            single_flight: SingleFlight::default(),
            leases,
        }
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The chain, from AMD if none that holds is at hand, and the revocation lists of its ARK. A chip that
    /// nobody has seen takes its turn among those of `workload`. Call it only for a guest with an open
    /// challenge and a report that was not refused early, and call [`EndorsementSource::settle`] after it.
    pub async fn obtain(
        &self,
        presented: &Presented<'_>,
        at_hand: Option<Found>,
        workload: &WorkloadId,
    ) -> Result<Obtained, EndorsementError> {
        let found = timeout(BUDGET, self.find(presented, at_hand, workload)).await;
        found.unwrap_or_else(|_| Err(EndorsementError::not_now("AMD's KDS is slow")))
    }

    /// Forgets all certificates, and looks at the revocation lists in the table again before the next
    /// release: somebody has changed the table. A list stays, unless its row is gone, until there is a later
    /// one.
    pub fn forget(&self) {
        lock(&self.chips).cache_clear();
        lock(&self.vleks).cache_clear();
        lock(&self.fetched).cache_clear();
        self.issuers.forget();
        self.backoff.forget();
        self.revocation.look_again();
    }

    async fn find(
        &self,
        presented: &Presented<'_>,
        at_hand: Option<Found>,
        workload: &WorkloadId,
    ) -> Result<Obtained, EndorsementError> {
        let (mut chain, mut origin) = match self.best_at_hand(presented, at_hand).await? {
            Some((chain, origin)) if self.holds(&chain) => {
                metrics::count(Count::KdsHit);
                (chain, origin)
            }
            poor => self.ask_amd(presented, workload, poor).await?,
        };
        let mut lists = self.revocation_lists(&chain, &origin).await?;
        if !self.holds(&chain) && !matches!(origin, Origin::Amd { .. }) {
            // It expired, or the list that was just renewed revokes its issuer.
            (chain, origin) = self.ask_amd(presented, workload, Some((chain, origin))).await?;
            lists = self.revocation_lists(&chain, &origin).await?;
        }
        let Lists { crl, crl_grace, further_crls } = lists;
        let endorsements = Endorsements { chain, crl, crl_grace, further_crls };
        Ok(Obtained { endorsements, origin })
    }

    /// Asks AMD. Where that is out of the question, or brings nothing, `poor` is the answer: what was at hand
    /// and does not hold. Verification refuses it, and says why.
    async fn ask_amd(
        &self,
        presented: &Presented<'_>,
        workload: &WorkloadId,
        poor: Option<(Arc<Chain>, Origin)>,
    ) -> Result<(Arc<Chain>, Origin), EndorsementError> {
        metrics::count(Count::KdsMiss);
        match (metrics::timed(Stage::Kds, self.fetch(presented, workload)).await, poor) {
            (Err(error), Some(poor)) if !error.is_passing() => Ok(poor),
            (fetched, _) => fetched,
        }
    }

    async fn revocation_lists(&self, chain: &Chain, origin: &Origin) -> Result<Lists, EndorsementError> {
        let lists = self.crl(chain.vek().product, chain.vek().kind()).await;
        if lists.is_err() {
            self.release(origin).await;
        }
        lists
    }

    /// Whether verification would find nothing wrong with the chain now, or in a moment, as far as the lists
    /// in hand tell. If not it is as good as not at hand.
    fn holds(&self, chain: &Chain) -> bool {
        let now = self.now();
        let valid = match chain.check_validity(now) {
            Err(CertificateError { defect: Defect::NotYetValid(from), .. }) => {
                seconds_until(from, now).is_some()
            }
            other => other.is_ok(),
        };
        valid && !self.revocation.lists(chain.intermediate())
    }
}
