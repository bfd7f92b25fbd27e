//! Bad input: the broker answers with 4xx and a short body, never with 5xx, and keeps running.

use data_encoding::{BASE64, HEXLOWER};
use keybroker_simulator::{build::tee_config, guest::KrunGuest, http::Response};
use keybroker_tests::{connection::assert_short_refusal, unique, world::World};
use serde_json::{Value, json};

const REGISTER: &str = "/kbs/v0/register_workload";
const AUTH: &str = "/kbs/v0/auth";
const ATTEST: &str = "/kbs/v0/attest";

/// Asserts the status, and a part of the text that the client gets.
fn assert_told(response: &Response, status: u16, text: &str) {
    let what = String::from_utf8_lossy(&response.raw);
    assert_eq!(response.status, status, "expected {text:?}: {what}");
    assert_short_refusal(response);
    assert!(response.text().contains(text), "expected {text:?}: {what}");
}

fn registration() -> Value {
    json!({
        "workload_id": unique("w"),
        "launch_measurement": "4d".repeat(48),
        "passphrase": "open sesame",
        "tee_config": tee_config(15),
    })
}

/// A registration with one field changed.
fn registration_with(field: &str, value: impl Into<Value>) -> String {
    let mut registration = registration();
    registration[field] = value.into();
    registration.to_string()
}

