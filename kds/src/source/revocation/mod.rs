//! Revocation lists: one is held per product and kind of VEK, and the first guest that finds it old renews
//! it, once a day.
//!
//! Past its nextUpdate a list counts only after AMD did not answer a request for this very list, made then,
//! with all the time that it may take; AMD's answers to other requests have no part in it. Such a failure is
//! noted in the table, and believed by every process for ten minutes. A process that waits in vain for
//! another's renewal knows nothing of AMD: it goes on with the list held until nextUpdate, and no longer.
//!
//! A list does not say for which kind it was published, and each claims to hold all that its ARK has revoked:
//! so does the one for the other kind, which somebody on the way to AMD may answer with. Therefore what any
//! list of the ARK has ever listed is revoked, for both kinds and for good. The list of the right kind must
//! count nevertheless.

mod held;
mod known;

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use keybroker_common::{clock::is_recent, metrics, store::StoredEndorsement};
use keybroker_snp::{anchors::pem_blocks, crl::Crl, endorsement::EndorsementKind, product::Product};

pub(super) use self::known::{Lists, RevocationLists};

use self::{
    held::{Held, RETRY_AFTER},
    known::Revoking,
};
use super::{EndorsementSource, issuers::pem};
use crate::{
    client::crl_path,
    error::{EndorsementError, KdsError},
    lock::lock,
    pacing::{LEASE_WAIT, REQUEST, Turn},
};

/// For how long a guest waits for a newer list while one that needs no grace is held.
const QUICK: Duration = Duration::from_secs(1);

impl EndorsementSource {
    /// The revocation list for VEKs of `product` and `kind`, renewed first if it is old; and others of the
    /// product.
    pub(super) async fn crl(
        &self,
        product: Product,
        kind: EndorsementKind,
    ) -> Result<Lists, EndorsementError> {
        let now = self.now();
        let mut held = self.held(product, kind);
        if held.is_due(now) {
            let key = crl_key(product, kind);
            let flight = if held.is_usable(now) {
                // Somebody else may be renewing it: this guest need not wait.
                self.single_flight.try_begin(&key)
            } else {
                Some(self.single_flight.begin(&key, REQUEST).await?)
            };
            if flight.is_some() {
                held = self.renew(product, kind).await?;
            }
        }
        let fetched_at = held.fetched_at;
        let (crl, crl_grace) = held.usable(now)?;
        if let Some(at) = fetched_at {
            metrics::list_age(now.duration_since(at));
        }
        Ok(Lists { crl, crl_grace, further_crls: self.revocation.revoking(product) })
    }

    fn held(&self, product: Product, kind: EndorsementKind) -> Held {
        let mut held = lock(&self.revocation.held).get(&(product, kind)).cloned().unwrap_or_default();
        held.max_age = self.revocation.max_age;
        held.take_coming(self.now());
        held
    }

    /// Looks into the store, then asks AMD, and keeps what came of it.
    async fn renew(&self, product: Product, kind: EndorsementKind) -> Result<Held, EndorsementError> {
        let now = self.now();
        let changes = self.revocation.changes.load(Ordering::Relaxed);
        let mut held = self.held(product, kind);
        if !held.is_due(now) {
            return Ok(held);
        }
        if !self.look(product, kind, &mut held).await? {
            held = self.wait_or_ask(product, kind, held).await;
        }
        self.keep_revoking(product).await;
        self.revocation.hold(product, kind, held.clone(), changes);
        Ok(held)
    }

    /// Takes the list in the store, if it is later than the one held, or note of AMD's silence. Whether that
    /// will do.
    async fn look(
        &self,
        product: Product,
        kind: EndorsementKind,
        held: &mut Held,
    ) -> Result<bool, EndorsementError> {
        let now = self.now();
        let (own, others) = (crl_key(product, kind), (crl_key(product, other(kind)), revoking_key(product)));
        let (own, other, revoking) =
            tokio::try_join!(self.row(&own), self.row(&others.0), self.row(&others.1))?;
        if own.is_none() && held.table_changed {
            held.crl = None;
        }
        let known = held.crl.clone().filter(|held| own.as_ref().is_some_and(|row| held.der() == row.bytes));
        let crl = known.or_else(|| self.list(product, &own.as_ref()?.bytes));
        self.note_lists(product, held, crl.as_ref(), (other, revoking));
        if let Some((crl, row)) = crl.zip(own) {
            held.adopt(crl, row.fetched_at, now);
        }
        held.unreachable = false;
        if held.needs_grace(now)
            && let Some(since) = self.silent_since(product, kind).await?
        {
            held.unreachable = true;
            held.asked_at = Some(since);
        }
        Ok(!held.is_old(now) || held.unreachable)
    }

    /// When AMD did not answer this process or another, if that was a short while ago. A time in the future
    /// is not believed.
    async fn silent_since(
        &self,
        product: Product,
        kind: EndorsementKind,
    ) -> Result<Option<Timestamp>, EndorsementError> {
        let now = self.now();
        let row = self.row(&silence_key(product, kind)).await?;
        Ok(row.map(|row| row.fetched_at).filter(|since| is_recent(*since, now, RETRY_AFTER)))
    }

