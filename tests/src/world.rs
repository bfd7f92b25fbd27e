//! A broker with builds, guests, chips and a simulated AMD.

use std::{
    sync::{Arc, OnceLock},
    thread,
};

use jiff::Timestamp;
use keybroker_simulator::{
    Product,
    build::Buildah,
    guest::{Error, KrunGuest, Machine, PoliteGuest, Said},
    http::{Endpoint, Response},
    kds::Kds,
    pki::{Amd, CSP_ID, Chip},
    tls::Authority,
};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsConnector;

use crate::{
    connection::Connection,
    passphrase, remote,
    server::{Home, Server},
    skip,
    tls::{NAME, Tunnel},
};

/// The launch measurement of every workload and guest, unless a test says otherwise.
pub const MEASUREMENT: [u8; 48] = [0x4D; 48];

/// Arguments with which VLEKs of the simulated provider are accepted.
pub const ACCEPT_CSP: [&str; 2] = ["--accept-csp-id", CSP_ID];

/// Arguments of a broker that accepts what a deployment in the tests accepts: VLEKs of the simulated
/// provider, and registrations of anyone and by token.
const AS_DEPLOYED: [&str; 4] = ["--accept-csp-id", CSP_ID, "--registration", "open;token"];

/// AMD for a product. A process makes its keys once, which takes a while.
pub fn amd(product: Product) -> &'static Amd {
    static AMD: [OnceLock<Amd>; 3] = [const { OnceLock::new() }; 3];
    let [milan, genoa, turin] = &AMD;
    let cell = match product {
        Product::Milan => milan,
        Product::Genoa => genoa,
        Product::Turin => turin,
    };
    cell.get_or_init(|| Amd::new(product, Timestamp::now()))
}

/// The roots of all products, PEM.
pub fn anchors() -> String {
    Product::ALL.map(|product| amd(product).ark_pem()).concat()
}

/// A KDS that serves every product. It runs until it is dropped, even if the runtime of the test that started
/// it ends.
pub fn kds() -> Kds {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime =
        RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());
    let start = || runtime.block_on(Kds::start(Product::ALL.map(|product| amd(product).clone()))).unwrap();
    // On a separate thread, because a test's thread may already be in a runtime.
    thread::scope(|scope| scope.spawn(start).join().unwrap())
}

/// A broker, AMD, and the clients of both.
#[derive(Debug)]
pub struct World {
    /// The broker's base URL.
    pub url: String,
    /// The KDS that it asks.
    pub kds: Arc<Kds>,
    /// The process, or `None` for a deployment.
    served: Option<(Server, Home)>,
    /// The way to a broker that speaks TLS.
    tunnel: Option<Tunnel>,
}

impl World {
    /// The broker that the environment names, or else `keybroker serve`. Sessions last 300 seconds, and VLEKs
    /// of [`CSP_ID`] are accepted.
    pub fn start() -> Self {
        match remote::url() {
            Some(url) => Self { url, kds: Arc::clone(deployment()), served: None, tunnel: None },
            None => Self::serve(&AS_DEPLOYED),
        }
    }

    /// The same, but `keybroker serve` if a listener that is not the deployment's own decides about `what`.
    pub fn listening(what: &str) -> Self {
        if remote::decides(what) { Self::serve(&AS_DEPLOYED) } else { Self::start() }
    }

    /// `keybroker serve` with these arguments and a KDS of its own. `None` for a deployment, which has
    /// settings of its own.
    pub fn with(arguments: &[&str], what: &str) -> Option<Self> {
        if remote::url().is_some() {
            skip(&format!("{what}: a deployment has settings of its own"));
            return None;
        }
        Some(Self::serve(arguments))
    }

    /// `keybroker serve` with these arguments, even if the environment names a deployment.
    pub fn serve(arguments: &[&str]) -> Self {
        Self::over(Home::new(&anchors()), Arc::new(kds()), arguments)
    }

