//! keybroker-guest's own code against the broker: from the document to the secret, over the loopback.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use data_encoding::HEXLOWER;
use keybroker_guest::{
    console::{Console as _, Kept},
    document::{self, Found, Place},
    exit::Exit,
    failure::Failure,
    get::get,
    release::{Asker, Limits},
    report::{Evidence, ReportError, ReportSource},
    root::Root,
    time::MachineTime,
    transport::Http,
};
use keybroker_initdata::{
    Algorithm, Binding, BrokerKey, Disk, Document, Settings,
    document::{Device, SigningKey},
    volume_key::{Segment, VolumeKeyDigest},
};
use keybroker_simulator::{Product, pki::Chip, report::ReportFields};
use keybroker_tests::{
    operator::Operator,
    unique,
    world::{MEASUREMENT, World},
};
use serde_json::{Value, json};

pub(crate) const SECRET: &[u8] = "of the disk: süß\n".as_bytes();

/// The secure processor of a guest.
pub(crate) struct Processor {
    chip: Chip,
    host_data: [u8; 32],
    measurement: [u8; 48],
}

impl ReportSource for Processor {
    fn name(&self) -> &'static str {
        "the simulator"
    }

    fn report(&self, report_data: &[u8; 64]) -> Result<Evidence, ReportError> {
        let fields = ReportFields {
            report_data: *report_data,
            measurement: self.measurement,
            host_data: self.host_data,
            ..ReportFields::new(&self.chip)
        };
        Ok(Evidence::new(fields.sign(&self.chip.vcek_key(self.chip.tcb)).to_vec(), &[]))
    }
}

/// Where `get` writes to.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A machine with a document, for a workload that is registered with it.
pub(crate) struct Machine<S = Processor> {
    directory: tempfile::TempDir,
    processor: S,
    console: Arc<Kept>,
    limits: Limits,
}

impl Machine {
    fn register(world: &World) -> Self {
        let source = |host_data| Processor {
            chip: world.chip(Product::Milan, 1),
            host_data,
            measurement: MEASUREMENT,
        };
        Self::registered(world, Binding::HostData, &json!({}), source)
    }
}

impl<S: ReportSource> Machine<S> {
    /// A machine whose document has this binding. Its registration requires this as well.
    pub(crate) fn registered(
        world: &World,
        binding: Binding,
        require: &Value,
        source: impl FnOnce([u8; 32]) -> S,
    ) -> Self {
        let operator = Operator::of(world);
        let operator = operator.with("KEYBROKER_KEY_FILE", world.home().key_file().to_str().unwrap());
        let prepared = operator.json(&["keys", "prepare"]);
        let broker_key = BrokerKey::from_text(prepared["public_key"].as_str().unwrap()).unwrap();
        let settings = Settings { binding, ..settings(&world.url, broker_key) };
        let document = Document::write(Algorithm::Sha256, &settings).unwrap();
        let digest = document.digest();
        let body = json!({
            "workload_id": document.keybroker().workload,
            "init_data": {
                "bound_by": if binding == Binding::HostData { "host_data" } else { "nothing" },
                "algorithm": digest.algorithm().name(),
                "digest": digest.to_string(),
            },
            "measurements": [HEXLOWER.encode(&MEASUREMENT)],
            "require": require,
            "resources": {"passphrase": String::from_utf8(SECRET.to_vec()).unwrap()},
        });
        let response = world.ask("POST", "/rvp/register", &[], Some(&body.to_string()));
        assert_eq!(response.status, 200, "{}", response.text());
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        std::fs::create_dir(directory.path().join("run")).unwrap();
        let place = directory.path().join("etc/keybroker");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("initdata.toml"), document.text()).unwrap();
        let processor = source(digest.host_data());
        Self { directory, processor, console: Arc::default(), limits: Limits::default() }
    }

    fn found(&self) -> Found {
        let found = document::find(&Root::at(self.directory.path())).unwrap();
        assert!(matches!(found.place, Place::BuiltIn | Place::Kept));
        found
    }

    /// A run of `get`: what it wrote, its exit code and its last line.
    pub(crate) fn get(&self, name: &str) -> (Vec<u8>, Exit, String) {
        let (found, time, output) = (self.found(), MachineTime::start(), Output::default());
        let console = Arc::clone(&self.console);
        let transport = Http::new(&Root::machine(), None, console).unwrap();
        let asker = Asker {
            found: &found,
            source: &self.processor,
            transport: &transport,
            time: &time,
            console: &*self.console,
            limits: self.limits,
        };
        let outcome = get(&Root::at(self.directory.path()), &asker, name, Box::new(output.clone()));
        if let Err(failure) = &outcome {
            self.console.line(format_args!("{failure}"));
        }
        let exit = outcome.as_ref().err().map_or(Exit::Done, Failure::exit);
        let written = output.0.lock().unwrap().clone();
        (written, exit, self.console.lines().last().unwrap().clone())
    }
}

