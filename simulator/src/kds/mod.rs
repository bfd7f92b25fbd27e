//! AMD's Key Distribution Service on the loopback, with failures on demand.
//!
//! It knows the paths of AMD 57230 ("VCEK Certificate and KDS Interface Specification", 4) and answers for
//! the chips that it was told about, each at any TCB, as the real one does. It speaks HTTP/1.1 without a
//! server library, because no library lets a test cut a response short or reset the connection. It closes the
//! connection after every response.

mod answer;
mod script;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

pub use script::{Behaviour, Kind};

use answer::{Answer, Catalogue};
use script::Script;

use crate::{
    pki::{Amd, Ca, Chip},
    product::Product,
};

/// A request's head may be this long, in bytes.
const MAX_HEAD: usize = 8 * 1024;

/// A running KDS. It stops, and drops every connection, when this is dropped.
#[derive(Debug)]
pub struct Kds {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Requests as they arrived, kept apart from the state so that a test can wait for them.
    arrivals: watch::Sender<Vec<Request>>,
    held: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    catalogue: Catalogue,
    script: Script,
    in_flight: usize,
    peak: usize,
}

/// A request that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The kind of document that was asked for.
    pub kind: Kind,
    /// Path and query, as sent.
    pub target: String,
}

impl Kds {
    /// Serves the chains and CRLs of the products given, on a free port.
    pub async fn start(products: impl IntoIterator<Item = Amd>) -> io::Result<Self> {
        Self::on(0, products).await
    }

    /// The same on this port.
    pub async fn on(port: u16, products: impl IntoIterator<Item = Amd>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let catalogue = Catalogue { products: products.into_iter().collect(), ..Catalogue::default() };
        let shared = Arc::new(Shared {
            state: Mutex::new(State { catalogue, ..State::default() }),
            arrivals: watch::Sender::default(),
            held: watch::Sender::default(),
        });
        let server = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, server })
    }

    /// `http://127.0.0.1:port`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a chip.
    pub fn add(&self, chip: &Chip) {
        self.shared.state().catalogue.chips.push(chip.clone());
    }

    /// Serves `certificate` for `chip` at every TCB, instead of a sound one.
    pub fn serve_vcek(&self, chip: &Chip, certificate: Vec<u8>) {
        self.shared.state().catalogue.vceks.insert(chip.hwid().to_vec(), certificate);
    }

    /// Serves this PEM as the chain of `issuer` (ASK or ASVK), instead of the sound one.
    pub fn serve_chain(&self, product: Product, issuer: Ca, pem: impl Into<Vec<u8>>) {
        self.shared.state().catalogue.chains.insert((product, issuer), pem.into());
    }

    /// Serves this CRL of `product` from now on, instead of a sound and empty one.
    pub fn serve_crl(&self, product: Product, crl: Vec<u8>) {
        self.shared.state().catalogue.crls.insert(product, crl);
    }

    /// Appends what happens to the next requests of `kind`, one behaviour each.
    pub fn script(&self, kind: Kind, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.shared.state().script.by_kind.entry(kind).or_default().extend(behaviours);
    }

    /// Appends what happens to the next requests whose kind has no script of its own.
    pub fn script_any(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.shared.state().script.any.extend(behaviours);
    }

    /// Sets what happens to every request for which no script is left. [`Behaviour::Serve`] at the start.
    pub fn otherwise(&self, behaviour: Behaviour) {
        self.shared.state().script.otherwise = behaviour;
    }

    /// Forgets every script, so that all requests are served again.
    pub fn recover(&self) {
        self.shared.state().script = Script::default();
    }

    /// Lets requests arrive but answers none until [`Kds::release`].
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Answers the requests held back, and those to come.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// Waits until `count` requests of `kind` have arrived since the start, those held back included.
    pub async fn arrived(&self, kind: Kind, count: usize) {
        // The sender lives as long as this, so waiting cannot fail.
        let _ = self.shared.arrivals.subscribe().wait_for(|all| counted(all, kind) >= count).await;
    }

    /// How many requests of `kind` have arrived.
    pub fn count(&self, kind: Kind) -> usize {
        counted(&self.shared.arrivals.borrow(), kind)
    }

    /// Every request, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.arrivals.borrow().clone()
    }

    /// The most requests that were open at the same time.
    pub fn peak(&self) -> usize {
        self.shared.state().peak
    }
}

impl Drop for Kds {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn counted(requests: &[Request], kind: Kind) -> usize {
    requests.iter().filter(|request| request.kind == kind).count()
}

impl Shared {
    /// The state. A test that panicked while it held the lock left it complete.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that counts as open while this lives, however its connection ends.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Self {
        let mut state = shared.state();
        state.in_flight += 1;
        state.peak = state.peak.max(state.in_flight);
        Self(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and its connections with it.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        // It is no fault of the KDS if the client has gone.
        connections.spawn(async move { serve(stream, &shared).await.ok() });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let Some(target) = read_target(&mut stream).await? else { return Ok(()) };
    let open = Open::new(shared);
    let kind = Kind::of(&target);
    shared.arrivals.send_modify(|all| all.push(Request { kind, target: target.clone() }));
    // The sender lives as long as `shared`, so waiting cannot fail.
    let _ = shared.held.subscribe().wait_for(|held| !held).await;

    let (behaviour, answer) = {
        let mut state = shared.state();
        let behaviour = state.script.next(kind);
        let answer = state.catalogue.answer(&target, matches!(behaviour, Behaviour::WrongChip));
        (behaviour, answer)
    };
    let response = match behaviour {
        Behaviour::Serve | Behaviour::WrongChip => answer.response(),
        Behaviour::Slow(time) => {
            tokio::time::sleep(time).await;
            answer.response()
        }
        Behaviour::Status(status, retry_after) => Answer::status(status).response_with(retry_after),
        Behaviour::Html200 => Answer::html().response(),
        Behaviour::Empty => Answer { body: Vec::new(), ..answer }.response(),
        Behaviour::Truncated => {
            let mut response = answer.response();
            response.truncate(response.len() - answer.body.len().div_ceil(2));
            response
        }
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Reset => {
            stream.set_zero_linger()?;
            return Ok(());
        }
    };
    // This happens before the client can see the response, because the test may read the counters at once.
    drop(open);
    stream.write_all(&response).await?;
    stream.shutdown().await
}

/// Path and query of a GET request; `None` if the client sent none.
async fn read_target(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > MAX_HEAD || stream.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split(' ');
    Ok(words.next().filter(|method| *method == "GET").and(words.next()).map(str::to_owned))
}
