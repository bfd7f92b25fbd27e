//! Calls of AWS in rounds: those that wait at the same time are one.
//!
//! A call is held until the work that made it waits for nothing but answers. Then all that are held are a
//! round: they are sent, and their answers are handed over together. So how many round trips some work needs
//! does not depend on how fast anybody answers. Every poll of the work is made here. While it waits for
//! something that is no call, as for a thread, it must wait for no call beside it: then that is waited for.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
        SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::{Notify, oneshot};

use super::moto;

/// Calls that wait at the same time, each as its operation and the tables that it is on, in order of these
/// names.
pub type Round = Vec<String>;

/// The connection of clients whose calls are counted, and recorded.
#[derive(Debug, Clone)]
pub struct Counted {
    inner: SharedHttpClient,
    /// Every call: its operation, and what was sent.
    sent: Arc<Mutex<Vec<(String, Value)>>>,
    /// `None`: nobody counts, and calls pass.
    held: Arc<Mutex<Option<Vec<Held>>>>,
}

impl Counted {
    pub fn new() -> Self {
        let inner = Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https();
        Self { inner, sent: Arc::default(), held: Arc::default() }
    }

    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let config = moto::dynamodb().config().to_builder().http_client(self.clone());
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    pub fn kms(&self) -> aws_sdk_kms::Client {
        let config = moto::kms().config().to_builder().http_client(self.clone());
        aws_sdk_kms::Client::from_conf(config.build())
    }

    /// The bodies that were sent with each call of `operation` so far.
    pub fn sent(&self, operation: &str) -> Vec<Value> {
        let sent = self.sent.lock().unwrap();
        sent.iter().filter(|(name, _)| name == operation).map(|(_, body)| body.clone()).collect()
    }

    /// The outcome of `work`, and the rounds that it took.
    pub async fn rounds<T>(&self, work: impl Future<Output = T>) -> (T, Vec<Round>) {
        let (mut work, mut rounds) = (pin!(work), Vec::new());
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        self.held.lock().unwrap().replace(Vec::new());
        loop {
            woken.clear();
            if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
                assert!(self.held.lock().unwrap().take().unwrap().is_empty(), "a call that nobody waits for");
                return (done, rounds);
            }
            let no_call = self.held.lock().unwrap().as_ref().unwrap().is_empty();
            if no_call || woken.is_woken() {
                woken.wait().await;
                continue;
            }
            let held = self.held.lock().unwrap().replace(Vec::new()).unwrap();
            let mut round: Round = held.iter().map(|held| name(&held.request)).collect();
            round.sort();
            rounds.push(round);
            let mut answers = Vec::new();
            for Held { request, connector, answer } in held {
                let mut response = connector.call(request).await;
                if let Ok(response) = &mut response {
                    // Whole, or there would be more to wait for.
                    let body = response.take_body().collect().await.unwrap().to_bytes();
                    *response.body_mut() = body.into();
                }
                answers.push((answer, response));
            }
            for (answer, response) in answers {
                drop(answer.send(response));
            }
        }
    }
}

/// Whether the work has asked to be polled again.
#[derive(Debug, Default)]
struct Woken {
    woken: AtomicBool,
    notify: Notify,
}

impl Woken {
    fn clear(&self) {
        self.woken.store(false, Ordering::SeqCst);
    }

    fn is_woken(&self) -> bool {
        self.woken.load(Ordering::SeqCst)
    }

    /// Until it has. Lets the runtime see to its timers and connections first.
    async fn wait(&self) {
        tokio::task::yield_now().await;
        while !self.is_woken() {
            self.notify.notified().await;
        }
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        self.notify.notify_one();
    }
}

/// A call that is not sent yet.
#[derive(Debug)]
struct Held {
    request: HttpRequest,
    connector: SharedHttpConnector,
    answer: oneshot::Sender<Result<HttpResponse, ConnectorError>>,
}

#[derive(Debug)]
struct Connector {
    inner: SharedHttpConnector,
    sent: Arc<Mutex<Vec<(String, Value)>>>,
    held: Arc<Mutex<Option<Vec<Held>>>>,
}

impl HttpClient for Counted {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Connector {
            inner,
            sent: Arc::clone(&self.sent),
            held: Arc::clone(&self.held),
        })
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.sent.lock().unwrap().push(parsed(&request));
        let mut held = self.held.lock().unwrap();
        let Some(held) = held.as_mut() else { return self.inner.call(request) };
        let (answer, answered) = oneshot::channel();
        held.push(Held { request, connector: self.inner.clone(), answer });
        HttpConnectorFuture::new(async { answered.await.expect("an answer") })
    }
}

/// The operation, and what is sent with it.
fn parsed(request: &HttpRequest) -> (String, Value) {
    let target = request.headers().get("x-amz-target").unwrap();
    let (_, operation) = target.split_once('.').unwrap();
    (operation.to_owned(), serde_json::from_slice(request.body().bytes().unwrap()).unwrap())
}

fn name(request: &HttpRequest) -> String {
    let (operation, body) = parsed(request);
    // A transaction's parts are objects of one field each, the kind of the part.
    let parts = body["TransactItems"].as_array().into_iter().flatten();
    let parts = parts.flat_map(|part| part.as_object().unwrap().values());
    let tables = parts.chain([&body]).filter_map(|part| part["TableName"].as_str());
    let tables = tables.map(|table| table.rsplit('-').next().unwrap());
    [operation.as_str()].into_iter().chain(tables).collect::<Vec<_>>().join(" ")
}
