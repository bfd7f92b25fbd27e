//! How AMD's Key Distribution Service (KDS) is spared: it answers about one request for a VCEK in ten seconds
//! and address, and turns away what is beyond that.
//!
//! | KDS said | who waits | how long | what the guest gets |
//! |---|---|---|---|
//! | nothing yet: it is being asked | guests of the same chip and TCB, in this process ([`SingleFlight`]) | until it answered, 25 s at most | what comes of it; 503 and Retry-After 5 after 25 s |
//! | | guests of the same, in other processes ([`Leases`]) | until the row is in the table, 12 s at most | what comes of it; 503 and Retry-After 5 after 12 s |
//! | | a fifth request of this process ([`CONCURRENCY`]) | until one of the four ends, 10 s at most | what comes of it; 503 and Retry-After 5 after 10 s |
//! | nothing yet: nobody has seen the chip | the guests of this chip ([`NewChipLimiter`]) | until it is the chip's turn, 20 s at most | its turn; 503 and Retry-After after 20 s, or at once where too many wait |
//! | 429, 5xx, or nothing within 4 s | this request, before its next attempt ([`retried`]) | 0.2 s, then twice that, each with jitter, or Retry-After if that is longer; three attempts in 10 s | nothing yet |
//! | 429, or any other error with Retry-After | requests of the same product that are under way ([`Pauses`]) | Retry-After, 10 s at most; 0.2 s without it | nothing yet |
//! | the same, when no attempt or no time is left | guests of this process that need KDS for the same product ([`Backoff`]) | Retry-After, from 5 s to 5 min; 5 s without it | 503 and Retry-After; the challenge stays |
//! | | guests of other processes that need the same row ([`Leases`]) | until the lease is over, 15 s after it began; each guest 12 s at most | 503 and Retry-After 5; the challenge stays |
//! | any other status, 404 for a chain, too many bytes, or not the certificate | as in the two rows before, with no further attempt | 5 s, or Retry-After as before; the lease as before | 503 and Retry-After; the challenge stays |
//! | 404 for a chip's certificate | nobody: in every process KDS is not asked again for this chip and TCB ([`Backoff`], and a row in the table) | 10 min | refused, and the challenge is spent |
//!
//! Two kinds of guests get something else. Where a chain is at hand that does not hold, verification refuses
//! it after a 404. Where a report does not name its product, a 404 leads to the next product.
//!
//! Revocation lists go by [`SingleFlight`], [`Leases`] and [`retried`] alone: new chips must not keep a list
//! from being renewed.

mod backoff;
mod lease;
mod new_chips;
mod pause;
mod retry;
mod single_flight;

use std::time::Duration;

pub(crate) use self::{
    backoff::Backoff,
    lease::{Leases, Turn},
    new_chips::NewChipLimiter,
    pause::Pauses,
    retry::retried,
    single_flight::SingleFlight,
};

/// Requests for certificates under way at once, in one process.
pub(crate) const CONCURRENCY: usize = 4;
/// All attempts at one certificate together may take this long.
pub(crate) const REQUEST: Duration = Duration::from_secs(10);
/// One attempt may take this long, so that one that hangs leaves room for another.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(4);
/// How many attempts a request has.
const ATTEMPTS: usize = 3;
/// The pause before the second attempt, at least.
const PAUSE: Duration = Duration::from_millis(200);
/// For how long one process waits for what another is asking for.
pub(crate) const LEASE_WAIT: Duration = Duration::from_secs(12);
