//! `keybroker doctor` on healthy brokers and on brokers with faults.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, sync::Arc};

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    clock::SystemClock,
    keyring::{Keyring, KeyringWrap as _, Purpose, ResultKey, signing},
    secret::WrappedSecret,
    store::KeyringStore as _,
};
use keybroker_embedded::{key::LocalKey, store::EmbeddedStore};
use keybroker_simulator::{kds::Behaviour, tls::Authority};
use keybroker_tests::{
    local_aws,
    operator::{Contents, Operator, selected, workload},
    program::{self, Ended},
    server::Home,
    tls::Terminator,
    unique,
    upstream::{self, Upstream},
    world::{World, anchors, kds},
};
use serde_json::{Value, json};

/// The exit code, and each check with its verdict.
fn examined(mut command: Command) -> (Option<i32>, Vec<(String, String)>, Value) {
    let ended: Ended = command.arg("--json").output().unwrap().into();
    let document: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    assert_eq!(document["schema"], 1);
    let field = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    let findings = document["findings"].as_array().unwrap();
    let verdicts: Vec<_> = findings.iter().map(|one| (field(one, "check"), field(one, "verdict"))).collect();
    for name in ["ok", "warn", "fail"] {
        let count = verdicts.iter().filter(|(_, verdict)| verdict == name).count();
        assert_eq!(document[name], count, "{document}");
    }
    for one in findings.iter().filter(|one| one["verdict"] != "ok") {
        assert!(one["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "nothing to do: {one}");
    }
    (ended.code, verdicts, document)
}

fn verdict<'a>(verdicts: &'a [(String, String)], check: &str) -> &'a str {
    let found = verdicts.iter().find(|(name, _)| name == check);
    &found.unwrap_or_else(|| panic!("no {check}: {verdicts:?}")).1
}

/// Runs `doctor` for this broker, with the broker's own settings.
fn doctor(world: &World, arguments: &[&str]) -> Command {
    doctor_of(world.home(), &world.kds.url(), arguments)
}

/// The same for a broker with these files, whether it runs or not.
fn doctor_of(home: &Home, kds_url: &str, arguments: &[&str]) -> Command {
    let mut command = program::keybroker();
    command.args(["doctor", "--kds-url", kds_url, "--key-file"]).arg(home.key_file());
    command.arg("--data-dir").arg(home.data_dir()).args(arguments);
    command
}

#[tokio::test]
async fn doctor_finds_a_running_broker_well() {
    let world = World::serve(&[]);
    world.boots_a_guest(&unique("w")).await;
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("anchors.pem");
    fs::write(&roots, anchors()).unwrap();
    let roots = roots.to_str().unwrap();
    let floor = ["--minimum-tcb", "milan-b1:snp=1"];
    let arguments = ["--trust-anchor", roots, "--url", "http://127.0.0.1:8000", floor[0], floor[1]];
    let (code, verdicts, document) = examined(doctor(&world, &arguments));
    assert_eq!(code, Some(0), "{document}");
    for check in [
        "tcb-floor",
        "floors",
        "configuration",
        "data-directory",
        "key",
        "store",
        "revocation-list",
        "measurements",
        "workload-ids",
        "selection",
        "broker-keys",
        "kds",
        "clock",
        "url",
    ] {
        assert_eq!(verdict(&verdicts, check), "ok", "{document}");
    }
    assert_eq!(verdict(&verdicts, "trust-anchors"), "warn");
    assert!(document.to_string().contains("answers on its socket"), "{document}");

    let ended: Ended = doctor(&world, &arguments).output().unwrap().into();
    assert_eq!(ended.code, Some(0));
    assert!(
        ended.out.starts_with("ok    configuration ") && ended.out.ends_with(" 1 warning, 0 failures\n"),
        "{ended:?}"
    );
    assert!(!ended.out.contains('\u{1b}'), "no colours in a pipe: {ended:?}");

    // Without a floor, with one of a product alone, and with one that is no floor.
    let floor_of = |flags: &[&str]| {
        let (_, verdicts, document) = examined(doctor(&world, &[&arguments[..4], flags].concat()));
        verdict(&verdicts, "tcb-floor").to_owned() + &document.to_string()
    };
    let none = floor_of(&[]);
    assert!(none.starts_with("warn") && none.contains("no floor of the TCB is set"), "{none}");
    let product = floor_of(&["--minimum-tcb", "milan:snp=1"]);
    assert!(product.starts_with("warn") && product.contains("names Milan alone"), "{product}");
    assert!(floor_of(&["--accept-any-tcb"]).starts_with("ok"));

    // A root that is not AMD's signed the list.
    let (code, verdicts, document) = examined(doctor(&world, &[]));
    assert_eq!((code, verdict(&verdicts, "revocation-list")), (Some(1), "fail"), "{document}");

    let (server, home, kds) = world.into_parts();
    server.terminate();
    let world = World::over(home, kds, &[]);
    let stopped = doctor(&world, &arguments);
    let (server, _home, _kds) = world.into_parts();
    server.terminate();
    let (code, verdicts, document) = examined(stopped);
    assert_eq!((code, verdict(&verdicts, "key")), (Some(0), "ok"), "{document}");
    assert!(document.to_string().contains("no broker has it open"), "{document}");
    assert!(document.to_string().contains("is the store's"), "{document}");
}

