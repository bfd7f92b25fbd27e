//! The requests of one connection: their number, their turns, and which of them are whole.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering},
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderValue, Request, Response, header},
};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    service::Service,
};
use tokio::task::yield_now;
use tower::ServiceExt as _;

use super::{pace::Turns, places::Progress};

/// The greatest number of requests of one connection. A guest sends three; a client of many guests goes on
/// with another connection.
pub(super) const MAX_REQUESTS: u32 = 100;

/// The ends of the paths at which challenges are asked for, however many slashes they have.
const CHALLENGES: [&str; 2] = ["/auth", "/challenge"];

/// Answers the requests of one connection, and reports its progress.
#[derive(Debug)]
pub(super) struct Requests {
    router: Router,
    progress: Progress,
    answered: AtomicU32,
    turns: Turns,
}

impl Requests {
    pub(super) fn new(router: Router, progress: Progress, turns: Turns) -> Self {
        Self { router, progress, answered: AtomicU32::new(0), turns }
    }
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let earlier = self.answered.fetch_add(1, Ordering::Relaxed);
        let progress = self.progress.clone();
        let path = request.uri().path();
        let turn = CHALLENGES.iter().any(|end| path.ends_with(end)).then(|| self.turns.turn());
        let request = request.map(|body| Body::new(Arriving::new(body, progress.clone())));
        let answer = self.router.clone().oneshot(request);
        Box::pin(async move {
            // A client that sends requests without waiting for answers takes turns with the others for each
            // of them.
            if earlier > 0 {
                yield_now().await;
            }
            if let Some(turn) = turn {
                turn.await;
            }
            let Ok(mut answer) = answer.await;
            let lost = progress.answered();
            if lost || earlier + 1 >= MAX_REQUESTS {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer)
        })
    }
}

/// A request's body. Once it is whole, or nobody reads more of it, there is a request in hand.
struct Arriving {
    body: Incoming,
    progress: Progress,
}

impl Arriving {
    fn new(body: Incoming, progress: Progress) -> Self {
        if body.is_end_stream() {
            progress.request_in_hand();
        }
        Self { body, progress }
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if self.body.is_end_stream() || matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.progress.request_in_hand();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.progress.request_in_hand();
    }
}

#[cfg(test)]
mod tests {
    use keybroker_common::{function::Function, http::ROUTES};

    use super::*;

    #[test]
    fn every_route_that_gives_challenges_is_paced() {
        for route in ROUTES.iter().filter(|route| route.method == "POST") {
            let paced = CHALLENGES.iter().any(|end| route.path.ends_with(end));
            assert_eq!(paced, route.function == Function::Auth, "{}", route.path);
        }
    }
}
