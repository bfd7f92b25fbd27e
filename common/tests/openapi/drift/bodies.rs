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
    ids::{HostData, KbsVersion, ReportHash, TrusteeClaim, WorkloadId},
    policy::{PolicyRefused, PolicyText},
    problem::Problem,
    wire::{Invalid, handshake, keybroker, libkrun, native},
};
use keybroker_initdata::{Algorithm, KeyId};
use keybroker_native::{
    Evidence, EvidenceForm, Suite,
    client::{self, Pending},
};
use keybroker_rego::Policy;
use keybroker_simulator::{
    Product,
    build::Buildah,
    guest::{
        KeybrokerGuest, KrunGuest, Machine,
        trustee::{self, HashAlgorithm, InitData, KeyForm, TrusteeGuest},
    },
    pki::{Amd, CSP_ID, Chip},
    rvp::RvpCli,
};
use keybroker_testing::world::TTL;
use serde_json::{Value, json};

use crate::shared::{ID, sample_challenge_of};

/// Reads a body.
pub(super) type Reader = fn(&[u8]) -> Result<(), Problem>;

/// One kind of body.
pub(super) struct Body {
    /// The route that takes it.
    pub(super) path: &'static str,
    /// Reads it as the route does.
    pub(super) read: Reader,
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
                in_azure(with_init_data(json!({ "algorithm": "sha384", "digest": "1d".repeat(48) })))
                    .to_string(),
                in_azure(for_trustee(json!(["trustee"]), json!({ "default/key/tls": "a key" }), None))
                    .to_string(),
                for_trustee(json!(["trustee"]), json!({ "default/key/tls": "a key" }), None).to_string(),
                for_trustee(json!(["trustee"]), json!({ "default/key/kek": { "base64": "/wDD" } }), None)
                    .to_string(),
                for_trustee(
                    json!(["trustee"]),
                    json!({ "default/key/tls": "a key" }),
                    Some(json!({ "document": "version = \"0.1.0\"\nalgorithm = \"sha384\"\n[data]\n" })),
                )
                .to_string(),
                for_trustee(
                    json!(["trustee", "v1"]),
                    json!({ "passphrase": "mysecretpassphrase", "default/key/tls": "a key" }),
                    Some(json!({ "document": document() })),
                )
                .to_string(),
            ],
        },
        Body {
            path: AUTH,
            read: |body| handshake::auth_request(body, None).map(drop).map_err(Problem::from),
            sent: [
                vec![guests.libkrun.state.auth_body(), guests.keybroker.auth_body().to_owned()],
                guests.trustees.iter().map(|guest| guest.auth_request().body()).collect(),
            ]
            .concat(),
        },
        Body {
            path: AUTH_OF,
            read: |body| {
                let named = WorkloadId::new("web").map_err(Invalid::from)?;
                handshake::auth_request(body, Some(named)).map(drop).map_err(Problem::from)
            },
            sent: guests.trustees.iter().map(|guest| guest.auth_request().body()).collect(),
        },
        Body {
            path: ATTEST,
            read: |body| evidence(vec![Dialect::Libkrun, Dialect::Keybroker], &Claim::HostData, body),
            sent: vec![guests.libkrun.state.attest_body().unwrap(), guests.keybroker.attest_body().unwrap()],
        },
    ]
    .into_iter()
    .chain([ATTEST, ATTEST_OF].into_iter().flat_map(|path| guests.attesting(path)))
    .chain([
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
                body["evidence"]["type"] = EvidenceForm::AzSnpVtpm.name().into();
                body.to_string()
            }],
        },
    ])
    .collect()
}

const AUTH: &str = "/kbs/v0/auth";
const AUTH_OF: &str = "/w/{workload_id}/kbs/v0/auth";
const ATTEST: &str = "/kbs/v0/attest";
const ATTEST_OF: &str = "/w/{workload_id}/kbs/v0/attest";

/// Reads evidence as the broker does until it verifies the report: one that is in none of the shapes is
/// refused there, with a record.
fn evidence(dialects: Vec<Dialect>, claim: &Claim, body: &[u8]) -> Result<(), Problem> {
    let evidence = handshake::evidence(dialects, claim, body)?;
    evidence.report.map(drop).map_err(|_| broker::Error::Refused { id: ID }.into())
}

/// The same of a guest of Trustee's that speaks this version.
fn trustees(version: KbsVersion, body: &[u8]) -> Result<(), Problem> {
    let claim = Claim::Trustee(TrusteeClaim { version, workload: None });
    evidence(vec![Dialect::Keybroker, Dialect::Trustee], &claim, body)
}

