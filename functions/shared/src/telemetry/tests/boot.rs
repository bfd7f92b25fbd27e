//! The log of a boot: its requests as API Gateway sends them, through the functions' own layer.

use keybroker_common::{broker::Broker, clock::Clock, http::router, ids::SessionId, requirements::BoundBy};
use keybroker_simulator::guest::{
    Machine,
    trustee::{KbsVersion, KeyForm, TrusteeGuest},
};
use keybroker_testing::{
    guest::{KEY, evidence},
    native::{Guest, challenge, with_init_data},
    world::{self, PASSPHRASE, World},
};
use serde_json::{Value, json};

use super::{Log, Names, request};
use crate::payload::{Event, answer};

fn event(method: &str, path: &str, cookie: &str, body: Option<&Value>) -> Event {
    let event = json!({
        "rawPath": path,
        "headers": {"content-type": "application/json", "host": "broker.example"},
        "cookies": [cookie],
        "requestContext": {"http": {"method": method}, "stage": "$default"},
        "body": body.map(Value::to_string),
    });
    serde_json::from_value(event).unwrap()
}

/// As API Gateway names a request.
fn named() -> Names {
    Names { request: Some("JKJaXmPLvHcESHA=".to_owned()), trace: None }
}

/// The lines of each request of a boot that succeeds. It is the second that this instance sees in a moment,
/// so no times are printed.
async fn boot(id: &str) -> [Vec<String>; 3] {
    let world = World::new().await;
    let broker = world.broker();
    broker.registered(id).await;
    let (log, _logging) = Log::begin();
    // The chip's certificate is at hand, and the build window is over.
    let session = broker.attested(&world.hardware, id).await;
    broker.fetch(&session, id, &KEY).await.unwrap();
    log.texts();

    let world::Broker { register, auth, attest } = broker.clone();
    let router = router(Broker { register, auth, attest });
    let ask = async |event| {
        let reply = serde_json::to_value(request(named(), answer(router.clone(), event)).await).unwrap();
        assert_eq!(reply["statusCode"], 200, "{reply}");
        (log.texts(), reply)
    };
    let extra = json!({"workload_id": id}).to_string();
    let asked = json!({"extra-params": extra, "tee": "snp", "version": "0.0.0"});
    let (auth, given) = ask(event("POST", "/kbs/v0/auth", "", Some(&asked))).await;
    let cookie = given["cookies"][0].as_str().unwrap().split(';').next().unwrap();
    let session = SessionId::parse(cookie.split_once('=').unwrap().1).unwrap();
    let challenge = broker.auth.challenges.recognise(&session, world.hardware.clock.now()).await.unwrap();
    let report = data_encoding::HEXLOWER
        .encode(&evidence(&world.hardware.chip, &KEY, &challenge).report.unwrap().bytes);
    let shown = json!({"gen": "milan", "report": report, "cert_chain": "[]"}).to_string();
    let key = json!({"alg": "RSA", "k-mod": KEY.texts.modulus, "k-exp": KEY.texts.exponent});
    let shown = json!({"tee-pubkey": key, "tee-evidence": shown});
    let (attest, _) = ask(event("POST", "/kbs/v0/attest", cookie, Some(&shown))).await;
    let (key, _) = ask(event("GET", &format!("/kbs/v0/key/{id}"), cookie, None)).await;
    [auth, attest, key]
}

/// The lines of both requests of such a boot over the broker's own protocol, and the bytes of its answers.
async fn native_boot(id: &str) -> ([Vec<String>; 2], usize) {
    let world = World::new().await;
    let broker = world.broker();
    let registration = with_init_data(id, BoundBy::HostData, &[("disk", PASSPHRASE)]);
    broker.register.register(registration).await.unwrap();
    let (log, _logging) = Log::begin();
    let guest = Guest::new(&world, id, &["disk"]);
    guest.boots(&world, &broker).await.unwrap();
    log.texts();

    let world::Broker { register, auth, attest } = broker.clone();
    let router = router(Broker { register, auth, attest });
    let ask = async |event| {
        let reply = serde_json::to_value(request(named(), answer(router.clone(), event)).await).unwrap();
        assert_eq!(reply["statusCode"], 200, "{reply}");
        (log.texts(), reply["body"].as_str().unwrap().len())
    };
    let (challenged, given) = ask(event("POST", "/v1/challenge", "", Some(&json!({})))).await;
    let (_, body) = guest.asks(&world, &challenge(&broker).await, |_| {});
    let body = serde_json::from_slice(&body).unwrap();
    let (released, answered) = ask(event("POST", "/v1/release", "", Some(&body))).await;
    ([challenged, released], given + answered)
}

/// The bytes of all these lines, each with its end.
fn bytes(lines: &[Vec<String>]) -> usize {
    lines.iter().flatten().map(|line| line.len() + 1).sum()
}