#[tokio::test]
async fn doctor_finds_each_fault_of_a_broker() {
    let world = World::serve(&[]);
    let key = world.home().key_file();
    let set = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    let failing = |command: Command, check: &str, said: &str| {
        let (code, verdicts, document) = examined(command);
        assert_eq!((code, verdict(&verdicts, check)), (Some(1), "fail"), "{document}");
        assert!(document.to_string().contains(said), "{said}: {document}");
    };
    let well = examined(doctor(&world, &[]));
    assert_eq!(well.0, Some(0), "{}", well.2);

    set(0o644);
    failing(doctor(&world, &[]), "key", "chmod 0600");
    set(0o600);
    let mut mistyped = doctor(&world, &[]);
    mistyped.env("KEYBROKER_LISTN", "127.0.0.1:1");
    failing(mistyped, "configuration", "did you mean KEYBROKER_LISTEN?");
    failing(doctor(&world, &["--url", "kb.example.com"]), "url", "no base URL");
    world.kds.otherwise(Behaviour::Status(503, None));
    failing(doctor(&world, &[]), "kds", "503");
    world.kds.otherwise(Behaviour::Reset);
    failing(doctor(&world, &[]), "kds", "did not answer");
    world.kds.recover();

    let (server, home, kds) = world.into_parts();
    server.terminate();
    let command = |key: &str, data: &str| {
        let mut command = program::keybroker();
        command.args(["doctor", "--kds-url", &kds.url(), "--key-file", key, "--data-dir", data]);
        command
    };
    let data_dir = home.data_dir();
    let (data, own) = (data_dir.to_str().unwrap(), key.to_str().unwrap());
    let elsewhere = tempfile::tempdir().unwrap();
    let at = |name: &str| elsewhere.path().join(name).to_str().unwrap().to_owned();
    failing(command(&at("missing"), data), "key", "restore the file from its backup");
    failing(command(own, &at("missing")), "store", "there is no store");
    // Somebody put a key of his own in the place of the broker's, for operators to read.
    let (code, verdicts, document) = examined(with_altered_public_halves(&home, &kds.url()).await);
    let rings: Vec<_> = verdicts.iter().filter(|(check, _)| check == "broker-keys").collect();
    let [.., results, answers] = rings.as_slice() else { panic!("{document}") };
    assert_eq!((code, results.1.as_str(), answers.1.as_str()), (Some(1), "fail", "fail"), "{document}");
    for ring in ["result", "signature"] {
        let finding = format!("{ring}: the public half beside key 1 is not its own");
        assert!(document.to_string().contains(&finding), "{document}");
    }
    // Its rings were copied from another store.
    let copied = with_anothers_ring(&home, &kds.url()).await;
    failing(copied, "broker-keys", "keybroker keys rotate --now");
    fs::write(at("other"), format!("keybroker-key-v1:{}\n", "7".repeat(64))).unwrap();
    fs::set_permissions(at("other"), fs::Permissions::from_mode(0o600)).unwrap();
    failing(command(&at("other"), data), "key", "the store belongs to the key");
    fs::copy(own, data_dir.join("key")).unwrap();
    failing(command(data_dir.join("key").to_str().unwrap(), data), "key", "is in the data directory");
}

