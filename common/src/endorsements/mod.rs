//! Where AMD's certificates come from: the process's cache, what the guest sent, the shared store, AMD's KDS;
//! in this order.
//!
//! A chain is kept, in memory and in the store, once a report was verified under it, and verified again when
//! it is read from the store. Wherever it is kept, one that is expired, or whose issuer a list in hand
//! revokes, is as good as none. That a chain is handed out says nothing about its validity or revocation all
//! the same: [`keybroker_snp::verify`] looks at both.

mod fetch;
mod flights;
mod issuers;
pub mod kds;
mod newcomers;
mod operators;
pub(crate) mod parsed;
mod patience;
mod prefetch;
mod revocation;
mod turns;

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cached::{Cached, LruCache};
use jiff::SignedDuration;
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use self::{
    issuers::chain_key,
    newcomers::NewChips,
    operators::CHANGED_KEY,
    prefetch::Fetched,
    revocation::{crl_key, revoking_key},
};

use self::{
    fetch::FetchedChain,
    flights::Flights,
    issuers::Issuers,
    newcomers::Newcomers,
    operators::Operators,
    patience::Patience,
    revocation::{Lists, RevocationLists},
};
use crate::{
    clock::{Clock, seconds_until},
    endorsements::kds::{Kds, VcekId},
    ids::WorkloadId,
    metrics::{self, Count, Stage},
    store::{EndorsementStore, StoreError, StoredEndorsement},
};
use keybroker_snp::{
    anchors::TrustAnchors,
    certificate::{CertificateError, Defect},
    chain::Chain,
    endorsement::EndorsementKind,
    product::Product,
    report::Report,
    verify::{Endorsements, VerifiedReport, belongs},
};

/// Finding all that one report needs may take this long, whatever is slow, its place in the line of new chips
/// included: a guest waits for a minute, API Gateway for half of one.
const BUDGET: Duration = Duration::from_secs(25);
/// Chips, and VLEKs sent by guests, that a process remembers.
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
    /// The chip id is all zeros.
    #[error(
        "the report names no chip: its host masks the chip id (MASK_CHIP_ID), so there is no certificate to ask for"
    )]
    MaskedChip,
    /// The chip id is of another product's length, its reported TCB is in no product's layout, or no key
    /// signed: no certificate can be asked for.
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

