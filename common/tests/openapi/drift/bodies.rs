//! Bodies as clients send them, and the functions that read them.

use std::{
    collections::BTreeMap,
    sync::{LazyLock, Mutex},
};

use jiff::Timestamp;
use keybroker_common::{
    broker,
    challenge::Claim,
    dialect::Dialect,
    ids::HostData,
    policy::{PolicyRefused, PolicyText},
    problem::Problem,
    wire::{handshake, keybroker, libkrun, native},
};
use keybroker_initdata::{Algorithm, KeyId};
use keybroker_native::{
    Evidence, Suite,
    client::{self, Pending},
};
use keybroker_rego::Policy;
use keybroker_simulator::{
    Product,
    build::Buildah,
    guest::{KeybrokerGuest, KrunGuest, Machine},
    pki::{Amd, CSP_ID, Chip},
    rvp::RvpCli,
};
use keybroker_testing::world::TTL;
use serde_json::{Value, json};

use crate::shared::sample_challenge_of;

/// One kind of body.
pub(super) struct Body {
    /// The route that takes it.
    pub(super) path: &'static str,
    /// Reads it as the route does.
    pub(super) read: fn(&[u8]) -> Result<(), Problem>,
    /// As clients send it.
    pub(super) sent: Vec<String>,
}

/// No request is sent there.
const URL: &str = "http://127.0.0.1:9";
const MEASUREMENT: [u8; 48] = [0x4D; 48];

/// Every kind of body.
pub(super) fn bodies() -> Vec<Body> {
    let guests = Guests::new();
    vec![
        Body {
            path: "/kbs/v0/register_workload",
            read: |body| libkrun::register_request(body).map(drop).map_err(Problem::from),
            sent: vec![Buildah::new(URL, "my-app", &MEASUREMENT, "open <sesame>").body()],
        },
        Body {
            path: "/rvp/register",
            read: reference_values,
            sent: vec![
                RvpCli::new(URL, &MEASUREMENT, "mysecretpassphrase").body(),
                everything_required().to_string(),
                with_init_data(json!({ "algorithm": "sha384", "digest": "1d".repeat(48) })).to_string(),
                with_init_data(json!({ "document": document() })).to_string(),
            ],
        },
        Body {
            path: "/kbs/v0/auth",
            read: |body| handshake::auth_request(body).map(drop).map_err(Problem::from),
            sent: vec![guests.libkrun.state.auth_body(), guests.keybroker.auth_body().to_owned()],
        },
        Body {
            path: "/kbs/v0/attest",
            read: |body| {
                handshake::evidence(vec![Dialect::Libkrun, Dialect::Keybroker], body)
                    .map(drop)
                    .map_err(Problem::from)
            },
            sent: vec![guests.libkrun.state.attest_body().unwrap(), guests.keybroker.attest_body().unwrap()],
        },
        Body {
            path: "/v1/challenge",
            read: |body| native::challenge_request(body).map(drop).map_err(Problem::from),
            sent: vec![String::from_utf8(client::CHALLENGE_BODY.to_vec()).unwrap()],
        },
        Body {
            path: "/v1/release",
            read: |body| native::release_request(body).map(drop).map_err(Problem::from),
            sent: vec![release(Suite::X25519).to_string(), {
                let mut body = release(Suite::P384);
                body["init_data"] = json!({ "document": document() });
                body.to_string()
            }],
        },
    ]
}

/// Guests that were given a challenge.
struct Guests {
    libkrun: KrunGuest,
    keybroker: KeybrokerGuest,
}