/// `doctor` for a store whose keys that sign stand beside others' public halves.
async fn with_altered_public_halves(home: &Home, kds_url: &str) -> Command {
    let key = Arc::new(LocalKey::load(&home.key_file()).unwrap());
    let store = EmbeddedStore::open(&home.data_dir(), Arc::new(SystemClock)).unwrap();
    let now = Timestamp::now();

    let (private, (_, others)) = (signing::drawn().unwrap().0, signing::drawn().unwrap());
    let wrapped = key.keyring(Purpose::Signature).wrap_key(&private).await.unwrap();
    let ring = Keyring::default().with_signing(wrapped, others, now).unwrap();
    store.put_keyring(Purpose::Signature, None, &ring).await.unwrap();

    let (own, others) = (ResultKey::generate().unwrap(), ResultKey::generate().unwrap());
    let wrapped = key.keyring(Purpose::Result).wrap_key(&own.private().unwrap()).await.unwrap();
    let ring = Keyring::default().with_result(wrapped, others.public().clone(), now);
    store.put_keyring(Purpose::Result, None, &ring).await.unwrap();
    doctor_of(home, kds_url, &[])
}

/// `doctor` for a store with this key, and with a ring that another key wrapped.
async fn with_anothers_ring(home: &Home, kds_url: &str) -> Command {
    let wrapped = WrappedSecret { key_id: "local:0123456789abcdef".to_owned(), ciphertext: vec![0xC5; 60] };
    let store = EmbeddedStore::open(&home.data_dir(), Arc::new(SystemClock)).unwrap();
    let stored = store.keyring(Purpose::Challenge).await.unwrap().map(|stored| stored.edition);
    let ring = Keyring::default().with(wrapped, Timestamp::now());
    store.put_keyring(Purpose::Challenge, stored, &ring).await.unwrap();
    doctor_of(home, kds_url, &[])
}

/// Nobody serves the store while all of it is read.
#[tokio::test]
async fn doctor_reads_all_of_a_stopped_store() {
    let world = World::serve(&[]);
    world.boots_a_guest(&unique("w")).await;
    let directory = tempfile::tempdir().unwrap();
    let roots = directory.path().join("anchors.pem");
    fs::write(&roots, anchors()).unwrap();
    let arguments = ["--deep", "--trust-anchor", roots.to_str().unwrap()];
    let (code, verdicts, document) = examined(doctor(&world, &arguments));
    assert_eq!((code, verdict(&verdicts, "store-file")), (Some(0), "warn"), "{document}");
    assert!(document.to_string().contains("end the broker, and run this command again"), "{document}");

    let (server, home, kds) = world.into_parts();
    server.terminate();
    let stopped = || doctor_of(&home, &kds.url(), &arguments);
    let (code, verdicts, document) = examined(stopped());
    assert_eq!((code, verdict(&verdicts, "store-file")), (Some(0), "ok"), "{document}");

    // A byte of each page but the first is another one.
    let file = home.data_dir().join("keybroker.redb");
    let mut bytes = fs::read(&file).unwrap();
    bytes.iter_mut().skip(4096 + 100).step_by(4096).for_each(|byte| *byte ^= 1);
    fs::write(&file, bytes).unwrap();
    let (code, verdicts, document) = examined(stopped());
    assert_eq!((code, verdict(&verdicts, "store-file")), (Some(1), "fail"), "{document}");
    assert_eq!(program::run(&["doctor", "--deep", "--aws"]).code, Some(2));
}

#[tokio::test]
async fn ids_that_no_cookie_carries_are_named() {
    let day = SignedDuration::from_hours(24);
    let (long, spaced) = ("l".repeat(65), "süß".repeat(10));
    let workloads =
        ["fits", &"f".repeat(64), long.as_str(), spaced.as_str()].map(|id| workload(id, None, day)).to_vec();
    let operator = Operator::file(&Contents { workloads, ..Contents::default() }).await;
    let kds = kds();
    let (_, verdicts, document) = examined(operator.command(&["doctor", "--kds-url", &kds.url()]));
    assert_eq!(verdict(&verdicts, "workload-ids"), "warn", "{document}");
    let findings = document["findings"].as_array().unwrap();
    let found = findings.iter().find(|one| one["check"] == "workload-ids").unwrap();
    let text = found["finding"].as_str().unwrap();
    assert!(text.starts_with("guests' cookies cannot carry 2 workload ids, "), "{text}");
    assert!(text.contains(&long) && text.contains(&spaced) && !text.contains("fits"), "{text}");

    let listed = operator.run(&["workload", "list"]);
    let warned: Vec<_> = listed.log.lines().filter(|line| line.contains("cookie cannot carry")).collect();
    assert!(listed.code == Some(0) && warned.len() == 2, "{listed:?}");
    let rows = operator.json(&["workload", "list"])["workloads"].clone();
    for row in rows.as_array().unwrap() {
        let too_long = row.get("id_too_long") == Some(&true.into());
        assert_eq!(too_long, [long.as_str(), &spaced].contains(&row["id"].as_str().unwrap()), "{row}");
    }
}

