//! A broker, documents, and machines that are registered with it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use keybroker_boots::{
    hardware::Hardware,
    images::{self, Disk, Images, PASSPHRASE, Plugin},
    machine::Launch,
    network::{BROKER, Gate},
};
use keybroker_initdata::{
    Algorithm, BrokerKey, Document, Settings,
    document::{Binding, Device, Disk as DocumentDisk, SigningKey},
    luks::Header,
};
use keybroker_simulator::Product;
use keybroker_tests::{operator::Operator, program, skip, unique, world::World};
use serde_json::{Value, json};

/// Root's password, `guess`, as a host hands one to systemd. QEMU takes names of 55 characters in fw_cfg: the
/// credential with the password itself has a longer one.
pub(crate) const CREDENTIAL: (&str, &str) = (
    "passwd.hashed-password.root",
    "$6$boots$kB1dETeyrFNNusq6qCmwKp9.c8281sK6FccvQucbJTLIFcMYdQ3XcMG8ijvYdyT5kZMQkG1SUHu10HR6HyhiD/",
);

/// Where everything that takes long is kept.
pub(crate) fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("../boots")
}

/// Kernel, initrds and disks. `None`, after a line, where no machine can be booted.
pub(crate) fn images() -> Option<&'static Images> {
    static IMAGES: OnceLock<Option<Images>> = OnceLock::new();
    let made = IMAGES.get_or_init(|| match keybroker_boots::missing() {
        Some(why) => {
            skip(&format!("boots: {why}"));
            None
        }
        None => Some(Images::get(&cache(), &package())),
    });
    made.as_ref()
}

/// The guest's Debian package, with a program that takes its reports from the simulator: otherwise it is the
/// one that ships.
pub(crate) fn package() -> PathBuf {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    let made = PACKAGE.get_or_init(|| {
        let mut command = Command::new(program::workspace().join("guest/build"));
        command.args(["--features", "simulated-hardware"]).stderr(Stdio::inherit());
        let output = command.output().expect("guest/build");
        assert!(output.status.success(), "the guest does not build");
        let built = String::from_utf8(output.stdout).expect("a path");
        // The next build of another guest has the same name.
        fs::create_dir_all(cache()).expect("a directory");
        fs::copy(program::workspace().join(built.trim_end()), simulated()).expect("the guest");
        let package = cache().join("keybroker-guest.deb");
        images::package(program::workspace(), &simulated(), &package);
        package
    });
    made.clone()
}

/// The guest's program that takes its reports from the simulator. [`package`] makes it.
pub(crate) fn simulated() -> PathBuf {
    cache().join("keybroker-guest")
}

/// A broker with signing keys, and the way to it.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) gate: Gate,
    keys: Vec<SigningKey>,
}

impl Bench {
    /// Over this broker.
    pub(crate) fn over(world: World) -> Self {
        let gate = Gate::to(&world.authority());
        let keys = signing_keys(&world);
        Self { world, gate, keys }
    }

    /// Over `keybroker serve`.
    pub(crate) fn served() -> Self {
        Self::over(World::serve(&[]))
    }

    /// A document for a new workload whose root is on this disk.
    pub(crate) fn document(&self, binding: Binding, disk: &Path) -> Document {
        let disk = fs::read(disk).expect("a disk");
        let header = Header::parse(&disk).expect("a LUKS disk");
        let settings = Settings {
            workload: unique("boot"),
            brokers: vec![BROKER.to_owned()],
            binding,
            certificates: None,
            broker_keys: self.keys.clone(),
            disks: vec![DocumentDisk {
                name: "root".to_owned(),
                device: Device::Path("/dev/vda".to_owned()),
                secret: "passphrase".to_owned(),
                volume_key: header.volume_key().clone(),
                segment: header.segment().clone(),
            }],
        };
        Document::write(Algorithm::Sha256, &settings).expect("a document")
    }

    /// Registers the workload of `document`, for guests of this measurement.
    pub(crate) fn register(&self, document: &Document, measurement: [u8; 48]) {
        self.register_for(document, measurement, document.text());
    }