impl EndorsementError {
    /// Whether the same request may succeed later.
    fn is_passing(&self) -> bool {
        matches!(self, Self::TooManyNewChips { .. } | Self::Unavailable { .. })
    }
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

/// What can be had without asking AMD, as it was found: only what is in the process's memory was verified.
#[derive(Debug)]
pub struct AtHand {
    chain: Option<Arc<Chain>>,
    /// Rows of the table for the chips that the report may be of, where they were read.
    rows: Option<Vec<(VcekId, StoredEndorsement)>>,
}

impl AtHand {
    /// The product of its chip, where the process knows it.
    pub fn product(&self) -> Option<Product> {
        self.chain.as_ref().map(|chain| chain.vek().product)
    }
}

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

/// Endorsements for one report. What is new of them is kept once the report was verified under them, and not
/// before: see [`EndorsementSource::settle`].
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

/// What an operator may set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Base URL of AMD's KDS, or of a service that answers like it.
    pub kds_url: String,
    /// Whom TLS to it is believed of beside the usual authorities: certificates in PEM, or nothing.
    pub kds_authorities: Vec<u8>,
    /// Never ask for the certificate of a chip that is not in the store yet.
    pub known_chips_only: bool,
    /// The longest time since its thisUpdate for which a revocation list counts. It can only end a list's
    /// time earlier than the list does.
    pub crl_max_age: Option<SignedDuration>,
    /// How fast it is asked for chips that nobody has seen.
    pub new_chips: NewChips,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kds_url: Kds::AMD.to_owned(),
            kds_authorities: Vec::new(),
            known_chips_only: false,
            crl_max_age: None,
            new_chips: NewChips::default(),
        }
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
    /// Chains of chips that a report was verified under.
    chips: Mutex<LruCache<VcekId, Arc<Chain>>>,
    /// The same for VLEKs, by SHA-256 of the certificate.
    vleks: Mutex<LruCache<[u8; 32], Arc<Chain>>>,
    /// What AMD sent a moment ago, so that guests who came together ask once.
    fetched: Mutex<LruCache<VcekId, FetchedChain>>,
    issuers: Issuers,
    operators: Operators,
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
        let newcomers = Newcomers::new(settings.new_chips, &settings.kds_url, Arc::clone(&clock));
        Self {
            anchors,
            store,
            clock,
            kds: Kds::new(settings.kds_url.as_str(), settings.kds_authorities.as_slice()),
            known_chips_only: settings.known_chips_only,
            process: Uuid::new_v4(),
            chips: Mutex::new(LruCache::new(CACHED_CHAINS)),
            vleks: Mutex::new(LruCache::new(CACHED_CHAINS)),
            fetched: Mutex::new(LruCache::new(CACHED_CHAINS)),
            issuers: Issuers::default(),
            operators: Operators::default(),
            revocation: RevocationLists::new(settings.crl_max_age),
            patience: Patience::default(),
            newcomers,
            flights: Flights::default(),
        }
    }

    /// What can be had without asking AMD. Reads, writes nothing and verifies nothing: whoever asks may have
    /// no open challenge.
    pub async fn at_hand(&self, request: &Request<'_>) -> Result<Option<AtHand>, EndorsementError> {
        let candidates = request.candidates();
        let known = || candidates.iter().find_map(|id| self.cached(id)).or_else(|| self.cached_vlek(request));
        let due = self.operators.is_due(self.clock.now());
        if !due && let Some(chain) = known() {
            return Ok(Some(AtHand { chain: Some(chain), rows: None }));
        }
        let rows = async {
            // What the guest sent spares the table.
            if request.certificates.is_empty() { self.rows(&candidates).await.map(Some) } else { Ok(None) }
        };
        let (rows, ()) = tokio::join!(rows, async {
            if due {
                self.heed_operator().await;
            }
        });
        let (chain, rows) = (known(), rows?);
        Ok((chain.is_some() || rows.is_some()).then_some(AtHand { chain, rows }))
    }

    /// The chain, from AMD if none that holds is at hand, and the revocation lists of its ARK. A chip that
    /// nobody has seen takes its turn among those of `workload`. To be called only for a guest whose
    /// challenge is open, and whose report was not refused early; and to be followed by
    /// [`EndorsementSource::settle`].
    pub async fn obtain(
        &self,
        request: &Request<'_>,
        at_hand: Option<AtHand>,
        workload: &WorkloadId,
    ) -> Result<Obtained, EndorsementError> {
        tokio::time::timeout(BUDGET, self.find(request, at_hand, workload)).await.unwrap_or_else(|_| {
            let cause = "AMD's KDS is slow".to_owned();
            Err(EndorsementError::Unavailable { retry_after: patience::SHORT, cause })
        })
    }

    /// Keeps what is new of `obtained` if `verified` is a report that was verified under it, in memory and in
    /// the table; and lets other processes ask AMD, or find what it sent.
    pub async fn settle(&self, obtained: &Obtained, verified: Option<&VerifiedReport>) {
        let chain = &obtained.endorsements.chain;
        if let Some(verified) = verified.filter(|verified| Arc::ptr_eq(verified.chain(), chain)) {
            self.note_real(verified);
            self.keep(chain, &obtained.origin).await;
        }
        self.release(&obtained.origin).await;
    }

    /// Forgets all certificates, and looks at the revocation lists in the table again before the next
    /// release: somebody has changed the table. A list stays, unless its row is gone, until there is a later
    /// one.
    pub fn forget(&self) {
        lock(&self.chips).cache_clear();
        lock(&self.vleks).cache_clear();
        lock(&self.fetched).cache_clear();
        self.issuers.forget();
        self.patience.forget();
        self.revocation.look_again();
    }

    /// A chip of which a report was verified is real: it comes before chips that nobody knows of.
    fn note_real(&self, report: &VerifiedReport) {
        if report.csp_id().is_none()
            && let Some(id) = VcekId::of(report.report(), report.product())
        {
            self.newcomers.note_verified(&id);
        }
    }

    async fn find(
        &self,
        request: &Request<'_>,
        at_hand: Option<AtHand>,
        workload: &WorkloadId,
    ) -> Result<Obtained, EndorsementError> {
        let (mut chain, mut origin) = match self.best_at_hand(request, at_hand).await? {
            Some((chain, origin)) if self.holds(&chain) => {
                metrics::count(Count::KdsHit);
                (chain, origin)
            }
            poor => self.ask_amd(request, workload, poor).await?,
        };
        let mut lists = self.revocation_lists(&chain, &origin).await?;
        if !self.holds(&chain) && !matches!(origin, Origin::Amd { .. }) {
            // It expired, or the list that was just renewed revokes its issuer.
            (chain, origin) = self.ask_amd(request, workload, Some((chain, origin))).await?;
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
        request: &Request<'_>,
        workload: &WorkloadId,
        poor: Option<(Arc<Chain>, Origin)>,
    ) -> Result<(Arc<Chain>, Origin), EndorsementError> {
        metrics::count(Count::KdsMiss);
        match (metrics::timed(Stage::Kds, self.fetch(request, workload)).await, poor) {
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

    /// The best chain that can be had without asking AMD; one that does not hold, if there is no other.
    async fn best_at_hand(
        &self,
        request: &Request<'_>,
        at_hand: Option<AtHand>,
    ) -> Result<Option<(Arc<Chain>, Origin)>, EndorsementError> {
        let AtHand { chain, rows } = at_hand.unwrap_or(AtHand { chain: None, rows: None });
        if let Some(chain) = chain {
            return Ok(Some((chain, Origin::Memory)));
        }
        let mut poor = None;
        if let Ok(Some(chain)) = self.sent(request).await {
            if self.holds(&chain) {
                return Ok(Some((chain, Origin::Guest)));
            }
            poor = Some((chain, Origin::Guest));
        }
        let rows = match rows {
            Some(rows) => rows,
            None => self.rows(&request.candidates()).await?,
        };
        for (id, row) in rows {
            if let Some(chain) = self.stored(&id, &row).await? {
                if self.holds(&chain) {
                    return Ok(Some((chain, Origin::Table)));
                }
                poor.get_or_insert((chain, Origin::Table));
            }
        }
        Ok(poor)
    }

    /// Whether verification would find nothing wrong with the chain now, or in a moment, as far as the lists
    /// in hand tell. If not it is as good as not at hand.
    fn holds(&self, chain: &Chain) -> bool {
        let now = self.clock.now();
        let valid = match chain.check_validity(now) {
            Err(CertificateError { defect: Defect::NotYetValid(from), .. }) => {
                seconds_until(from, now).is_some()
            }
            other => other.is_ok(),
        };
        valid && !self.revocation.lists(chain.intermediate())
    }

    /// The chip's chain in this process's memory. One that does not hold any more is forgotten.
    fn cached(&self, id: &VcekId) -> Option<Arc<Chain>> {
        let mut chips = lock(&self.chips);
        let chain = chips.cache_get(id).cloned()?;
        if self.holds(&chain) {
            return Some(chain);
        }
        // Nobody asks for what was there.
        let _ = chips.cache_remove(id);
        None
    }

    /// The chain of a VLEK that the guest sent, if one of its reports was verified under it before.
    fn cached_vlek(&self, request: &Request<'_>) -> Option<Arc<Chain>> {
        if request.report.signing_key() != Some(EndorsementKind::Vlek) {
            return None;
        }
        let known = request.certificates.iter().filter_map(|der| {
            let fingerprint: [u8; 32] = Sha256::digest(der).into();
            lock(&self.vleks).cache_get(&fingerprint).cloned()
        });
        known.filter(|chain| belongs(request.report, chain.vek())).find(|chain| self.holds(chain))
    }

    /// What the table has for `candidates`.
    async fn rows(
        &self,
        candidates: &[VcekId],
    ) -> Result<Vec<(VcekId, StoredEndorsement)>, EndorsementError> {
        let mut rows = Vec::new();
        for id in candidates {
            if let Some(row) = self.row(&id.to_string()).await?.filter(|row| !row.bytes.is_empty()) {
                rows.push((id.clone(), row));
            }
        }
        Ok(rows)
    }

    /// Keeps a chain that a report was verified under.
    async fn keep(&self, chain: &Arc<Chain>, origin: &Origin) {
        let vek = chain.vek();
        let Some(id) = VcekId::of_certificate(vek) else {
            let fingerprint: [u8; 32] = Sha256::digest(vek.der()).into();
            lock(&self.vleks).cache_set(fingerprint, Arc::clone(chain));
            return self.keep_issuer(chain.intermediate()).await;
        };
        if matches!(origin, Origin::Memory) || self.cached(&id).is_some_and(|held| Arc::ptr_eq(&held, chain))
        {
            return;
        }
        lock(&self.chips).cache_set(id.clone(), Arc::clone(chain));
        if !matches!(origin, Origin::Table) {
            tokio::join!(self.keep_issuer(chain.intermediate()), self.keep_row(&id, chain, origin));
        }
    }

    /// Puts the chip's certificate into the table. A guest's own does not take the place of one that lasts
    /// longer.
    async fn keep_row(&self, id: &VcekId, chain: &Chain, origin: &Origin) {
        let key = id.to_string();
        if matches!(origin, Origin::Guest)
            && let Ok(Some(row)) = self.row(&key).await
            && let Ok(Some(held)) = self.stored(id, &row).await
            && self.holds(&held)
            && held.valid_until() >= chain.valid_until()
        {
            return;
        }
        self.put(&key, chain.vek().der(), 0).await;
    }

    /// Ends the lease under which a chain was fetched.
    async fn release(&self, origin: &Origin) {
        if let Origin::Amd { lease: Some(key) } = origin {
            self.end_turn(key).await;
        }
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
        let vek = parsed::vek(&row.bytes).ok().filter(|vek| id.names(vek));
        let Some(vek) = vek else { return Ok(None) };
        let issuers = self.issuers(&vek, &[]).await?;
        Ok(Chain::verify(vek, &issuers).ok().map(Arc::new))
    }

    /// The guest's certificate that belongs to its report and leads to a trust anchor: of several that do,
    /// one that holds, and lasts longest.
    async fn sent(&self, request: &Request<'_>) -> Result<Option<Arc<Chain>>, EndorsementError> {
        let (mut best, mut error) = (None::<Arc<Chain>>, None);
        for der in request.certificates {
            let Ok(vek) = parsed::vek(der) else { continue };
            if !belongs(request.report, &vek) {
                continue;
            }
            let issuers = self.issuers(&vek, request.certificates).await?;
            match Chain::verify(vek, &issuers) {
                Ok(chain) => {
                    let rank = |chain: &Chain| (self.holds(chain), chain.valid_until());
                    if best.as_ref().is_none_or(|best| rank(best) < rank(&chain)) {
                        best = Some(Arc::new(chain));
                    }
                }
                Err(defect) => error = Some(defect),
            }
        }
        match (best, error) {
            (None, Some(defect)) => Err(defect.into()),
            (best, _) => Ok(best),
        }
    }
}