    /// The same over TLS. Bytes for [`url`](Self::url) go to the broker through TLS, connection by
    /// connection and byte by byte.
    pub fn serve_tls(arguments: &[&str]) -> Self {
        let (ca, home) = (Authority::new(), Home::new(&anchors()));
        let files = home.identity(&ca.issue(NAME));
        let arguments: Vec<_> = files.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        let world = Self::over(home, Arc::new(kds()), &arguments);
        let tunnel = Tunnel::to(&ca, &world.tls_authority());
        world.through(tunnel)
    }

    /// The same broker, asked through a tunnel.
    pub fn through(self, tunnel: Tunnel) -> Self {
        Self { url: tunnel.url.clone(), tunnel: Some(tunnel), ..self }
    }

    /// `keybroker serve` over files that an earlier process may have left.
    pub fn over(home: Home, kds: Arc<Kds>, arguments: &[&str]) -> Self {
        let server = home.serve(&kds.url(), arguments);
        Self::of(server, home, kds)
    }

    /// The world around a broker that something else has started at `url`, with this KDS.
    pub fn at(url: String, kds: Arc<Kds>) -> Self {
        Self { url, kds, served: None, tunnel: None }
    }

    /// The world around a process that the test started itself.
    pub fn of(server: Server, home: Home, kds: Arc<Kds>) -> Self {
        Self { url: server.url.clone(), kds, served: Some((server, home)), tunnel: None }
    }

    /// The broker's process.
    pub fn server(&self) -> &Server {
        &self.served.as_ref().expect("a process that this test started").0
    }

    /// Whether this test started the broker: otherwise it is the deployment's.
    pub fn is_served(&self) -> bool {
        self.served.is_some()
    }

    /// The broker's files.
    pub fn home(&self) -> &Home {
        &self.served.as_ref().expect("a process that this test started").1
    }

    /// The process, its files and the KDS. The KDS keeps running.
    pub fn into_parts(self) -> (Server, Home, Arc<Kds>) {
        let (server, home) = self.served.expect("a process that this test started");
        (server, home, self.kds)
    }

    /// `host:port` of the broker.
    pub fn authority(&self) -> String {
        self.endpoint().authority
    }

    /// `host:port` at which the broker's process speaks TLS.
    pub fn tls_authority(&self) -> String {
        self.server().url.strip_prefix("https://").expect("a URL of https").to_owned()
    }

