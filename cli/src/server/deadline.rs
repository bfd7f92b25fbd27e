//! The deadline for answers that nobody reads.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::places::Progress;

/// How long a client may take to read its answer.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that ends if its client does not read. hyper has a time limit only for heads. TLS stands on
/// top of this, so that it is the client's reading that counts, and not what TLS keeps.
#[derive(Debug)]
pub(super) struct Deadline<S> {
    stream: S,
    progress: Progress,
    /// The instant until which the client may go on without reading. Bytes taken one by one do not put it
    /// off.
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Deadline<S> {
    pub(super) fn new(stream: S, progress: Progress) -> Self {
        Self { stream, progress, until: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Deadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        match polled {
            Poll::Pending => self.progress.nothing_to_read(),
            Poll::Ready(_) => self.progress.something_to_read(),
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Deadline<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Pending => {
                let this = &mut *self;
                let until = this.until.get_or_insert_with(|| {
                    this.progress.unread();
                    Box::pin(sleep(WRITE_TIMEOUT))
                });
                ready!(until.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            // A client may read as slowly as byte by byte: that the system took some bytes says nothing.
            written => written,
        }
    }

    /// hyper and TLS flush once the system has taken everything that they had.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.until.take().is_some() {
            self.progress.read();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
