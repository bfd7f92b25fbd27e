//! Revocation lists: one held per product and kind of VEK, renewed once a day by whoever finds it old.
//!
//! Past its nextUpdate a list counts only after AMD did not answer a request for this very list, made then,
//! with all the time that it may take; what else AMD is asked for has no part in it. Such a failure is noted
//! in the table, and believed by every process for ten minutes. A process that waits in vain for another's
//! renewal knows nothing of AMD: it goes on with the list held until nextUpdate, and no longer.
//!
//! A list does not say for which kind it was published, and each claims to hold all that its ARK has revoked:
//! so does the one for the other kind, which somebody on the way to AMD may answer with. Therefore what any
//! list of the ARK has ever listed is revoked, for both kinds and for good. The list of the right kind must
//! count nevertheless.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    EndorsementError, EndorsementSource,
    issuers::pem,
    lock, patience,
    turns::{Turn, WAIT},
};
use crate::{
    clock::{is_recent, seconds_until},
    endorsements::kds::{Kds, KdsError, crl_path},
    store::StoredEndorsement,
};
use keybroker_snp::{
    anchors::pem_blocks, chain::Intermediate, crl::Crl, endorsement::EndorsementKind, product::Product,
};

/// After this long a list is asked for again.
const RENEW_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// For how long a guest waits for a newer list while one that needs no grace is held.
const QUICK: Duration = Duration::from_secs(1);
/// For how long AMD is not asked again after it brought nothing new, while a list that counts is held; also
/// for how long it is believed that it did not answer.
const RETRY_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// The same without one: every guest depends on it.
const RETRY_SOON: SignedDuration = SignedDuration::from_secs(5);

/// The lists for one chain.
#[derive(Debug)]
pub(super) struct Lists {
    /// The one that must count.
    pub(super) crl: Arc<Crl>,
    pub(super) crl_grace: SignedDuration,
    /// Others, whose entries count beside that one's.
    pub(super) further_crls: Vec<Arc<Crl>>,
}

/// The lists held by this process.
#[derive(Debug)]
pub(super) struct RevocationLists {
    max_age: Option<SignedDuration>,
    held: Mutex<HashMap<(Product, EndorsementKind), Held>>,
    revoking: Mutex<HashMap<Product, Revoking>>,
    /// How often the table was changed by an operator.
    changes: AtomicU64,
}

impl RevocationLists {
    /// None yet. One of them counts until it is `max_age` old, whatever it says itself.
    pub(super) fn new(max_age: Option<SignedDuration>) -> Self {
        Self { max_age, held: Mutex::default(), revoking: Mutex::default(), changes: AtomicU64::new(0) }
    }

    /// Whether a list in hand holds something against `issuer` or its ARK.
    pub(super) fn lists(&self, issuer: &Intermediate) -> bool {
        let revoking = lock(&self.revoking);
        let lists = revoking.get(&issuer.product()).map(|revoking| revoking.lists.as_slice());
        lists.unwrap_or_default().iter().any(|crl| issuer.check_revocation(crl).is_err())
    }

    /// All are looked for in the table again, before they are used.
    pub(super) fn look_again(&self) {
        let mut all = lock(&self.held);
        self.changes.fetch_add(1, Ordering::Relaxed);
        all.values_mut().for_each(Held::look_again);
    }

    /// Holds what a renewal brought that began after `changes`. What an operator changed meanwhile is yet to
    /// be looked at.
    fn hold(&self, product: Product, kind: EndorsementKind, mut held: Held, changes: u64) {
        let mut all = lock(&self.held);
        if self.changes.load(Ordering::Relaxed) != changes {
            held.look_again();
        }
        all.insert((product, kind), held);
    }

    fn note(&self, product: Product, crl: &Arc<Crl>) {
        lock(&self.revoking).entry(product).or_default().note(crl);
    }

    fn revoking(&self, product: Product) -> Vec<Arc<Crl>> {
        lock(&self.revoking).get(&product).map(|revoking| revoking.lists.clone()).unwrap_or_default()
    }
}

/// As few of a product's lists as hold all that any of them was seen to hold; whichever kind they were
/// published for, and however old they are.
#[derive(Debug, Default)]
struct Revoking {
    lists: Vec<Arc<Crl>>,
    /// Whether the table has them.
    stored: bool,
}

