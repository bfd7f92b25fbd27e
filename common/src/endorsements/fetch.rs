//! Asking AMD for certificates: one process at a time for each, and nothing that AMD said it does not have.

use std::sync::Arc;

use super::{
    EndorsementError, EndorsementSource, Request,
    issuers::chain_key,
    lock,
    turns::{Turn, WAIT},
};
use crate::snp::{
    certificate::EndorsementKind,
    chain::{Chain, Intermediate},
    kds::{Kds, KdsError, VcekId, chain_path},
    product::Product,
    vek::Vek,
    verify::belongs,
};

/// Edition of a row that says, by `fetched_at`, when AMD last knew no such certificate; a certificate's own is later.
const ABSENT: i64 = -1;

impl EndorsementSource {
    /// Asks AMD for what was not at hand.
    pub(super) async fn fetch(&self, request: &Request<'_>) -> Result<Arc<Chain>, EndorsementError> {
        if request.report.signing_key() == Some(EndorsementKind::Vlek) {
            return self.fetch_asvk(request).await;
        }
        let candidates = request.candidates();
        if candidates.is_empty() {
            return Err(EndorsementError::NoChip);
        }
        for id in &candidates {
            match self.fetch_vcek(id).await {
                Err(EndorsementError::UnknownChip) => {}
                other => return other,
            }
        }
        Err(EndorsementError::UnknownChip)
    }

    /// Asks AMD for the certificate that `id` names.
    pub(super) async fn fetch_vcek(&self, id: &VcekId) -> Result<Arc<Chain>, EndorsementError> {
        if self.known_chips_only {
            return Err(EndorsementError::NewChip);
        }
        let _flight = self.flights.board(&id.to_string()).await?;
        if let Some(chain) = self.cached(id) {
            return Ok(chain);
        }
        self.patience.check_chip(id, self.clock.now())?;
        let key = id.to_string();
        if let Turn::Found(chain) = self.turn(&key, WAIT, || self.seen(id)).await? {
            return Ok(self.remember(id, chain));
        }
        if let Err(error) = self.newcomers.admit(self.clock.now()) {
            self.end_turn(&key).await;
            return Err(error);
        }
        let der = match self.kds.fetch(&id.path(), Kds::BUDGET).await {
            Ok(der) => der,
            Err(KdsError::NotFound) => {
                self.patience.note_absent(id, self.clock.now());
                self.put(&key, &[], ABSENT).await;
                self.end_turn(&key).await;
                return Err(EndorsementError::UnknownChip);
            }
            Err(error) => return Err(self.patience.note_failure(id.product(), &error, self.clock.now())),
        };
        let chain = self.fetched_chain(id, &der).await?;
        self.put(&key, &der, 0).await;
        self.end_turn(&key).await;
        Ok(self.remember(id, Arc::new(chain)))
    }

    /// What another process has put into the table: the chip's chain, or that AMD knew none a while ago.
    pub(super) async fn seen(&self, id: &VcekId) -> Result<Option<Arc<Chain>>, EndorsementError> {
        let Some(row) = self.row(&id.to_string()).await? else { return Ok(None) };
        let now = self.clock.now();
        // A time in the future is not believed: it could keep a chip away for good.
        if row.edition == ABSENT && row.fetched_at <= now {
            self.patience.note_absent(id, row.fetched_at);
            self.patience.check_chip(id, now)?;
        }
        self.stored(id, &row).await
    }

    /// Verifies what KDS sent for `id`: an answer that is not that certificate is no better than none.
    async fn fetched_chain(&self, id: &VcekId, der: &[u8]) -> Result<Chain, EndorsementError> {
        let unusable = |cause: String| self.patience.note_unusable(id.product(), cause, self.clock.now());
        let vek = Vek::parse(der).map_err(|error| unusable(error.to_string()))?;
        if !id.names(&vek) {
            return Err(unusable("AMD's KDS sent another chip's certificate".to_owned()));
        }
        let issuers = self.issuers(&vek, &[]).await?;
        let first = match Chain::verify(vek, &issuers) {
            Ok(chain) => return Ok(chain),
            Err(error) => error,
        };
        // The ASK is not at hand, or AMD has replaced it.
        let issuer = self.fetch_intermediate(id.product(), EndorsementKind::Vcek).await?;
        let vek = Vek::parse(der).map_err(|error| unusable(error.to_string()))?;
        Chain::verify(vek, &[issuer]).map_err(|_| unusable(first.to_string()))
    }

    /// A VLEK's own certificate comes from the guest; only the ASVK above it can be asked for.
    async fn fetch_asvk(&self, request: &Request<'_>) -> Result<Arc<Chain>, EndorsementError> {
        let error = match self.sent(request).await {
            Ok(Some(chain)) => return Ok(chain),
            Ok(None) => return Err(EndorsementError::NoVlek),
            Err(error) => error,
        };
        let veks = request.certificates.iter().filter_map(|der| Vek::parse(der).ok());
        let Some(vek) = veks.into_iter().find(|vek| belongs(request.report, vek)) else { return Err(error) };
        if self.intermediate(vek.product, vek.kind()).await?.is_some() {
            return Err(error);
        }
        self.fetch_intermediate(vek.product, vek.kind()).await?;
        self.sent(request).await?.ok_or(EndorsementError::NoVlek)
    }

    /// Asks AMD for the ASK or ASVK of a product.
    async fn fetch_intermediate(
        &self,
        product: Product,
        kind: EndorsementKind,
    ) -> Result<Arc<Intermediate>, EndorsementError> {
        let key = chain_key(product, kind);
        let _flight = self.flights.board(&key).await?;
        let known = lock(&self.intermediates).get(&(product, kind)).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        self.patience.check(product, self.clock.now())?;
        let look = || self.stored_intermediate(product, kind);
        if let Turn::Found(intermediate) = self.turn(&key, WAIT, look).await? {
            return Ok(intermediate);
        }
        let pem = self
            .kds
            .fetch(&chain_path(product, kind), Kds::BUDGET)
            .await
            .map_err(|error| self.patience.note_failure(product, &error, self.clock.now()))?;
        let Some(intermediate) = self.adopt_intermediate(product, kind, &pem) else {
            let cause = "AMD's KDS sent no chain that leads to a trust anchor".to_owned();
            return Err(self.patience.note_unusable(product, cause, self.clock.now()));
        };
        self.put(&key, &pem, 0).await;
        self.end_turn(&key).await;
        Ok(intermediate)
    }
}
