//! `keybroker register --disk`: a workload, the document of its guests, and the launch of one.

use std::{fs, path::PathBuf};

use data_encoding::{BASE64, HEXLOWER};
use keybroker_initdata::{Binding, BrokerKey, Document, document::Device};
use keybroker_native::{
    Evidence, Suite,
    client::{Challenge, Pending},
};
use keybroker_simulator::Product;
use keybroker_tests::{
    operator::Operator,
    passphrase,
    program::Ended,
    unique,
    world::{MEASUREMENT, World},
};
use serde_json::Value;
use tempfile::TempDir;

#[path = "../../../initdata/tests/support/headers.rs"]
#[allow(dead_code, reason = "support for tests of another crate")]
mod headers;

/// A disk of LUKS2 and its passphrase, a broker with a signing key, and an operator beside it.
struct Desk {
    world: World,
    operator: Operator,
    files: TempDir,
    id: String,
    secret: String,
}

impl Desk {
    fn new() -> Self {
        let world = World::serve(&["--registration", "open;token"]);
        let key_file = world.home().key_file();
        let operator = Operator::of(&world).with("KEYBROKER_KEY_FILE", key_file.to_str().unwrap());
        operator.out(&["keys", "prepare"]);
        let desk =
            Self { world, operator, files: TempDir::new().unwrap(), id: unique("w"), secret: passphrase() };
        fs::write(desk.path("disk"), headers::luks2(headers::JSON.trim_end().as_bytes())).unwrap();
        fs::write(desk.path("passphrase"), format!("{}\n", desk.secret)).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Runs the command with `more` and every argument that its form needs.
    fn register(&self, form: Form, more: &[&str]) -> Ended {
        let path = |name| self.path(name).to_str().unwrap().to_owned();
        let (disk, document, passphrase) = (path("disk"), path("initdata.toml"), path("passphrase"));
        let measurement = HEXLOWER.encode(&MEASUREMENT);
        let of_disk = ["--disk", &disk, "--broker", "http://10.0.2.2:8000", "--init-data-out", &document];
        let registered = ["--measurement", &measurement, "--passphrase-file", &passphrase];
        let arguments: &[&[&str]] = match form {
            Form::Disk => &[&of_disk, &registered, &["--yes"]],
            Form::DocumentOnly => &[&of_disk, &["--document-only"]],
            Form::Document => &[&["--init-data", &document], &registered, &["--yes"]],
        };
        let arguments =
            [&["register", "--workload-id", &self.id], arguments.concat().as_slice(), more].concat();
        self.operator.run(&arguments)
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path("initdata.toml")).unwrap()
    }

    fn document(&self) -> Document {
        Document::parse(&self.text()).unwrap()
    }

    /// A guest of `document`, launched with this HOST_DATA, asks for the passphrase.
    fn asks(&self, document: &Document, host_data: [u8; 32]) -> Result<String, u16> {
        let settings = document.keybroker();
        let challenge = self.world.ask("POST", "/v1/challenge", &[], Some("{}"));
        let challenge = Challenge::from_json(&challenge.body).unwrap();
        let keys: Vec<&BrokerKey> = settings.broker_keys.iter().map(|key| &key.key).collect();
        let ids = keys.iter().map(|key| key.id()).collect();
        let secrets = settings.disks.iter().map(|disk| disk.secret.clone()).collect();
        let workload = &settings.workload;
        let pending =
            Pending::new(Suite::P384, &challenge, workload, secrets, document.digest(), ids).unwrap();
        let mut machine = self.world.machine(Product::Milan, 1);
        (machine.fields.host_data, machine.fields.policy) = (host_data, 0x20000);
        let report = machine.report(pending.report_data()).to_vec();
        let request = pending.request(&Evidence::of_report(report, Vec::new()));
        let body = String::from_utf8(request).unwrap();
        let response = self.world.ask("POST", "/v1/release", &[], Some(&body));
        match response.status {
            200 => {
                let opened = pending.open(&response.body, &keys).unwrap();
                Ok(String::from_utf8(opened.secrets[0].to_vec()).unwrap())
            }
            status => Err(status),
        }
    }
}

#[derive(Clone, Copy)]
enum Form {
    Disk,
    DocumentOnly,
    Document,
}

fn said(ended: &Ended, code: i32, words: &str) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(ended.log.contains(words), "{words}: {ended:?}");
}

