//! Asking AMD for certificates, as [`pacing`](crate::pacing) lets it be asked.
//!
//! A certificate that comes back leads to a trust anchor. That alone is no reason to keep it:
//! [`EndorsementSource::settle`] keeps it once a report was verified under it.

use std::sync::Arc;

use cached::Cached;
use jiff::{SignedDuration, Timestamp};
use keybroker_common::{broker::Presented, clock::is_recent, ids::WorkloadId};
use keybroker_snp::{chain::Chain, endorsement::EndorsementKind, vek::Vek, verify::belongs};

use super::{BUDGET, EndorsementSource, Origin, issuers::chain_key, parsed};
use crate::{
    client::chain_path,
    error::{EndorsementError, KdsError},
    lock::lock,
    pacing::{LEASE_WAIT, REQUEST, Turn},
    vcek_id::VcekId,
};

/// Edition of a row that says, by `fetched_at`, when AMD last knew no such certificate; a certificate's own
/// is later.
const ABSENT: i64 = -1;
/// For how long what AMD sent serves others of the same chip although no report was verified under it yet.
const SERVES_OTHERS_FOR: SignedDuration = SignedDuration::from_mins(1);

/// A chain that AMD sent, and when.
#[derive(Debug)]
pub(super) struct FetchedChain {
    chain: Arc<Chain>,
    at: Timestamp,
}

impl EndorsementSource {
    /// Asks AMD for what was not at hand.
    pub(super) async fn fetch(
        &self,
        presented: &Presented<'_>,
        workload: &WorkloadId,
    ) -> Result<(Arc<Chain>, Origin), EndorsementError> {
        if presented.report.signing_key() == Some(EndorsementKind::Vlek) {
            return self.fetch_asvk(presented).await;
        }
        let candidates = VcekId::candidates(presented);
        if candidates.is_empty() {
            let (report, no_chip) = (presented.report, EndorsementError::NoChip);
            let masked = report.signing_key().is_some() && report.chip_is_masked();
            return Err(if masked { EndorsementError::MaskedChip } else { no_chip });
        }
        for id in &candidates {
            match self.fetch_vcek(id, Some(workload)).await {
                Err(EndorsementError::UnknownChip) => {}
                other => return other,
            }
        }
        Err(EndorsementError::UnknownChip)
    }

    /// Asks AMD for the certificate that `id` names, for a guest of `workload`, or for an operator.
    pub(super) async fn fetch_vcek(
        &self,
        id: &VcekId,
        workload: Option<&WorkloadId>,
    ) -> Result<(Arc<Chain>, Origin), EndorsementError> {
        if self.known_chips_only {
            return Err(EndorsementError::NewChip);
        }
        let _guest = self.new_chips.enter(workload)?;
        // The first guest of this chip may have to wait in the queue.
        let _flight = self.single_flight.begin(&id.to_string(), BUDGET).await?;
        if let Some(chain) = self.cached(id) {
            return Ok((chain, Origin::Memory));
        }
        if let Some(chain) = self.fetched_a_moment_ago(id) {
            return Ok((chain, Origin::Amd { lease: None }));
        }
        self.backoff.check_chip(id, self.now())?;
        // Before the lease: a process that only waits should not hold one.
        let mut permit = self.new_chips.admit(id, workload).await?;
        // AMD may have refused another request meanwhile.
        self.backoff.check_chip(id, self.now())?;
        let key = id.to_string();
        if let Turn::Found(chain) = self.leases.turn(&key, LEASE_WAIT, || self.seen(id)).await? {
            return Ok((chain, Origin::Table));
        }
        permit.spend();
        let der = match self.kds.fetch(&id.path(), REQUEST).await {
            Ok(der) => der,
            Err(KdsError::NotFound) => {
                self.backoff.note_absent(id, self.now());
                self.put(&key, &[], ABSENT).await;
                self.leases.end(&key).await;
                return Err(EndorsementError::UnknownChip);
            }
            Err(error) => return Err(self.backoff.note_failure(id.product(), &error, self.now())),
        };
        let chain = Arc::new(self.fetched_chain(id, &der).await?);
        let fetched = FetchedChain { chain: Arc::clone(&chain), at: self.now() };
        lock(&self.fetched).cache_set(id.clone(), fetched);
        Ok((chain, Origin::Amd { lease: Some(key) }))
    }

    /// AMD's answer for the chip when it was last asked, if that was a moment ago: whether it holds or not.
    fn fetched_a_moment_ago(&self, id: &VcekId) -> Option<Arc<Chain>> {
        let now = self.now();
        let mut fetched = lock(&self.fetched);
        let found = fetched.cache_get(id).filter(|found| is_recent(found.at, now, SERVES_OTHERS_FOR));
        found.map(|found| Arc::clone(&found.chain))
    }