    /// Waits for the list that another process is asking for, or asks for it.
    async fn wait_or_ask(&self, product: Product, kind: EndorsementKind, mut held: Held) -> Held {
        let now = self.now();
        let wait = if held.counts(now, SignedDuration::ZERO) { QUICK } else { LEASE_WAIT };
        let before = &held;
        let look = || async move {
            let mut found = before.clone();
            Ok(self.look(product, kind, &mut found).await?.then_some(found))
        };
        let key = crl_key(product, kind);
        match self.leases.turn(&key, wait, look).await {
            Ok(Turn::Found(found)) => found,
            Ok(Turn::Ours) => {
                if self.ask(product, kind, &mut held).await {
                    self.leases.end(&key).await;
                }
                held
            }
            Err(cause) => {
                tracing::warn!(%product, %kind, %cause, "revocation list not renewed");
                Held { asked_at: Some(now), ..held }
            }
        }
    }

    /// Asks AMD; whether there is a newer list now.
    async fn ask(&self, product: Product, kind: EndorsementKind, held: &mut Held) -> bool {
        let now = self.now();
        held.asked_at = Some(now);
        let needed = !held.counts(now, SignedDuration::ZERO);
        let budget = if needed { REQUEST } else { QUICK };
        let answer = self.kds.fetch_crl(&crl_path(product, kind), budget).await;
        held.unreachable = needed && answer.as_ref().is_err_and(KdsError::is_passing);
        if held.unreachable {
            self.put(&silence_key(product, kind), &[], 0).await;
        }
        let cause = match answer {
            Err(error) => error.to_string(),
            Ok(der) => match Crl::verify(&der, &self.anchors.arks(product)).map(Arc::new) {
                Err(error) => error.to_string(),
                Ok(crl) => {
                    let edition = crl.this_update().as_second();
                    self.revocation.note(product, &crl);
                    if held.adopt(crl, now, now) {
                        self.put(&crl_key(product, kind), &der, edition).await;
                        return true;
                    }
                    "it is older than the one held, or does not count now".to_owned()
                }
            },
        };
        tracing::warn!(%product, %kind, %cause, "revocation list not renewed");
        false
    }
}

impl EndorsementSource {
    fn list(&self, product: Product, der: &[u8]) -> Option<Arc<Crl>> {
        Crl::verify(der, &self.anchors.arks(product)).ok().map(Arc::new)
    }

    /// Takes note of all that the lists in the table hold against anybody.
    fn note_lists(
        &self,
        product: Product,
        held: &mut Held,
        own: Option<&Arc<Crl>>,
        (other, revoking): (Option<StoredEndorsement>, Option<StoredEndorsement>),
    ) {
        let blocks = revoking.and_then(|row| pem_blocks(&row.bytes)).unwrap_or_default();
        let mut noted = Revoking::default();
        blocks.iter().filter_map(|der| self.list(product, der)).for_each(|crl| noted.note(&crl));
        noted.stored = true;
        let other = other.and_then(|row| self.list(product, &row.bytes));
        let lists = own.into_iter().chain(&held.crl).chain(&other);
        lists.for_each(|crl| noted.note(crl));
        let mut all = lock(&self.revocation.revoking);
        let before = all.entry(product).or_default();
        if !mem::take(&mut held.table_changed) {
            before.lists.iter().for_each(|crl| noted.note(crl));
        }
        *before = noted;
    }

    /// Puts into the table what this process has seen revoked and the table does not say.
    async fn keep_revoking(&self, product: Product) {
        let lists = match lock(&self.revocation.revoking).get_mut(&product) {
            Some(revoking) if !revoking.stored && !revoking.lists.is_empty() => {
                revoking.stored = true;
                revoking.lists.clone()
            }
            _ => return,
        };
        let text: String = lists.iter().map(|crl| pem("X509 CRL", crl.der())).collect();
        self.put(&revoking_key(product), text.as_bytes(), 0).await;
    }
}

fn other(kind: EndorsementKind) -> EndorsementKind {
    match kind {
        EndorsementKind::Vcek => EndorsementKind::Vlek,
        EndorsementKind::Vlek => EndorsementKind::Vcek,
    }
}

/// The row of a product's lists that hold something against anybody, in PEM: as few as hold all of it.
pub fn revoking_key(product: Product) -> String {
    format!("{product}/revoking")
}

/// The list's row in the store: DER, its edition the list's thisUpdate.
pub fn crl_key(product: Product, kind: EndorsementKind) -> String {
    format!("{product}/{}/crl", kind.name())
}

/// The row that says, by `fetched_at`, when AMD last did not answer a request for the list.
fn silence_key(product: Product, kind: EndorsementKind) -> String {
    format!("{}/silence", crl_key(product, kind))
}