fn settings(url: &str, broker_key: BrokerKey) -> Settings {
    Settings {
        workload: unique("guest"),
        brokers: vec![url.to_owned()],
        binding: Binding::HostData,
        certificates: None,
        broker_keys: vec![SigningKey { key: broker_key, not_after: "2999-01-01T00:00:00Z".parse().unwrap() }],
        disks: vec![Disk {
            name: "root".to_owned(),
            device: Device::Path("/dev/vda2".to_owned()),
            secret: "passphrase".to_owned(),
            volume_key: VolumeKeyDigest::Luks1 {
                hash: "sha256".to_owned(),
                iterations: 1000,
                salt: [1; 32],
                digest: [2; 20],
            },
            segment: Segment {
                cipher: "aes-xts-plain64".to_owned(),
                key_bits: 512,
                sector_size: 512,
                offset: 2 * 1024 * 1024,
                integrity: None,
                flags: vec![],
            },
        }],
    }
}

/// The id in a line of the console.
pub(crate) fn decision(line: &str) -> &str {
    line.split("(decision ").nth(1).unwrap().split([';', ')']).next().unwrap()
}

#[test]
fn the_guest_gets_the_secret_as_it_is_and_says_which_decision_it_was() {
    let Some(world) = World::with(&[], "the broker's signing key") else { return };
    let machine = Machine::register(&world);
    let (written, exit, line) = machine.get("passphrase");
    assert_eq!((written.as_slice(), exit), (SECRET, Exit::Done), "{line}");
    let id = decision(&line);
    assert_eq!(line, format!("keybroker-guest: released passphrase (decision {id})"));
    let record = world.audit(&json!({"id": id}).to_string()).unwrap();
    assert_eq!((&record["operation"], &record["decision"]), (&json!("release"), &json!("released")));
}

#[test]
fn a_refusal_is_one_line_with_the_id_that_audit_explains() {
    let Some(world) = World::with(&[], "the broker's signing key") else { return };
    let mut machine = Machine::register(&world);
    machine.processor.measurement = [7; 48];
    let (written, exit, line) = machine.get("passphrase");
    assert_eq!((written.as_slice(), exit), (&b""[..], Exit::Refused), "{line}");
    let id = decision(&line);
    assert_eq!(
        line,
        format!(
            "keybroker-guest: refused: the broker refused this guest: refused (decision {id}; ask the operator for: \
             keybroker audit {id})"
        )
    );
    let record = world.audit(&json!({"id": id}).to_string()).unwrap();
    assert_eq!((&record["decision"], &record["failed"]["check"]), (&json!("refused"), &json!("measurement")));
    machine.processor.measurement = MEASUREMENT;
    let (written, exit, line) = machine.get("other");
    assert_eq!((written.as_slice(), exit), (&b""[..], Exit::Refused), "{line}");
}

/// The guest stops before it asks, and the broker records nothing.
#[test]
fn another_host_data_is_refused_by_the_guest_itself() {
    let Some(world) = World::with(&[], "the broker's signing key") else { return };
    let mut machine = Machine::register(&world);
    machine.processor.host_data[31] ^= 1;
    let (written, exit, line) = machine.get("passphrase");
    assert_eq!((written.as_slice(), exit), (&b""[..], Exit::NotTrusted));
    assert_eq!(line, "keybroker-guest: not trusted here: HOST_DATA is not the digest of the document");
}

#[test]
fn a_broker_that_is_gone_is_not_reached() {
    let Some(world) = World::with(&[], "the broker's signing key") else { return };
    let mut machine = Machine::register(&world);
    machine.limits.total = std::time::Duration::from_secs(2);
    let url = world.url.clone();
    drop(world);
    let (written, exit, line) = machine.get("passphrase");
    assert_eq!((written.as_slice(), exit), (&b""[..], Exit::NotReached));
    assert!(line.starts_with(&format!("keybroker-guest: not reached: {url}: no connection: ")), "{line}");
}
