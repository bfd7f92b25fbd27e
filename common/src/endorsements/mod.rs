//! Where AMD's certificates come from: the process's cache, what the guest sent, the shared store, AMD's KDS; in this order.
//!
//! Every certificate is verified up to a trust anchor before it is kept, and again when it is read from the store. That a
//! chain is handed out says nothing about its validity or revocation now: [`crate::snp::verify`] looks at both.

mod fetch;
mod flights;
mod issuers;
mod newcomers;
mod patience;
mod prefetch;
mod revocation;
mod turns;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cached::{Cached, LruCache};
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use self::{issuers::chain_key, prefetch::Fetched, revocation::crl_key};

use self::{flights::Flights, newcomers::Newcomers, patience::Patience, revocation::RevocationLists};
use crate::{
    clock::Clock,
    metrics::{self, Count, Stage},
    snp::{
        anchors::TrustAnchors,
        certificate::{CertificateError, EndorsementKind},
        chain::{Chain, Intermediate},
        kds::{Kds, VcekId},
        product::Product,
        report::Report,
        vek::Vek,
        verify::{Endorsements, belongs},
    },
    store::{EndorsementStore, StoreError, StoredEndorsement},
};

/// Finding all that one report needs may take this long, whatever is slow: a guest waits for a minute, a function does not
/// run for half of one.
const BUDGET: Duration = Duration::from_secs(20);
/// Chips, and certificates sent by guests, that a process remembers.
const CACHED_CHAINS: usize = 4096;

/// Why there are no endorsements for a report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndorsementError {
    /// The guest's VLEK certificate is needed, since AMD publishes none, and the guest sent none that fits.
    #[error("the report is signed with a VLEK, and the guest sent no certificate for it")]
    NoVlek,
    /// What the guest sent fits the report and does not lead to a trust anchor.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The chip id is masked, or its reported TCB is in no product's layout: no certificate can be asked for.
    #[error("the report names no chip and TCB that a certificate could be asked for")]
    NoChip,
    /// AMD's KDS knows no certificate for the chip and its TCB.
    #[error("AMD's KDS knows no certificate for this chip and TCB")]
    UnknownChip,
    /// The operator wants no new chips.
    #[error("the chip is not known, and new ones are not asked for")]
    NewChip,
    /// Other new chips were first.
    #[error("more new chips came at once than AMD's KDS is asked for")]
    TooManyNewChips {
        /// After how many seconds to try again.
        retry_after: u64,
    },
    /// Not now.
    #[error("{cause}")]
    Unavailable {
        /// After how many seconds to try again.
        retry_after: u64,
        /// Why.
        cause: String,
    },
}

/// Whose endorsements are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The report; unverified.
    pub report: &'a Report,
    /// The product that the guest claims: where to ask first if the report does not say.
    pub claimed_product: Option<Product>,
    /// Certificates that the guest sent, DER.
    pub certificates: &'a [Vec<u8>],
}

impl Request<'_> {
    /// The VCEKs that may have signed the report, the likeliest first.
    fn candidates(&self) -> Vec<VcekId> {
        if self.report.signing_key() != Some(EndorsementKind::Vcek) {
            return Vec::new();
        }
        let products = match self.report.cpuid() {
            Some((family, model)) => Product::from_cpuid(family, model).into_iter().collect(),
            None => {
                let mut products = Product::ALL.to_vec();
                products.sort_by_key(|product| Some(*product) != self.claimed_product);
                products
            }
        };
        products.into_iter().filter_map(|product| VcekId::of(self.report, product)).collect()
    }
}

/// What cache and table hold under a report's chip and TCB. A row is bytes: nothing in it was looked at.
#[derive(Debug, Default)]
pub struct LookedUp {
    chain: Option<Arc<Chain>>,
    row: Option<(VcekId, StoredEndorsement)>,
}

/// A chain that was found without asking AMD.
#[derive(Debug)]
pub struct AtHand {
    chain: Arc<Chain>,
    /// Whether the guest sent it: nobody else has it yet.
    sent: bool,
}

impl AtHand {
    /// The product of its chip.
    pub fn product(&self) -> Product {
        self.chain.vek().product
    }
}

