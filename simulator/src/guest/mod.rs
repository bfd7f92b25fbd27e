//! Confidential guests that ask the broker for their secrets.
//!
//! [`KrunGuest`] is libkrun's client with its flaws: it shows whether the broker avoids them. [`PoliteGuest`]
//! honours HTTP: it shows the broker's answers. [`KeybrokerGuest`] is keybroker's, and [`trustee`] has the
//! guests of kata and Confidential Containers. A test can call each step by itself, and everything that a
//! guest knows between the steps is public in [`State`]. So a test can give one guest's cookie to another,
//! send evidence twice, or alter it.

mod key;
mod keybroker;
mod krun;
mod polite;
mod state;
pub mod trustee;

#[cfg(test)]
mod tests;

use std::io;

pub use key::GuestKey;
pub use keybroker::KeybrokerGuest;
pub use krun::KrunGuest;
pub use polite::{PoliteGuest, USER_AGENT};
pub use state::{Machine, State};

use crate::http::Response;

/// The server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl From<&Response> for Said {
    fn from(response: &Response) -> Self {
        Self { status: response.status, body: response.text() }
    }
}

/// Why a guest has no passphrase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The URL is not one of plain http.
    #[error("{0} is not a plain-http URL")]
    Url(String),
    /// No response: the connection failed, the response was cut short or malformed, or the deadline passed.
    #[error("no response: {0}")]
    Io(io::ErrorKind),
    /// A step before the one that it needs: there is no nonce or no cookie yet.
    #[error("no challenge yet")]
    NoChallenge,
    /// The server refused.
    #[error("refused with {}: {}", .0.status, .0.body)]
    Refused(Said),
    /// The response to auth has no nonce that the client finds.
    #[error("no nonce in {}: {}", .0.status, .0.body)]
    NoNonce(Said),
    /// The response to auth sets no cookie that the client would send over plain http.
    #[error("no session cookie")]
    NoCookie,
    /// The response to key is not what the client can read.
    #[error("no key in {}: {}", .0.status, .0.body)]
    BadKey(Said),
    /// The key is not encrypted to this guest.
    #[error("the key does not decrypt")]
    Decrypt,
    /// The key's URL, of that length, does not fit into the client's `char[100]`.
    #[error("the key's URL has {0} characters, more than 99")]
    UrlOverflow(usize),
    /// The response to attest has no token that the client can read.
    #[error("no token in {}: {}", .0.status, .0.body)]
    NoToken(Said),
    /// The refusal has no members `type` and `detail`: the client takes it for final, whatever its status.
    #[error("no reason in {}: {}", .0.status, .0.body)]
    NoReason(Said),
    /// The shape in which the guest writes its report has no place for a byte of it.
    #[error("the report cannot be written in this shape")]
    Unsayable,
    /// The client's memory is overrun: the guest dies.
    #[error("the guest crashes: {0}")]
    Crash(&'static str),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}
