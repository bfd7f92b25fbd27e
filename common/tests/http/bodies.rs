//! A body that arrives as a test wants it to.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};

pub(super) struct Scripted {
    declared: Option<u64>,
    frames: VecDeque<io::Result<Bytes>>,
}

impl Scripted {
    /// Arrives in `frames`, of undeclared length.
    pub(super) fn frames(frames: impl IntoIterator<Item = Bytes>) -> Body {
        Body::new(Self { declared: None, frames: frames.into_iter().map(Ok).collect() })
    }

    /// Is declared and never arrives.
    pub(super) fn silent(declared: u64) -> Body {
        Body::new(Self { declared: Some(declared), frames: VecDeque::new() })
    }

    /// Breaks off.
    pub(super) fn broken() -> Body {
        Body::new(Self { declared: None, frames: [Err(io::ErrorKind::UnexpectedEof.into())].into() })
    }
}

impl http_body::Body for Scripted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(frame.map(Frame::data))),
            None if self.declared.is_some() => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.declared.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
