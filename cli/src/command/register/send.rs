//! The ways of a registration: to the broker that serves the store, into the store, or signed to a
//! deployment.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use axum::{
    Router,
    body::{Body, to_bytes},
};
use hyper::{Method, Request, StatusCode, header};
use keybroker_common::{
    admission::Admission,
    clock::SystemClock,
    http::{self, Operator},
};
use serde_json::Value;
use tower::ServiceExt as _;

use super::{ANSWER_TIMEOUT, Document, RegisterArgs};
use crate::{
    broker,
    command::relay,
    exit::{Exit, Failure},
    operator::{Embedded, embedded, principal},
    paths,
    suggest::StorePlace,
    table::printable,
};

/// Longest answer, in bytes.
const ANSWER_LIMIT: usize = 64 * 1024;

/// The broker's answer.
#[derive(Debug)]
pub(super) struct BrokerAnswer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

impl BrokerAnswer {
    /// A member of the body that is text.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.get(name)?.as_str()?.to_owned())
    }

    /// The failure to register in the store at `place`.
    pub(super) fn refusal(&self, place: &StorePlace) -> Failure {
        // A gateway in front of the broker names its reason otherwise.
        let said = self.field("error").or_else(|| self.field("message")).or_else(|| self.field("Message"));
        let said = said.map_or_else(|| "no reason given".to_owned(), |said| printable(&said));
        let exit = match self.status.as_u16() {
            401 | 403 => Exit::Denied,
            429 | 502..=504 => Exit::Unreachable,
            _ => Exit::Failure,
        };
        let failure = Failure::new(exit, anyhow!("{said}"))
            .context(format!("the broker did not register the workload ({})", self.status.as_u16()));
        match (self.field("id"), exit) {
            (Some(id), _) => {
                failure.hint(format!("to see why: {}", place.command("audit", &[&printable(&id)])))
            }
            (None, Exit::Denied) => failure.hint(
                "the principal needs the stack's builders' policy: run `aws sts get-caller-identity` to see \
                 who the principal is",
            ),
            (None, _) => failure,
        }
    }
}

/// Sends the registration to where the arguments lead.
pub(super) async fn send(args: &RegisterArgs, document: &Document) -> Result<BrokerAnswer, Failure> {
    let request = request(document)?;
    if args.store.aws {
        let Some(url) = &args.url else {
            return Err(Failure::new(Exit::Usage, anyhow!("--aws needs --url"))
                .hint("give the deployment's output Url: only its register function may encrypt"));
        };
        return ask(
            relay::signing(url.clone(), args.region.clone(), ANSWER_TIMEOUT, &args.ca).await?,
            request,
        )
        .await;
    }
    let data_dir = args.store.data_dir()?;
    match embedded(&data_dir).await? {
        Embedded::Socket(store) => {
            let (status, body) = store.pass(request).await?;
            Ok(BrokerAnswer { status, body })
        }
        Embedded::File(store) => {
            let key_file = paths::key_file(args.key_file.as_deref())?;
            broker::check_apart(&data_dir, &key_file)?;
            let key = Arc::new(broker::open_key(&key_file, &store)?);
            let register = broker::register(Arc::new(store), key, Arc::new(SystemClock), Admission::NONE);
            let mut request = request;
            request.extensions_mut().insert(Operator(principal()));
            ask(http::router(register), request).await
        }
    }
}

fn request(document: &Document) -> Result<Request<Body>, Failure> {
    let body = document.body();
    let request = Request::builder()
        .method(Method::POST)
        .uri(document.path())
        .header(header::HOST, "operator")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, body.len())
        .body(Body::from(body.to_vec()));
    Ok(request.context("making the request")?)
}

async fn ask(router: Router, request: Request<Body>) -> Result<BrokerAnswer, Failure> {
    let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
    let status = response.status();
    let body = to_bytes(response.into_body(), ANSWER_LIMIT).await.context("reading the answer")?;
    Ok(BrokerAnswer { status, body: body.into() })
}
