//! Revocation lists: one held per product and kind of VEK, renewed once a day by whoever finds it old.

use std::{collections::HashMap, sync::Arc, sync::Mutex, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{
    EndorsementError, EndorsementSource, lock, patience,
    turns::{Turn, WAIT},
};
use crate::snp::{
    certificate::EndorsementKind,
    crl::Crl,
    kds::{Kds, crl_path},
    product::Product,
};

/// After this long a list is asked for again.
const RENEW_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// For how long a guest waits for a newer list while one that counts is held.
const QUICK: Duration = Duration::from_secs(1);
/// For how long AMD is not asked again after it brought nothing new, while a list that counts is held.
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
    /// When this process last asked AMD, whatever came of it.
    asked_at: Option<Timestamp>,
    /// Whether AMD could not be reached when a newer list was last needed.
    unreachable: bool,
}

impl Held {
    /// Whether AMD is to be asked for a newer list. A time of fetching in the future is not believed.
    fn is_old(&self, now: Timestamp) -> bool {
        let fresh = |fetched_at| fetched_at <= now && now.duration_since(fetched_at) < RENEW_AFTER;
        !self.fetched_at.is_some_and(fresh) || !self.counts(now, SignedDuration::ZERO)
    }

    fn counts(&self, now: Timestamp, grace: SignedDuration) -> bool {
        self.crl.as_ref().is_some_and(|crl| crl.check_validity(now, grace).is_ok())
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
    fn adopt(&mut self, crl: Crl, fetched_at: Timestamp, now: Timestamp) -> bool {
        let older = self.crl.as_ref().is_some_and(|held| crl.this_update() < held.this_update());
        if older || crl.check_validity(now, Crl::GRACE).is_err() {
            return false;
        }
        self.crl = Some(Arc::new(crl));
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
        if held.is_old(now) {
            let key = crl_key(product, kind);
            let flight = if held.is_usable(now) {
                // Somebody else may be renewing it: this guest need not wait.
                self.flights.try_board(&key)
            } else {
                Some(self.flights.board(&key).await?)
            };
            if flight.is_some() {
                held = self.renew(product, kind, &key).await?;
            }
        }
        held.usable(now)
    }

    fn held(&self, product: Product, kind: EndorsementKind) -> Held {
        lock(&self.revocation.held).get(&(product, kind)).cloned().unwrap_or_default()
    }

    /// Looks into the store, then asks AMD, and keeps what came of it.
    async fn renew(
        &self,
        product: Product,
        kind: EndorsementKind,
        key: &str,
    ) -> Result<Held, EndorsementError> {
        let now = self.clock.now();
        let mut held = self.held(product, kind);
        if !held.is_old(now) {
            return Ok(held);
        }
        self.look(product, key, &mut held).await?;
        if held.is_old(now) && held.may_ask(now) {
            held = self.wait_or_ask(product, kind, key, held).await;
        }
        lock(&self.revocation.held).insert((product, kind), held.clone());
        Ok(held)
    }

    /// Takes the list in the store, if it is later than the one held.
    async fn look(&self, product: Product, key: &str, held: &mut Held) -> Result<(), EndorsementError> {
        if let Some(row) = self.row(key).await?
            && let Ok(crl) = Crl::verify(&row.bytes, &self.anchors.arks(product))
        {
            held.adopt(crl, row.fetched_at, self.clock.now());
        }
        Ok(())
    }

    /// Waits for the list that another process is asking for, or asks for it. What others wait for in vain AMD does not give.
    async fn wait_or_ask(&self, product: Product, kind: EndorsementKind, key: &str, mut held: Held) -> Held {
        let now = self.clock.now();
        let wait = if held.counts(now, Crl::GRACE) { QUICK } else { WAIT };
        let before = &held;
        let look = || async move {
            let mut found = before.clone();
            self.look(product, key, &mut found).await?;
            Ok((!found.is_old(now)).then_some(found))
        };
        match self.turn(key, wait, look).await {
            Ok(Turn::Found(found)) => Held { unreachable: false, ..found },
            Ok(Turn::Ours) => {
                if self.ask(product, kind, key, &mut held).await {
                    self.end_turn(key).await;
                }
                held
            }
            Err(cause) => {
                tracing::warn!(%product, %kind, %cause, "revocation list not renewed");
                Held { unreachable: true, asked_at: Some(now), ..held }
            }
        }
    }

    /// Asks AMD; whether there is a newer list now.
    async fn ask(&self, product: Product, kind: EndorsementKind, key: &str, held: &mut Held) -> bool {
        let now = self.clock.now();
        // While AMD is left alone for another failure's sake, it cannot be reached for this either.
        held.unreachable = true;
        if self.patience.check(product, now).is_err() {
            return false;
        }
        held.asked_at = Some(now);
        let budget = if held.counts(now, Crl::GRACE) { QUICK } else { Kds::BUDGET };
        let cause = match self.kds.fetch(&crl_path(product, kind), budget).await {
            Err(error) => error.to_string(),
            Ok(der) => match Crl::verify(&der, &self.anchors.arks(product)) {
                Err(error) => error.to_string(),
                Ok(crl) => {
                    held.unreachable = false;
                    let edition = crl.this_update().as_second();
                    if held.adopt(crl, now, now) {
                        self.put(key, &der, edition).await;
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

fn crl_key(product: Product, kind: EndorsementKind) -> String {
    format!("{product}/{}/crl", kind.name())
}