fn done(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn a_disk_is_registered_with_its_document_and_its_guest_gets_the_passphrase() {
    let desk = Desk::new();
    let ended = desk.register(Form::Disk, &["--forbid-smt"]);
    done(&ended);
    assert!(!format!("{ended:?}").contains(&desk.secret));

    let document = desk.document();
    let settings = document.keybroker();
    assert_eq!((settings.workload.as_str(), settings.binding), (desk.id.as_str(), Binding::HostData));
    assert_eq!(settings.brokers, ["http://10.0.2.2:8000"]);
    let [disk] = settings.disks.as_slice() else { panic!("one disk") };
    assert_eq!((disk.name.as_str(), disk.secret.as_str()), ("root", "passphrase"));
    assert_eq!(disk.device, Device::parse("UUID=0199c5c2-0000-7000-8000-000000000000").unwrap());
    assert_eq!((disk.volume_key.digest(), disk.segment.offset), ([2; 32].as_slice(), 16_777_216));

    // The output launches the guest: its HOST_DATA, and its document under its whole path.
    let host_data = document.digest().host_data();
    let (base64, path) = (BASE64.encode(&host_data), desk.path("initdata.toml"));
    for printed in [
        HEXLOWER.encode(&host_data),
        format!("policy=0x20000,kernel-hashes=on,host-data={base64} "),
        format!("-fw_cfg name=opt/keybroker/initdata,file={}", path.display()),
        format!("  <hostData>{base64}</hostData>"),
        format!("<entry name='opt/keybroker/initdata' file='{}'/>", path.display()),
    ] {
        assert!(ended.out.contains(&printed), "{printed}: {}", ended.out);
    }

    assert_eq!(desk.asks(&document, host_data), Ok(desk.secret.clone()));
    assert_eq!(desk.asks(&document, [0; 32]), Err(403));
    let shown = desk.operator.out(&["workload", "show", &desk.id]);
    assert!(shown.contains("HOST_DATA") && shown.contains(&document.digest().to_string()), "{shown}");
    assert_eq!(desk.operator.json(&["workload", "show", &desk.id])["dialects"], serde_json::json!(["v1"]));

    // libkrun's guests get nothing under this id.
    let challenge = desk.world.ask("GET", &format!("/kbs/v0/key/{}", desk.id), &[], None);
    assert_ne!(challenge.status, 200);
}

/// The document is made first, then the initrd that holds it, and then the registration.
#[test]
fn a_document_in_a_measured_initrd_is_registered_after_it_was_written() {
    let desk = Desk::new();
    let only = desk.register(Form::DocumentOnly, &["--bound-by", "measurement", "--json"]);
    done(&only);
    let output: Value = serde_json::from_str(&only.out).unwrap();
    let document = desk.document();
    assert_eq!(output["init_data"], format!("sha256:{}", document.digest()));
    assert_eq!((&output["bound_by"], &output["host_data"]), (&"measurement".into(), &Value::Null));
    assert_eq!(document.keybroker().binding, Binding::Measured);
    let missing = desk.operator.run(&["workload", "show", &desk.id]);
    assert_ne!(missing.code, Some(0), "{missing:?}");

    let text = desk.text();
    let ended = desk.register(Form::Document, &["--json"]);
    done(&ended);
    assert_eq!(desk.text(), text);
    let output: Value = serde_json::from_str(&ended.out).unwrap();
    let qemu = output["launch"]["qemu"].to_string();
    assert!(!qemu.contains("host-data") && !qemu.contains("fw_cfg"), "{output}");
    assert_eq!(desk.asks(&document, [0; 32]), Ok(desk.secret.clone()));
}

#[test]
fn a_guest_that_nothing_binds_is_registered_by_its_own_word_alone() {
    let desk = Desk::new();
    done(&desk.register(Form::DocumentOnly, &["--unbound"]));
    said(&desk.register(Form::Document, &[]), 2, "--unbound");
    done(&desk.register(Form::Document, &["--unbound"]));
    let shown = desk.operator.out(&["workload", "show", &desk.id]);
    assert!(shown.contains("nothing: any guest of this launch measurement"), "{shown}");
    let doctor = desk.operator.run(&["doctor"]);
    assert!(format!("{doctor:?}").contains(&desk.id), "{doctor:?}");

    // The same word about a document that HOST_DATA binds is refused.
    done(&desk.register(Form::DocumentOnly, &[]));
    said(&desk.register(Form::Document, &["--unbound"]), 2, "--unbound");
}

/// Workloads that HOST_DATA tells apart do not share their launch measurement.
#[test]
fn host_data_tells_workloads_of_one_measurement_apart() {
    let mut desk = Desk::new();
    let (first, bound) = (desk.id.clone(), [&[][..], &[], &["--unbound"]]);
    for (number, more) in bound.iter().enumerate() {
        desk.id = format!("{first}-{number}");
        done(&desk.register(Form::Disk, more));
    }
    // Code in a guest of the others could name the unbound one, whose registration demands no HOST_DATA.
    let marked = |desk: &Desk| {
        let listed = desk.operator.json(&["workload", "list"]);
        let rows = listed["workloads"].as_array().unwrap().clone();
        let marked = rows.into_iter().filter(|row| !row["measurement_shared"].is_null());
        let mut ids: Vec<String> = marked.map(|row| row["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    assert_eq!(marked(&desk), [format!("{first}-2")]);
    desk.id = format!("{first}-3");
    done(&desk.register(Form::Disk, &["--unbound"]));
    assert_eq!(marked(&desk), [format!("{first}-2"), format!("{first}-3")]);
}

#[test]
fn a_failed_registration_leaves_the_earlier_document() {
    let desk = Desk::new();
    fs::write(desk.path("initdata.toml"), "earlier").unwrap();
    // The broker refuses a secret of no length.
    fs::write(desk.path("passphrase"), "\n").unwrap();
    let ended = desk.register(Form::Disk, &[]);
    assert_ne!(ended.code, Some(0), "{ended:?}");
    assert_eq!(desk.text(), "earlier");
    done(&desk.register(Form::DocumentOnly, &[]));
    let names: Vec<_> =
        fs::read_dir(desk.files.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

/// A person's file may have any name.
#[test]
fn a_file_beside_the_document_stays_whatever_its_name() {
    let desk = Desk::new();
    let beside = desk.path("initdata.toml.new");
    fs::write(&beside, "somebody's").unwrap();
    done(&desk.register(Form::Disk, &[]));
    let written = desk.text();
    done(&desk.register(Form::Disk, &["--device", "/dev/vdb"]));
    assert_ne!(desk.text(), written);
    assert_eq!(fs::read_to_string(beside).unwrap(), "somebody's");
    let names = fs::read_dir(desk.files.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.count(), 4, "nothing else is left");
}

/// Guests that were launched as the command printed must not be refused because it ran once more.
#[test]
fn the_same_command_makes_the_same_document() {
    let desk = Desk::new();
    done(&desk.register(Form::DocumentOnly, &["--until", "2999-12-31T00:00:00Z"]));
    let first = desk.text();
    done(&desk.register(Form::Disk, &[]));
    assert_eq!(desk.text(), first);
    // Another document says something else, and has an end of its own.
    done(&desk.register(Form::Disk, &["--device", "/dev/vdb"]));
    assert!(!desk.text().contains("2999-12-31"), "{}", desk.text());
    said(&desk.register(Form::Disk, &["--until", "2020-01-01T00:00:00Z"]), 2, "is over");
}

#[test]
fn what_cannot_be_bound_is_refused() {
    let desk = Desk::new();
    let rows: [(Form, &[&str], &str); 9] = [
        (Form::Disk, &["--device", "/etc/shadow"], "--device"),
        (Form::Disk, &["--disk-name", "ro/ot"], "the name of a disk"),
        (Form::Disk, &["--broker", "ftp://k"], "neither http:// nor https://"),
        (Form::Disk, &["--unbound", "--bound-by", "measurement"], "--unbound"),
        (Form::Disk, &["--bound-by", "measurement"], "a document that is only made now"),
        (Form::Disk, &["--minimum-abi", "1.55"], "--minimum-abi"),
        (Form::Disk, &["--from", "registration.json"], "--from"),
        (Form::Disk, &["--require", "colour=red"], "colour"),
        (Form::DocumentOnly, &["--measurement", "4d"], "--measurement"),
    ];
    for (form, more, words) in rows {
        said(&desk.register(form, more), 2, words);
    }
    for (arguments, words) in [
        (&["register", "--disk", "disk"][..], "--workload-id"),
        (&["register", "--unbound", "--yes"], "--unbound"),
        (&["register", "--broker", "http://k"], "--disk"),
        (&["register", "--workload-id", "w", "--query", "true", "--yes"], "--query cannot be used"),
        (
            &["register", "--workload-id", "w", "--dialect", "trustee", "--minimum-abi", "1.55"],
            "--minimum-abi",
        ),
    ] {
        said(&desk.operator.run(arguments), 2, words);
    }
    // A document whose disk gets no passphrase: its guest could not open it.
    let (disk, out, measurement) = (desk.path("disk"), desk.path("initdata.toml"), "4d".repeat(48));
    let bare =
        ["register", "--workload-id", "w", "--broker", "http://k", "--measurement", &measurement, "--yes"];
    let files = ["--disk", disk.to_str().unwrap(), "--init-data-out", out.to_str().unwrap()];
    said(&desk.operator.run(&[&bare[..], &files].concat()), 2, "the disk root has no passphrase");
    assert!(!out.exists());
    let mut disk = fs::read(disk).unwrap();
    disk[5000] ^= 1;
    fs::write(desk.path("disk"), disk).unwrap();
    said(&desk.register(Form::Disk, &[]), 5, "the first copy of the header is damaged");
}