/// Guests that were given a challenge.
struct Guests {
    libkrun: KrunGuest,
    keybroker: KeybrokerGuest,
    /// One of each version, and of each kind of key from 0.2.0 on.
    trustees: Vec<TrusteeGuest>,
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
        let guest = |(version, form)| {
            let mut guest = TrusteeGuest::new(URL, version, form, MACHINE.clone()).unwrap();
            guest.nonce = Some(data_encoding::BASE64.encode(&[0x5A; 32]));
            guest
        };
        let trustees = [
            (trustee::KbsVersion::V0_1_0, KeyForm::Rsa1_5),
            (trustee::KbsVersion::V0_1_1, KeyForm::Rsa1_5),
            (trustee::KbsVersion::V0_2_0, KeyForm::RsaOaep256),
            (trustee::KbsVersion::V0_2_0, KeyForm::P256),
            (trustee::KbsVersion::V0_4_0, KeyForm::P256),
        ];
        let mut trustees: Vec<_> = trustees.into_iter().map(guest).collect();
        let files = [("aa.toml", "[token_configs]")];
        let launched = guest((trustee::KbsVersion::V0_4_0, KeyForm::Rsa1_5));
        trustees.push(launched.launched_with(InitData::new(HashAlgorithm::Sha384, &files)));
        Self { libkrun, keybroker, trustees }
    }

    /// The bodies that Trustee's guests of each version send to `path`.
    fn attesting(&self, path: &'static str) -> [Body; 4] {
        use trustee::KbsVersion as Version;
        let kind = |version, read: Reader| {
            let guests = self.trustees.iter().filter(|guest| guest.version == version);
            Body { path, read, sent: guests.map(|guest| guest.attestation().unwrap().body()).collect() }
        };
        [
            kind(Version::V0_1_0, |body| trustees(KbsVersion::V0_1_0, body)),
            kind(Version::V0_1_1, |body| trustees(KbsVersion::V0_1_1, body)),
            kind(Version::V0_2_0, |body| trustees(KbsVersion::V0_2_0, body)),
            kind(Version::V0_4_0, |body| trustees(KbsVersion::V0_4_0(ReportHash::Sha384), body)),
        ]
    }
}

/// Every field that a registration by reference values may have.
fn everything_required() -> Value {
    let measurement = data_encoding::HEXLOWER.encode(&MEASUREMENT);
    let floors = json!({
        "milan": { "boot_loader": 4, "tee": 0, "snp": 22, "microcode": 213 },
        "genoa": { "boot_loader": 9, "tee": 0, "snp": 21, "microcode": 72 },
        "turin-c1": { "fmc": 1, "boot_loader": 1, "tee": 0, "snp": 4, "microcode": 60 },
        "0x00A00F12": { "snp": 27, "microcode": 71 },
    });
    json!({
        "query": ["data.policy.allow"],
        "reference_values": { "measurement": [measurement] },
        "resources": { "passphrase": "mysecretpassphrase", "tls.key": "-----BEGIN PRIVATE KEY-----" },
        "policy": "package policy\n\nallow if input.snp.vmpl == 0\n",
        "measurements": [measurement],
        "minimum_tcb": floors,
        "minimum_committed_tcb": floors,
        "minimum_current_tcb": floors,
        "minimum_launch_tcb": floors,
        "require": {
            "id_key_digest": ["1d".repeat(48), "2d".repeat(48)],
            "author_key_digest": "a0".repeat(48),
            "family_id": "fa".repeat(16),
            "image_id": "1a".repeat(16),
            "minimum_guest_svn": 2,
            "single_socket": true,
            "smt": false,
            "ciphertext_hiding": true,
            "products": ["milan", "turin"],
            "chips": ["07".repeat(8), "08".repeat(64)],
            "current_mitigations": { "milan-x": [1, 4], "genoa": [] },
            "launch_mitigations": { "milan-x": [2] },
            "platform": ["alias-check", "committed"],
            "minimum_firmware": "1.55.29",
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

/// A registration of guests of these dialects, among them Trustee's.
fn for_trustee(dialects: Value, resources: Value, init_data: Option<Value>) -> Value {
    let mut body = json!({
        "workload_id": "web",
        "dialects": dialects,
        "measurements": [data_encoding::HEXLOWER.encode(&MEASUREMENT)],
        "resources": resources,
    });
    if let Some(mut init_data) = init_data {
        init_data["bound_by"] = "host_data".into();
        body["init_data"] = init_data;
    }
    body
}

/// The same of guests in Azure confidential VMs, which nothing binds.
fn in_azure(mut body: Value) -> Value {
    body["require"] = json!({ "evidence": "az-snp-vtpm" });
    if body.get("init_data").is_some() {
        body["init_data"]["bound_by"] = "nothing".into();
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
    let evidence = Evidence::of_report(vec![0x5A; 1184], vec![vec![0x30; 1300], vec![0x30; 2]]);
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
