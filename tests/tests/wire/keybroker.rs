//! keybroker's clients: `rvp_cli` registers reference values, and the host launches the guest with the
//! answer.

use std::collections::BTreeSet;

use keybroker_simulator::{
    Product,
    guest::{KeybrokerGuest, Machine},
    http::Response,
    rvp::RvpCli,
};
use keybroker_tests::{
    connection::{assert_refusal_within, assert_short_refusal},
    passphrase, unique,
    world::{MEASUREMENT, World},
};
use serde_json::{Value, json};

fn registered(response: &Response) -> [u8; 32] {
    assert_eq!(response.status, 200, "{}", response.text());
    RvpCli::host_data(response).expect("what rvp_cli can read")
}

async fn register(world: &World, cli: &RvpCli) -> [u8; 32] {
    assert_eq!(cli.url, world.url);
    registered(&cli.register().await.unwrap())
}

/// Registers a body that rvp_cli itself would not send.
async fn register_json(world: &World, body: &Value) -> Response {
    RvpCli::new(&world.url, &MEASUREMENT, "").send(&body.to_string()).await.unwrap()
}

/// A guest that a host launched with `host_data`.
fn guest(world: &World, host_data: [u8; 32], mut machine: Machine) -> KeybrokerGuest {
    machine.fields.host_data = host_data;
    KeybrokerGuest::new(&world.url, machine).unwrap()
}

#[tokio::test]
async fn rvp_cli_registers_and_its_guest_gets_the_resource() {
    let world = World::start();
    let passphrase = passphrase();
    let cli = RvpCli::new(&world.url, &MEASUREMENT, &passphrase);
    let response = cli.register().await.unwrap();
    assert_eq!(response.header("content-type"), ["application/json"]);
    assert_eq!(response.header("content-length"), ["46"], "44 characters of base64 between two quotes");
    let host_data = registered(&response);
    assert_eq!(host_data[16..], [0; 16]);
    for product in Product::ALL {
        let mut guest = guest(&world, host_data, world.machine(product, 1));
        assert_eq!(guest.boot("passphrase").await, Ok(passphrase.clone().into_bytes()), "{product}");
    }
}

#[tokio::test]
async fn the_same_body_twice_is_two_registrations() {
    let world = World::start();
    let cli = RvpCli::new(&world.url, &MEASUREMENT, "s");
    let ids = [register(&world, &cli).await, register(&world, &cli).await, register(&world, &cli).await];
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>().len(), 3);
}

#[tokio::test]
async fn the_guest_is_answered_in_its_own_dialect() {
    let world = World::start();
    let host_data = register(&world, &RvpCli::new(&world.url, &MEASUREMENT, "s")).await;
    let mut guest = guest(&world, host_data, world.milan());
    let challenge = guest.auth().await.unwrap();
    let [cookie] = challenge.header("set-cookie")[..] else { panic!("one cookie") };
    assert!(cookie.starts_with("kbs-session-id="), "{cookie}");
    assert!(!cookie.contains("Secure"), "{cookie}");
    let attested = guest.attest().await.unwrap();
    assert_eq!((attested.status, attested.body.len()), (200, 0));
    let session = format!("Cookie: kbs-session-id={}", guest.state.session_id.clone().unwrap());
    let response = world.ask("GET", "/kbs/v0/resource/passphrase", &[&session], None);
    let body: Value = serde_json::from_slice(&response.body).expect("JSON, with no NUL behind it");
    assert_eq!(body["ciphertext"].as_str().unwrap().len(), 512, "RSA-2048 in hex");
    for empty in ["protected", "encrypted_key", "iv", "tag"] {
        assert_eq!(body[empty], "", "{empty}");
    }
    // The other dialect does not accept this session, whichever cookie name carries it.
    for (path, cookie) in [
        ("/kbs/v0/resource/passphrase", session.replace("kbs-session-id", "session_id")),
        ("/kbs/v0/key/passphrase", session.clone()),
    ] {
        let refused = world.ask("GET", path, &[&cookie], None);
        assert_eq!(refused.status, 401, "{path}: {}", refused.text());
        assert_short_refusal(&refused);
    }
}

#[tokio::test]
async fn resources_of_every_length_reach_the_guest() {
    let world = World::start();
    let lengths = [1, 245, 246, 4000];
    let resources: Value =
        lengths.into_iter().map(|length| (format!("r{length}"), json!("s".repeat(length)))).collect();
    let host_data =
        register(&world, &RvpCli { resources, ..RvpCli::new(&world.url, &MEASUREMENT, "") }).await;
    let mut guest = guest(&world, host_data, world.milan());
    guest.auth().await.unwrap();
    guest.attest().await.unwrap();
    for length in lengths {
        assert_eq!(guest.resource(&format!("r{length}")).await, Ok(vec![b's'; length]));
    }
    world.assert_refused(guest.resource("other").await, (403, "secret"));
}

