//! The caller of a registration, and the rights of that caller.

use jiff::{SignedDuration, Timestamp};

use crate::{
    audit::Check,
    bucket::Bucket,
    ids::{TokenId, WorkloadId},
    sampled::{Line, Sampled},
    token::{Dead, Token},
};

/// The credential that a request carries, as claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Nothing, or nothing that the broker knows of.
    None,
    /// Somebody in front of the broker has authenticated this principal.
    Principal(String),
    /// A token, by what its text hashes to.
    Token(TokenId),
    /// It came the operator's way, which is no client's; the name is for the record.
    Operator(String),
}

/// The caller, as the broker established it.
#[derive(Debug)]
pub(super) enum Authority {
    Anybody,
    Principal(String),
    /// Its row, as it was read: the write that uses it looks again.
    Token(Box<Token>),
    Operator(String),
}

impl Authority {
    /// All operators own their registrations together, under this name.
    const OPERATOR: &'static str = "operator";

    /// The owner of the registration.
    pub(super) fn owner(&self) -> Option<String> {
        match self {
            Self::Anybody => None,
            Self::Principal(name) => Some(name.clone()),
            Self::Token(token) => Some(token.id.principal()),
            Self::Operator(_) => Some(Self::OPERATOR.to_owned()),
        }
    }

    /// The principal that the record names.
    pub(super) fn principal(&self) -> Option<String> {
        match self {
            Self::Operator(name) => Some(name.clone()),
            other => other.owner(),
        }
    }

    /// The token that the registration uses up.
    pub(super) fn token(&self) -> Option<&TokenId> {
        match self {
            Self::Token(token) => Some(&token.id),
            _ => None,
        }
    }

    /// Whether it is a token that has registered already.
    pub(super) fn is_bound(&self) -> bool {
        matches!(self, Self::Token(token) if token.bound.is_some())
    }

    /// Whether it may put a registration of a new build in the place of one that `owner` holds, at any time
    /// and changing what it likes.
    ///
    /// A token may if the operator made it for this very workload and it is not used yet: with its first use
    /// its own build begins, and that of a token is held to its window like any.
    pub(super) fn may_take_over(&self, id: &WorkloadId, owner: Option<&str>) -> bool {
        match self {
            Self::Anybody => false,
            Self::Principal(name) => Some(name.as_str()) == owner,
            Self::Token(token) => token.bound.is_none() && token.made_for.as_ref() == Some(id),
            Self::Operator(_) => true,
        }
    }
}

/// Why nobody is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stranger {
    #[error("nobody was authenticated")]
    Nobody,
    #[error("there is no such token")]
    UnknownToken,
    #[error(transparent)]
    DeadToken(#[from] Dead),
}

impl Stranger {
    /// The check that failed, as the record names it.
    pub(super) fn check(self) -> Check {
        match self {
            Self::Nobody => Check::Principal,
            Self::UnknownToken | Self::DeadToken(_) => Check::Token,
        }
    }
}

/// How many strangers one process turns away with a record of each. A token cannot be guessed, but every try
/// writes to the audit log; a caller with a valid token is let in however many tries there are. Uses of dead
/// tokens are counted apart: such a caller once had a valid token, and junk must not hide it.
#[derive(Debug)]
pub struct StrangerLimiter {
    strangers: Bucket,
    dead_tokens: Bucket,
    lines: Sampled,
}

impl StrangerLimiter {
    /// One more for each of these that passes,
    const EVERY: SignedDuration = SignedDuration::from_secs(2);
    /// and so many at once.
    const BURST: i32 = 20;

    /// The log's line for one more that is not on record, unless it is left out.
    pub(super) fn line(&self, now: Timestamp) -> Option<Line> {
        self.lines.line_at(now)
    }

    /// Whether one more is put on record; if not, after how many seconds one is.
    pub(super) fn take(&self, stranger: Stranger, now: Timestamp) -> Result<(), u64> {
        match stranger {
            Stranger::Nobody | Stranger::UnknownToken => self.strangers.take(now),
            Stranger::DeadToken(_) => self.dead_tokens.take(now),
        }
    }
}

impl Default for StrangerLimiter {
    fn default() -> Self {
        let bucket = || Bucket::new(Self::EVERY, Self::BURST);
        Self { strangers: bucket(), dead_tokens: bucket(), lines: Sampled::new() }
    }
}