/// What an operator may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Base URL of AMD's KDS, or of a service that answers like it.
    pub kds_url: String,
    /// Never ask for the certificate of a chip that is not in the store yet.
    pub known_chips_only: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { kds_url: Kds::AMD.to_owned(), known_chips_only: false }
    }
}

/// Finds endorsements and remembers them.
pub struct EndorsementSource {
    anchors: TrustAnchors,
    store: Arc<dyn EndorsementStore>,
    clock: Arc<dyn Clock>,
    kds: Kds,
    known_chips_only: bool,
    /// This process, as others that share the table see it.
    process: Uuid,
    chips: Mutex<LruCache<VcekId, Arc<Chain>>>,
    sent: Mutex<LruCache<[u8; 32], Arc<Chain>>>,
    intermediates: Mutex<HashMap<(Product, EndorsementKind), Arc<Intermediate>>>,
    revocation: RevocationLists,
    patience: Patience,
    newcomers: Newcomers,
    flights: Flights,
}

impl fmt::Debug for EndorsementSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndorsementSource").field("anchors", &self.anchors).finish_non_exhaustive()
    }
}

/// A poisoned cache is still a cache: what is in it was verified before it was put there.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EndorsementSource {
    /// A source that trusts `anchors` and nothing else.
    pub fn new(
        anchors: TrustAnchors,
        store: Arc<dyn EndorsementStore>,
        clock: Arc<dyn Clock>,
        settings: &Settings,
    ) -> Self {
        Self {
            anchors,
            store,
            clock,
            kds: Kds::new(settings.kds_url.as_str()),
            known_chips_only: settings.known_chips_only,
            process: Uuid::new_v4(),
            chips: Mutex::new(LruCache::new(CACHED_CHAINS)),
            sent: Mutex::new(LruCache::new(CACHED_CHAINS)),
            intermediates: Mutex::default(),
            revocation: RevocationLists::default(),
            patience: Patience::default(),
            newcomers: Newcomers::default(),
            flights: Flights::default(),
        }
    }

    /// What cache and table hold for a report. Parses and verifies no certificate, and writes nothing: whoever asks may have
    /// no open challenge.
    pub async fn look_up(&self, request: &Request<'_>) -> Result<LookedUp, EndorsementError> {
        let candidates = request.candidates();
        if let Some(chain) = candidates.iter().find_map(|id| self.cached(id)) {
            return Ok(LookedUp { chain: Some(chain), row: None });
        }
        for id in candidates {
            if let Some(row) = self.row(&id.to_string()).await?.filter(|row| !row.bytes.is_empty()) {
                return Ok(LookedUp { chain: None, row: Some((id, row)) });
            }
        }
        Ok(LookedUp::default())
    }

    /// The chain that can be had without asking AMD. Parses and verifies certificates, and writes nothing: to be called only
    /// for a guest whose challenge is open.
    pub async fn at_hand(
        &self,
        request: &Request<'_>,
        looked_up: LookedUp,
    ) -> Result<Option<AtHand>, EndorsementError> {
        if let Some(chain) = looked_up.chain {
            return Ok(Some(AtHand { chain, sent: false }));
        }
        if let Ok(Some(chain)) = self.sent(request).await {
            return Ok(Some(AtHand { chain, sent: true }));
        }
        let Some((id, row)) = looked_up.row else { return Ok(None) };
        let stored = self.stored(&id, &row).await?;
        Ok(stored.map(|chain| AtHand { chain: self.remember(&id, chain), sent: false }))
    }

    /// The chain, from AMD if it is not `at_hand`, and the revocation list of its ARK. Keeps what is new: to be called only
    /// for a guest whose challenge is open, and whose report was not refused early.
    pub async fn obtain(
        &self,
        request: &Request<'_>,
        at_hand: Option<AtHand>,
    ) -> Result<Endorsements, EndorsementError> {
        let all = async {
            let sent = at_hand.as_ref().is_some_and(|at_hand| at_hand.sent);
            let chain = match at_hand {
                Some(AtHand { chain, .. }) => {
                    metrics::count(Count::KdsHit);
                    chain
                }
                None => {
                    metrics::count(Count::KdsMiss);
                    metrics::timed(Stage::Kds, self.fetch(request)).await?
                }
            };
            let keeping = async {
                if sent {
                    self.keep(&request.candidates(), &chain).await;
                }
            };
            let (list, ()) = tokio::join!(self.crl(chain.vek().product, chain.vek().kind()), keeping);
            let (crl, crl_grace) = list?;
            Ok(Endorsements { chain, crl, crl_grace })
        };
        tokio::time::timeout(BUDGET, all).await.unwrap_or_else(|_| {
            let cause = "AMD's KDS is slow".to_owned();
            Err(EndorsementError::Unavailable { retry_after: patience::SHORT, cause })
        })
    }

    fn cached(&self, id: &VcekId) -> Option<Arc<Chain>> {
        lock(&self.chips).cache_get(id).cloned()
    }

    fn remember(&self, id: &VcekId, chain: Arc<Chain>) -> Arc<Chain> {
        lock(&self.chips).cache_set(id.clone(), Arc::clone(&chain));
        chain
    }

    /// Keeps a chip's certificate that a guest sent, so that the next boot needs neither the guest's copy nor AMD.
    async fn keep(&self, candidates: &[VcekId], chain: &Arc<Chain>) {
        let Some(id) = candidates.iter().find(|id| id.product() == chain.vek().product) else { return };
        self.remember(id, Arc::clone(chain));
        self.put(&id.to_string(), chain.vek().der(), 0).await;
    }

    /// A store that does not take a certificate costs a later request, not this one.
    async fn put(&self, key: &str, bytes: &[u8], edition: i64) {
        let row = StoredEndorsement { bytes: bytes.to_vec(), fetched_at: self.clock.now(), edition };
        if let Err(cause) = self.store.put_endorsement(key, &row).await {
            tracing::warn!(key, %cause, "endorsement not stored");
        }
    }

    /// What the store holds under `key`; a row that cannot be read counts as none.
    async fn row(&self, key: &str) -> Result<Option<StoredEndorsement>, EndorsementError> {
        match self.store.endorsement(key).await {
            Ok(row) => Ok(row),
            Err(cause @ StoreError::Corrupt { .. }) => {
                tracing::warn!(key, %cause, "endorsement not read");
                Ok(None)
            }
            Err(cause) => Err(turns::table_unavailable(&cause)),
        }
    }

    /// The chip's chain, if `row` holds it and it leads to an anchor.
    async fn stored(
        &self,
        id: &VcekId,
        row: &StoredEndorsement,
    ) -> Result<Option<Arc<Chain>>, EndorsementError> {
        let vek = Vek::parse(&row.bytes).ok().filter(|vek| id.names(vek));
        let Some(vek) = vek else { return Ok(None) };
        let (product, kind) = (vek.product, vek.kind());
        let issuers = self.issuers(&vek, &[]).await?;
        if let Ok(chain) = Chain::verify(vek, &issuers) {
            return Ok(Some(Arc::new(chain)));
        }
        // Issued by none of the pinned ASKs: the one that was fetched with it is in the store, too.
        let Some(issuer) = self.stored_intermediate(product, kind).await? else { return Ok(None) };
        let Ok(vek) = Vek::parse(&row.bytes) else { return Ok(None) };
        Ok(Chain::verify(vek, &[issuer]).ok().map(Arc::new))
    }

    /// The first of the guest's certificates that belongs to its report and leads to a trust anchor.
    async fn sent(&self, request: &Request<'_>) -> Result<Option<Arc<Chain>>, EndorsementError> {
        let mut error = None;
        for der in request.certificates {
            let fingerprint: [u8; 32] = Sha256::digest(der).into();
            let known = lock(&self.sent).cache_get(&fingerprint).cloned();
            if let Some(chain) = known {
                if belongs(request.report, chain.vek()) {
                    return Ok(Some(chain));
                }
                continue;
            }
            let Ok(vek) = Vek::parse(der) else { continue };
            if !belongs(request.report, &vek) {
                continue;
            }
            let issuers = self.issuers(&vek, request.certificates).await?;
            match Chain::verify(vek, &issuers) {
                Ok(chain) => {
                    let chain = Arc::new(chain);
                    lock(&self.sent).cache_set(fingerprint, Arc::clone(&chain));
                    return Ok(Some(chain));
                }
                Err(defect) => error = Some(defect),
            }
        }
        error.map_or(Ok(None), |defect| Err(defect.into()))
    }
}