    /// The result that another process has put into the table: a chain of the chip that holds, or that AMD
    /// knew none a while ago.
    pub(super) async fn seen(&self, id: &VcekId) -> Result<Option<Arc<Chain>>, EndorsementError> {
        let Some(row) = self.row(&id.to_string()).await? else { return Ok(None) };
        let now = self.now();
        if row.edition == ABSENT {
            self.backoff.note_absent(id, row.fetched_at);
            self.backoff.check_chip(id, now)?;
        }
        Ok(self.stored(id, &row).await?.filter(|chain| self.holds(chain)))
    }

    /// Verifies what KDS sent for `id`: an answer that is not that certificate is no better than none.
    async fn fetched_chain(&self, id: &VcekId, der: &[u8]) -> Result<Chain, EndorsementError> {
        let unusable = |cause: String| self.backoff.note_unusable(id.product(), cause, self.now());
        let vek = parsed::vek(der).map_err(|error| unusable(error.to_string()))?;
        if !id.names(&vek) {
            return Err(unusable("AMD's KDS sent another chip's certificate".to_owned()));
        }
        let issuers = self.issuers(&vek, &[]).await?;
        if let Ok(chain) = Chain::verify(vek, &issuers)
            && self.is_sound(chain.intermediate())
        {
            return Ok(chain);
        }
        // The ASK is not at hand, or AMD has replaced it.
        let vek = parsed::vek(der).map_err(|error| unusable(error.to_string()))?;
        self.fetch_issuer(&vek).await?;
        let issuers = self.issuers(&vek, &[]).await?;
        Chain::verify(vek, &issuers).map_err(|error| unusable(error.to_string()))
    }

    /// A VLEK's own certificate comes from the guest; only the ASVK above it can be asked for.
    async fn fetch_asvk(&self, presented: &Presented<'_>) -> Result<(Arc<Chain>, Origin), EndorsementError> {
        let first = self.sent(presented).await;
        let sound = match &first {
            Ok(None) => return Err(EndorsementError::NoVlek),
            Ok(Some(chain)) => self.is_sound(chain.intermediate()),
            Err(_) => false,
        };
        let mut veks = presented.certificates.iter().filter_map(|der| parsed::vek(der).ok());
        let vek = veks.find(|vek| belongs(presented.report, vek));
        let best = match vek.filter(|_| !sound) {
            Some(vek) => {
                let asked = self.fetch_issuer(&vek).await;
                if first.is_err() {
                    asked.map_err(asvk_missing)?
                } else {
                    asked?
                }
                self.sent(presented).await
            }
            None => first,
        };
        best?.map(|chain| (chain, Origin::Guest)).ok_or(EndorsementError::NoVlek)
    }

    /// Asks AMD for the chain above `vek`, once for all guests that want it, since none of the issuers at
    /// hand issued it and is neither expired nor revoked. AMD's answer is among
    /// [`EndorsementSource::issuers`] from then on.
    async fn fetch_issuer(&self, vek: &Vek) -> Result<(), EndorsementError> {
        let (product, kind) = (vek.product, vek.kind());
        let key = chain_key(product, kind);
        let _flight = self.single_flight.begin(&key, REQUEST).await?;
        if self.known_issuer(vek).is_some() || self.issuers.asked_in_vain(product, kind, self.now()) {
            return Ok(());
        }
        self.backoff.check(product, self.now())?;
        let look = || async {
            self.load_issuers(product, kind).await?;
            Ok(self.known_issuer(vek))
        };
        if let Turn::Found(_) = self.leases.turn(&key, LEASE_WAIT, look).await? {
            return Ok(());
        }
        let pem = self
            .kds
            .fetch(&chain_path(product, kind), REQUEST)
            .await
            .map_err(|error| self.backoff.note_failure(product, &error, self.now()))?;
        if !self.adopt_chain(product, kind, &pem) {
            let cause = "AMD's KDS sent no chain that leads to a trust anchor".to_owned();
            return Err(self.backoff.note_unusable(product, cause, self.now()));
        }
        self.leases.end(&key).await;
        if self.known_issuer(vek).is_none() {
            self.issuers.note_asked_in_vain(product, kind, self.now());
        }
        Ok(())
    }
}

/// A guest that sends its VLEK alone needs AMD for the certificate above it: that is what to look for,
/// whatever failed.
fn asvk_missing(error: EndorsementError) -> EndorsementError {
    match error {
        EndorsementError::Unavailable { retry_after, cause } => EndorsementError::Unavailable {
            retry_after,
            cause: format!("the ASVK that issued the guest's VLEK is neither held nor sent along: {cause}"),
        },
        other => other,
    }
}
