//! The revocation lists that this process holds, and all that they ever listed.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::SignedDuration;
use keybroker_snp::{chain::Intermediate, crl::Crl, endorsement::EndorsementKind, product::Product};

use super::held::Held;
use crate::lock::lock;

/// The lists for one chain.
#[derive(Debug)]
pub(in crate::source) struct Lists {
    /// The one that must count.
    pub(in crate::source) crl: Arc<Crl>,
    pub(in crate::source) crl_grace: SignedDuration,
    /// Others, whose entries count beside that one's.
    pub(in crate::source) further_crls: Vec<Arc<Crl>>,
}

/// The lists held by this process.
#[derive(Debug)]
pub(in crate::source) struct RevocationLists {
    pub(super) max_age: Option<SignedDuration>,
    pub(super) held: Mutex<HashMap<(Product, EndorsementKind), Held>>,
    pub(super) revoking: Mutex<HashMap<Product, Revoking>>,
    /// How often the table was changed by an operator.
    pub(super) changes: AtomicU64,
}

impl RevocationLists {
    /// None yet. One of them counts until it is `max_age` old, whatever it says itself.
    pub(in crate::source) fn new(max_age: Option<SignedDuration>) -> Self {
        Self { max_age, held: Mutex::default(), revoking: Mutex::default(), changes: AtomicU64::new(0) }
    }

    /// Whether a list in hand holds something against `issuer` or its ARK.
    pub(in crate::source) fn lists(&self, issuer: &Intermediate) -> bool {
        let revoking = lock(&self.revoking);
        let lists = revoking.get(&issuer.product()).map(|revoking| revoking.lists.as_slice());
        lists.unwrap_or_default().iter().any(|crl| issuer.check_revocation(crl).is_err())
    }

    /// All are looked for in the table again, before they are used.
    pub(in crate::source) fn look_again(&self) {
        let mut all = lock(&self.held);
        self.changes.fetch_add(1, Ordering::Relaxed);
        all.values_mut().for_each(Held::look_again);
    }

    /// Holds the list that a renewal brought that began after `changes`. An operator's change meanwhile is
    /// yet to be looked at.
    pub(super) fn hold(&self, product: Product, kind: EndorsementKind, mut held: Held, changes: u64) {
        let mut all = lock(&self.held);
        if self.changes.load(Ordering::Relaxed) != changes {
            held.look_again();
        }
        all.insert((product, kind), held);
    }

    pub(super) fn note(&self, product: Product, crl: &Arc<Crl>) {
        lock(&self.revoking).entry(product).or_default().note(crl);
    }

    pub(super) fn revoking(&self, product: Product) -> Vec<Arc<Crl>> {
        lock(&self.revoking).get(&product).map(|revoking| revoking.lists.clone()).unwrap_or_default()
    }
}

/// As few of a product's lists as hold all that any of them was seen to hold; whichever kind they were
/// published for, and however old they are.
#[derive(Debug, Default)]
pub(super) struct Revoking {
    pub(super) lists: Vec<Arc<Crl>>,
    /// Whether the table has them.
    pub(super) stored: bool,
}

impl Revoking {
    pub(super) fn note(&mut self, crl: &Arc<Crl>) {
        let nothing = crl.lists_nothing() || self.lists.iter().any(|held| held.covers(crl));
        if !nothing {
            self.lists.retain(|held| !crl.covers(held));
            self.lists.push(Arc::clone(crl));
            self.stored = false;
        }
    }
}
