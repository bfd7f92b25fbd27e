//! The interface through which the services compile and evaluate policies.

use std::fmt;

use async_trait::async_trait;

use super::{claims::Claims, text::PolicyText};
use crate::panics::Panicked;

/// Compiles and evaluates policies, each within limits of its own. Registrations and guests do not share one:
/// a party that registers one policy after the other must not keep guests waiting.
///
/// `Ok` is consent. Every error refuses, or leaves undecided, what the policy was asked for.
#[async_trait]
pub trait PolicyEngine: fmt::Debug + Send + Sync {
    /// Checks a policy before it is registered: it must compile, and trying it with sample claims must not
    /// fail. A policy that the sample does not satisfy is accepted.
    async fn check(&self, policy: &PolicyText) -> Result<(), NotEvaluated>;

    /// Consents if every query of the policy gives `true` for these claims.
    async fn evaluate(&self, policy: &PolicyText, claims: &Claims) -> Result<(), NotEvaluated>;
}

/// Why a policy did not give its consent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotEvaluated {
    /// It refuses the claims.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It is no policy that this engine accepts.
    #[error(transparent)]
    Policy(#[from] PolicyRefused),
    /// Every thread is taken: nothing was decided.
    #[error("every thread that evaluates policies is taken")]
    Busy,
    /// The compiler or the interpreter panicked: nothing was decided.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// Why an engine does not accept a policy, in the words for the party that registers it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PolicyRefused(pub String);

/// The first query that did not give `true`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("query {query} gave {gave}")]
pub struct Denied {
    /// Which, from 0.
    pub query: usize,
    /// The value that it gave.
    pub gave: Gave,
}

/// The result of a query.
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
