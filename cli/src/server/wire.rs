//! The bytes of a connection, with TLS or without.
//!
//! The handshake is made by the first read. So it counts as part of the first head: it has the head's time,
//! and a client that does not go on with it is waited for like one that does not go on with its head.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use keybroker_common::sampled::{Line, Sampled};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{Accept, TlsAcceptor, server::TlsStream};

/// A connection's stream.
pub(super) enum Wire<S> {
    Plain(S),
    Secure(Box<Secure<S>>),
}

/// A stream with TLS.
pub(super) enum Secure<S> {
    /// The handshake is under way.
    Greeting(Accept<S>),
    Open(TlsStream<S>),
    /// The handshake failed.
    Refused,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S, tls: Option<&TlsAcceptor>) -> Self {
        match tls {
            None => Self::Plain(stream),
            Some(tls) => Self::Secure(Box::new(Secure::Greeting(tls.accept(stream)))),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Secure<S> {
    /// The stream, once the handshake is over.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut TlsStream<S>>>> {
        if let Self::Greeting(accept) = self {
            match ready!(Pin::new(accept).poll(cx)) {
                Ok(stream) => *self = Self::Open(stream),
                Err(error) => {
                    *self = Self::Refused;
                    tell(&error);
                    return Poll::Ready(Err(error));
                }
            }
        }
        match self {
            Self::Open(stream) => Poll::Ready(Ok(Pin::new(stream))),
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

/// Says why a handshake failed, unless the client just went away. A client that does not trust the
/// certificate is seen here.
fn tell(error: &io::Error) {
    static LINES: Sampled = Sampled::new();
    if error.kind() == io::ErrorKind::InvalidData
        && let Some(Line { left_out }) = LINES.line()
    {
        tracing::info!(cause = %error, left_out, "a TLS handshake failed");
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Secure(secure) => ready!(secure.poll_open(cx))?.poll_read(cx, buf),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Secure(secure) => ready!(secure.poll_open(cx))?.poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(secure) => match &mut **secure {
                Secure::Open(stream) => Pin::new(stream).poll_flush(cx),
                Secure::Greeting(_) | Secure::Refused => Poll::Ready(Ok(())),
            },
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(secure) => match &mut **secure {
                Secure::Open(stream) => Pin::new(stream).poll_shutdown(cx),
                Secure::Greeting(accept) => match accept.get_mut() {
                    Some(stream) => Pin::new(stream).poll_shutdown(cx),
                    None => Poll::Ready(Ok(())),
                },
                Secure::Refused => Poll::Ready(Ok(())),
            },
        }
    }
}
