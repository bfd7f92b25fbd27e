//! An operator's changes in the table count in every process soon: operators leave a mark there, and
//! processes look at it.

use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};

use keybroker_common::clock::is_recent;

use super::EndorsementSource;
use crate::lock::lock;

/// The row that operators write anew when they delete or bring certificates, with bytes that were never there
/// before.
pub const CHANGED_KEY: &str = "changed";
/// How often a process looks at it.
const EVERY: SignedDuration = SignedDuration::from_mins(1);

/// The mark as this process saw it.
#[derive(Debug, Default)]
pub(super) struct Operators(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    at: Option<Timestamp>,
    mark: Option<Vec<u8>>,
}

impl Operators {
    /// Whether the mark is to be looked at.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        !lock(&self.0).at.is_some_and(|at| is_recent(at, now, EVERY))
    }

    /// Takes note of the mark. Whether it is another than before.
    fn see(&self, mark: Vec<u8>, now: Timestamp) -> bool {
        let mut seen = lock(&self.0);
        seen.at = Some(now);
        seen.mark.replace(mark.clone()).is_some_and(|before| before != mark)
    }
}

impl EndorsementSource {
    /// Forgets what it knows if an operator has changed the table since this process last looked. A table
    /// that cannot be read is looked at again by the next guest.
    pub(super) async fn heed_operator(&self) {
        let Ok(row) = self.store.endorsement(CHANGED_KEY).await else { return };
        if self.operators.see(row.map(|row| row.bytes).unwrap_or_default(), self.now()) {
            tracing::info!(
                "certificates in the table were changed by an operator: those in memory are forgotten"
            );
            self.forget();
        }
    }
}
