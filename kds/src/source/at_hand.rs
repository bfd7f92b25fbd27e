//! The certificates that can be had without asking KDS.

use std::sync::Arc;

use cached::Cached;
use keybroker_common::{broker::Presented, store::StoredEndorsement};
use keybroker_snp::{chain::Chain, endorsement::EndorsementKind, product::Product, verify::belongs};
use sha2::{Digest, Sha256};

use super::{EndorsementSource, Origin, parsed};
use crate::{error::EndorsementError, lock::lock, vcek_id::VcekId};

/// The certificates that can be had without asking AMD, as they were found: only those in the process's
/// memory were verified.
#[derive(Debug)]
pub struct Found {
    chain: Option<Arc<Chain>>,
    /// Rows of the table for the chips that the report may be of, where they were read.
    rows: Option<Vec<(VcekId, StoredEndorsement)>>,
}

impl Found {
    /// The product of its chip, where the process knows it.
    pub fn product(&self) -> Option<Product> {
        self.chain.as_ref().map(|chain| chain.vek().product)
    }
}

impl EndorsementSource {
    /// The certificates that can be had without asking AMD. Reads, writes nothing and verifies nothing: the
    /// guest may have no open challenge.
    pub async fn at_hand(&self, presented: &Presented<'_>) -> Result<Option<Found>, EndorsementError> {
        let candidates = VcekId::candidates(presented);
        let known =
            || candidates.iter().find_map(|id| self.cached(id)).or_else(|| self.cached_vlek(presented));
        let due = self.operators.is_due(self.now());
        if !due && let Some(chain) = known() {
            return Ok(Some(Found { chain: Some(chain), rows: None }));
        }
        let rows = async {
            // If the guest sent certificates, the table is not read.
            if presented.certificates.is_empty() { self.rows(&candidates).await.map(Some) } else { Ok(None) }
        };
        let (rows, ()) = tokio::join!(rows, async {
            if due {
                self.heed_operator().await;
            }
        });
        let (chain, rows) = (known(), rows?);
        Ok((chain.is_some() || rows.is_some()).then_some(Found { chain, rows }))
    }

    /// The best chain that can be had without asking AMD; one that does not hold, if there is no other.
    pub(super) async fn best_at_hand(
        &self,
        presented: &Presented<'_>,
        at_hand: Option<Found>,
    ) -> Result<Option<(Arc<Chain>, Origin)>, EndorsementError> {
        let Found { chain, rows } = at_hand.unwrap_or(Found { chain: None, rows: None });
        if let Some(chain) = chain {
            return Ok(Some((chain, Origin::Memory)));
        }
        let mut poor = None;
        if let Ok(Some(chain)) = self.sent(presented).await {
            if self.holds(&chain) {
                return Ok(Some((chain, Origin::Guest)));
            }
            poor = Some((chain, Origin::Guest));
        }
        let rows = match rows {
            Some(rows) => rows,
            None => self.rows(&VcekId::candidates(presented)).await?,
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

    /// The chip's chain in this process's memory. One that does not hold is forgotten.
    pub(super) fn cached(&self, id: &VcekId) -> Option<Arc<Chain>> {
        let mut chips = lock(&self.chips);
        let chain = chips.cache_get(id).cloned()?;
        if self.holds(&chain) {
            return Some(chain);
        }
        let _ = chips.cache_remove(id);
        None
    }

    /// The chain of a VLEK that the guest sent, if one of its reports was verified under it before.
    fn cached_vlek(&self, presented: &Presented<'_>) -> Option<Arc<Chain>> {
        if presented.report.signing_key() != Some(EndorsementKind::Vlek) {
            return None;
        }
        let known = presented.certificates.iter().filter_map(|der| {
            let fingerprint: [u8; 32] = Sha256::digest(der).into();
            lock(&self.vleks).cache_get(&fingerprint).cloned()
        });
        known.filter(|chain| belongs(presented.report, chain.vek())).find(|chain| self.holds(chain))
    }

    /// The table's rows for `candidates`.
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

    /// The chip's chain, if `row` holds it and it leads to an anchor.
    pub(super) async fn stored(
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
    pub(super) async fn sent(
        &self,
        presented: &Presented<'_>,
    ) -> Result<Option<Arc<Chain>>, EndorsementError> {
        let (mut best, mut error) = (None::<Arc<Chain>>, None);
        for der in presented.certificates {
            let Ok(vek) = parsed::vek(der) else { continue };
            if !belongs(presented.report, &vek) {
                continue;
            }
            let issuers = self.issuers(&vek, presented.certificates).await?;
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