#[tokio::test]
async fn launch_measurements_that_several_ids_share_are_counted() {
    let day = SignedDuration::from_hours(24);
    let workloads = vec![workload("one", None, day), workload("two", Some("token/x"), day)];
    let operator = Operator::aws(&Contents { workloads, ..Contents::default() }).await;
    let kds = kds();
    let (_, verdicts, document) = examined(operator.command(&["doctor", "--kds-url", &kds.url()]));
    assert_eq!(verdict(&verdicts, "measurements"), "warn", "{document}");
    let counted = "2 workload ids share 1 launch measurement or ID key; 1 by ids of several owners";
    assert!(document.to_string().contains(counted), "{document}");
    // Like every suggestion, it is a complete command for this store.
    assert!(document.to_string().contains("keybroker workload list --aws --prefix "), "{document}");
}

#[tokio::test]
async fn workloads_that_host_data_should_select_and_does_not_are_named() {
    let workloads = ["selected", "lost", "other"].map(selected);
    let keys = workloads.clone().map(|(_, key)| key);
    let plain = workload("plain", None, SignedDuration::from_hours(24));
    let workloads = workloads.into_iter().map(|(workload, _)| workload).chain([plain]).collect();
    let operators = Operator::everywhere(&Contents { workloads, ..Contents::default() }).await;
    let kds = kds();
    let selection = |operator: &Operator| {
        let (_, _, document) = examined(operator.command(&["doctor", "--kds-url", &kds.url()]));
        let findings = document["findings"].as_array().unwrap();
        let found =
            findings.iter().find(|one| one["check"] == "selection").unwrap_or_else(|| panic!("{document}"));
        (found["verdict"].as_str().unwrap().to_owned(), found["finding"].as_str().unwrap().to_owned())
    };
    for operator in &operators {
        let well = ("ok".to_owned(), "HOST_DATA selects 3 workloads, as it should".to_owned());
        assert_eq!(selection(operator), well);
    }
    let [_, _, aws] = operators;
    let (client, table) = (local_aws::dynamodb(), aws.table("workloads"));
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let lost = client.delete_item().table_name(&table).key("workload_id", text(&keys[1]));
    lost.send().await.unwrap();
    let others = client.update_item().table_name(&table).key("workload_id", text(&keys[2]));
    let others = others.update_expression("SET selects = :id").expression_attribute_values(":id", text("x"));
    others.send().await.unwrap();
    let (verdict, finding) = selection(&aws);
    assert_eq!(verdict, "warn");
    assert!(finding.starts_with("HOST_DATA does not select the guests of 2 workloads: "), "{finding}");
    assert!(finding.contains("lost") && finding.contains("other"), "{finding}");
}

#[tokio::test]
async fn doctor_examines_a_deployment_table_by_table() {
    let kds = kds();
    let examined_at = |operator: &Operator| examined(operator.command(&["doctor", "--kds-url", &kds.url()]));
    let there = Operator::aws(&Contents::default()).await;
    let (_, verdicts, document) = examined_at(&there);
    let tables: Vec<_> =
        verdicts.iter().filter(|(check, _)| check == "table").map(|(_, one)| one.as_str()).collect();
    assert_eq!(tables.len(), 6, "{document}");
    assert!(!tables.contains(&"fail"), "{document}");
    assert_eq!((verdict(&verdicts, "store"), verdict(&verdicts, "kds")), ("ok", "ok"), "{document}");
    // The template's own policy, as localstack/provision.py sets it.
    assert_eq!(verdict(&verdicts, "decisions-policy"), "ok", "{document}");

    // A restored table looks like this.
    let dynamodb = local_aws::dynamodb();
    let decisions = dynamodb.describe_table().table_name(there.table("decisions")).send().await.unwrap();
    let arn = decisions.table.unwrap().table_arn.unwrap();
    dynamodb.delete_resource_policy().resource_arn(&arn).send().await.unwrap();
    let (code, verdicts, document) = examined_at(&there);
    assert_eq!((code, verdict(&verdicts, "decisions-policy")), (Some(1), "fail"), "{document}");
    assert!(document.to_string().contains("infra/restore settings decisions"), "{document}");
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Deny", "Principal": "*", "Action": "dynamodb:PutItem", "Resource": arn},
    ]});
    dynamodb.put_resource_policy().resource_arn(&arn).policy(policy.to_string()).send().await.unwrap();
    let (_, verdicts, document) = examined_at(&there);
    assert_eq!(verdict(&verdicts, "decisions-policy"), "fail", "{document}");

    let (code, verdicts, document) = examined_at(&Operator::without_tables());
    assert_eq!(code, Some(1), "{document}");
    let tables = verdicts.iter().filter(|(check, one)| check == "table" && one == "fail").count();
    assert_eq!((tables, verdict(&verdicts, "key")), (6, "fail"), "{document}");
    for help in ["deploy infra/storage.yaml", "runbook/table-restored.md"] {
        assert!(document.to_string().contains(help), "{document}");
    }

    let nowhere = there.with("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    let (code, verdicts, document) = examined_at(&nowhere);
    assert_eq!((code, verdict(&verdicts, "store")), (Some(1), "fail"), "{document}");
}

