//! Fetching ahead: for chips that an operator knows before their guests come.

use keybroker_snp::{endorsement::EndorsementKind, product::Product};

use super::{EndorsementSource, revocation::crl_key};
use crate::{error::EndorsementError, vcek_id::VcekId};

/// The outcome of fetching one chip's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// The store had it.
    Held,
    /// AMD was asked, and it is in the store now.
    New,
}

impl EndorsementSource {
    /// Puts the certificate of `id` into the store, verified up to a trust anchor and valid now, unless one
    /// is there. AMD is asked as it is for a guest, at the same pace: [`EndorsementError::TooManyNewChips`]
    /// and [`EndorsementError::Unavailable`] say when to try again.
    ///
    /// No report was verified under it: that an operator wants it is what puts it there. One that does not
    /// hold when a guest comes is as good as not there.
    pub async fn prefetch(&self, id: &VcekId) -> Result<Fetched, EndorsementError> {
        if self.seen(id).await?.is_some() {
            return Ok(Fetched::Held);
        }
        let (chain, origin) = self.fetch_vcek(id, None).await?;
        if self.holds(&chain) {
            self.keep_issuer(chain.intermediate()).await;
            self.put(&id.to_string(), chain.vek().der(), 0).await;
        }
        self.release(&origin).await;
        // A guest would be served by what is in memory: here the store is all that counts.
        match self.row(&id.to_string()).await? {
            Some(row) if self.stored(id, &row).await?.is_some_and(|chain| self.holds(&chain)) => {
                Ok(Fetched::New)
            }
            _ => Err(not_stored()),
        }
    }

    /// Puts the revocation list for VEKs of `product` and `kind` into the store, renewed if it is a day old.
    /// Fails unless there is one then that counts.
    pub async fn prefetch_revocation_list(
        &self,
        product: Product,
        kind: EndorsementKind,
    ) -> Result<(), EndorsementError> {
        self.crl(product, kind).await?;
        let row = self.store.endorsement(&crl_key(product, kind)).await?;
        row.map(|_| ()).ok_or_else(not_stored)
    }
}

fn not_stored() -> EndorsementError {
    EndorsementError::not_now("the store did not take what AMD sent, or it is expired or revoked")
}
