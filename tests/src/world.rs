//! A broker with builds, guests, chips and AMD around it.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a fixture that cannot be made has nothing better to do"
)]

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
};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::{
    connection::Connection,
    passphrase, remote,
    server::{Home, Server},
    skip,
};

/// The launch measurement of every workload and guest, unless a test says otherwise.
pub const MEASUREMENT: [u8; 48] = [0x4D; 48];

/// Arguments with which VLEKs of the simulated provider are accepted.
pub const ACCEPT_CSP: [&str; 2] = ["--accept-csp-id", CSP_ID];

/// Arguments of a broker that takes what a deployment in the tests takes: VLEKs of the simulated provider,
/// and registrations of anybody and by token.
const AS_DEPLOYED: [&str; 4] = ["--accept-csp-id", CSP_ID, "--registration", "open;token"];

/// AMD for a product. Its keys are made once per process, which takes a while.
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

/// A KDS that serves every product, and lives as long as it is held, whichever test's runtime ends meanwhile.
pub fn kds() -> Kds {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime =
        RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());
    let start = || runtime.block_on(Kds::start(Product::ALL.map(|product| amd(product).clone()))).unwrap();
    // On a thread of its own: a test's may be in a runtime already.
    thread::scope(|scope| scope.spawn(start).join().unwrap())
}

/// A broker, AMD, and whoever comes to it.
#[derive(Debug)]
pub struct World {
    /// The broker's base URL.
    pub url: String,
    /// The KDS that it asks.
    pub kds: Arc<Kds>,
    /// The process, unless the broker is a deployment.
    served: Option<(Server, Home)>,
}

impl World {
    /// The broker that the environment names, or `keybroker serve`; sessions last 300 seconds, VLEKs of
    /// [`CSP_ID`] are accepted.
    pub fn start() -> Self {
        match remote::url() {
            Some(url) => Self { url, kds: Arc::clone(deployment()), served: None },
            None => Self::serve(&AS_DEPLOYED),
        }
    }

    /// The same, but `keybroker serve` where a listener that is not the deployment's own decides about
    /// `what`.
    pub fn listening(what: &str) -> Self {
        if remote::decides(what) { Self::serve(&AS_DEPLOYED) } else { Self::start() }
    }

    /// A broker with these arguments and a KDS of its own: what a deployment that is there already cannot be.
    pub fn with(arguments: &[&str], what: &str) -> Option<Self> {
        if remote::url().is_some() {
            skip(&format!("{what}: a deployment has settings of its own"));
            return None;
        }
        Some(Self::serve(arguments))
    }

    /// `keybroker serve` with these arguments, whatever the environment names.
    pub fn serve(arguments: &[&str]) -> Self {
        Self::over(Home::new(&anchors()), Arc::new(kds()), arguments)
    }

    /// `keybroker serve` over files that another process may have left.
    pub fn over(home: Home, kds: Arc<Kds>, arguments: &[&str]) -> Self {
        let server = home.serve(&kds.url(), arguments);
        Self::of(server, home, kds)
    }

    /// The world around a process that was started by hand.
    pub fn of(server: Server, home: Home, kds: Arc<Kds>) -> Self {
        Self { url: server.url.clone(), kds, served: Some((server, home)) }
    }

    /// The broker's process.
    pub fn server(&self) -> &Server {
        &self.served.as_ref().expect("a process of ours").0
    }

    /// The broker's files.
    pub fn home(&self) -> &Home {
        &self.served.as_ref().expect("a process of ours").1
    }

    /// The process and its files, to end the one and look into the others. The KDS goes on.
    pub fn into_parts(self) -> (Server, Home, Arc<Kds>) {
        let (server, home) = self.served.expect("a process of ours");
        (server, home, self.kds)
    }

    /// `host:port` of the broker.
    pub fn authority(&self) -> String {
        self.endpoint().authority
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&self.url).expect("a plain-http URL")
    }

    /// A connection to the broker.
    pub fn connect(&self) -> Connection {
        Connection::open(&self.authority())
    }

    /// A request's head and body, with these further header lines. A body brings its length and type along.
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

    /// The machine of tests that do not care: a Milan.
    pub fn milan(&self) -> Machine {
        self.machine(Product::Milan, 1)
    }

    /// A build that registers `id`.
    pub fn build(&self, id: &str, passphrase: &str) -> Buildah {
        Buildah::new(&self.url, id, &MEASUREMENT, passphrase)
    }

    /// Registers `id` as buildah does, and gives the passphrase.
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

    /// The same guest, which goes on with this broker: what it knows moves along.
    pub fn adopt(&self, guest: &mut PoliteGuest) -> PoliteGuest {
        let mut moved = self.polite(&guest.state.workload_id, guest.state.machine.clone());
        moved.state.session_id.clone_from(&guest.state.session_id);
        moved.state.nonce.clone_from(&guest.state.nonce);
        std::mem::swap(&mut moved.state.key, &mut guest.state.key);
        moved
    }

    /// Registers a workload under `id` and boots libkrun's guest as it: the broker is well.
    pub async fn boots_a_guest(&self, id: &str) {
        let passphrase = self.register(id).await;
        assert_eq!(self.krun(id, self.milan()).boot().await, Ok(passphrase.into_bytes()));
    }

    /// The audit record whose id a response's body carries. `None` where a deployment shows none.
    pub fn audit(&self, body: &str) -> Option<Value> {
        let id = audit_id(body);
        let Some((server, _)) = &self.served else { return remote::audit(&id) };
        let record = server.out(|line| {
            let record: Value = serde_json::from_str(line).expect("audit records are JSON");
            (record.get("id") == Some(&id.as_str().into())).then_some(record)
        });
        Some(record.unwrap_or_else(|| panic!("no audit record {id}:\n{}", server.out_until_now())))
    }

    /// Asserts that this was refused with `status`, for the check named `check` alone, and gives the record.
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

    /// The same for a response as it is. Of strangers the broker records the first few, and tells the others
    /// just as little: whose turn that is depends on what else the suite asked.
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
        // The guest is told an id, and nothing that a hostile host could learn from.
        assert!(!said.body.contains(check) || check == "session", "{}", said.body);
        Some(record)
    }
}

/// The id of the audit record in a response's body.
pub fn audit_id(body: &str) -> String {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let id = json.get("id").and_then(Value::as_str);
    id.unwrap_or_else(|| panic!("no audit id in {body:?}")).to_owned()
}

/// The KDS of a deployment, which all tests of a suite share.
fn deployment() -> &'static Arc<Kds> {
    static KDS: OnceLock<Arc<Kds>> = OnceLock::new();
    KDS.get_or_init(|| {
        let kds = kds();
        remote::set_up(&kds.url(), &anchors());
        Arc::new(kds)
    })
}
