//! Policies at appraisal: compiled once, evaluated on a few threads that are kept for them.
//!
//! These are no threads of the runtime's blocking pool: their stack is larger, and a runtime waits for its
//! own when it ends. A policy that does not end in time is refused, and its thread is left behind: it keeps
//! its place among the few until the policy ends. The restrictions on policies make that a matter of seconds.
//!
//! No policy is evaluated on the thread that asks. The restrictions bound how deep a policy goes and how
//! large its values grow, not how long it takes: without a deadline, a few lines could take years.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use cached::{Cached, LruCache};
use keybroker_common::{
    panics::Panicked,
    policy::{Claims, Gave, NotEvaluated, PolicyEngine, PolicyText},
};
use tokio::time::timeout;

use crate::{
    compile::compile,
    error::PolicyError,
    evaluate::{STARVED, decide, tried},
    policy::Policy,
    threads::Threads,
};

/// A query that makes the thread panic, in tests alone: of regorus itself none is known.
#[cfg(test)]
const PANICS: &str = "input.made_to_panic";

/// Compiled policies that are kept.
const KEPT: usize = 32;
/// Threads at a time.
const THREADS: usize = 4;
/// How long a place among the threads is waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// The time that compiling may take, beside evaluating.
const COMPILING: Duration = Duration::from_millis(500);

/// Compiles and evaluates policies, and remembers those that it compiled.
#[derive(Debug)]
pub struct RegoEngine {
    compiled: Compiled,
    threads: Threads<Result<Vec<Gave>, PolicyError>>,
}

impl Default for RegoEngine {
    /// On four threads at most.
    fn default() -> Self {
        Self::new(THREADS)
    }
}

type Compiled = Arc<Mutex<LruCache<[u8; 32], Arc<Policy>>>>;

impl RegoEngine {
    /// On so many threads at most. Registrations and guests do not share one: a party that registers one
    /// policy after the other must not keep guests waiting, or have their policies forgotten.
    pub fn new(threads: usize) -> Self {
        Self { compiled: Arc::new(Mutex::new(LruCache::new(KEPT))), threads: Threads::new(threads) }
    }

    /// The result of each query within [`DEADLINE`](crate::evaluate::DEADLINE).
    async fn results(&self, text: &PolicyText, claims: &Claims) -> Result<Vec<Gave>, NotEvaluated> {
        let digest = text.digest();
        let ready = kept(&self.compiled, &digest).ok_or_else(|| text.clone());
        let limit = if ready.is_ok() { STARVED } else { STARVED + COMPILING };
        let (compiled, claims) = (Arc::clone(&self.compiled), claims.clone());
        let queries = text.queries.len();
        let work = move || work(&compiled, digest, ready, &claims);
        let receiver = self.threads.begin(PATIENCE, work).await.ok_or(NotEvaluated::Busy)?;
        match timeout(limit, receiver).await {
            Ok(results) => results.map_err(|_| Panicked::met())?.map_err(NotEvaluated::from),
            Err(_) => Ok(vec![Gave::TimedOut; queries]),
        }
    }
}

#[async_trait]
impl PolicyEngine for RegoEngine {
    async fn check(&self, policy: &PolicyText) -> Result<(), NotEvaluated> {
        Ok(tried(self.results(policy, &Claims::sample()).await?)?)
    }

    async fn evaluate(&self, policy: &PolicyText, claims: &Claims) -> Result<(), NotEvaluated> {
        Ok(decide(self.results(policy, claims).await?)?)
    }
}

/// Evaluates a policy that is compiled, or one that is still text and is compiled first.
fn work(
    compiled: &Compiled,
    digest: [u8; 32],
    ready: Result<Arc<Policy>, PolicyText>,
    claims: &Claims,
) -> Result<Vec<Gave>, PolicyError> {
    let policy = match ready {
        Ok(policy) => policy,
        Err(text) => {
            #[cfg(test)]
            assert!(!text.queries.iter().any(|query| query == PANICS), "the sample's secret");
            keep(compiled, digest, compile(&text)?)
        }
    };
    Ok(policy.fairly(claims))
}

// A panic between taking and giving back can leave neither the map nor an entry half written.
fn kept(compiled: &Compiled, digest: &[u8; 32]) -> Option<Arc<Policy>> {
    compiled.lock().unwrap_or_else(PoisonError::into_inner).cache_get(digest).cloned()
}

fn keep(compiled: &Compiled, digest: [u8; 32], policy: Policy) -> Arc<Policy> {
    let policy = Arc::new(policy);
    compiled.lock().unwrap_or_else(PoisonError::into_inner).cache_set(digest, Arc::clone(&policy));
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each thread's place is given back.
    #[tokio::test]
    async fn a_panic_refuses_and_the_next_policy_is_evaluated() {
        let engine = RegoEngine::new(1);
        let asks = |query: &str| PolicyText {
            module: None,
            queries: vec![query.to_owned()],
            reference_values: "{}".to_owned(),
        };
        for _ in 0..10 {
            let checked = engine.check(&asks(PANICS)).await;
            assert!(matches!(checked, Err(NotEvaluated::Panicked(_))), "{checked:?}");
            let evaluated = engine.evaluate(&asks(PANICS), &Claims::sample()).await;
            assert!(matches!(evaluated, Err(NotEvaluated::Panicked(_))), "{evaluated:?}");
        }
        assert_eq!(engine.evaluate(&asks("true"), &Claims::sample()).await, Ok(()));
    }
}
