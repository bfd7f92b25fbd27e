//! Evaluating a policy: what each query gives, and that all give `true`.

use std::{
    fmt,
    num::NonZeroU32,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use regorus::{Engine, LimitError, Value, utils::limits::ExecutionTimerConfig};

use super::{claims::Claims, policy::Policy, policy::message, query::Query, thread};

/// How long the queries of one policy may take together: on the wall, and for the broker in processor time.
pub const DEADLINE: Duration = Duration::from_millis(50);

/// Steps of the interpreter between two looks at the clock.
const STEPS: NonZeroU32 = match NonZeroU32::new(16) {
    Some(steps) => steps,
    None => NonZeroU32::MIN,
};

/// What is said of a thread that is gone before it answered.
const ENDED: &str = "the evaluation ended without an answer";

/// What a query gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gave {
    /// Every expression of every solution is `true`. All else refuses.
    True,
    /// An expression is `false`.
    False,
    /// There is no solution: something that the query names is not there, or no value satisfies it.
    Undefined,
    /// An expression is neither `true` nor `false`.
    NotBoolean,
    /// Evaluation failed, in the interpreter's words: one line of printable ASCII.
    Error(String),
    /// It did not end in time.
    TimedOut,
}

impl fmt::Display for Gave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::True => f.write_str("true"),
            Self::False => f.write_str("false"),
            Self::Undefined => f.write_str("undefined"),
            Self::NotBoolean => f.write_str("not a boolean"),
            Self::Error(message) => write!(f, "an error: {message}"),
            Self::TimedOut => f.write_str("nothing in time"),
        }
    }
}

/// The first query that did not give `true`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("query {query} gave {gave}")]
pub struct Denied {
    /// Which, from 0.
    pub query: usize,
    /// What it gave.
    pub gave: Gave,
}

impl Policy {
    /// What each query gives, in their order; for people to read. Blocks for at most `deadline`.
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

    /// That every query gives `true`. Blocks for at most `deadline`.
    pub fn evaluate(&self, claims: &Claims, deadline: Duration) -> Result<(), Denied> {
        decide(self.results(claims, deadline))
    }

    /// The same on this thread, whose stack must suffice: for a thread that was made for it.
    pub fn evaluate_here(&self, claims: &Claims, deadline: Duration) -> Result<(), Denied> {
        let mut results = Vec::with_capacity(self.queries.len());
        self.each(self.input(claims), Instant::now() + deadline, |gave| results.push(gave));
        decide(results)
    }

    /// Claims as this policy is to see them.
    pub(super) fn input(&self, claims: &Claims) -> Result<Value, Gave> {
        input(&self.chips.named(claims))
    }

    /// Evaluates query after query on this thread. Each is told what is left of the time until `ends`.
    pub(super) fn each(&self, input: Result<Value, Gave>, ends: Instant, mut tell: impl FnMut(Gave)) {
        let mut engine = self.engine.clone();
        let ready = input.map(|input| engine.set_input(input));
        for query in &self.queries {
            tell(ready.clone().err().unwrap_or_else(|| one(&mut engine, query, ends)));
        }
    }
}

/// That all are `true`, and that there is one.
pub(super) fn decide(results: impl IntoIterator<Item = Gave>) -> Result<(), Denied> {
    let mut none = true;
    for (query, gave) in results.into_iter().enumerate() {
        none = false;
        if gave != Gave::True {
            return Err(Denied { query, gave });
        }
    }
    if none { Err(Denied { query: 0, gave: Gave::Undefined }) } else { Ok(()) }
}

/// Claims as the interpreter takes them.
pub(super) fn input(claims: &Claims) -> Result<Value, Gave> {
    let json = serde_json::to_string(claims).map_err(|error| Gave::Error(error.to_string()))?;
    Value::from_json_str(&json).map_err(|error| Gave::Error(message(&error.to_string())))
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

/// A policy that several threads evaluate.
pub(super) type Shared = Arc<Policy>;
