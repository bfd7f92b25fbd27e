//! Keeping what held, in memory and in the table.

use std::sync::Arc;

use cached::Cached;
use keybroker_common::store::{StoreError, StoredEndorsement};
use keybroker_snp::{chain::Chain, verify::VerifiedReport};

use super::{EndorsementSource, Obtained, Origin};
use crate::{error::EndorsementError, lock::lock, vcek_id::VcekId};

impl EndorsementSource {
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

    /// A chip with a verified report is real: it comes before chips that nobody knows of.
    fn note_real(&self, report: &VerifiedReport) {
        if report.csp_id().is_none()
            && let Some(id) = VcekId::of(report.report(), report.product())
        {
            self.new_chips.note_verified(&id);
        }
    }

    /// Keeps a chain that a report was verified under.
    async fn keep(&self, chain: &Arc<Chain>, origin: &Origin) {
        let vek = chain.vek();
        let Some(id) = VcekId::of_certificate(vek) else {
            lock(&self.vleks).cache_set(vek.fingerprint(), Arc::clone(chain));
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
    pub(super) async fn release(&self, origin: &Origin) {
        if let Origin::Amd { lease: Some(key) } = origin {
            self.leases.end(key).await;
        }
    }

    /// A store that does not take a certificate costs a later request, not this one.
    pub(super) async fn put(&self, key: &str, bytes: &[u8], edition: i64) {
        let row = StoredEndorsement { bytes: bytes.to_vec(), fetched_at: self.now(), edition };
        if let Err(cause) = self.store.put_endorsement(key, &row).await {
            tracing::warn!(key, %cause, "endorsement not stored");
        }
    }

    /// The store's row under `key`; a row that cannot be read counts as none.
    pub(super) async fn row(&self, key: &str) -> Result<Option<StoredEndorsement>, EndorsementError> {
        match self.store.endorsement(key).await {
            Ok(row) => Ok(row),
            Err(cause @ StoreError::Corrupt { .. }) => {
                tracing::warn!(key, %cause, "endorsement not read");
                Ok(None)
            }
            Err(cause) => Err(cause.into()),
        }
    }
}
