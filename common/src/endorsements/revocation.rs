//! Revocation lists: one held per product and kind of VEK, renewed once a day by whoever finds it old.
//!
//! Past its nextUpdate a list counts only after AMD did not answer a request for this very list, made then, with all the
//! time that it may take; what else AMD is asked for has no part in it. Such a failure is noted in the table, and believed
//! by every process for ten minutes. A process that waits in vain for another's renewal knows nothing of AMD: it goes on
//! with the list held until nextUpdate, and no longer.

use std::{collections::HashMap, sync::Arc, sync::Mutex, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{
    EndorsementError, EndorsementSource, lock, patience,
    turns::{Turn, WAIT},
};
use crate::snp::{
    certificate::EndorsementKind,
    crl::Crl,
    kds::{Kds, KdsError, crl_path},
    product::Product,
};

/// After this long a list is asked for again.
const RENEW_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// For how long a guest waits for a newer list while one that needs no grace is held.
const QUICK: Duration = Duration::from_secs(1);
/// For how long AMD is not asked again after it brought nothing new, while a list that counts is held; also for how long it
/// is believed that it did not answer.
const RETRY_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// The same without one: every guest depends on it.
const RETRY_SOON: SignedDuration = SignedDuration::from_secs(5);

/// The lists held by this process.
#[derive(Debug, Default)]
pub(super) struct RevocationLists {
    held: Mutex<HashMap<(Product, EndorsementKind), Held>>,
}

#[derive(Debug, Clone, Default)]
struct Held {
    crl: Option<Arc<Crl>>,
    /// When a list no older than this one was fetched, by this process or another.
    fetched_at: Option<Timestamp>,
    /// When this process last looked for a newer list, whatever came of it.
    asked_at: Option<Timestamp>,
    /// Whether AMD did not answer when a list was last asked for in the place of this one, which was past its nextUpdate.
    unreachable: bool,
}

impl Held {
    /// Whether AMD is to be asked for a newer list. A time of fetching in the future is not believed.
    fn is_old(&self, now: Timestamp) -> bool {
        let fresh = |fetched_at| fetched_at <= now && now.duration_since(fetched_at) < RENEW_AFTER;
        !self.fetched_at.is_some_and(fresh) || !self.counts(now, SignedDuration::ZERO)
    }

    /// Whether a newer list is to be looked for now.
    fn is_due(&self, now: Timestamp) -> bool {
        self.is_old(now) && self.may_ask(now)
    }

    fn counts(&self, now: Timestamp, grace: SignedDuration) -> bool {
        self.crl.as_ref().is_some_and(|crl| crl.check_validity(now, grace).is_ok())
    }

    /// Whether it depends on AMD's silence that the list counts.
    fn needs_grace(&self, now: Timestamp) -> bool {
        self.counts(now, Crl::GRACE) && !self.counts(now, SignedDuration::ZERO)
    }

    /// How long past its nextUpdate the list may be used: not at all, unless AMD cannot be reached.
    fn grace(&self) -> SignedDuration {
        if self.unreachable { Crl::GRACE } else { SignedDuration::ZERO }
    }

    fn is_usable(&self, now: Timestamp) -> bool {
        self.counts(now, self.grace())
    }

    /// Whether AMD was left alone for long enough. An answer that brought no list that counts is no reason to ask at once.
    fn may_ask(&self, now: Timestamp) -> bool {
        let pause = if self.is_usable(now) { RETRY_AFTER } else { RETRY_SOON };
        self.asked_at.is_none_or(|asked_at| now < asked_at || now.duration_since(asked_at) >= pause)
    }

    /// Takes `crl` unless it is older than the one held, or could not be used now.
    fn adopt(&mut self, crl: Arc<Crl>, fetched_at: Timestamp, now: Timestamp) -> bool {
        let older = self.crl.as_ref().is_some_and(|held| crl.this_update() < held.this_update());
        if older || crl.check_validity(now, Crl::GRACE).is_err() {
            return false;
        }
        self.crl = Some(crl);
        // Whoever writes the store can put a time there that would outlast every renewal.
        let times = [self.fetched_at, Some(fetched_at)];
        self.fetched_at = times.into_iter().flatten().filter(|time| *time <= now).max();
        true
    }

    /// The list and its grace, if it counts.
    fn usable(self, now: Timestamp) -> Result<(Arc<Crl>, SignedDuration), EndorsementError> {
        let (grace, usable) = (self.grace(), self.is_usable(now));
        self.crl.filter(|_| usable).map(|crl| (crl, grace)).ok_or_else(|| EndorsementError::Unavailable {
            retry_after: patience::SHORT,
            cause: "there is no revocation list that counts".to_owned(),
        })
    }
}

impl EndorsementSource {
    /// The revocation list for VEKs of `product` and `kind`, renewed first if it is old.
    pub(super) async fn crl(
        &self,
        product: Product,
        kind: EndorsementKind,
    ) -> Result<(Arc<Crl>, SignedDuration), EndorsementError> {
        let now = self.clock.now();
        let mut held = self.held(product, kind);
        if held.is_due(now) {
            let key = crl_key(product, kind);
            let flight = if held.is_usable(now) {
                // Somebody else may be renewing it: this guest need not wait.
                self.flights.try_board(&key)
            } else {
                Some(self.flights.board(&key).await?)
            };
            if flight.is_some() {
                held = self.renew(product, kind).await?;
            }
        }
        held.usable(now)
    }

    fn held(&self, product: Product, kind: EndorsementKind) -> Held {
        lock(&self.revocation.held).get(&(product, kind)).cloned().unwrap_or_default()
    }

    /// Looks into the store, then asks AMD, and keeps what came of it.
    async fn renew(&self, product: Product, kind: EndorsementKind) -> Result<Held, EndorsementError> {
        let now = self.clock.now();
        let mut held = self.held(product, kind);
        if !held.is_due(now) {
            return Ok(held);
        }
        if !self.look(product, kind, &mut held).await? {
            held = self.wait_or_ask(product, kind, held).await;
        }
        lock(&self.revocation.held).insert((product, kind), held.clone());
        Ok(held)
    }

    /// Takes the list in the store, if it is later than the one held, or note of AMD's silence. Whether that will do.
    async fn look(
        &self,
        product: Product,
        kind: EndorsementKind,
        held: &mut Held,
    ) -> Result<bool, EndorsementError> {
        let now = self.clock.now();
        if let Some(row) = self.row(&crl_key(product, kind)).await? {
            let known = held.crl.clone().filter(|held| held.der() == row.bytes);
            let crl =
                known.map_or_else(|| Crl::verify(&row.bytes, &self.anchors.arks(product)).map(Arc::new), Ok);
            if let Ok(crl) = crl {
                held.adopt(crl, row.fetched_at, now);
            }
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

    /// When AMD did not answer this process or another, if that was a short while ago. A time in the future is not believed.
    async fn silent_since(
        &self,
        product: Product,
        kind: EndorsementKind,
    ) -> Result<Option<Timestamp>, EndorsementError> {
        let now = self.clock.now();
        let row = self.row(&silence_key(product, kind)).await?;
        let recent = |since: &Timestamp| *since <= now && now.duration_since(*since) < RETRY_AFTER;
        Ok(row.map(|row| row.fetched_at).filter(recent))
    }

    /// Waits for the list that another process is asking for, or asks for it.
    async fn wait_or_ask(&self, product: Product, kind: EndorsementKind, mut held: Held) -> Held {
        let now = self.clock.now();
        let wait = if held.counts(now, SignedDuration::ZERO) { QUICK } else { WAIT };
        let before = &held;
        let look = || async move {
            let mut found = before.clone();
            Ok(self.look(product, kind, &mut found).await?.then_some(found))
        };
        let key = crl_key(product, kind);
        match self.turn(&key, wait, look).await {
            Ok(Turn::Found(found)) => found,
            Ok(Turn::Ours) => {
                if self.ask(product, kind, &mut held).await {
                    self.end_turn(&key).await;
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
        let now = self.clock.now();
        held.asked_at = Some(now);
        let needed = !held.counts(now, SignedDuration::ZERO);
        let budget = if needed { Kds::BUDGET } else { QUICK };
        let answer = self.kds.fetch_crl(&crl_path(product, kind), budget).await;
        held.unreachable = needed && answer.as_ref().is_err_and(KdsError::is_passing);
        if held.unreachable {
            self.put(&silence_key(product, kind), &[], 0).await;
        }
        let cause = match answer {
            Err(error) => error.to_string(),
            Ok(der) => match Crl::verify(&der, &self.anchors.arks(product)) {
                Err(error) => error.to_string(),
                Ok(crl) => {
                    let edition = crl.this_update().as_second();
                    if held.adopt(Arc::new(crl), now, now) {
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

/// The list's row in the store: DER, its edition the list's thisUpdate.
pub fn crl_key(product: Product, kind: EndorsementKind) -> String {
    format!("{product}/{}/crl", kind.name())
}

/// The row that says, by `fetched_at`, when AMD last did not answer a request for the list.
fn silence_key(product: Product, kind: EndorsementKind) -> String {
    format!("{}/silence", crl_key(product, kind))
}