/// docs/aws.md reckons with this figure, less 37 bytes: this broker has no floor of the TCB, and says so. A
/// challenge decides nothing, and has no line.
#[tokio::test]
async fn a_boot_logs_two_lines_of_1750_bytes() {
    for (id, limit) in [("my-app", 1755), (&"0123456789abcdef".repeat(4), 1870)] {
        let lines = boot(id).await;
        let bytes = bytes(&lines);
        println!("{bytes} bytes of the log for a boot as {id}");
        assert_eq!(lines.each_ref().map(Vec::len), [0, 1, 1], "{lines:?}");
        assert!(bytes <= limit, "{bytes}: {lines:?}");
    }
}

/// docs/aws.md reckons with these figures, likewise.
#[tokio::test]
async fn a_boot_over_v1_logs_one_line_of_1450_bytes() {
    for (id, limit) in [("my-app", 1480), (&"0123456789abcdef".repeat(4), 1540)] {
        let (lines, answered) = native_boot(id).await;
        let bytes = bytes(&lines);
        println!("{bytes} bytes of the log, and {answered} of answers, for a boot as {id}");
        assert_eq!(lines.each_ref().map(Vec::len), [0, 1], "{lines:?}");
        assert!(bytes <= limit && answered <= 1024, "{bytes}, {answered}: {lines:?}");
    }
}

/// Cookie and attestation result lead to the session: neither they nor the header stand in any line, nor does
/// what was released.
#[tokio::test]
async fn a_boot_of_trustees_guest_logs_no_credential() {
    let world = World::new().await;
    let broker = world.broker();
    let registration = json!({
        "workload_id": "kata", "dialects": ["trustee"], "measurements": ["4d".repeat(48)],
        "resources": {"default/key/tls": "open sesame"},
    });
    let world::Broker { register, auth, attest } = broker.clone();
    let router = router(Broker { register, auth, attest });
    let (log, _logging) = Log::begin();
    let ask = async |event| {
        let reply = serde_json::to_value(request(named(), answer(router.clone(), event)).await).unwrap();
        (log.texts(), reply)
    };
    ask(event("POST", "/rvp/register", "", Some(&registration))).await;
    let machine = Machine::new(&world.hardware.amd, &world.hardware.chip);
    let mut guest =
        TrusteeGuest::new("http://127.0.0.1:9", KbsVersion::V0_2_0, KeyForm::P256, machine).unwrap();
    let asked = serde_json::from_str(&guest.auth_request().body()).unwrap();
    let (_, given) = ask(event("POST", "/w/kata/kbs/v0/auth", "", Some(&asked))).await;
    let cookie = given["cookies"][0].as_str().unwrap().split(';').next().unwrap().to_owned();
    let challenge: Value = serde_json::from_str(given["body"].as_str().unwrap()).unwrap();
    guest.nonce = challenge["nonce"].as_str().map(str::to_owned);
    let shown = serde_json::from_str(&guest.attestation().unwrap().body()).unwrap();
    let (attested, answered) = ask(event("POST", "/w/kata/kbs/v0/attest", &cookie, Some(&shown))).await;
    let answered: Value = serde_json::from_str(answered["body"].as_str().unwrap()).unwrap();
    let result = answered["token"].as_str().unwrap();

    let resource = "/kbs/v0/resource/default/key/tls";
    let with = |authorization: &str| {
        let event = json!({
            "rawPath": resource,
            "headers": {"authorization": authorization},
            "requestContext": {"http": {"method": "GET"}, "stage": "$default"},
        });
        serde_json::from_value::<Event>(event).unwrap()
    };
    let (by_result, released) = ask(with(&format!("Bearer {result}"))).await;
    let (by_cookie, again) = ask(event("GET", resource, &cookie, None)).await;
    let last = if result.ends_with('A') { 'B' } else { 'A' };
    let altered = format!("Bearer {}{last}", result.strip_suffix(|_| true).unwrap());
    let (refused, no) = ask(with(&altered)).await;
    assert_eq!(
        (&released["statusCode"], &again["statusCode"], &no["statusCode"]),
        (&200.into(), &200.into(), &401.into())
    );
    let lines = [attested, by_result, by_cookie, refused].concat().join("\n");
    assert_eq!(lines.matches(r#""decision":"released""#).count(), 2, "{lines}");
    let session = cookie.split_once('=').unwrap().1;
    let nonce = guest.nonce.as_deref().unwrap();
    let parts = result.split('.').map(|part| &part[..20]);
    for never in parts.chain([&session[..35], nonce, "open sesame", "Bearer", "kbs-session-id"]) {
        assert!(!lines.contains(never), "{never} in {lines}");
    }
}
