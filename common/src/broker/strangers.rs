//! Requests under sessions that do not count: how many of them leave a record.

use jiff::{SignedDuration, Timestamp};

use super::{Error, failure::Failure};
use crate::{
    audit::FailedCheck,
    bucket::Bucket,
    sampled::{Line, Sampled},
};

/// How many requests without a valid session one process turns away with a record of each. A session cannot
/// be guessed, but every try would write to the audit log for good. Challenges and sessions that were given,
/// and expired or are answered, are counted apart: a client that names one has had one, and junk must not
/// hide it.
#[derive(Debug)]
pub struct NoSessionLimiter {
    unknown: Bucket,
    late: Bucket,
    lines: Sampled,
}

impl NoSessionLimiter {
    /// One more for each of these that passes,
    const EVERY: SignedDuration = SignedDuration::from_secs(2);
    /// and so many at once.
    const BURST: i32 = 20;

    /// Lets `failure` through to its record, unless it is one too many under no session that counts.
    pub(super) fn take(&self, failure: Failure, now: Timestamp) -> Result<Failure, Error> {
        let (bucket, failed): (_, &FailedCheck) = match &failure {
            Failure::NoSession(failed) => (&self.unknown, failed),
            Failure::Late(failed) | Failure::Stale(failed) => (&self.late, failed),
            _ => return Ok(failure),
        };
        let Err(retry_after) = bucket.take(now) else { return Ok(failure) };
        if let Some(Line { left_out }) = self.lines.line_at(now) {
            let cause = &failed.cause;
            tracing::warn!(%cause, left_out, "turned away without a record: there are too many of them");
        }
        Err(Error::TooMany { retry_after })
    }
}

impl Default for NoSessionLimiter {
    fn default() -> Self {
        let bucket = || Bucket::new(Self::EVERY, Self::BURST);
        Self { unknown: bucket(), late: bucket(), lines: Sampled::new() }
    }
}
