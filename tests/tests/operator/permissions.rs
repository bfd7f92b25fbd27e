//! The calls of the operator's commands on AWS, against `infra/operator-permissions.txt`. Every other test of
//! this suite also fails if a command that it runs calls anything else.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
};

use jiff::SignedDuration;
use keybroker_aws::kms::KmsWrap;
use keybroker_common::{audit::Decision, ids::WorkloadId, keyring::Purpose};
use keybroker_simulator::{
    Product,
    kds::Kds,
    pki::{Chip, CrlOptions},
};
use keybroker_tests::{
    local_aws::{called, kms, listed},
    operator::{Contents, Operator, record, selected, workload},
    world::{amd, anchors, kds},
};
use tempfile::TempDir;

use crate::{keys::a_ring, resource, signing_keys};

/// The id of the access key that signs the calls of this test.
const SIGNER: &str = "permissions";

/// Two of these make images and documents and send them to a broker; the third needs a second key. Their rows
/// are from their code.
const ELSEWHERE: [&str; 3] = ["keys rewrap", "krun-initrd", "register"];

/// Rows that need a token that a guest's workload was registered with.
const UNREACHED: [(&str, &str); 2] = [("token show", "BatchGetItem"), ("token show", "Query")];

/// An operator, the files in use, and AMD.
struct Desk {
    operator: Operator,
    files: TempDir,
    kds: Kds,
}

impl Desk {
    /// A deployment with something for every command.
    async fn new() -> Self {
        let (client, key) = kms().await;
        let secrets = resource::contents(&KmsWrap::new(client, key)).await;
        let old = workload("old", None, SignedDuration::from_hours(24));
        let web = WorkloadId::new("web").unwrap();
        let contents = Contents {
            workloads: [secrets.workloads, vec![selected("selected").0, old]].concat(),
            records: vec![record(&web, Decision::Released, SignedDuration::from_mins(1))],
            rings: Purpose::TURNING.map(|purpose| (purpose, a_ring(purpose))).to_vec(),
        };
        let operator = Operator::aws(&contents).await.with("AWS_ACCESS_KEY_ID", SIGNER);
        Self { operator, files: TempDir::new().unwrap(), kds: kds() }
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.files.path().join(name);
        fs::write(&path, bytes).unwrap();
        // As the program wants a private key.
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) {
        self.operator.out(arguments);
    }

    /// The same for what ends with another code: it finds fault, or nothing.
    fn fails(&self, arguments: &[&str]) {
        let ended = self.operator.run(arguments);
        assert!(matches!(ended.code, Some(1 | 2)), "{arguments:?}: {ended:?}");
    }

    /// The value of this field in what the command prints as JSON.
    fn printed(&self, arguments: &[&str], pointer: &str) -> String {
        self.operator.json(arguments).pointer(pointer).unwrap().as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn each_command_calls_exactly_what_the_table_lists() {
    let desk = Desk::new().await;
    watch(&desk);
    change_workloads_and_tokens(&desk);
    change_keys(&desk);
    change_certificates(&desk);
    let mut expected = listed();
    expected.retain(|(command, ..)| !ELSEWHERE.contains(&command.as_str()));
    expected.retain(|(command, operation, ..)| !UNREACHED.contains(&(command, operation)));
    let called = called(|by| by == SIGNER);
    let missing: Vec<_> = expected.difference(&called).collect();
    assert!(missing.is_empty(), "in the table, and not called: {missing:?}");
    assert_eq!(called, expected);
}

fn watch(desk: &Desk) {
    let id = desk.printed(&["audit", "--workload", "web"], "/records/0/id");
    desk.run(&["audit", &id]);
    desk.fails(&["audit", "01a20cf2-4b21-71e9-a90e-2c4a6a194b4b"]);
    desk.run(&["audit", "--since", "1h"]);
    desk.run(&["audit", "export"]);
    desk.run(&["doctor", "--kds-url", &desk.kds.url()]);
    desk.run(&["keys", "list"]);
    desk.run(&["report", "--html", &desk.file("report.html", "")]);
    desk.run(&["resource", "list", "web"]);
    desk.run(&["token", "list"]);
    for command in ["export", "show"] {
        desk.run(&["workload", command, "web"]);
    }
    desk.run(&["workload", "list", "--behind"]);
    desk.fails(&["audit", "prune", "--older-than", "1d", "--yes"]);
    desk.fails(&["audit", "compact"]);
}

fn change_workloads_and_tokens(desk: &Desk) {
    let secret = desk.file("secret", "a new secret");
    desk.run(&["resource", "set", "web", "default/key/tls", &secret, "--yes"]);
    desk.run(&["resource", "delete", "web", "default/key/tls", "--yes"]);
    desk.run(&["workload", "revoke", "web"]);
    desk.run(&["workload", "revoke", "--owner", "operator", "--yes"]);
    desk.run(&["workload", "restore", "web"]);
    desk.run(&["workload", "delete", "selected", "--yes"]);
    desk.run(&["workload", "delete", "--never-released", "--older-than", "1h", "--yes"]);
    let token = desk.printed(&["token", "create"], "/id");
    desk.run(&["token", "show", &token]);
    desk.run(&["token", "revoke", &token]);
}

fn change_keys(desk: &Desk) {
    desk.run(&["keys", "rotate"]);
    let first = desk.printed(&["keys", "prepare"], "/key_id");
    desk.run(&["keys", "import", &desk.file("signing.pem", signing_keys::PEM)]);
    desk.run(&["keys", "rotate", "signature"]);
    desk.run(&["keys", "retire", &first, "--yes"]);
}

fn change_certificates(desk: &Desk) {
    let anchors = desk.file("anchors.pem", anchors());
    let trusted = |arguments: &[&str]| {
        desk.run(&[&["certificates"], arguments, &["--trust-anchor", &anchors]].concat());
    };
    let (chip, url) = (Chip::new(Product::Milan, 1), desk.kds.url());
    desk.kds.add(&chip);
    let id = data_encoding::HEXLOWER.encode(&chip.chip_id());
    let tcb = chip.tcb;
    let levels = format!("bl={},tee={},snp={},ucode={}", tcb.boot_loader, tcb.tee, tcb.snp, tcb.microcode);
    trusted(&["prefetch", "--kds-url", &url, "--product", "milan", "--chip-id", &id, "--tcb", &levels]);
    let list = desk.file("crl.der", amd(Product::Turin).crl(&CrlOptions::default()));
    trusted(&["import", "--list-for", "vcek", &list]);
    trusted(&["list"]);
    trusted(&["export", "--product", "milan"]);
    trusted(&["purge", "--product", "milan", "--yes"]);
}