#[tokio::test]
async fn malformed_registrations_are_refused_with_the_fault() {
    let world = World::start();
    let whole = registration().to_string();
    let bits = |bits: &str| registration_with("tee_config", tee_config(15).replace("15", bits));
    let rows = [
        (String::new(), "not JSON"),
        ("null".to_owned(), "wrong type"),
        ("[]".to_owned(), "wrong type"),
        (whole[..whole.len() - 1].to_owned(), "not JSON"),
        (whole.clone() + "{}", "not JSON"),
        ("\u{feff}".to_owned() + &whole, "not JSON"),
        (whole.replacen('{', r#"{"passphrase":"other","#, 1), "duplicate field passphrase"),
        (whole.replacen('{', r#"{"policy":{},"#, 1), "unknown field policy"),
        (whole.replace("passphrase", "password"), "unknown field password"),
        (registration_with("launch_measurement", ""), "launch_measurement is empty"),
        (registration_with("launch_measurement", "4d".repeat(32)), "SEV-SNP is needed"),
        (registration_with("launch_measurement", "4d".repeat(47)), "96 hex digits"),
        (registration_with("launch_measurement", "4d".repeat(49)), "96 hex digits"),
        (registration_with("launch_measurement", "4g".repeat(48)), "96 hex digits"),
        (registration_with("launch_measurement", Value::Null), "wrong type"),
        (registration_with("passphrase", ""), "1 to 245 bytes"),
        (registration_with("passphrase", "e".repeat(246)), "1 to 245 bytes"),
        (registration_with("passphrase", "\u{e9}".repeat(123)), "1 to 245 bytes"),
        (registration_with("passphrase", "a\0b"), "NUL"),
        (registration_with("passphrase", 7), "wrong type"),
        (registration_with("workload_id", ""), "workload id is empty"),
        (registration_with("workload_id", "w".repeat(257)), "longer than 256"),
        (registration_with("workload_id", "a\u{1}b"), "workload id holds"),
        (registration_with("workload_id", "a/b"), "workload id holds"),
        (registration_with("workload_id", ".."), "workload id holds"),
        (registration_with("workload_id", "a\u{85}b"), "workload id holds"),
        (registration_with("tee_config", "{}"), "tee_config: missing field flags"),
        (registration_with("tee_config", ""), "tee_config: not JSON"),
        (registration_with("tee_config", json!({"flags": {"bits": 15}})), "wrong type"),
        (bits("16"), "0 to 15"),
        (bits("59"), "0 to 15"),
        (bits("63"), "0 to 15"),
        (bits("-1"), "tee_config"),
        (bits("4294967296"), "tee_config"),
    ];
    for (body, text) in rows {
        assert_told(&world.ask("POST", REGISTER, &[], Some(&body)), 400, text);
    }
    world.boots_a_guest(&unique("w")).await;
}

#[tokio::test]
async fn bytes_that_are_no_utf_8_are_400() {
    let world = World::listening("a body that is no UTF-8");
    let request = world.request("POST", REGISTER, &[], Some(&registration().to_string()));
    let mut bytes = request.into_bytes();
    let at = bytes.windows(4).rposition(|window| window == b"open").unwrap();
    bytes[at] = 0xFF;
    let mut connection = world.connect();
    connection.send(bytes);
    assert_told(&connection.response().unwrap(), 400, "not JSON");
    world.boots_a_guest(&unique("w")).await;
}

/// A session id of the right form, which no broker made.
const SESSION_ID: &str = "EAAzqgABAgMEBQYHCAkKCwwNDg8QERITFBU";

#[tokio::test]
async fn bodies_of_more_than_64_kib_are_413() {
    let world = World::start();
    for path in [REGISTER, AUTH, ATTEST] {
        // `attest` looks for a session first; it refuses the request too.
        let cookie = format!("Cookie: session_id={SESSION_ID}");
        let response = world.ask("POST", path, &[&cookie], Some(&" ".repeat(64 * 1024 + 1)));
        assert_told(&response, 413, "64 KiB");
        // 64 KiB is an allowed length, but the body is not JSON.
        let response = world.ask("POST", path, &[&cookie], Some(&" ".repeat(64 * 1024)));
        assert_told(&response, 400, "not JSON");
    }
    world.boots_a_guest(&unique("w")).await;
}

#[tokio::test]
async fn media_types_other_than_json_are_415() {
    let world = World::listening("two Content-Type fields");
    let body = registration().to_string();
    let whole = world.request("POST", REGISTER, &[], Some(&body));
    let line = "Content-Type: application/json\r\n";
    for other in ["", "Content-Type: text/plain\r\n", "Content-Type: application/jsonx\r\n", &line.repeat(2)]
    {
        let mut connection = world.connect();
        connection.send(whole.replace(line, other));
        assert_told(&connection.response().unwrap(), 415, "application/json");
    }
    for same in ["Content-Type: application/json; charset=utf-8\r\n", "content-type:APPLICATION/JSON\r\n"] {
        let mut connection = world.connect();
        connection.send(whole.replace(line, same));
        assert_eq!(connection.response().unwrap().status, 200, "{same}");
    }
}

#[tokio::test]
async fn malformed_requests_for_a_challenge_are_400() {
    let world = World::start();
    let auth = |tee: &str, version: &str, extra: &str| {
        json!({"version": version, "tee": tee, "extra-params": extra}).to_string()
    };
    let extra = |id: &str| json!({"workload_id": id}).to_string();
    let whole = auth("snp", "0.0.0", &extra("w"));
    let rows = [
        (auth("tdx", "0.0.0", &extra("w")), "snp"),
        (auth("sev", "0.0.0", &extra("w")), "snp"),
        (auth("", "0.0.0", &extra("w")), "snp"),
        (auth("snp", "0.4.0", &extra("w")), "0.0.0"),
        (auth("snp", "", &extra("w")), "0.0.0"),
        // A request without extra-params is from keybroker's guest, which may name any version but must name
        // one.
        (auth("snp", "", ""), "0.0.0"),
        (auth("snp", &"1".repeat(33), ""), "0.0.0"),
        // With 0.1.0 the guest may be Trustee's, which is told in its own form.
        (auth("tdx", "0.1.1", ""), "snp"),
        (auth("snp", "0.0.0", " "), "extra-params: not JSON"),
        (auth("snp", "0.0.0", "{}"), "extra-params: missing field workload_id"),
        (auth("snp", "0.0.0", r#"{"workload_id":"w","workload_id":"v"}"#), "duplicate field workload_id"),
        (auth("snp", "0.0.0", r#"{"workload_id":"w","x":1}"#), "unknown field x"),
        (auth("snp", "0.0.0", &extra("")), "workload id is empty"),
        (auth("snp", "0.0.0", &extra(&"w".repeat(257))), "longer than 256"),
        (auth("snp", "0.0.0", &extra("a\nb")), "workload id holds"),
        (whole[..whole.len() - 2].to_owned(), "not JSON"),
        (whole.replacen('{', r#"{"tee":"snp","#, 1), "duplicate field tee"),
    ];
    for (body, text) in rows {
        assert_told(&world.ask("POST", AUTH, &[], Some(&body)), 400, text);
    }
    world.boots_a_guest(&unique("w")).await;
}

/// A guest's evidence whose parts a test can change.
struct Evidence {
    guest: KrunGuest,
    alg: String,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    report: String,
    chain: String,
}

impl Evidence {
    async fn new(world: &World, id: &str) -> Self {
        let mut guest = world.krun(id, world.milan());
        guest.auth().await.unwrap();
        let modulus = BASE64.decode(guest.state.key.modulus().as_bytes()).unwrap();
        let report = HEXLOWER.encode(&guest.state.report().unwrap());
        Self {
            guest,
            alg: "RSA".to_owned(),
            modulus,
            exponent: vec![1, 0, 1],
            report,
            chain: "[]".to_owned(),
        }
    }

    fn body(&self) -> String {
        let evidence = json!({"report": self.report, "cert_chain": self.chain, "gen": "milan"});
        let (modulus, exponent) = (BASE64.encode(&self.modulus), BASE64.encode(&self.exponent));
        let key = json!({"alg": self.alg, "k-mod": modulus, "k-exp": exponent});
        json!({"tee-pubkey": key, "tee-evidence": evidence.to_string()}).to_string()
    }

    fn send(&self, world: &World, body: &str) -> Response {
        let cookie = format!("Cookie: session_id={}", self.guest.state.session_id.as_ref().unwrap());
        world.ask("POST", ATTEST, &[&cookie], Some(body))
    }
}

#[tokio::test]
async fn malformed_evidence_leaves_the_challenge_usable() {
    let world = World::start();
    let id = unique("w");
    world.register(&id).await;
    type Spoil = fn(&mut Evidence);
    let fields: [(Spoil, &str); 19] = [
        (|e| e.modulus.truncate(255), "2048"),
        (|e| e.modulus = vec![0x7F; 256], "2048"),
        (|e| e.modulus = vec![0xC3; 128], "2048"),
        (|e| e.modulus = vec![0xC3; 513], "4096"),
        (|e| e.modulus.clear(), "tee-pubkey"),
        (|e| e.modulus[255] &= 0xFE, "even"),
        (|e| e.exponent = vec![1], "exponent"),
        (|e| e.exponent = vec![0], "exponent"),
        (|e| e.exponent = vec![], "exponent"),
        (|e| e.exponent = vec![1, 0, 0], "exponent"),
        (|e| e.exponent = vec![0xFF; 9], "exponent"),
        (|e| e.alg = "EC".to_owned(), "alg"),
        (|e| e.report.truncate(2367), "not hex"),
        (|e| e.report = "zz".repeat(1184), "not hex"),
        (|e| e.report.insert(0, ' '), "not hex"),
        (|e| e.chain = "{}".to_owned(), "cert_chain"),
        (|e| e.chain = "[".to_owned(), "cert_chain: not JSON"),
        (
            |e| e.chain = json!(vec![json!({"cert_type": "VCEK", "data": [1]}); 9]).to_string(),
            "8 certificates",
        ),
        (|e| e.chain = json!([{"cert_type": "VCEK", "data": vec![1; 16385]}]).to_string(), "16 KiB"),
    ];
    let mut evidence = Evidence::new(&world, &id).await;
    for (spoil, text) in fields {
        let mut spoilt = Evidence {
            guest: evidence.guest,
            modulus: evidence.modulus.clone(),
            exponent: vec![1, 0, 1],
            alg: evidence.alg.clone(),
            report: evidence.report.clone(),
            chain: evidence.chain.clone(),
        };
        spoil(&mut spoilt);
        assert_told(&spoilt.send(&world, &spoilt.body()), 400, text);
        evidence.guest = spoilt.guest;
    }
    let whole = evidence.body();
    let bodies = [
        (whole[..whole.len() / 2].to_owned(), "not JSON"),
        (whole.replacen('{', r#"{"tee-evidence":"{}","#, 1), "duplicate field tee-evidence"),
        (whole.replacen('{', r#"{"init-data":null,"#, 1), "unknown field init-data"),
        (whole.replace(r#"\"gen\""#, r#"\"generation\""#), "tee-evidence: unknown field generation"),
        (whole.replace("AQAB", "AQAB="), "base64"),
        (whole.replace("AQAB", "AQA_"), "base64"),
        (whole.replace("tee-pubkey", "tee_pubkey"), "unknown field tee_pubkey"),
    ];
    for (body, text) in bodies {
        assert_told(&evidence.send(&world, &body), 400, text);
    }
    // None of these bodies was evidence, so the challenge can still be answered.
    assert_eq!(evidence.send(&world, &whole).status, 200);
}

#[tokio::test]
async fn reports_of_another_length_are_refused() {
    let world = World::start();
    let id = unique("w");
    world.register(&id).await;
    for spoil in [
        |report: &mut String| report.truncate(2366),
        |report: &mut String| report.push_str("00"),
        String::clear,
    ] {
        let mut evidence = Evidence::new(&world, &id).await;
        spoil(&mut evidence.report);
        let response = evidence.send(&world, &evidence.body());
        world.assert_said(&(&response).into(), (403, "report"));
    }
    world.boots_a_guest(&unique("w")).await;
}

#[tokio::test]
async fn unknown_paths_are_refused_and_never_served() {
    let world = World::listening("a path of no route");
    let cookie = format!("Cookie: session_id={}", "0".repeat(32));
    let long = format!("/kbs/v0/key/{}", "w".repeat(257));
    let very_long = format!("/{}", "a/".repeat(4000));
    let paths = [
        "/",
        "/kbs",
        "/kbs/v0",
        "/kbs/v0/",
        "/kbs/v0/key",
        "/kbs/v0/key/",
        "/kbs/v0/key/a/b",
        "/kbs/v0/key/a%2Fb",
        "/kbs/v0/key/..",
        "/kbs/v0/key/%2e%2e",
        "/kbs/v0/key/../auth",
        "/kbs/v0/key/..%2f..%2fetc%2fpasswd",
        "/kbs/v0/key/%00",
        "/kbs/v0/key/%ff",
        "/kbs/v0/key/%c0%ae",
        "/kbs/v0/key/%",
        "/kbs/v0/key/%zz",
        "/kbs/v0/key/%25",
        "/kbs/v0/key//",
        "//kbs/v0/auth",
        "/kbs//v0/auth",
        "/KBS/v0/auth",
        "/kbs/v0/auth/",
        "/kbs/v0/auth;x=1",
        "/kbs/v0/resource/a/b",
        "/kbs/v0/resource/a/b/c/d",
        "/healthz/",
        "/healthz%20",
        "/.git/config",
        &long,
        &very_long,
    ];
    for path in paths {
        let response = world.ask("GET", path, &[&cookie], None);
        assert_short_refusal(&response);
        assert!(matches!(response.status, 400 | 401 | 404 | 405 | 414), "{path}: {}", response.status);
    }
    world.boots_a_guest(&unique("w")).await;
}

#[tokio::test]
async fn methods_that_a_path_does_not_take_are_refused() {
    let world = World::listening("a method of no route");
    let rows =
        [(REGISTER, "POST"), (AUTH, "POST"), (ATTEST, "POST"), ("/kbs/v0/key/w", "GET"), ("/healthz", "GET")];
    for (path, right) in rows {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            if method != right {
                let response = world.ask(method, path, &[], (method != "GET").then_some("{}"));
                assert_short_refusal(&response);
                assert!(matches!(response.status, 404 | 405), "{method} {path}: {}", response.status);
            }
        }
    }
}

#[tokio::test]
async fn requests_without_a_usable_cookie_are_401() {
    let world = World::start();
    let (short, padded, long) = (&SESSION_ID[1..], format!("{SESSION_ID}="), SESSION_ID.repeat(2));
    for value in ["", "x", short, &padded, &long, "../../x", "\"\"", "%00"] {
        let cookie = format!("Cookie: session_id={value}");
        for (method, path, body) in [("GET", "/kbs/v0/key/w", None), ("POST", ATTEST, Some("{}"))] {
            let response = world.ask(method, path, &[&cookie], body);
            assert_told(&response, 401, "no session cookie");
        }
    }
    assert_told(&world.ask("GET", "/kbs/v0/key/w", &[], None), 401, "no session cookie");
}
