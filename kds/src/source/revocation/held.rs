//! One revocation list: until when it counts, and when a newer one is looked for.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use keybroker_common::clock::{is_recent, seconds_until};
use keybroker_snp::crl::Crl;

use crate::error::{self, EndorsementError};

/// After this long a list is asked for again.
const RENEW_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// For how long AMD is not asked again after it brought nothing new, while a list that counts is held; also
/// for how long it is believed that it did not answer.
pub(super) const RETRY_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// The same without one: every guest depends on it.
const RETRY_SOON: SignedDuration = SignedDuration::from_secs(5);

/// The list of one product and kind that this process holds, and what it knows of newer ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    pub(super) crl: Option<Arc<Crl>>,
    /// A list that will count in a moment, and when it was fetched.
    pub(super) coming: Option<(Arc<Crl>, Timestamp)>,
    pub(super) max_age: Option<SignedDuration>,
    /// When a list no older than this one was fetched, by this process or another.
    pub(super) fetched_at: Option<Timestamp>,
    /// When this process last looked for a newer list, whatever came of it.
    pub(super) asked_at: Option<Timestamp>,
    /// Whether AMD did not answer when a list was last asked for in the place of this one, which was past its
    /// nextUpdate.
    pub(super) unreachable: bool,
    /// Whether an operator has changed the table since this process looked: then a list without a row is held
    /// no longer.
    pub(super) table_changed: bool,
}

impl Held {
    pub(super) fn look_again(&mut self) {
        (self.fetched_at, self.asked_at, self.table_changed) = (None, None, true);
    }

    /// Whether AMD is to be asked for a newer list. A time of fetching in the future is not believed.
    pub(super) fn is_old(&self, now: Timestamp) -> bool {
        !self.fetched_at.is_some_and(|at| is_recent(at, now, RENEW_AFTER))
            || !self.counts(now, SignedDuration::ZERO)
    }

    /// Whether a newer list is to be looked for now.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.is_old(now) && self.may_ask(now)
    }

    pub(super) fn counts(&self, now: Timestamp, grace: SignedDuration) -> bool {
        self.crl.as_ref().is_some_and(|crl| {
            let young = |max_age| now.duration_since(crl.this_update()) <= max_age;
            crl.check_validity(now, grace).is_ok() && self.max_age.is_none_or(young)
        })
    }

    /// Whether it depends on AMD's silence that the list counts.
    pub(super) fn needs_grace(&self, now: Timestamp) -> bool {
        self.counts(now, Crl::GRACE) && !self.counts(now, SignedDuration::ZERO)
    }

    /// How long past its nextUpdate the list may be used: not at all, unless AMD cannot be reached.
    pub(super) fn grace(&self) -> SignedDuration {
        if self.unreachable { Crl::GRACE } else { SignedDuration::ZERO }
    }

    pub(super) fn is_usable(&self, now: Timestamp) -> bool {
        self.counts(now, self.grace())
    }

    /// Whether AMD was left alone for long enough. An answer that brought no list that counts is no reason to
    /// ask at once.
    pub(super) fn may_ask(&self, now: Timestamp) -> bool {
        let pause = if self.is_usable(now) { RETRY_AFTER } else { RETRY_SOON };
        !self.asked_at.is_some_and(|at| is_recent(at, now, pause))
    }

    /// Takes `crl` unless it is older than the one held, or could not be used now. One that is to come soon
    /// is put by.
    pub(super) fn adopt(&mut self, crl: Arc<Crl>, fetched_at: Timestamp, now: Timestamp) -> bool {
        if seconds_until(crl.this_update(), now).is_some() {
            self.coming = Some((crl, fetched_at));
            return false;
        }
        let older = self.crl.as_ref().is_some_and(|held| crl.this_update() < held.this_update());
        if older || crl.check_validity(now, Crl::GRACE).is_err() {
            return false;
        }
        self.crl = Some(crl);
        // A writer of the store could put a time there that would outlast every renewal.
        let times = [self.fetched_at, Some(fetched_at)];
        self.fetched_at = times.into_iter().flatten().filter(|time| *time <= now).max();
        self.counts(now, Crl::GRACE)
    }

    /// Takes the list that was to come, if its time is there.
    pub(super) fn take_coming(&mut self, now: Timestamp) {
        if let Some((crl, fetched_at)) = self.coming.take_if(|(crl, _)| crl.this_update() <= now) {
            self.adopt(crl, fetched_at, now);
        }
    }

    /// The list and its grace, if it counts.
    pub(super) fn usable(self, now: Timestamp) -> Result<(Arc<Crl>, SignedDuration), EndorsementError> {
        let (grace, usable) = (self.grace(), self.is_usable(now));
        let coming = self.coming.as_ref().and_then(|(crl, _)| seconds_until(crl.this_update(), now));
        let unlimited = Self { max_age: None, ..self };
        let cause = if unlimited.is_usable(now) {
            "the revocation list is older than --crl-max-age lets it be"
        } else {
            "there is no revocation list that counts"
        };
        unlimited.crl.filter(|_| usable).map(|crl| (crl, grace)).ok_or(EndorsementError::Unavailable {
            retry_after: coming.unwrap_or(error::RETRY_AFTER),
            cause: cause.to_owned(),
        })
    }
}
