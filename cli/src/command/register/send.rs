//! The ways of a registration: to the broker that serves the store, into the store, or signed to a
//! deployment.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, anyhow};
use axum::{
    Router,
    body::{Body, to_bytes},
};
use hyper::{Method, Request, StatusCode, header};
use keybroker_common::{
    admission::Admission,
    clock::SystemClock,
    http::{self, Operator, Route},
};
use serde_json::Value;
use tower::ServiceExt as _;

use super::ANSWER_TIMEOUT;
use crate::{
    broker,
    command::relay::{self, Target},
    exit::{Exit, Failure},
    operator::{Embedded, StoreArgs, embedded, principal},
    paths,
    suggest::StorePlace,
    table::printable,
};

/// Longest answer, in bytes.
const ANSWER_LIMIT: usize = 64 * 1024;

/// The broker's answer.
#[derive(Debug)]
pub(crate) struct BrokerAnswer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

impl BrokerAnswer {
    /// A member of the body that is text.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.get(name)?.as_str()?.to_owned())
    }

    /// The failure to register in the store at `place`.
    pub(crate) fn refusal(&self, place: &StorePlace) -> Failure {
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
            (None, Exit::Unreachable) => {
                failure.hint(place.advice("`keybroker doctor` says what the broker lacks"))
            }
            (None, _) => failure,
        }
    }
}

/// The broker that a registration is sent to.
#[derive(Debug, clap::Args)]
pub(crate) struct DestinationArgs {
    /// The broker's base URL, with --aws
    #[arg(long, requires = "aws", value_parser = Target::parse, value_name = "URL")]
    #[arg(conflicts_with = "data_dir")]
    url: Option<Target>,
    /// Also trust the certificate authorities in this PEM file for the name in --url
    #[arg(long, requires = "aws", conflicts_with = "data_dir", value_name = "PEM")]
    ca: Vec<PathBuf>,
    /// The file of the key that wraps the secrets in the store, if no broker serves the store
    ///
    /// The default is $XDG_CONFIG_HOME/keybroker/key, or ~/.config/keybroker/key.
    #[arg(long, env = "KEYBROKER_KEY_FILE", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

impl DestinationArgs {
    /// The broker's base URL, if it is given.
    pub(super) fn url(&self) -> Option<String> {
        self.url.as_ref().map(ToString::to_string)
    }

    /// On AWS, where the registration goes. Commands ask before they show, write or ask anything.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.store.aws { self.target().map(drop) } else { Ok(()) }
    }

    fn target(&self) -> Result<&Target, Failure> {
        self.url.as_ref().ok_or_else(|| {
            Failure::new(Exit::Usage, anyhow!("--aws needs --url"))
                .hint("give the deployment's output Url: only its register function may encrypt")
        })
    }

    /// Sends a registration there, to the broker's route `path`.
    pub(crate) async fn send(&self, path: &str, body: &[u8]) -> Result<BrokerAnswer, Failure> {
        let mut request = request(path, body)?;
        if self.store.aws {
            let login = self.store.login();
            let signing = relay::signing(self.target()?.clone(), &login, ANSWER_TIMEOUT, &self.ca);
            return ask(signing.await?, request).await;
        }
        let data_dir = self.store.data_dir()?;
        match embedded(&data_dir).await? {
            Embedded::Socket(store) => {
                let (status, body) = store.pass(request).await?;
                Ok(BrokerAnswer { status, body })
            }
            Embedded::File(store) => {
                let key_file = paths::key_file(self.key_file.as_deref())?;
                broker::check_apart(&data_dir, &key_file)?;
                let key = Arc::new(broker::open_key(&key_file, &store)?);
                let register = broker::register(Arc::new(store), key, Arc::new(SystemClock), Admission::NONE);
                request.extensions_mut().insert(Operator(principal()));
                ask(http::router(register), request).await
            }
        }
    }
}

/// Refuses a registration that is longer than the broker's route `path` takes.
pub(super) fn check_length(path: &str, body: &[u8]) -> Result<(), Failure> {
    let route = http::ROUTES.into_iter().find(|route| route.path == path);
    match route.as_ref().map(Route::body_limit) {
        Some(limit) if body.len() > limit => {
            let error = anyhow!("the registration has {} bytes, and the broker takes {limit}", body.len());
            Err(Failure::new(Exit::Usage, error).hint(
                "init data, the policy in Rego, reference values and resources count: shorten the longest",
            ))
        }
        _ => Ok(()),
    }
}

fn request(path: &str, body: &[u8]) -> Result<Request<Body>, Failure> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_broker_that_cannot_register_now_is_a_matter_for_the_doctor() {
        let place = StorePlace::local(Path::new("/srv/keybroker"));
        let refusal = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            BrokerAnswer { status, body: body.as_bytes().to_vec() }.refusal(&place)
        };
        let unavailable = refusal(503, r#"{"error": "unavailable"}"#);
        let hint = "`keybroker doctor --data-dir /srv/keybroker` says what the broker lacks";
        assert_eq!((unavailable.exit(), unavailable.told().1), (Exit::Unreachable, Some(hint)));
        let recorded = refusal(503, r#"{"error": "unavailable", "id": "019387a2"}"#);
        assert!(recorded.told().1.unwrap_or_default().starts_with("to see why: keybroker audit 019387a2"));
        assert_eq!(refusal(400, "{}").told().1, None);
    }
}