/// The findings of `doctor` about the KDS at `url` without a broker, if the environment names `proxy`.
fn kds_at(url: &str, arguments: &[&str], proxy: Option<&str>) -> Value {
    let nothing = tempfile::tempdir().unwrap();
    let mut command = program::keybroker();
    command.args(["doctor", "--kds-url", url]).args(arguments).env("HOME", nothing.path());
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        command.envs(proxy.map(|proxy| (name, proxy)));
    }
    let (_, _, document) = examined(command);
    let findings = document["findings"].as_array().unwrap();
    findings.iter().find(|one| one["check"] == "kds").unwrap_or_else(|| panic!("{document}")).clone()
}

/// A port on which nothing listens. The system gives it to no program that asks for a free one.
const NOBODY: &str = "http://127.0.0.1:9";

#[test]
fn doctor_names_what_keeps_the_kds_away() {
    // No resolver is asked for this name: its first label is too long.
    let no_name = format!("http://{}.example", "k".repeat(64));
    let tls = Terminator::start(&Authority::new(), "127.0.0.1:9");
    let forbidding = Upstream::saying(upstream::response(403, "", ""));
    for (url, proxy, said) in [
        (no_name.as_str(), None, "dns error"),
        (NOBODY, None, "Connection refused"),
        (&tls.url, None, "UnknownIssuer"),
        ("https://kds.example", Some(NOBODY), "Connection refused"),
        ("https://kds.example", Some(&forbidding.url), "tunnel"),
    ] {
        let found = kds_at(url, &[], proxy);
        assert_eq!(found["verdict"], "fail", "{found}");
        let finding = found["finding"].as_str().unwrap();
        assert!(finding.contains("error sending request: ") && finding.contains(said), "{said}: {finding}");
        assert!(found["advice"].as_str().unwrap().contains("--kds-ca"), "{found}");
    }
    assert_eq!(forbidding.seen().len(), 1);
}

#[test]
fn a_kds_behind_a_private_authority_needs_that_authority() {
    let kds = kds();
    let authority = Authority::new();
    let tls = Terminator::start(&authority, kds.url().strip_prefix("http://").unwrap());
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, contents: &str| {
        let path = directory.path().join(name);
        fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (own, another) = (file("ca.pem", &authority.pem()), file("another.pem", &Authority::new().pem()));
    assert_eq!(kds_at(&tls.url, &["--kds-ca", &own], None)["verdict"], "ok");
    for (ca, said) in [
        (another.as_str(), "invalid peer certificate"),
        (&file("none.pem", "nothing\n"), "no certificate"),
        ("/nonexistent/ca.pem", "No such file"),
    ] {
        let found = kds_at(&tls.url, &["--kds-ca", ca], None);
        assert_eq!(found["verdict"], "fail", "{found}");
        assert!(found["finding"].as_str().unwrap().contains(said), "{said}: {found}");
    }
}

/// The proxy in the environment is only for other hosts.
#[test]
fn a_kds_on_the_loopback_is_asked_through_no_proxy() {
    let (kds, proxy) = (kds(), Upstream::saying(upstream::response(502, "", "")));
    assert_eq!(kds_at(&kds.url(), &[], Some(&proxy.url))["verdict"], "ok");
    assert_eq!(proxy.seen(), Vec::<String>::new());
    let found = kds_at("http://kds.example", &[], Some(&proxy.url));
    assert!(found["finding"].as_str().unwrap().contains("502"), "{found}");
    assert_eq!(proxy.seen().len(), 1);
}
