//! The broker's own protocol, spoken by a client in Python that was written from docs/protocol.md over other
//! libraries: tests/protocol.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use data_encoding::HEXLOWER;
use keybroker_initdata::{Algorithm, BrokerKey, InitDataDigest};
use keybroker_native::{
    Evidence, Suite,
    client::{CHALLENGE_PATH, Challenge, Pending},
};
use keybroker_simulator::{Product, pki::Chip, report::ReportFields};
use keybroker_tests::{
    operator::Operator,
    program::workspace,
    unique,
    world::{MEASUREMENT, World},
};
use serde_json::{Value, json};

/// A workload that was registered with init data, and the machine that its guest runs on.
pub(super) struct Guest<'a> {
    world: &'a World,
    workload: String,
    digest: InitDataDigest,
    broker_key: BrokerKey,
    chip: Chip,
}

/// The secrets of every workload here.
const SECRETS: [(&str, &str); 2] = [("passphrase", "of the disk: süß"), ("tls.key", "-----BEGIN")];

impl<'a> Guest<'a> {
    /// Registers a workload.
    pub(super) fn register(world: &'a World) -> Self {
        let broker_key = broker_key(world);
        let (workload, digest) = (unique("native"), Algorithm::Sha384.digest("a document"));
        let resources: Value =
            SECRETS.into_iter().map(|(name, secret)| (name.to_owned(), json!(secret))).collect();
        let body = json!({
            "workload_id": workload,
            "init_data": {
                "bound_by": "host_data",
                "algorithm": digest.algorithm().name(),
                "digest": digest.to_string(),
            },
            "measurements": [HEXLOWER.encode(&MEASUREMENT)],
            "resources": resources,
        });
        let response = world.ask("POST", "/rvp/register", &[], Some(&body.to_string()));
        assert_eq!(response.status, 200, "{}", response.text());
        let host_data = data_encoding::BASE64.encode(&digest.host_data());
        assert_eq!(response.text(), format!("\"{host_data}\""));
        Self { world, workload, digest, broker_key, chip: world.chip(Product::Milan, 1) }
    }

    /// A report of the guest, bound to this.
    fn report(&self, report_data: [u8; 64], alter: impl FnOnce(&mut ReportFields)) -> Vec<u8> {
        let (measurement, host_data) = (MEASUREMENT, self.digest.host_data());
        let mut fields =
            ReportFields { report_data, measurement, host_data, ..ReportFields::new(&self.chip) };
        alter(&mut fields);
        fields.sign(&self.chip.vcek_key(self.chip.tcb)).to_vec()
    }

    /// A sound request in answer to a fresh challenge.
    pub(super) fn request(&self) -> Value {
        let given = self.world.ask("POST", CHALLENGE_PATH, &[], Some("{}"));
        let challenge = Challenge::from_json(given.text().as_bytes()).unwrap();
        let secrets = SECRETS.map(|(name, _)| name.to_owned()).to_vec();
        let (digest, keys) = (self.digest.clone(), vec![self.broker_key.id()]);
        let pending = Pending::new(Suite::X25519, &challenge, &self.workload, secrets, digest, keys).unwrap();
        let report = self.report(pending.report_data(), |_| {});
        serde_json::from_slice(&pending.request(&Evidence::of_report(report, Vec::new()))).unwrap()
    }

    /// Runs the client in Python, whose report is altered so. Its exit code, and the JSON that it wrote.
    fn python(&self, suite: Suite, secrets: &[&str], alter: fn(&mut ReportFields)) -> (Option<i32>, Value) {
        let mut command = Command::new(workspace().join("tests/protocol/run"));
        command.args(["client", &self.world.url, suite.name(), &self.workload]);
        command.args([self.digest.algorithm().name(), &self.digest.to_string()]);
        command.arg(HEXLOWER.encode(self.broker_key.as_bytes())).args(secrets);
        let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(client.stdout.take().unwrap()).lines().map(Result::unwrap);
        let report_data = HEXLOWER.decode(lines.next().expect("REPORT_DATA").as_bytes()).unwrap();
        let report = HEXLOWER.encode(&self.report(report_data.try_into().unwrap(), alter));
        writeln!(client.stdin.take().unwrap(), "{report}").unwrap();
        let said = serde_json::from_str(&lines.next().expect("an outcome")).unwrap();
        (client.wait().unwrap().code(), said)
    }
}

/// The public half of the key that the broker signs with.
fn broker_key(world: &World) -> BrokerKey {
    let mut operator = Operator::of(world);
    if world.is_served() {
        operator = operator.with("KEYBROKER_KEY_FILE", world.home().key_file().to_str().unwrap());
    }
    let used = || {
        let listed = operator.json(&["keys", "list"]);
        let rings = listed["rings"].as_array().unwrap().iter();
        // The keys of attestation results show a public half, too.
        let rings = rings.filter(|ring| ring["ring"] == "signature");
        let mut keys = rings.flat_map(|ring| ring["keys"].as_array().unwrap());
        let used = keys.find(|key| key["state"] == "used" && key["public_key"].is_string())?;
        BrokerKey::from_text(used["public_key"].as_str().unwrap()).ok()
    };
    used().unwrap_or_else(|| {
        // The first of a deployment. Another test may be first.
        operator.json(&["keys", "prepare"]);
        used().unwrap()
    })
}

#[tokio::test]
async fn a_client_that_stands_on_other_libraries_gets_its_secrets() {
    let world = World::start();
    let guest = Guest::register(&world);
    for suite in Suite::ALL {
        let (code, said) = guest.python(suite, &["tls.key", "passphrase"], |_| {});
        assert_eq!(code, Some(0), "{said}");
        let clear = |name: &str| HEXLOWER.decode(said["secrets"][name].as_str().unwrap().as_bytes()).unwrap();
        for (name, secret) in SECRETS {
            assert_eq!(clear(name), secret.as_bytes(), "{suite:?}");
        }
        let Some(record) = world.audit(&json!({"id": said["decision"]}).to_string()) else { continue };
        assert_eq!((&record["operation"], &record["decision"]), (&json!("release"), &json!("released")));
        assert_eq!(record["secrets"], json!(["tls.key", "passphrase"]));
    }
}

#[tokio::test]
async fn a_client_is_refused_with_problem_details() {
    let world = World::start();
    let guest = Guest::register(&world);
    type Alter = fn(&mut ReportFields);
    let rows: [(&str, &[&str], Alter); 4] = [
        ("measurement", &["passphrase"], |fields| fields.measurement[0] ^= 1),
        ("init-data", &["passphrase"], |fields| fields.host_data[31] ^= 1),
        ("challenge", &["passphrase"], |fields| fields.report_data[63] ^= 1),
        ("secret", &["passphrase", "other"], |_| {}),
    ];
    for (check, secrets, alter) in rows {
        let (code, said) = guest.python(Suite::P384, secrets, alter);
        let problem = &said["problem"];
        assert_eq!((code, &problem["status"], &problem["detail"]), (Some(3), &json!(403), &json!("refused")));
        let Some(record) = world.audit(&json!({"id": problem["decision"]}).to_string()) else { continue };
        assert_eq!((&record["decision"], &record["failed"]["check"]), (&json!("refused"), &json!(check)));
    }
}

/// The program that made the worked example of the documentation makes it again.
#[test]
fn the_example_of_the_documentation_is_that_of_the_client() {
    let mut command = Command::new(workspace().join("tests/protocol/run"));
    let output = command.arg("example").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
