//! How fast one process asks AMD for chips that nobody has seen.
//!
//! Whoever can register a workload can make up reports that pass every check which needs no certificate, each of another
//! chip. AMD answers about one request for a VCEK per ten seconds and address, and turns away what is beyond that, for some
//! time and whoever asks: were each of those chips asked for, none that is real would get its turn. A chip that was seen
//! is in the cache or the table and never comes here, and neither does one that AMD said it does not know a while ago.

use jiff::{SignedDuration, Timestamp};

use super::EndorsementError;
use crate::bucket::Bucket;

/// As fast as AMD answers for long.
const EVERY: SignedDuration = SignedDuration::from_secs(10);
/// New chips at once, after a while without any: some hosts that are put into service together.
const BURST: i32 = 8;

/// Room for requests of new chips.
#[derive(Debug)]
pub(super) struct Newcomers(Bucket);

impl Default for Newcomers {
    fn default() -> Self {
        Self(Bucket::new(EVERY, BURST))
    }
}

impl Newcomers {
    /// Takes what one request for a new chip costs, if there is that much left.
    pub(super) fn admit(&self, now: Timestamp) -> Result<(), EndorsementError> {
        self.0.take(now).map_err(|retry_after| EndorsementError::TooManyNewChips { retry_after })
    }
}
