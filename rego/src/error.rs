//! Why a policy is refused at its registration, as data.

use std::fmt;

use keybroker_common::policy::{Denied, MAX_QUERIES, NotEvaluated, PolicyRefused};

use crate::{
    reference::ReferenceError,
    restrict::Forbidden,
    text::{Position, TextFault},
};

/// A part of a policy that is written in Rego.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The module.
    Module,
    /// A query, from 0.
    Query(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module => f.write_str("the policy"),
            Self::Query(index) => write!(f, "query {index}"),
        }
    }
}

/// Why a policy is refused at its registration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// No query: nothing would be required.
    #[error("no query")]
    NoQuery,
    /// More than [`MAX_QUERIES`].
    #[error("more than {MAX_QUERIES} queries")]
    TooManyQueries,
    /// The reference values.
    #[error(transparent)]
    ReferenceValues(#[from] ReferenceError),
    /// A text that is kept from the parser.
    #[error("{part}, line {}, column {}: {fault}", .at.line, .at.column)]
    Text {
        /// Where.
        part: Part,
        /// Where in it.
        at: Position,
        /// Why.
        fault: TextFault,
    },
    /// No Rego.
    #[error(
        "{part}{}: {message}",
        .at.map_or(String::new(), |at| format!(", line {}, column {}", at.line, at.column))
    )]
    Syntax {
        /// Where.
        part: Part,
        /// Where in it, as far as the parser says.
        at: Option<Position>,
        /// The parser's words, one line of printable ASCII.
        message: String,
    },
    /// Rego that policies may not use.
    #[error("{part}, line {}, column {}: not allowed: {what}", .at.line, .at.column)]
    Forbidden {
        /// Where.
        part: Part,
        /// Where in it.
        at: Position,
        /// The forbidden thing.
        what: Forbidden,
    },
    /// The module's package would hide reference values, or be hidden by them.
    #[error("the reference values have {0:?}, with which the policy's package begins")]
    Shadows(String),
    /// A Turin under both of its names.
    #[error("the chip id {0:?} is there with 16 digits and with 128: write it in one form")]
    ChipTwice(String),
    /// Tried with sample claims, a query failed, took too long or gave no boolean.
    #[error("tried with a sample, {0}")]
    Trial(Denied),
    /// No thread could be started.
    #[error("no thread to compile the policy with")]
    NoThread,
}

/// The thing that has to change, so that a policy is no longer refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The module.
    Module,
    /// A query, from 0.
    Query(usize),
    /// The number of the queries.
    Queries,
    /// The reference values.
    ReferenceValues,
    /// Nothing in the policy: the machine has too little room.
    Machine,
}

impl From<Part> for Blame {
    fn from(part: Part) -> Self {
        match part {
            Part::Module => Self::Module,
            Part::Query(index) => Self::Query(index),
        }
    }
}

impl PolicyError {
    /// The thing that has to change. Chips are mostly listed in the reference values.
    pub fn blames(&self) -> Blame {
        match self {
            Self::Text { part, .. } | Self::Syntax { part, .. } | Self::Forbidden { part, .. } => {
                (*part).into()
            }
            Self::NoQuery | Self::TooManyQueries => Blame::Queries,
            Self::ReferenceValues(_) | Self::ChipTwice(_) => Blame::ReferenceValues,
            Self::Shadows(_) => Blame::Module,
            Self::Trial(denied) => Blame::Query(denied.query),
            Self::NoThread => Blame::Machine,
        }
    }
}

impl From<PolicyError> for PolicyRefused {
    fn from(error: PolicyError) -> Self {
        Self(error.to_string())
    }
}

impl From<PolicyError> for NotEvaluated {
    fn from(error: PolicyError) -> Self {
        Self::Policy(error.into())
    }
}