    /// The same, with the text of another document.
    pub(crate) fn register_for(&self, document: &Document, measurement: [u8; 48], text: &str) {
        let bound_by = match document.keybroker().binding {
            Binding::HostData => "host_data",
            Binding::Measured => "measurement",
            Binding::Nothing => "nothing",
        };
        let body = json!({
            "workload_id": document.keybroker().workload,
            "init_data": {"bound_by": bound_by, "document": text},
            "measurements": [data_encoding::HEXLOWER.encode(&measurement)],
            "resources": {"passphrase": PASSPHRASE},
        });
        let response = self.world.ask("POST", "/rvp/register", &[], Some(&body.to_string()));
        assert_eq!(response.status, 200, "{}", response.text());
    }

    /// A machine that boots with `plugin`, and its document in fw_cfg, not yet registered.
    pub(crate) fn machine(&self, plugin: Plugin, images: &Images) -> (Launch, Document) {
        let mut launch = images.launch(plugin);
        let document = self.document(Binding::HostData, &images.disk(Disk::Root));
        launch.fw_cfg.push(("opt/keybroker/initdata".to_owned(), document.text().into()));
        launch.gate = Some(self.gate.clone());
        (launch, document)
    }

    /// The same, registered, on hardware that measures it and has its document's digest in HOST_DATA.
    pub(crate) fn genuine(&self, plugin: Plugin, images: &Images) -> (Launch, Document) {
        let (mut launch, document) = self.machine(plugin, images);
        self.register(&document, launch.measurement());
        launch.hardware = Some(self.hardware(launch.measurement(), document.digest().host_data()));
        (launch, document)
    }

    /// A processor that reports this.
    pub(crate) fn hardware(&self, measurement: [u8; 48], host_data: [u8; 32]) -> Hardware {
        let mut machine = self.world.machine(Product::Milan, 1);
        machine.fields.measurement = measurement;
        machine.fields.host_data = host_data;
        Hardware::new(move |report_data| machine.report(report_data).to_vec())
    }

    /// The operator of the broker, who may register.
    pub(crate) fn operator(&self) -> Operator {
        operator(&self.world)
    }

    /// The record of the decision that a console names.
    pub(crate) fn decision(&self, console: &str) -> Value {
        let (_, rest) = console.split_once("(decision ").unwrap_or_else(|| panic!("no decision:\n{console}"));
        let id = rest.get(..36).unwrap_or_default();
        let record = self.world.audit(&json!({"id": id}).to_string());
        record.expect("a broker that this test started")
    }
}

fn operator(world: &World) -> Operator {
    let operator = Operator::of(world);
    match world.is_served() {
        true => operator.with("KEYBROKER_KEY_FILE", world.home().key_file().to_str().unwrap()),
        false => operator,
    }
}

/// The broker's signing keys, as documents name them. The first call makes one.
fn signing_keys(world: &World) -> Vec<SigningKey> {
    let operator = operator(world);
    let listed = || -> Vec<SigningKey> {
        let rings = operator.json(&["keys", "list"]);
        let rings = rings["rings"].as_array().expect("rings").iter();
        let keys = rings.filter_map(|ring| ring["keys"].as_array()).flatten();
        let texts = keys.filter_map(|key| key.pointer("/public_key")?.as_str());
        let not_after = "2100-01-01T00:00:00Z".parse().unwrap();
        texts.map(|text| SigningKey { key: BrokerKey::from_text(text).unwrap(), not_after }).collect()
    };
    let found = listed();
    if !found.is_empty() {
        return found;
    }
    operator.out(&["keys", "prepare"]);
    listed()
}

/// Asserts that a machine opened nothing, and that the guest's last line begins so.
pub(crate) fn assert_closed(console: &str, line: &str) {
    assert!(!console.contains(images::INSIDE), "{console}");
    let mut lines = console.lines().filter_map(|shown| Some(shown.split_once("keybroker-guest: ")?.1));
    let last = lines.next_back().unwrap_or_else(|| panic!("no line of the guest:\n{console}"));
    assert!(last.starts_with(line), "{last}\n\n{console}");
}

/// Asserts that a machine reached the root in its disk.
pub(crate) fn assert_opened(console: &str) {
    assert!(console.contains("keybroker-guest: opened root (decision "), "{console}");
    assert!(console.contains(images::INSIDE), "{console}");
}
