//! The broker behind the relay. The relay asks it over TLS, follows no redirect, and reads a bounded answer.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow};
use axum::{
    body::Bytes,
    http::{HeaderMap, Method, Response, StatusCode},
};
use keybroker_common::{
    http::Route,
    sampled::{Line, Sampled},
};
use reqwest::{Certificate, Client, Request, Url, redirect::Policy};
use tokio::{sync::Semaphore, time::timeout};

use super::target::Target;
use crate::{
    bounded,
    exit::{Exit, Failure},
};

/// How long connecting to the broker may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection is kept for the next request. A broker keeps it for longer, so the relay seldom uses
/// one that the broker is about to close. `keybroker serve` may close it after two seconds.
const IDLE: Duration = Duration::from_secs(1);
/// Requests under way at once; others wait their turn. Each also has a client's connection open, and the
/// system allows few files.
const UNDER_WAY: usize = 256;
/// Longest body of an answer, in bytes: far longer than any answer of a broker.
const MAX_BODY: usize = 64 * 1024;

/// A broker, and the connections to it.
#[derive(Debug)]
pub(super) struct Upstream {
    client: Client,
    target: Target,
    permits: Semaphore,
    answer_timeout: Duration,
}

/// The reason why the relay has no answer of the broker's to pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// There is no connection, no TLS, or the connection broke off.
    #[error("the broker cannot be reached")]
    Unreachable,
    /// The broker did not answer in time.
    #[error("the broker did not answer in time")]
    Slow,
    /// The broker sends the client to a place that the relay's operator has not named.
    #[error("the broker answered with a redirect")]
    Redirect,
    /// The answer is longer than any answer of a broker.
    #[error("the broker's answer is too long")]
    TooLong,
    /// There are no AWS credentials at the moment.
    #[error("the relay has no credentials to sign with")]
    Unsigned,
}

impl Fault {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Slow => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}

impl Upstream {
    /// Makes the client, and does not connect yet. A request may take `answer_timeout` in all; `authorities`
    /// are PEM files.
    pub(super) fn new(
        target: Target,
        answer_timeout: Duration,
        authorities: &[PathBuf],
    ) -> Result<Self, Failure> {
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|der| Certificate::from_der(der));
        let mut roots = roots.collect::<Result<Vec<_>, _>>().context("reading the roots of TLS")?;
        for path in authorities {
            let read = read_authorities(path).with_context(|| format!("reading {}", path.display()));
            roots.extend(read.map_err(|error| Failure::new(Exit::Configuration, error))?);
        }
        let mut client = Client::builder()
            .tls_certs_only(roots)
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE);
        // A proxy that the environment names is for other machines.
        if target.is_loopback() {
            client = client.no_proxy();
        }
        // Building the client checks the roots.
        let client = client.build().map_err(|error| Failure::new(Exit::Configuration, error))?;
        Ok(Self { client, target, permits: Semaphore::new(UNDER_WAY), answer_timeout })
    }

    /// The URL under which the broker serves `path`, which matched `route`. `None` if that is no URL of this
    /// route.
    pub(super) fn url(&self, prefix: &str, route: &Route, path: &str) -> Option<Url> {
        self.target.url(prefix, route, path)
    }

    /// Asks once. A request that the broker may have seen is not sent again, because a challenge is answered
    /// once.
    pub(super) async fn ask(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Response<Vec<u8>>, Fault> {
        let answer = timeout(self.answer_timeout, self.exchange(method, url, headers, body)).await;
        answer.unwrap_or_else(|_| Err(note(Fault::Slow, &format!("not within {:?}", self.answer_timeout))))
    }

    async fn exchange(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Response<Vec<u8>>, Fault> {
        // There is always a permit in the end: nobody closes the semaphore.
        let _permit = self.permits.acquire().await.ok();
        let mut request = Request::new(method, url);
        *request.headers_mut() = headers;
        *request.body_mut() = body.map(Into::into);
        let answer = self.client.execute(request).await.map_err(fault)?;
        if answer.status().is_redirection() {
            return Err(note(Fault::Redirect, &answer.status()));
        }
        read(answer).await
    }
}

fn read_authorities(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    let certificates = Certificate::from_pem_bundle(&bounded::read(path, bounded::TEXT)?)?;
    if certificates.is_empty() {
        return Err(anyhow!("there is no certificate in it"));
    }
    Ok(certificates)
}

/// The whole answer.
async fn read(mut answer: reqwest::Response) -> Result<Response<Vec<u8>>, Fault> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(fault)? {
        if chunk.len() > MAX_BODY - body.len() {
            return Err(note(Fault::TooLong, &format!("more than {MAX_BODY} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    let mut whole = Response::new(body);
    *whole.status_mut() = answer.status();
    *whole.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(whole)
}

fn fault(error: reqwest::Error) -> Fault {
    let error = error.without_url();
    let fault = if error.is_timeout() { Fault::Slow } else { Fault::Unreachable };
    note(fault, &format!("{:#}", anyhow::Error::from(error)))
}

/// Tells the client what happened, and the log why.
fn note(fault: Fault, cause: &dyn std::fmt::Display) -> Fault {
    static LINES: Sampled = Sampled::new();
    if let Some(Line { left_out }) = LINES.line() {
        tracing::warn!(status = fault.status().as_u16(), %cause, left_out, "{fault}");
    }
    fault
}
