//! `keybroker register` as a person would use it: into the store, through the broker that has the store open,
//! and signed on AWS.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use keybroker_simulator::{
    guest::{Error, KeybrokerGuest},
    tls::Authority,
};
use keybroker_tests::{
    operator::Operator,
    passphrase,
    program::{self, Ended},
    secrets::{contains, spellings},
    server::Home,
    tls::Terminator,
    unique,
    upstream::{Upstream, field, response},
    world::{MEASUREMENT, World, anchors, kds},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Files that the command reads.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn write(&self, name: &str, contents: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

pub(crate) fn measurement() -> String {
    data_encoding::HEXLOWER.encode(&MEASUREMENT)
}

/// The arguments that register what buildah would register.
pub(crate) fn as_buildah<'a>(id: &'a str, measurement: &'a str, file: &'a str) -> Vec<&'a str> {
    vec!["register", "--workload-id", id, "--measurement", measurement, "--passphrase-file", file]
}

/// The operator may replace a registration that a guest has used, and the next guest boots with the new one.
#[tokio::test]
async fn register_through_a_broker_replaces_any_registration() {
    let world = World::serve(&["--registration", "open;token"]);
    let operator = Operator::of(&world);
    let (files, id, secret) = (Files::new(), unique("w"), passphrase());
    world.boots_a_guest(&id).await;
    let (file, measurement) = (files.write("passphrase", &format!("{secret}\n")), measurement());
    let ended = operator.run(&[&as_buildah(&id, &measurement, &file)[..], &["--yes"]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.log.contains(&measurement) && ended.log.contains("no DEBUG"), "{}", ended.log);
    assert!(!format!("{ended:?}").contains(&secret), "{ended:?}");
    assert_eq!(world.krun(&id, world.milan()).boot().await, Ok(secret.into_bytes()));

    let shown = operator.json(&["workload", "show", &id]);
    assert_eq!(shown["owner"], "operator");
    let records = operator.json(&["audit", "--workload", &id, "--since", "1h"]);
    let replaced = records["records"].as_array().unwrap().iter().find(|one| one["decision"] == "replaced");
    assert!(replaced.unwrap()["principal"].as_str().unwrap().starts_with("uid/"), "{records}");
}

/// The broker gives the guests of such a workload no challenge, and everybody who registers one is told.
#[tokio::test]
async fn an_id_that_no_cookie_carries_gets_a_warning() {
    let world = World::serve(&[]);
    let operator = Operator::of(&world);
    let (files, measurement) = (Files::new(), measurement());
    let file = files.write("passphrase", &passphrase());
    for (id, too_long) in [("f".repeat(64), false), ("l".repeat(65), true), ("süß".repeat(10), true)] {
        let ended = operator.run(&[&as_buildah(&id, &measurement, &file)[..], &["--yes"]].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(
            ended.log.contains("warning: libkrun's cookie cannot carry this id"),
            too_long,
            "{ended:?}"
        );
        world.server().log(|line| line.contains(&id).then_some(())).unwrap();
        world.register(&unique("w")).await;
        let log = world.server().log_until_now();
        let warned = log.lines().any(|line| line.contains("cookie cannot carry") && line.contains(&id));
        assert_eq!(warned, too_long, "{id}: {log}");
        let asked = world.polite(&id, world.milan()).auth().await;
        match (too_long, asked) {
            (false, Ok(_)) => {}
            (true, Err(Error::Refused(said))) => assert_eq!(said.status, 400, "{said:?}"),
            (_, other) => panic!("{id}: {other:?}"),
        }
    }
}

/// The command wraps the secret with the broker's own key, so that the broker can release it after its next
/// start.
#[tokio::test]
async fn register_without_a_broker_writes_into_the_store() {
    let (home, kds) = (Home::new(&anchors()), std::sync::Arc::new(kds()));
    drop(home.serve(&kds.url(), &[]));
    let (files, id, secret) = (Files::new(), unique("w"), passphrase());
    let (file, measurement) = (files.write("passphrase", &secret), measurement());
    let operator = Operator::of_directory(&home.data_dir(), "file");
    let key = home.key_file();
    let key = ["--key-file", key.to_str().unwrap(), "--yes"];
    let ended = operator.run(&[&as_buildah(&id, &measurement, &file)[..], &key].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let world = World::over(home, kds, &[]);
    assert_eq!(world.krun(&id, world.milan()).boot().await, Ok(secret.into_bytes()));
}

#[tokio::test]
async fn register_by_reference_values_prints_the_host_data() {
    let world = World::serve(&[]);
    let operator = Operator::of(&world);
    let files = Files::new();
    let (secret, module) = (
        files.write("secret", "open sesame"),
        files.write("p.rego", "package policy\n\nallow if input.snp.vmpl == 0\n"),
    );
    let (resource, measurement) = (format!("secret={secret}"), measurement());
    let chip = "07".repeat(64);
    let flags = [
        "register",
        "--measurement",
        &measurement,
        "--resource",
        &resource,
        "--query",
        "data.policy.allow",
        "--policy",
        &module,
        "--minimum-tcb",
        "milan-b1:bl=1,tee=0,snp=1,ucode=1",
        "--minimum-committed-tcb",
        "milan-b1:snp=1",
        "--minimum-current-tcb",
        "milan-b1:snp=2",
        "--minimum-launch-tcb",
        "0x00A00F11:snp=3",
        "--current-mitigations",
        "milan-b1:1+4",
        "--launch-mitigations",
        "milan-b1:none",
        "--require-platform",
        "alias-check",
        "--require-platform",
        "committed",
        "--minimum-firmware",
        "1.55.29",
        "--accept-product",
        "milan",
        "--accept-chip",
        &chip,
        "--forbid-smt",
        "--yes",
    ];
    let registered = operator.json(&flags);
    let shown = operator.json(&["workload", "show", registered["workload_id"].as_str().unwrap()]);
    let hex = registered["host_data_hex"].as_str().unwrap();
    assert_eq!(hex.len(), 64);
    let host_data =
        data_encoding::BASE64.decode(registered["host_data"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(data_encoding::HEXLOWER.encode(&host_data), hex);
    assert_eq!(shown["dialect"], "rvp", "{shown}");
    assert!(shown.to_string().contains("data.policy.allow"), "{shown}");
    let policy = &shown["requirements"]["policy"];
    for (member, value) in [
        ("minimum_tcb", json!({"milan-b1": {"boot_loader": 1, "tee": 0, "snp": 1, "microcode": 1}})),
        ("minimum_committed_tcb", json!({"milan-b1": {"snp": 1}})),
        ("minimum_current_tcb", json!({"milan-b1": {"snp": 2}})),
        ("minimum_launch_tcb", json!({"milan-b1": {"snp": 3}})),
        ("current_mitigations", json!({"milan-b1": [1, 4]})),
        ("launch_mitigations", json!({"milan-b1": []})),
        ("platform", json!(["alias-check", "committed"])),
        ("minimum_firmware", json!("1.55.29")),
        ("products", json!(["milan"])),
        ("chips", json!([chip])),
    ] {
        assert_eq!(policy[member], value, "{member}");
    }

    // The same registration from a document, as curl would send it.
    let document = json!({
        "measurements": [measurement],
        "require": { "smt": false },
        "resources": { "secret": "open sesame" },
    });
    let document = files.write("registration.json", &document.to_string());
    let registered = operator.json(&["register", "--from", &document, "--yes"]);
    assert_ne!(registered["host_data_hex"], hex);
}

/// The preview says so, and not that the registration that is there would be lost.
#[tokio::test]
async fn an_id_that_the_broker_drew_is_not_replaced() {
    let world = World::serve(&[]);
    let operator = Operator::of(&world);
    let (files, measurement) = (Files::new(), measurement());
    let file = files.write("secret", "open sesame");
    let resource = format!("a={file}");
    let by_values = ["register", "--measurement", &measurement, "--resource", &resource, "--yes"];
    let drawn = operator.json(&by_values)["workload_id"].as_str().unwrap().to_owned();
    let command = as_buildah(&drawn, &measurement, &file);
    for (last, code) in [("--dry-run", 0), ("--yes", 1)] {
        let ended = operator.run(&[&command[..], &[last]].concat());
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.log.contains("under an id that the broker drew"), "{ended:?}");
        assert!(!ended.log.contains("replaces it") && !ended.log.contains("deleted"), "{ended:?}");
        assert_eq!(ended.log.contains("(409): already registered"), last == "--yes", "{ended:?}");
    }
}

#[tokio::test]
async fn bad_arguments_are_named_before_a_store_is_opened() {
    let nowhere = TempDir::new().unwrap();
    let operator = Operator::of_directory(nowhere.path(), "none");
    let files = Files::new();
    let passphrase = files.write("passphrase", "open sesame");
    let unknown = files.write("unknown.json", r#"{"resources":{"a":"b"},"mesurements":[]}"#);
    let unbound = files.write("unbound.json", r#"{"resources":{"a":"b"}}"#);
    let measurement = measurement();
    let (resource, open) = (format!("a={passphrase}"), files.write("open.rego", "package p\n\nallow if {\n"));
    let by_values = ["register", "--measurement", &measurement, "--resource", &resource];
    let query = [&by_values[..], &["--query", "tru("]].concat();
    let module = [&by_values[..], &["--query", "data.p.allow", "--policy", &open]].concat();
    let rows: [(&[&str], i32, &str); 10] = [
        (&["register", "--from", &unknown], 5, "mesurements"),
        (&["register", "--from", &unbound], 5, "measurement"),
        (&["register", "--from", "/nonexistent"], 5, "/nonexistent"),
        (
            &["register", "--workload-id", "w", "--passphrase-file", &passphrase],
            2,
            "exactly one --measurement",
        ),
        (&["register", "--workload-id", "w", "--measurement", &measurement], 2, "needs --passphrase-file"),
        (
            &["register", "--workload-id", "w", "--measurement", "4d", "--passphrase-file", &passphrase],
            2,
            "measurement",
        ),
        (&["register", "--measurement", &measurement, "--require", "colour=red"], 2, "colour"),
        (&["register", "--measurement", &measurement, "--minimum-tcb", "milan:rl=1"], 2, "minimum-tcb"),
        (&query, 2, "--query \"tru(\": query 0, line 2, column 1: "),
        (&module, 5, "open.rego: the policy, line 4, column 1: "),
    ];
    for (arguments, code, said) in rows {
        for last in ["--yes", "--dry-run"] {
            let ended = operator.run(&[arguments, &[last]].concat());
            assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
            assert!(ended.log.contains(said), "{arguments:?}: {ended:?}");
        }
    }
}

/// The command with `--aws` and credentials in the environment.
fn on_aws(file: &str, more: &[&str]) -> Ended {
    let mut command: Command = program::keybroker();
    command.args(as_buildah("w", &measurement(), file)).args(["--aws", "--yes"]).args(more);
    command.env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "example");
    command.env("AWS_REGION", "eu-central-1").env("AWS_EC2_METADATA_DISABLED", "true");
    command.output().unwrap().into()
}

#[test]
fn register_on_aws_needs_a_url_that_answers() {
    let files = Files::new();
    let file = files.write("passphrase", "open sesame");
    for (more, code, said) in [
        (&[][..], 2, "--url"),
        (&["--url", "http://k.example.org"], 2, "must be https"),
        (&["--url", "http://127.0.0.1:9"], 4, "the broker cannot be reached"),
    ] {
        let ended = on_aws(&file, more);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(ended.log.contains(said), "{}", ended.log);
        // A command line that is not whole is refused before anything is shown.
        assert_eq!(ended.log.contains("always"), code != 2, "{}", ended.log);
    }
}

/// Otherwise its files would be written for a workload that nobody registered.
#[test]
fn krun_initrd_on_aws_needs_a_url_before_it_reads_an_image() {
    let mut arguments = vec!["krun-initrd", "--broker", "https://k.example.org", "--aws", "--yes"];
    for file in ["--image", "--library", "--out", "--passphrase-file"] {
        arguments.extend([file, "/nonexistent"]);
    }
    let ended = program::run(&arguments);
    assert!(ended.code == Some(2) && ended.log.contains("--aws needs --url"), "{ended:?}");
}

/// On AWS only the function `register` may encrypt, so the command asks it.
#[test]
fn register_on_aws_is_signed_and_prints_a_refusal() {
    let id = "01a20cf2-4b21-71e9-a90e-2c4a6a194b4b";
    let files = Files::new();
    let file = files.write("passphrase", "open sesame");
    let upstream = Upstream::saying(response(200, "", format!(r#"{{"id":"{id}"}}"#)));
    let ended = on_aws(&file, &["--url", &upstream.url]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains(id), "{}", ended.out);
    let [request] = upstream.seen().try_into().unwrap();
    assert!(request.starts_with("POST /iam/kbs/v0/register_workload "), "{request}");
    assert!(field(&request, "authorization")[0].starts_with("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/"));
    assert!(request.contains(r#""passphrase":"open sesame""#));

    for (status, code) in [(409, 1), (403, 3), (503, 4)] {
        let refusal = format!(r#"{{"error":"already registered","id":"{id}"}}"#);
        let upstream = Upstream::saying(response(status, "", refusal));
        let ended = on_aws(&file, &["--url", &upstream.url]);
        assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{ended:?}");
        assert!(ended.log.contains("already registered"), "{}", ended.log);
        assert!(ended.log.contains(&format!("keybroker audit {id}")), "{}", ended.log);
    }
}

/// snpguest prints digests with 0x in front.
#[test]
fn digests_may_have_0x_in_front() {
    let files = Files::new();
    let key = files.write("key.pem", "a key");
    let (measurement, digest) = ("ab".repeat(48), "cd".repeat(48));
    let shown = |prefix: &str| {
        let demand = format!("id_key_digest={prefix}{digest}");
        let measurement = format!("{prefix}{measurement}");
        let resource = format!("tls.key={key}");
        let arguments = [
            "register",
            "--dry-run",
            "--measurement",
            &measurement,
            "--require",
            &demand,
            "--resource",
            &resource,
        ];
        let ended = program::run(&arguments);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.log
    };
    assert!(shown("").contains(&measurement) && shown("").contains(&digest));
    assert_eq!(shown("0x"), shown(""));
    // A number with 0x in front is refused: hexadecimal 10 is not ten.
    let number =
        ["register", "--dry-run", "--measurement", &measurement, "--require", "minimum_guest_svn=0x10"];
    assert_eq!(program::run(&number).code, Some(2));
}

/// A refusal without an audit id comes from a gateway in front of the broker. The command prints the
/// gateway's text and a hint.
#[test]
fn a_gateways_refusal_is_printed_in_its_words() {
    let files = Files::new();
    let file = files.write("passphrase", "open sesame");
    for (status, body, code, said) in [
        (403, r#"{"message":"Forbidden"}"#, 3, "Forbidden\nhint: the principal needs"),
        (403, r#"{"Message":"no\u001b[2J"}"#, 3, r"no\u{1b}[2J"),
        (500, "", 1, "the broker answered 500"),
        (
            409,
            r#"{"error":"taken","id":"1"}"#,
            1,
            "hint: to see why: AWS_REGION=eu-central-1 keybroker audit 1 --aws --prefix keybroker",
        ),
    ] {
        let upstream = Upstream::saying(response(status, "", body));
        let ended = on_aws(&file, &["--url", &upstream.url]);
        assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{ended:?}");
        assert!(ended.log.contains(said), "{}", ended.log);
    }
}

/// Like a deployment: over TLS, under a base path.
#[test]
fn register_over_tls_trusts_only_the_named_authority() {
    let upstream = Upstream::saying(response(200, "", r#"{"id":"01a20cf2-4b21-71e9-a90e-2c4a6a194b4b"}"#));
    let (ca, files) = (Authority::new(), Files::new());
    let tls = Terminator::start(&ca, upstream.url.strip_prefix("http://").unwrap());
    let (file, url) = (files.write("passphrase", "open sesame\n"), format!("{}/prod", tls.url));
    let (own, other) = (files.write("ca.pem", &ca.pem()), files.write("other.pem", &Authority::new().pem()));
    for more in [&["--ca", &other][..], &[]] {
        let ended = on_aws(&file, &[&["--url", &url], more].concat());
        assert!(ended.code == Some(4) && ended.log.contains("cannot be reached"), "{ended:?}");
    }
    assert_eq!(upstream.seen(), Vec::<String>::new());
    let ended = on_aws(&file, &["--url", &url, "--ca", &own]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let [request] = upstream.seen().try_into().unwrap();
    assert!(request.starts_with("POST /prod/iam/kbs/v0/register_workload "), "{request}");
    let body: Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["passphrase"], "open sesame", "without the line break");
}

/// The document comes from a pipe. The host launches a guest with the answer, and only that guest sees the
/// secret.
#[tokio::test]
async fn a_secret_from_standard_input_reaches_the_guest_alone() {
    let world = World::serve(&[]);
    let (operator, secret) = (Operator::of(&world), passphrase());
    let document = json!({"measurements": [measurement()], "resources": {"token": secret}}).to_string();
    let mut command = operator.command(&["register", "--from", "-", "--yes", "--json"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for spelling in spellings(secret.as_bytes()) {
        assert!(!contains((ended.out.clone() + &ended.log).as_bytes(), &spelling), "{ended:?}");
    }
    let registered: Value = serde_json::from_str(&ended.out).unwrap();
    let host_data = data_encoding::BASE64.decode(registered["host_data"].as_str().unwrap().as_bytes());
    let mut machine = world.milan();
    machine.fields.host_data = host_data.unwrap().try_into().unwrap();
    let mut guest = KeybrokerGuest::new(&world.url, machine).unwrap();
    assert_eq!(guest.boot("token").await, Ok(secret.into_bytes()));
}

/// Such a floor refuses the guests of current firmware, which name their stepping.
#[test]
fn a_floor_of_a_product_alone_is_warned_of() {
    let nowhere = TempDir::new().unwrap();
    let (operator, measurement) = (Operator::of_directory(nowhere.path(), "none"), measurement());
    let register = ["register", "--measurement", &measurement, "--dry-run", "--minimum-tcb", "milan:snp=1"];
    let warning = "the floor of Milan's reported TCB holds for reports of version 2 alone";
    let ended = operator.run(&register);
    assert!(ended.code == Some(0) && ended.log.contains(warning), "{ended:?}");
    let ended = operator.run(&[&register[..], &["--minimum-tcb", "milan-b1:snp=1"]].concat());
    assert!(ended.code == Some(0) && !ended.log.contains(warning), "{ended:?}");
}
