//! Policies at appraisal: compiled once, evaluated on threads of their own, few at a time.
//!
//! These are no threads of the runtime's blocking pool: their stack is larger, and a runtime waits for its
//! own when it ends. One that does not come to an end in time is left behind: it keeps its place among the
//! few until it does, which the restrictions on policies make a matter of seconds; meanwhile the policy is
//! refused.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use cached::{Cached, LruCache};
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use super::{
    claims::Claims,
    evaluate::{DEADLINE, Denied, Gave, Shared, decide},
    policy::{Policy, PolicyError, PolicyText},
    thread,
};
use crate::panics::Panicked;

/// A query that makes the thread panic, in tests alone: of regorus itself none is known.
#[cfg(test)]
pub(crate) const PANICS: &str = "input.made_to_panic";

/// Compiled policies that are kept.
const KEPT: usize = 32;
/// Threads at a time.
const THREADS: usize = 4;
/// How long a place among the threads is waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long on the wall an evaluation may take that does not get the processor.
const STARVED: Duration = Duration::from_millis(1200);
/// What compiling may take, beside evaluating.
const COMPILING: Duration = Duration::from_millis(500);

/// Why a policy did not give its consent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotEvaluated {
    /// It refuses the claims.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It is no policy that this release accepts.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Every thread is taken: nothing was decided.
    #[error("every thread that evaluates policies is taken")]
    Busy,
    /// The compiler or the interpreter panicked: nothing was decided.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// Compiles and evaluates policies, and remembers those that it compiled.
#[derive(Debug)]
pub struct Evaluator {
    compiled: Arc<Mutex<LruCache<[u8; 32], Shared>>>,
    threads: Arc<Semaphore>,
}

impl Default for Evaluator {
    /// On four threads.
    fn default() -> Self {
        Self::new(THREADS)
    }
}

type Compiled = Arc<Mutex<LruCache<[u8; 32], Shared>>>;

impl Evaluator {
    /// On so many threads. Registrations and guests do not share one: whoever registers one policy after the
    /// other must not keep guests waiting, or have their policies forgotten.
    pub fn new(threads: usize) -> Self {
        Self {
            compiled: Arc::new(Mutex::new(LruCache::new(KEPT))),
            threads: Arc::new(Semaphore::new(threads)),
        }
    }

    /// What a registration must pass: it compiles, and a trial with `sample` does not fail.
    pub async fn admit(&self, text: &PolicyText, sample: &Claims) -> Result<(), NotEvaluated> {
        let results = self.results(text, sample, DEADLINE).await?;
        let fault = |gave: &Gave| !matches!(gave, Gave::True | Gave::False | Gave::Undefined);
        match results.into_iter().enumerate().find(|(_, gave)| fault(gave)) {
            Some((query, gave)) => Err(PolicyError::Trial(Denied { query, gave }).into()),
            None => Ok(()),
        }
    }

    /// That every query of the policy gives `true` for these claims, within [`DEADLINE`].
    pub async fn evaluate(&self, text: &PolicyText, claims: &Claims) -> Result<(), NotEvaluated> {
        decide(self.results(text, claims, DEADLINE).await?).map_err(NotEvaluated::Denied)
    }

    async fn results(
        &self,
        text: &PolicyText,
        claims: &Claims,
        deadline: Duration,
    ) -> Result<Vec<Gave>, NotEvaluated> {
        let digest = text.digest();
        let known = kept(&self.compiled, &digest);
        let limit = if known.is_some() { STARVED } else { STARVED + COMPILING };
        let place = timeout(PATIENCE, Arc::clone(&self.threads).acquire_owned()).await;
        let place = place.ok().and_then(Result::ok).ok_or(NotEvaluated::Busy)?;
        let (sender, receiver) = oneshot::channel();
        let (compiled, text, claims) = (Arc::clone(&self.compiled), text.clone(), claims.clone());
        let queries = text.queries.len();
        let work = move || {
            // Nobody may be waiting any longer.
            let _ = sender.send(work(&compiled, digest, known, &text, &claims, deadline, place));
        };
        thread::start(work).map_err(|_| NotEvaluated::Busy)?;
        match timeout(limit, receiver).await {
            Ok(results) => results.map_err(|_| Panicked::met())?.map_err(NotEvaluated::Policy),
            Err(_) => Ok(vec![Gave::TimedOut; queries]),
        }
    }
}

fn work(
    compiled: &Compiled,
    digest: [u8; 32],
    known: Option<Shared>,
    text: &PolicyText,
    claims: &Claims,
    deadline: Duration,
    _place: OwnedSemaphorePermit,
) -> Result<Vec<Gave>, PolicyError> {
    #[cfg(test)]
    assert!(!text.queries.iter().any(|query| query == PANICS), "the sample's secret");
    let policy = match known {
        Some(policy) => policy,
        None => keep(compiled, digest, Policy::compile_here(text)?),
    };
    Ok(fairly(&policy, claims, deadline))
}

/// The interpreter goes by the clock on the wall. Where the processor was busy with other things, as an
/// instance of little memory is most of the time, the policy is given more of it, until it had its deadline
/// in processor time.
fn fairly(policy: &Policy, claims: &Claims, deadline: Duration) -> Vec<Gave> {
    let (began, mut limit, input) = (processor_time(), deadline, policy.input(claims));
    loop {
        let mut results = Vec::with_capacity(policy.queries.len());
        policy.each(input.clone(), Instant::now() + limit, |gave| results.push(gave));
        let starved = results.contains(&Gave::TimedOut) && processor_time().saturating_sub(began) < deadline;
        limit *= 4;
        if !starved || limit > STARVED {
            return results;
        }
    }
}

/// What this thread has had.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

// A panic between taking and giving back can leave neither the map nor an entry half written.
fn kept(compiled: &Compiled, digest: &[u8; 32]) -> Option<Shared> {
    compiled.lock().unwrap_or_else(PoisonError::into_inner).cache_get(digest).cloned()
}

fn keep(compiled: &Compiled, digest: [u8; 32], policy: Policy) -> Shared {
    let policy = Arc::new(policy);
    compiled.lock().unwrap_or_else(PoisonError::into_inner).cache_set(digest, Arc::clone(&policy));
    policy
}