impl Guests {
    /// In a cloud: certificates come along.
    fn new() -> Self {
        static MACHINE: LazyLock<Machine> = LazyLock::new(|| {
            let chip = Chip::new(Product::Milan, 1);
            Machine::in_cloud(&Amd::new(Product::Milan, Timestamp::now()), &chip, CSP_ID)
        });
        let mut libkrun = KrunGuest::new(URL, "my-app", MACHINE.clone()).unwrap();
        let mut keybroker = KeybrokerGuest::new(URL, MACHINE.clone()).unwrap();
        for state in [&mut libkrun.state, &mut keybroker.state] {
            state.nonce = Some(data_encoding::BASE64.encode(&[0x5A; 32]));
        }
        Self { libkrun, keybroker }
    }
}

/// Every field that a registration by reference values may have.
fn everything_required() -> Value {
    let measurement = data_encoding::HEXLOWER.encode(&MEASUREMENT);
    let floors = json!({
        "milan": { "boot_loader": 4, "tee": 0, "snp": 22, "microcode": 213 },
        "genoa": { "boot_loader": 9, "tee": 0, "snp": 21, "microcode": 72 },
        "turin": { "fmc": 1, "boot_loader": 1, "tee": 0, "snp": 4, "microcode": 60 },
    });
    json!({
        "query": ["data.policy.allow"],
        "reference_values": { "measurement": [measurement] },
        "resources": { "passphrase": "mysecretpassphrase", "tls.key": "-----BEGIN PRIVATE KEY-----" },
        "policy": "package policy\n\nallow if input.snp.vmpl == 0\n",
        "measurements": [measurement],
        "minimum_tcb": floors,
        "minimum_committed_tcb": floors,
        "minimum_launch_tcb": floors,
        "require": {
            "id_key_digest": "1d".repeat(48),
            "author_key_digest": "a0".repeat(48),
            "family_id": "fa".repeat(16),
            "image_id": "1a".repeat(16),
            "minimum_guest_svn": 2,
            "single_socket": true,
            "smt": false,
            "ciphertext_hiding": true,
        },
    })
}

/// A registration of guests of the broker's own protocol, which have this init data.
fn with_init_data(mut init_data: Value) -> Value {
    init_data["bound_by"] = "host_data".into();
    let mut body = json!({
        "workload_id": "web",
        "init_data": init_data,
        "measurements": [data_encoding::HEXLOWER.encode(&MEASUREMENT)],
        "resources": { "passphrase": "mysecretpassphrase" },
    });
    if init_data.get("digest").is_some() {
        body["require"] = json!({ "host_data": "1d".repeat(32) });
    }
    body
}

/// A document of the workload `web`, which HOST_DATA binds.
fn document() -> &'static str {
    include_str!("../../../../initdata/tests/data/document.toml")
}

/// A request for secrets, as keybroker-guest sends it.
fn release(suite: Suite) -> Value {
    let challenge = native::challenge(&sample_challenge_of(Claim::Later), TTL);
    let challenge = client::Challenge::from_json(&challenge).unwrap();
    let secrets = ["passphrase", "tls.key"].map(str::to_owned).to_vec();
    let init_data = Algorithm::Sha512.digest("a document");
    let keys = vec![KeyId::from_bytes([7; 32])];
    let pending = Pending::new(suite, &challenge, "web", secrets, init_data, keys).unwrap();
    let evidence = Evidence { report: vec![0x5A; 1184], certificates: vec![vec![0x30; 1300], vec![0x30; 2]] };
    serde_json::from_slice(&pending.request(&evidence)).unwrap()
}

/// The body, and the Rego in it.
fn reference_values(body: &[u8]) -> Result<(), Problem> {
    static COMPILED: Mutex<BTreeMap<[u8; 32], Result<(), PolicyRefused>>> = Mutex::new(BTreeMap::new());
    let Some(text) = keybroker::register_request(body, HostData::random())?.0.rego else { return Ok(()) };
    let compile = |text: &PolicyText| Policy::compile(text).map(drop).map_err(PolicyRefused::from);
    let mut compiled = COMPILED.lock().unwrap();
    let outcome = compiled.entry(text.digest()).or_insert_with(|| compile(&text)).clone();
    outcome.map_err(|error| broker::Error::Policy(error).into())
}
