//! The certificates between a VEK and its anchor: ASKs and ASVKs, one of each per product.

use std::sync::Arc;

use super::{EndorsementError, EndorsementSource, lock};
use crate::snp::{
    anchors::pem_certificates, certificate::EndorsementKind, chain::Intermediate, product::Product, vek::Vek,
};

impl EndorsementSource {
    /// The ASKs or ASVKs that may have issued `vek` and can be had without asking AMD.
    pub(super) async fn issuers(
        &self,
        vek: &Vek,
        sent: &[Vec<u8>],
    ) -> Result<Vec<Arc<Intermediate>>, EndorsementError> {
        let (product, kind) = (vek.product, vek.kind());
        let mut issuers = match kind {
            EndorsementKind::Vcek => self.anchors.asks(product),
            EndorsementKind::Vlek => Vec::new(),
        };
        issuers.extend(self.intermediate(product, kind).await?);
        let arks = self.anchors.arks(product);
        issuers.extend(sent.iter().filter_map(|der| Intermediate::verify(der, &arks).ok()).map(Arc::new));
        Ok(issuers)
    }

    /// The ASK or ASVK fetched earlier, by this process or another.
    pub(super) async fn intermediate(
        &self,
        product: Product,
        kind: EndorsementKind,
    ) -> Result<Option<Arc<Intermediate>>, EndorsementError> {
        let known = lock(&self.intermediates).get(&(product, kind)).cloned();
        if known.is_some() || kind == EndorsementKind::Vcek && !self.anchors.asks(product).is_empty() {
            return Ok(known);
        }
        self.stored_intermediate(product, kind).await
    }

    /// The ASK or ASVK in the store.
    pub(super) async fn stored_intermediate(
        &self,
        product: Product,
        kind: EndorsementKind,
    ) -> Result<Option<Arc<Intermediate>>, EndorsementError> {
        let Some(row) = self.row(&chain_key(product, kind)).await? else { return Ok(None) };
        Ok(self.adopt_intermediate(product, kind, &row.bytes))
    }

    /// Takes the ASK or ASVK out of a chain in PEM, if an anchor issued it.
    pub(super) fn adopt_intermediate(
        &self,
        product: Product,
        kind: EndorsementKind,
        pem: &[u8],
    ) -> Option<Arc<Intermediate>> {
        let arks = self.anchors.arks(product);
        let found = pem_certificates(pem)
            .ok()?
            .iter()
            .filter_map(|der| Intermediate::verify(der, &arks).ok())
            .find(|one| one.product() == product && one.kind() == kind)?;
        let found = Arc::new(found);
        lock(&self.intermediates).insert((product, kind), Arc::clone(&found));
        Some(found)
    }
}

/// The chain's row in the store: PEM, the ASK or ASVK among its certificates.
pub fn chain_key(product: Product, kind: EndorsementKind) -> String {
    format!("{product}/{}/chain", kind.name())
}