#[tokio::test]
async fn sixteen_of_the_longest_resources_are_taken() {
    let world = World::start();
    let resources: Value = (0..16).map(|index| (format!("r{index}"), json!("\u{1}".repeat(4000)))).collect();
    // Each byte takes six characters of JSON, so the body is longer than its limit.
    let cli = RvpCli { resources, ..RvpCli::new(&world.url, &MEASUREMENT, "") };
    assert_eq!(cli.register().await.unwrap().status, 413);
    let resources: Value = (0..16).map(|index| (format!("r{index}"), json!("s".repeat(4000)))).collect();
    let host_data = register(&world, &RvpCli { resources, ..cli }).await;
    let mut guest = guest(&world, host_data, world.milan());
    assert_eq!(guest.boot("r15").await, Ok(vec![b's'; 4000]));
}

/// A broker that evaluates queries and ignores the result would release here.
#[tokio::test]
async fn a_query_that_does_not_hold_refuses_the_guest() {
    let world = World::start();
    for query in [
        "data.expected == input.policy_smt_allowed",
        "input.policy_debug_allowed == \"true\"",
        "input.no_such_claim",
        "data.no_such_value == input.measurement",
        "input.snp.guest_svn > 7",
    ] {
        let query = ["data.measurement == input.measurement", query].map(str::to_owned).to_vec();
        let reference_values = json!({"measurement": "4d".repeat(48), "expected": "neither"});
        let cli = RvpCli { query, reference_values, ..RvpCli::new(&world.url, &MEASUREMENT, "s") };
        let host_data = register(&world, &cli).await;
        world.assert_refused(
            guest(&world, host_data, world.milan()).boot("passphrase").await,
            (403, "policy"),
        );
    }
}

/// `register` tries each query. One that gives no boolean, or fails, could never let a guest in.
#[tokio::test]
async fn a_query_that_never_holds_is_not_registered() {
    let world = World::start();
    for (query, says) in [
        ("input.measurement", "query 0 gave not a boolean"),
        ("data", "query 0 gave not a boolean"),
        ("1 / 0 == 1", "query 0 gave an error"),
    ] {
        let cli = RvpCli { query: vec![query.to_owned()], ..RvpCli::new(&world.url, &MEASUREMENT, "s") };
        let response = cli.register().await.unwrap();
        assert_eq!(response.status, 400, "{query}: {}", response.text());
        assert_short_refusal(&response);
        assert!(response.text().contains(says), "{query}: {}", response.text());
    }
}

#[tokio::test]
async fn the_registered_measurement_is_enforced_before_any_query() {
    let world = World::start();
    let cli = RvpCli { query: vec!["true".to_owned()], ..RvpCli::new(&world.url, &[0x66; 48], "s") };
    let host_data = register(&world, &cli).await;
    world.assert_refused(
        guest(&world, host_data, world.milan()).boot("passphrase").await,
        (403, "measurement"),
    );
}

#[tokio::test]
async fn a_policy_never_lifts_the_floor() {
    let world = World::start();
    let cli = RvpCli { query: vec!["true".to_owned()], ..RvpCli::new(&world.url, &MEASUREMENT, "s") };
    let host_data = register(&world, &cli).await;
    let mut debug = world.milan();
    debug.fields.policy |= 1 << 19;
    world.assert_refused(
        guest(&world, host_data, debug).boot("passphrase").await,
        (403, "guest-policy-debug"),
    );
    let mut vmpl = world.milan();
    vmpl.fields.vmpl = 1;
    world.assert_refused(guest(&world, host_data, vmpl).boot("passphrase").await, (403, "vmpl"));
}

#[tokio::test]
async fn the_requirements_of_a_registration_are_enforced() {
    let world = World::start();
    let body = json!({
        "resources": {"passphrase": "s"},
        "measurements": ["4d".repeat(48), "4e".repeat(48)],
        "require": {"id_key_digest": "1d".repeat(48), "minimum_guest_svn": 7, "smt": false},
        "minimum_tcb": {"milan-b1": {"boot_loader": 0, "tee": 0, "snp": 0, "microcode": 0}},
    });
    let host_data = registered(&register_json(&world, &body).await);
    type Alter = fn(&mut Machine);
    let launched = |alter: Alter| {
        let mut machine = world.milan();
        machine.fields.id_key_digest = [0x1D; 48];
        machine.fields.guest_svn = 7;
        machine.fields.policy &= !(1 << 16);
        alter(&mut machine);
        guest(&world, host_data, machine)
    };
    assert_eq!(launched(|_| ()).boot("passphrase").await, Ok(b"s".to_vec()));
    let rows: [(&str, Alter); 3] = [
        ("id-key-digest", |machine| machine.fields.id_key_digest = [0; 48]),
        ("guest-svn", |machine| machine.fields.guest_svn = 6),
        ("guest-policy-smt", |machine| machine.fields.policy |= 1 << 16),
    ];
    for (check, missed) in rows {
        world.assert_refused(launched(missed).boot("passphrase").await, (403, check));
    }
    let mut genoa = world.machine(Product::Genoa, 1);
    genoa.fields = keybroker_simulator::report::ReportFields {
        id_key_digest: [0x1D; 48],
        guest_svn: 7,
        policy: genoa.fields.policy & !(1 << 16),
        ..genoa.fields
    };
    world.assert_refused(guest(&world, host_data, genoa).boot("passphrase").await, (403, "minimum-tcb"));
}