    /// A client of TLS that trusts the broker's authority.
    pub fn connector(&self) -> Option<TlsConnector> {
        self.tunnel.as_ref().map(|tunnel| tunnel.connector.clone())
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&self.url).expect("a plain-http URL")
    }

    /// A connection to the broker.
    pub fn connect(&self) -> Connection {
        Connection::open(&self.authority())
    }

    /// A request with these further header lines. If there is a body, its length and type are added.
    pub fn request(&self, method: &str, path: &str, headers: &[&str], body: Option<&str>) -> String {
        let Endpoint { authority, base, .. } = self.endpoint();
        let mut text = format!("{method} {base}{path} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some(body) = body {
            text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        for header in headers {
            text += header;
            text += "\r\n";
        }
        text + "\r\n" + body.unwrap_or_default()
    }

    /// Sends a request on a connection of its own, and reads the response.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: Option<&str>) -> Response {
        let mut connection = self.connect();
        connection.send(self.request(method, path, headers, body));
        connection.response().expect("a response")
    }

    /// A chip that AMD knows.
    pub fn chip(&self, product: Product, seed: u8) -> Chip {
        let chip = Chip::new(product, seed);
        self.kds.add(&chip);
        chip
    }

    /// A machine with a chip that AMD knows.
    pub fn machine(&self, product: Product, seed: u8) -> Machine {
        Machine::new(amd(product), &self.chip(product, seed))
    }

    /// A Milan, for tests that need no particular machine.
    pub fn milan(&self) -> Machine {
        self.machine(Product::Milan, 1)
    }

    /// A build that registers `id`.
    pub fn build(&self, id: &str, passphrase: &str) -> Buildah {
        Buildah::new(&self.url, id, &MEASUREMENT, passphrase)
    }

    /// Registers `id` as buildah does, and returns the passphrase.
    pub async fn register(&self, id: &str) -> String {
        let passphrase = passphrase();
        let response = self.build(id, &passphrase).register().await.expect("a response");
        assert!(Buildah::accepts(&response), "{}", response.text());
        passphrase
    }

    /// libkrun's guest.
    pub fn krun(&self, id: &str, machine: Machine) -> KrunGuest {
        KrunGuest::new(&self.url, id, machine).expect("a URL that guests understand")
    }

    /// A guest that honours HTTP.
    pub fn polite(&self, id: &str, machine: Machine) -> PoliteGuest {
        PoliteGuest::new(&self.url, id, machine).expect("a URL that guests understand")
    }

    /// The same guest, with all that it knows, as a client of this broker.
    pub fn adopt(&self, guest: &mut PoliteGuest) -> PoliteGuest {
        let mut moved = self.polite(&guest.state.workload_id, guest.state.machine.clone());
        moved.state.session_id.clone_from(&guest.state.session_id);
        moved.state.nonce.clone_from(&guest.state.nonce);
        std::mem::swap(&mut moved.state.key, &mut guest.state.key);
        moved
    }

    /// Registers a workload under `id` and boots libkrun's guest with it, which shows that the broker works.
    pub async fn boots_a_guest(&self, id: &str) {
        let passphrase = self.register(id).await;
        assert_eq!(self.krun(id, self.milan()).boot().await, Ok(passphrase.into_bytes()));
    }

    /// The audit record whose id is in a response's body. `None` if a deployment shows no records.
    pub fn audit(&self, body: &str) -> Option<Value> {
        let id = audit_id(body);
        let Some((server, _)) = &self.served else { return remote::audit(&id) };
        let record = server.out(|line| {
            let record: Value = serde_json::from_str(line).expect("audit records are JSON");
            (record.get("id") == Some(&id.as_str().into())).then_some(record)
        });
        Some(record.unwrap_or_else(|| panic!("no audit record {id}:\n{}", server.out_until_now())))
    }

    /// Asserts that the broker refused with `status` because of `check`, and returns the audit record.
    pub fn assert_refused<T: std::fmt::Debug>(
        &self,
        answer: Result<T, Error>,
        (status, check): (u16, &str),
    ) -> Option<Value> {
        let said = match answer {
            Err(Error::Refused(said)) => said,
            other => panic!("expected a refusal for {check}, got {other:?}"),
        };
        self.assert_said(&said, (status, check))
    }

    /// The same for a response. The broker records only the first few requests of strangers and answers the
    /// others with 429. Which answer a request gets depends on the other tests of the suite.
    pub fn assert_said(&self, said: &Said, (status, check): (u16, &str)) -> Option<Value> {
        assert!((3..=199).contains(&said.body.len()), "{said:?}");
        if (status, check) == (401, "session") && said.status == 429 {
            assert_eq!(said.body, r#"{"error":"too many such requests"}"#);
            return None;
        }
        let Some(record) = self.audit(&said.body) else {
            assert_eq!(said.status, status, "{said:?}");
            return None;
        };
        let field = |name: &str| record.pointer(name).and_then(Value::as_str).unwrap_or_default();
        let found = (said.status, field("/decision"), field("/failed/check"));
        assert_eq!(found, (status, "refused", check), "{record}");
        assert!(!field("/failed/cause").is_empty(), "{record}");
        // The guest gets an id, and nothing that tells a hostile host more.
        assert!(!said.body.contains(check) || check == "session", "{}", said.body);
        Some(record)
    }
}

/// The id of the audit record in a response's body: a member of its own or, as guests of Trustee's read it,
/// the end of the detail.
pub fn audit_id(body: &str) -> String {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let member = |name| json.get(name).and_then(Value::as_str);
    let in_detail = |detail: &str| detail.rsplit_once("(decision ")?.1.strip_suffix(')').map(str::to_owned);
    let id = member("id").map(str::to_owned).or_else(|| member("detail").and_then(in_detail));
    id.unwrap_or_else(|| panic!("no audit id in {body:?}"))
}

/// The KDS of a deployment. All tests of a suite share it.
fn deployment() -> &'static Arc<Kds> {
    static KDS: OnceLock<Arc<Kds>> = OnceLock::new();
    KDS.get_or_init(|| {
        let kds = kds();
        remote::set_up(&kds.url(), &anchors());
        Arc::new(kds)
    })
}
