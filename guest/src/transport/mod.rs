//! The way to a broker: one request, one answer, in a bounded time.

mod http;
mod resolve;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;
#[cfg(feature = "tls")]
mod tls;

use std::time::Duration;

pub use self::{
    http::Http,
    resolve::{ResolveError, Resolver},
};

/// Why no client can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RootsError {
    /// A certificate of the document is none that TLS can use.
    #[error("the document's certificates cannot be used for TLS")]
    Certificates,
    /// The library cannot be set up.
    #[error("TLS cannot be set up")]
    Setup,
    /// The kernel gives no means to wait for the network.
    #[error("the network cannot be waited for")]
    Runtime,
}

/// An answer. Nothing in it is believed because of the way that it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// How long the broker asks to be left alone, if it says so in seconds.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// Longer than any answer to sixteen secrets.
    pub const MAX_BODY: usize = 256 * 1024;
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The URL cannot be asked.
    #[error("the URL cannot be used")]
    Url,
    /// The name leads to no address.
    #[error(transparent)]
    Name(#[from] ResolveError),
    /// No address takes a connection.
    #[error("no connection: {0}")]
    Connect(String),
    /// TLS failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// Nothing came in time.
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// The answer is no HTTP, or ended early.
    #[error("no answer of HTTP: {0}")]
    Protocol(String),
    /// The answer has more than [`Reply::MAX_BODY`] bytes.
    #[error("the answer is too long")]
    TooLong,
}

/// Sends requests to brokers.
pub trait Transport {
    /// Sends `body`, in JSON, to `url`, and waits for the answer. All of it ends after `within`.
    fn post(&self, url: &str, body: &[u8], within: Duration) -> Result<Reply, TransportError>;
}
