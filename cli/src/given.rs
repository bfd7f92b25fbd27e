//! An id that an operator gives. A parser of its own would fail with a message that repeats a token which was
//! given in its place.

use std::convert::Infallible;

use anyhow::anyhow;
use keybroker_common::{
    ids::{AuditId, TokenId},
    token::TokenText,
};

use crate::{
    credential,
    exit::{Exit, Failure},
};

/// The argument of an option that takes an id.
#[derive(Debug, Clone, Copy)]
pub(crate) enum GivenId<T> {
    /// An id.
    Id(T),
    /// Something that has the form of a token, or of a URL with one.
    Token,
    /// Something else.
    Other,
}

impl GivenId<TokenId> {
    /// The id of a token. Takes every text.
    #[allow(clippy::unnecessary_wraps, reason = "clap asks for a result")]
    pub(crate) fn of_token(text: &str) -> Result<Self, Infallible> {
        Ok(Self::new(text, TokenId::parse(text)))
    }
}

impl GivenId<AuditId> {
    /// The id of a decision. Takes every text.
    #[allow(clippy::unnecessary_wraps, reason = "clap asks for a result")]
    pub(crate) fn of_decision(text: &str) -> Result<Self, Infallible> {
        Ok(Self::new(text, text.parse().ok().map(AuditId)))
    }
}

/// A kind of ids that an argument may name.
pub(crate) trait Named {
    /// The words for such an id, in the message that a text is none.
    const NO_ID: &str;
}

impl Named for TokenId {
    const NO_ID: &str = "the id of a token, which has 32 hexadecimal digits";
}

impl Named for AuditId {
    const NO_ID: &str = "the id of a decision, which is a UUID such as 019387a2-6f3c-7c41-9d2e-0b6a5f1c2d3e";
}

impl<T: Named> GivenId<T> {
    fn new(text: &str, id: Option<T>) -> Self {
        match id {
            Some(id) => Self::Id(id),
            None if TokenText::parse(text.as_bytes()).is_some() || credential::is_in(text) => Self::Token,
            None => Self::Other,
        }
    }

    /// The id. The failure has nothing of what was given.
    pub(crate) fn id(self) -> Result<T, Failure> {
        let no_id = || Failure::new(Exit::Usage, anyhow!("this is not {}", T::NO_ID));
        match self {
            Self::Id(id) => Ok(id),
            Self::Token => Err(no_id().hint(format!("it looks like a token: {}", credential::REVOKE))),
            Self::Other => Err(no_id()),
        }
    }
}