#[tokio::test]
async fn bad_registrations_are_answered_with_the_fault() {
    let world = World::start();
    let measured =
        |more: &str| format!(r#"{{"resources":{{}},"measurements":["{}"]{more}}}"#, "4d".repeat(48));
    let cli = RvpCli::new(&world.url, &MEASUREMENT, "");
    for (body, status, says) in [
        (r#"{"resources":{}}"#.to_owned(), 400, "any genuine SNP guest"),
        (measured(r#","workload_id":"mine""#), 400, "v1 needs workload_id and init_data together"),
        (measured(r#","workload":"mine""#), 400, "unknown field workload"),
        (measured(r#","policy":"package p""#), 400, "ignored without a query"),
        (measured(r#","query":["1 + * 2"]"#), 400, "line 1, column "),
        (measured(r#","query":["data.p.allow"],"policy":"package p\nallow if {""#), 400, "line 2, column "),
        (measured(r#","query":["http.send({}).x"]"#), 400, "http.send"),
        (measured(r#","query":["count(numbers.range(1, 30000000)) > 1"]"#), 400, "numbers.range"),
        (
            measured(&format!(r#","query":["data.p.allow"],"policy":"{}""#, "# ".repeat(10_000))),
            400,
            "longer",
        ),
        (format!(r#"{{"resources":{{"a":"{}"}}}}"#, "s".repeat(1 << 20)), 413, "192 KiB"),
    ] {
        let response = cli.send(&body).await.unwrap();
        assert_eq!(response.status, status, "{}: {body:.100}", response.text());
        assert_refusal_within(&response, 612);
        assert!(response.text().contains(says), "{says}: {}", response.text());
    }
}

/// A host can launch a guest with the HOST_DATA of another registration, or of none.
#[tokio::test]
async fn host_data_selects_a_workload_and_proves_nothing() {
    let world = World::start();
    let other = RvpCli { query: Vec::new(), ..RvpCli::new(&world.url, &[0x66; 48], "other's") };
    let other = register(&world, &other).await;
    world.assert_refused(guest(&world, other, world.milan()).boot("passphrase").await, (403, "measurement"));
    world.assert_refused(
        guest(&world, [0xEE; 32], world.milan()).boot("passphrase").await,
        (403, "host-data"),
    );
    world.assert_refused(guest(&world, [0; 32], world.milan()).boot("passphrase").await, (403, "workload"));
    // This guest cannot reach a workload that buildah registered, and libkrun's guest cannot reach this one.
    let id = uuid::Uuid::from_slice(&other[..16]).unwrap().to_string();
    let build = world.build(&id, "taken").register().await.unwrap();
    assert_eq!(build.status, 409, "{}", build.text());
    world.assert_refused(world.polite(&id, world.milan()).boot().await, (403, "workload"));
    world.boots_a_guest(&unique("w")).await;
}

#[tokio::test]
async fn replayed_evidence_is_refused() {
    let world = World::start();
    let host_data = register(&world, &RvpCli::new(&world.url, &MEASUREMENT, "s")).await;
    let mut guest = guest(&world, host_data, world.milan());
    guest.auth().await.unwrap();
    let evidence = guest.attest_body().unwrap();
    guest.attest_with(&evidence).await.unwrap();
    // The same bytes succeed again, because the answer may have been lost.
    guest.attest_with(&evidence).await.unwrap();
    guest.auth().await.unwrap();
    world.assert_refused(guest.attest_with(&evidence).await, (403, "challenge"));
}

/// A policy that never ends: the trial at registration finds one, and only a guest's claims bring out the
/// other.
#[tokio::test]
async fn an_endless_policy_is_stopped_and_the_broker_goes_on() {
    let world = World::start();
    let body = |guard: &str| {
        let policy = format!(
            "package p\nallow if {{\n{guard}\nsome a in data.l; some b in data.l; some c in data.l\n\
             some d in data.l; some e in data.l; some f in data.l\na + b + c + d + e + f < 0\n}}"
        );
        json!({
            "resources": {"passphrase": "s"},
            "measurements": ["4d".repeat(48)],
            "reference_values": {"l": (0..64).collect::<Vec<_>>()},
            "policy": policy,
            "query": ["data.p.allow"],
        })
    };
    let always = register_json(&world, &body("true")).await;
    assert_eq!(always.status, 400, "{}", always.text());
    assert!(always.text().contains("query 0 gave nothing in time"), "{}", always.text());
    let host_data = registered(&register_json(&world, &body("input.snp.guest_svn == 7")).await);
    let mut machine = world.milan();
    machine.fields.guest_svn = 7;
    world.assert_refused(guest(&world, host_data, machine).boot("passphrase").await, (403, "policy"));
    world.boots_a_guest(&unique("w")).await;
}
