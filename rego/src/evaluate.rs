//! Evaluating a policy: what each query gives, and that all give `true`.

use std::{
    num::NonZeroU32,
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use keybroker_common::policy::{Claims, Denied, Gave};
use regorus::{Engine, LimitError, Value, utils::limits::ExecutionTimerConfig};
use rustix::time::{ClockId, clock_gettime};

use crate::{error::PolicyError, input::input, policy::Policy, query::Query, said::message, thread};

/// How long the queries of one policy may take together, in processor time.
pub(crate) const DEADLINE: Duration = Duration::from_millis(50);
/// How long on the wall an evaluation may take that does not get the processor.
pub(crate) const STARVED: Duration = Duration::from_millis(1200);

/// Steps of the interpreter between two looks at the clock.
const STEPS: NonZeroU32 = match NonZeroU32::new(16) {
    Some(steps) => steps,
    None => NonZeroU32::MIN,
};

/// The message about a thread that is gone before it answered.
const ENDED: &str = "the evaluation ended without an answer";

impl Policy {
    /// The result of each query, in their order; for people to read. Blocks for at most `deadline`.
    pub fn results(&self, claims: &Claims, deadline: Duration) -> Vec<Gave> {
        let (sender, receiver) = mpsc::channel();
        let (policy, input) = (self.clone(), self.input(claims));
        let ends = Instant::now() + deadline;
        let started = thread::start(move || {
            policy.each(input, ends, |gave| {
                // The receiver is gone once time is up.
                let _ = sender.send(gave);
            });
        });
        if started.is_err() {
            return vec![Gave::Error("no thread".to_owned()); self.queries.len()];
        }
        let next = |_| match receiver.recv_timeout(ends.saturating_duration_since(Instant::now())) {
            Ok(gave) => gave,
            Err(RecvTimeoutError::Timeout) => Gave::TimedOut,
            Err(RecvTimeoutError::Disconnected) => Gave::Error(ENDED.to_owned()),
        };
        self.queries.iter().map(next).collect()
    }

    /// Consents if every query gives `true`. Blocks for at most `deadline`.
    pub fn evaluate(&self, claims: &Claims, deadline: Duration) -> Result<(), Denied> {
        decide(self.results(claims, deadline))
    }

    /// The same on this thread, whose stack must suffice: for a thread that was made for it.
    pub fn evaluate_here(&self, claims: &Claims, deadline: Duration) -> Result<(), Denied> {
        let mut results = Vec::with_capacity(self.queries.len());
        self.each(self.input(claims), Instant::now() + deadline, |gave| results.push(gave));
        decide(results)
    }

    /// The result of each query, as the broker has it. Blocks while the policy is evaluated.
    pub fn results_of_broker(&self, claims: &Claims) -> Vec<Gave> {
        let (sender, receiver) = mpsc::channel();
        let (policy, claims) = (self.clone(), claims.clone());
        let all = |gave: Gave| vec![gave; self.queries.len()];
        // The receiver is gone once time is up.
        if thread::start(move || drop(sender.send(policy.fairly(&claims)))).is_err() {
            return all(Gave::Error("no thread".to_owned()));
        }
        receiver.recv_timeout(STARVED).unwrap_or_else(|gone| match gone {
            RecvTimeoutError::Timeout => all(Gave::TimedOut),
            RecvTimeoutError::Disconnected => all(Gave::Error(ENDED.to_owned())),
        })
    }

    /// The result of each query within [`DEADLINE`], on this thread. The interpreter goes by the clock on the
    /// wall. Where the processor was busy with other things, as an instance of little memory is most of the
    /// time, the policy is given more of it, until it had its deadline in processor time.
    pub(crate) fn fairly(&self, claims: &Claims) -> Vec<Gave> {
        let (began, mut limit, input) = (processor_time(), DEADLINE, self.input(claims));
        loop {
            let mut results = Vec::with_capacity(self.queries.len());
            self.each(input.clone(), Instant::now() + limit, |gave| results.push(gave));
            let starved =
                results.contains(&Gave::TimedOut) && processor_time().saturating_sub(began) < DEADLINE;
            limit *= 4;
            if !starved || limit > STARVED {
                return results;
            }
        }
    }

    /// Claims as this policy is to see them.
    fn input(&self, claims: &Claims) -> Result<Value, Gave> {
        input(&self.chips.named(claims))
    }

    /// Evaluates query after query on this thread. Each is told what is left of the time until `ends`.
    fn each(&self, input: Result<Value, Gave>, ends: Instant, mut tell: impl FnMut(Gave)) {
        let mut engine = self.engine.clone();
        let ready = input.map(|input| engine.set_input(input));
        for query in &self.queries {
            tell(ready.clone().err().unwrap_or_else(|| one(&mut engine, query, ends)));
        }
    }
}

/// The processor time that this thread has had.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

/// Consents if all are `true`, and there is at least one.
pub(crate) fn decide(results: impl IntoIterator<Item = Gave>) -> Result<(), Denied> {
    let mut none = true;
    for (query, gave) in results.into_iter().enumerate() {
        none = false;
        if gave != Gave::True {
            return Err(Denied { query, gave });
        }
    }
    if none { Err(Denied { query: 0, gave: Gave::Undefined }) } else { Ok(()) }
}

/// Fails if one of the results of a sample failed, took too long or gave no boolean. That one is false or
/// undefined there is no fault.
pub(crate) fn tried(results: impl IntoIterator<Item = Gave>) -> Result<(), PolicyError> {
    let fault = |gave: &Gave| !matches!(gave, Gave::True | Gave::False | Gave::Undefined);
    match results.into_iter().enumerate().find(|(_, gave)| fault(gave)) {
        Some((query, gave)) => Err(PolicyError::Trial(Denied { query, gave })),
        None => Ok(()),
    }
}

fn one(engine: &mut Engine, query: &Query, ends: Instant) -> Gave {
    let gave = query.gave(|rule| {
        let limit = ends.saturating_duration_since(Instant::now());
        engine.set_execution_timer_config(ExecutionTimerConfig { limit, check_interval: STEPS });
        engine.eval_rule(rule.to_owned())
    });
    // The interpreter turns errors into others on their way: the clock says best what was one of time.
    if Instant::now() >= ends {
        return Gave::TimedOut;
    }
    match gave {
        Ok(gave) => gave,
        Err(error) if error.is::<LimitError>() => Gave::TimedOut,
        Err(error) => Gave::Error(message(&error.to_string())),
    }
}