impl Revoking {
    fn note(&mut self, crl: &Arc<Crl>) {
        let nothing = crl.lists_nothing() || self.lists.iter().any(|held| held.covers(crl));
        if !nothing {
            self.lists.retain(|held| !crl.covers(held));
            self.lists.push(Arc::clone(crl));
            self.stored = false;
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Held {
    crl: Option<Arc<Crl>>,
    /// A list that will count in a moment, and when it was fetched.
    coming: Option<(Arc<Crl>, Timestamp)>,
    max_age: Option<SignedDuration>,
    /// When a list no older than this one was fetched, by this process or another.
    fetched_at: Option<Timestamp>,
    /// When this process last looked for a newer list, whatever came of it.
    asked_at: Option<Timestamp>,
    /// Whether AMD did not answer when a list was last asked for in the place of this one, which was past its
    /// nextUpdate.
    unreachable: bool,
    /// Whether an operator has changed the table since this process looked: then a list without a row is held
    /// no longer.
    table_changed: bool,
}

impl Held {
    fn look_again(&mut self) {
        (self.fetched_at, self.asked_at, self.table_changed) = (None, None, true);
    }

    /// Whether AMD is to be asked for a newer list. A time of fetching in the future is not believed.
    fn is_old(&self, now: Timestamp) -> bool {
        !self.fetched_at.is_some_and(|at| is_recent(at, now, RENEW_AFTER))
            || !self.counts(now, SignedDuration::ZERO)
    }

    /// Whether a newer list is to be looked for now.
    fn is_due(&self, now: Timestamp) -> bool {
        self.is_old(now) && self.may_ask(now)
    }

    fn counts(&self, now: Timestamp, grace: SignedDuration) -> bool {
        self.crl.as_ref().is_some_and(|crl| {
            let young = |max_age| now.duration_since(crl.this_update()) <= max_age;
            crl.check_validity(now, grace).is_ok() && self.max_age.is_none_or(young)
        })
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

    /// Whether AMD was left alone for long enough. An answer that brought no list that counts is no reason to
    /// ask at once.
    fn may_ask(&self, now: Timestamp) -> bool {
        let pause = if self.is_usable(now) { RETRY_AFTER } else { RETRY_SOON };
        !self.asked_at.is_some_and(|at| is_recent(at, now, pause))
    }

    /// Takes `crl` unless it is older than the one held, or could not be used now. One that is to come soon
    /// is put by.
    fn adopt(&mut self, crl: Arc<Crl>, fetched_at: Timestamp, now: Timestamp) -> bool {
        if seconds_until(crl.this_update(), now).is_some() {
            self.coming = Some((crl, fetched_at));
            return false;
        }
        let older = self.crl.as_ref().is_some_and(|held| crl.this_update() < held.this_update());
        if older || crl.check_validity(now, Crl::GRACE).is_err() {
            return false;
        }
        self.crl = Some(crl);
        // Whoever writes the store can put a time there that would outlast every renewal.
        let times = [self.fetched_at, Some(fetched_at)];
        self.fetched_at = times.into_iter().flatten().filter(|time| *time <= now).max();
        self.counts(now, Crl::GRACE)
    }

    /// Takes the list that was to come, if its time is there.
    fn take_coming(&mut self, now: Timestamp) {
        if let Some((crl, fetched_at)) = self.coming.take_if(|(crl, _)| crl.this_update() <= now) {
            self.adopt(crl, fetched_at, now);
        }
    }

    /// The list and its grace, if it counts.
    fn usable(self, now: Timestamp) -> Result<(Arc<Crl>, SignedDuration), EndorsementError> {
        let (grace, usable) = (self.grace(), self.is_usable(now));
        let coming = self.coming.as_ref().and_then(|(crl, _)| seconds_until(crl.this_update(), now));
        let unlimited = Self { max_age: None, ..self };
        let cause = if unlimited.is_usable(now) {
            "the revocation list is older than --crl-max-age lets it be"
        } else {
            "there is no revocation list that counts"
        };
        unlimited.crl.filter(|_| usable).map(|crl| (crl, grace)).ok_or(EndorsementError::Unavailable {
            retry_after: coming.unwrap_or(patience::SHORT),
            cause: cause.to_owned(),
        })
    }
}

impl EndorsementSource {
    /// The revocation list for VEKs of `product` and `kind`, renewed first if it is old; and others of the
    /// product.
    pub(super) async fn crl(
        &self,
        product: Product,
        kind: EndorsementKind,
    ) -> Result<Lists, EndorsementError> {
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
        let (crl, crl_grace) = held.usable(now)?;
        Ok(Lists { crl, crl_grace, further_crls: self.revocation.revoking(product) })
    }

    fn held(&self, product: Product, kind: EndorsementKind) -> Held {
        let mut held = lock(&self.revocation.held).get(&(product, kind)).cloned().unwrap_or_default();
        held.max_age = self.revocation.max_age;
        held.take_coming(self.clock.now());
        held
    }

    /// Looks into the store, then asks AMD, and keeps what came of it.
    async fn renew(&self, product: Product, kind: EndorsementKind) -> Result<Held, EndorsementError> {
        let now = self.clock.now();
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
        let now = self.clock.now();
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
        let now = self.clock.now();
        let row = self.row(&silence_key(product, kind)).await?;
        Ok(row.map(|row| row.fetched_at).filter(|since| is_recent(*since, now, RETRY_AFTER)))
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
