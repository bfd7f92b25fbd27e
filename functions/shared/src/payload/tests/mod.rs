//! Raw payloads, as API Gateway sends them and as it gets them back, through the broker's own router.

use axum::{http::StatusCode, routing::get};
use keybroker_common::{
    admission::Admission,
    broker::Broker,
    http::router,
    ids::{HostData, WorkloadId},
    store::WorkloadStore,
    workload::Registration,
};
use keybroker_testing::{rvp, world};
use serde_json::{Value, json};

use super::*;

mod hostile;
mod principal;
mod trustee;

const HOST: &str = "abcdefghij.execute-api.us-east-1.amazonaws.com";

struct World {
    ground: world::World,
    broker: world::Broker,
    router: Router,
}

async fn world(admission: Admission) -> World {
    let ground = world::World::new().await;
    let mut broker = ground.broker();
    broker.register.admission = admission;
    let world::Broker { register, auth, attest } = broker.clone();
    World { ground, broker, router: router(Broker { register, auth, attest }) }
}

impl World {
    /// The reply to an event, as the JSON that API Gateway gets.
    async fn reply(&self, event: Value) -> Value {
        let event: Event = serde_json::from_value(event).unwrap();
        serde_json::to_value(answer(self.router.clone(), event).await).unwrap()
    }

    async fn registered(&self, id: &str) {
        let reply = self.reply(post("/kbs/v0/register_workload", &registration(id))).await;
        assert_eq!(reply["statusCode"], 200, "{reply}");
    }

    /// A session of a guest that has attested as `id`.
    async fn attested(&self, id: &str) -> String {
        self.broker.attested(&self.ground.hardware, id).await.expose()
    }

    /// The same of a guest that was launched with `host_data`.
    async fn launched(&self, host_data: HostData) -> String {
        rvp::attested(&self.ground, &self.broker, host_data).await.expose()
    }

    async fn owner(&self, id: &str) -> Option<String> {
        let row = self.ground.store.workload(&WorkloadId::new(id).unwrap()).await.unwrap().unwrap();
        Registration::from_bytes(&row.registration).unwrap().owner
    }
}

/// An event as API Gateway sends it by its default host and stage.
fn event(method: &str, route: &str, path: &str) -> Value {
    json!({
        "version": "2.0",
        "routeKey": format!("{method} {route}"),
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json", "host": HOST, "x-forwarded-proto": "https"},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdefghij",
            "domainName": HOST,
            "http": {
                "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1",
                "userAgent": "",
            },
            "requestId": "id=",
            "routeKey": format!("{method} {route}"),
            "stage": "$default",
            "time": "24/Nov/2026:10:00:00 +0000",
            "timeEpoch": 1_795_514_400_000_u64,
        },
        "isBase64Encoded": false,
    })
}

fn post(path: &str, body: &str) -> Value {
    let mut event = event("POST", path, path);
    event["body"] = body.into();
    event
}

fn key(path: &str, cookies: &[&str]) -> Value {
    let mut event = event("GET", "/kbs/v0/key/{workload_id}", path);
    event["cookies"] = cookies.into();
    event
}

fn registration(id: &str) -> String {
    let tee_config = r#"{"flags":{"bits":15},"minfw":{"major":0,"minor":0}}"#;
    let measurement = "4d".repeat(48);
    json!({
        "workload_id": id, "launch_measurement": measurement, "passphrase": "p", "tee_config": tee_config,
    })
    .to_string()
}

/// A body as rvp_cli sends it.
fn reference_values(resources: Value) -> String {
    json!({
        "query": ["data.measurement == input.measurement"],
        "reference_values": {"measurement": "4d".repeat(48)},
        "resources": resources,
    })
    .to_string()
}

/// The HOST_DATA of the registration that `reply` answers.
fn selected(reply: &Value) -> HostData {
    assert_eq!((&reply["statusCode"], &reply["isBase64Encoded"]), (&json!(200), &json!(false)), "{reply}");
    let body: String = serde_json::from_str(reply["body"].as_str().unwrap()).unwrap();
    let host_data = BASE64.decode(body.as_bytes()).unwrap().try_into().unwrap();
    HostData::from_report(&host_data).unwrap()
}

fn resource(path: &str, cookies: &[&str]) -> Value {
    let mut event = event("GET", "/kbs/v0/resource/{name}", path);
    event["cookies"] = cookies.into();
    event
}

const AUTH: &str = r#"{"extra-params":"{\"workload_id\":\"w\"}","tee":"snp","version":"0.0.0"}"#;

#[tokio::test]
async fn a_challenges_cookie_is_among_the_cookies_and_no_header() {
    let reply = world(Admission::OPEN).await.reply(post("/kbs/v0/auth", AUTH)).await;
    assert_eq!((&reply["statusCode"], &reply["isBase64Encoded"]), (&json!(200), &json!(false)));
    let [cookie] = reply["cookies"].as_array().unwrap().as_slice() else { panic!("{reply}") };
    assert!(cookie.as_str().unwrap().starts_with("session_id="), "{cookie}");
    assert!(reply["headers"].get("set-cookie").is_none());
    assert!(reply["body"].as_str().unwrap().starts_with(r#"{"nonce":""#), "{reply}");
    assert_eq!(reply["headers"]["content-type"], "application/json");
    assert_eq!(reply["headers"]["content-length"], reply["body"].as_str().unwrap().len().to_string());
}

#[tokio::test]
async fn a_keys_nul_survives_as_text() {
    let world = world(Admission::OPEN).await;
    world.registered("w").await;
    let cookie = format!("session_id={}", world.attested("w").await);
    // libkrun's guest sends its cookie twice.
    let reply = world.reply(key("/kbs/v0/key/w", &[&cookie, &cookie])).await;
    assert_eq!((&reply["statusCode"], &reply["isBase64Encoded"]), (&json!(200), &json!(false)), "{reply}");
    let body = reply["body"].as_str().unwrap();
    assert_eq!(body.len(), 1 + 512 + 2);
    assert!(body.ends_with("\"\0"));
    assert!(serde_json::to_string(&reply).unwrap().contains(r#"\"\u0000""#));
}

#[tokio::test]
async fn a_client_with_a_user_agent_gets_no_nul() {
    let world = world(Admission::OPEN).await;
    world.registered("w").await;
    let mut event = key("/kbs/v0/key/w", &[&format!("session_id={}", world.attested("w").await)]);
    event["headers"]["user-agent"] = "curl/8".into();
    assert!(world.reply(event).await["body"].as_str().unwrap().ends_with('"'));
}

#[tokio::test]
async fn cookies_may_come_as_a_header_too() {
    let world = world(Admission::OPEN).await;
    world.registered("w").await;
    let mut event = key("/kbs/v0/key/w", &[]);
    event["headers"]["cookie"] = format!("session_id={}", world.attested("w").await).into();
    assert_eq!(world.reply(event).await["statusCode"], 200);
}

#[tokio::test]
async fn two_sessions_in_the_cookies_are_refused() {
    let cookies = [(); 2].map(|()| format!("session_id={}", world::stranger().expose()));
    let cookies = cookies.each_ref().map(String::as_str);
    let reply = world(Admission::OPEN).await.reply(key("/kbs/v0/key/w", &cookies)).await;
    assert_eq!(reply["statusCode"], 400);
}

#[tokio::test]
async fn an_empty_success_has_an_empty_body_and_says_so() {
    let empty =
        || async { Response::builder().header(header::CONTENT_LENGTH, 0).body(Body::empty()).unwrap() };
    let router = Router::new().fallback(empty);
    let event: Event = serde_json::from_value(post("/kbs/v0/attest", "{}")).unwrap();
    let reply = serde_json::to_value(answer(router, event).await).unwrap();
    let expected = json!({
        "statusCode": 200, "headers": {"content-length": "0"}, "cookies": [], "body": "",
        "isBase64Encoded": false,
    });
    assert_eq!(reply, expected);
}

#[tokio::test]
async fn refusals_are_short_and_never_empty() {
    let world = world(Admission::OPEN).await;
    let events = [
        (401, key("/kbs/v0/key/w", &[])),
        (401, key("/kbs/v0/key/w", &[&format!("session_id={}", world::stranger().expose())])),
        (400, post("/kbs/v0/auth", "{")),
        (404, event("GET", "/elsewhere", "/elsewhere")),
        (405, event("GET", "/kbs/v0/auth", "/kbs/v0/auth")),
    ];
    for (status, event) in events {
        let reply = world.reply(event).await;
        assert_eq!(reply["statusCode"], status, "{reply}");
        assert!((3..=199).contains(&reply["body"].as_str().unwrap().len()), "{reply}");
        assert_eq!(reply["isBase64Encoded"], false);
    }
}

#[tokio::test]
async fn a_body_may_come_as_base64() {
    let world = world(Admission::OPEN).await;
    let mut event = post("/kbs/v0/register_workload", &BASE64.encode(registration("w").as_bytes()));
    event["isBase64Encoded"] = true.into();
    assert_eq!(world.reply(event).await["statusCode"], 200);
    assert_eq!(world.owner("w").await, None);
}

#[tokio::test]
async fn a_body_that_is_no_base64_or_no_utf_8_is_a_bad_request() {
    let world = world(Admission::OPEN).await;
    for body in ["!", &BASE64.encode(b"{\"tee\":\"\xff\"}")] {
        let mut event = post("/kbs/v0/auth", body);
        event["isBase64Encoded"] = true.into();
        assert_eq!(world.reply(event).await["statusCode"], 400, "{body}");
    }
}

#[tokio::test]
async fn an_event_without_a_body_is_a_bad_request() {
    let reply = world(Admission::OPEN).await.reply(event("POST", "/kbs/v0/auth", "/kbs/v0/auth")).await;
    assert_eq!(reply["statusCode"], 400);
}

#[tokio::test]
async fn a_prefix_of_the_route_is_stripped() {
    let world = world(Admission::OPEN).await;
    world.registered("w").await;
    let session = format!("session_id={}", world.attested("w").await);
    // A named stage; a custom domain's base path; both.
    for before in ["", "/prod", "/broker/v1", "/prod/broker"] {
        let mut event = key(&format!("{before}/kbs/v0/key/w"), &[&session]);
        event["requestContext"]["stage"] = "prod".into();
        assert_eq!(world.reply(event).await["statusCode"], 200, "{before}");
    }
}

#[tokio::test]
async fn without_a_matched_route_the_stage_is_stripped() {
    let world = world(Admission::OPEN).await;
    for (stage, path, status) in [
        ("$default", "/kbs/v0/auth", 200),
        ("prod", "/prod/kbs/v0/auth", 200),
        ("prod", "/kbs/v0/auth", 200),
        ("prod", "/production/kbs/v0/auth", 404),
    ] {
        let mut event = post("/kbs/v0/auth", AUTH);
        event["requestContext"]["routeKey"] = "$default".into();
        event["requestContext"]["stage"] = stage.into();
        event["rawPath"] = path.into();
        assert_eq!(world.reply(event).await["statusCode"], status, "{stage} {path}");
    }
}

/// A guest whose URL ends with a slash asks so.
#[tokio::test]
async fn a_second_slash_before_a_route_is_left_out_on_every_match() {
    let world = world(Admission::OPEN).await;
    world.registered("w").await;
    let session = format!("session_id={}", world.attested("w").await);
    let paths = [
        ("POST", "/kbs/v0/auth", "/kbs/v0/auth", 200),
        ("POST", "/kbs/v0/register_workload", "/kbs/v0/register_workload", 400),
        ("POST", "/rvp/register", "/rvp/register", 400),
        ("POST", "/kbs/v0/attest", "/kbs/v0/attest", 400),
        ("GET", "/kbs/v0/key/w", "/kbs/v0/key/{workload_id}", 200),
        // The other dialect's session.
        ("GET", "/kbs/v0/resource/disk", "/kbs/v0/resource/{name}", 401),
    ];
    for (method, path, route, status) in paths {
        for (before, matched) in [
            ("/", true),
            ("//", true),
            ("/prod/", true),
            ("/broker/v1/", true),
            ("/", false),
            ("//", false),
            ("/prod/", false),
        ] {
            let mut event = match (method, path) {
                ("POST", "/kbs/v0/auth") => post(path, AUTH),
                ("POST", _) => post(path, "{}"),
                (_, "/kbs/v0/key/w") => key(path, &[&session]),
                _ => resource(path, &[&session]),
            };
            if path == "/kbs/v0/attest" {
                event["cookies"] = json!([session]);
            }
            event["rawPath"] = format!("{before}{path}").into();
            event["requestContext"]["stage"] = "prod".into();
            let key = if matched { format!("{method} {route}") } else { "$default".to_owned() };
            event["requestContext"]["routeKey"] = key.into();
            assert_eq!(world.reply(event).await["statusCode"], status, "{before}{path}, matched: {matched}");
        }
    }
    let mut further_in = key("/kbs/v0//key/w", &[&session]);
    further_in["requestContext"]["routeKey"] = "$default".into();
    assert_eq!(world.reply(further_in).await["statusCode"], 404);
    // Signed registration, as API Gateway authorised it.
    let mut signed = post("/kbs/v0/register_workload", "{}");
    signed["rawPath"] = "//iam/kbs/v0/register_workload".into();
    signed["requestContext"]["routeKey"] = "POST /iam/kbs/v0/register_workload".into();
    assert_eq!(world.reply(signed).await["statusCode"], 400);
}

#[tokio::test]
async fn an_id_arrives_decoded_or_encoded() {
    let world = world(Admission::OPEN).await;
    world.registered("w{ü}").await;
    let session = format!("session_id={}", world.attested("w{ü}").await);
    for path in ["/kbs/v0/key/w{ü}", "/kbs/v0/key/w%7B%C3%BC%7D"] {
        assert_eq!(world.reply(key(path, &[&session])).await["statusCode"], 200, "{path}");
    }
}

#[tokio::test]
async fn no_event_ends_the_function() {
    let world = world(Admission::OPEN).await;
    for path in ["", "no slash", "//", "/kbs/v0/key/\u{0}", "/kbs/v0/key/?#", "/kbs/v0/key/%", "/%zz"] {
        let reply = world.reply(key(path, &[])).await;
        assert!(reply["statusCode"].as_u64().unwrap() >= 400, "{path:?}: {reply}");
    }
    let mut odd = post("/kbs/v0/auth", AUTH);
    odd["headers"]["host"] = "[".into();
    odd["headers"]["x-forwarded-proto"] = "a b".into();
    odd["headers"]["a b"] = "x".into();
    odd["headers"]["line"] = "a\r\nb".into();
    odd["rawQueryString"] = "\u{0} {".into();
    assert_eq!(world.reply(odd).await["statusCode"], 200);
    let mut method = post("/kbs/v0/auth", AUTH);
    method["requestContext"]["http"]["method"] = "A B".into();
    assert_eq!(world.reply(method).await["statusCode"], 404);
}

#[test]
fn an_event_of_another_format_is_none() {
    let first = json!({"version": "1.0", "path": "/kbs/v0/auth", "httpMethod": "POST", "requestContext": {}});
    assert!(serde_json::from_value::<Event>(first).is_err());
}

#[tokio::test]
async fn a_resource_is_answered_with_text_and_no_nul() {
    let world = world(Admission::OPEN).await;
    let body = reference_values(json!({"disk": "secret", "certificate": "c".repeat(4000)}));
    let host_data = selected(&world.reply(post("/rvp/register", &body)).await);
    let cookie = format!("kbs-session-id={}", world.launched(host_data).await);
    for (name, encrypted_key) in [("disk", 0), ("certificate", 342)] {
        let reply = world.reply(resource(&format!("/kbs/v0/resource/{name}"), &[&cookie])).await;
        assert_eq!(
            (&reply["statusCode"], &reply["isBase64Encoded"]),
            (&json!(200), &json!(false)),
            "{reply}"
        );
        assert_eq!(reply["headers"]["content-type"], "application/json");
        let body: Value = serde_json::from_str(reply["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["encrypted_key"].as_str().unwrap().len(), encrypted_key, "{name}");
        assert!(!body["ciphertext"].as_str().unwrap().is_empty());
    }
    // The other dialect's cookie is none here, nor is this one there.
    let other = cookie.replace("kbs-session-id", "session_id");
    for event in [resource("/kbs/v0/resource/disk", &[&other]), key("/kbs/v0/key/disk", &[&cookie])] {
        assert_eq!(world.reply(event).await["statusCode"], 401);
    }
    let event = resource("/kbs/v0/resource/disk", &[]);
    assert_eq!(world.reply(event).await["statusCode"], 401);
}

#[tokio::test]
async fn reference_values_may_come_as_base64() {
    let world = world(Admission::OPEN).await;
    let body = reference_values(json!({"disk": "secret"}));
    let mut event = post("/rvp/register", &BASE64.encode(body.as_bytes()));
    event["isBase64Encoded"] = true.into();
    let host_data = selected(&world.reply(event).await);
    assert_eq!(world.owner(host_data.workload_id().as_str()).await, None);
}

/// Longer than what the other routes take. Each quote is two characters of JSON.
#[tokio::test]
async fn a_long_registration_by_reference_values_arrives() {
    let world = world(Admission::OPEN).await;
    let resources = |length| {
        let names = (0..16).map(|index| format!("r{index}"));
        names.map(|name| (name, json!("\"".repeat(length)))).collect::<Value>()
    };
    let longest = reference_values(resources(4000));
    assert!(longest.len() > keybroker_common::http::BODY_LIMIT);
    selected(&world.reply(post("/rvp/register", &longest)).await);
    let beyond = post("/rvp/register", &reference_values(resources(6_200)));
    assert_eq!(world.reply(beyond).await["statusCode"], 413);
}

#[tokio::test]
async fn a_prefix_of_the_routes_of_reference_values_is_stripped() {
    let world = world(Admission::OPEN).await;
    for before in ["", "/prod", "/broker/v1", "/prod/broker"] {
        let mut event = post("/rvp/register", &reference_values(json!({"disk": "secret"})));
        event["rawPath"] = format!("{before}/rvp/register").into();
        event["requestContext"]["stage"] = "prod".into();
        let host_data = selected(&world.reply(event).await);
        let cookie = format!("kbs-session-id={}", world.launched(host_data).await);
        let mut event = resource(&format!("{before}/kbs/v0/resource/disk"), &[&cookie]);
        event["requestContext"]["stage"] = "prod".into();
        assert_eq!(world.reply(event).await["statusCode"], 200, "{before}");
    }
}

/// A panic that nothing in the router has met: the runtime would print all that it says.
#[tokio::test]
async fn a_panic_is_a_reply_of_500_and_the_next_event_is_answered() {
    async fn panics() -> StatusCode {
        panic!("made to")
    }
    let router = Router::new().route("/panics", get(panics)).route("/well", get(async || StatusCode::OK));
    let ask = async |path| {
        let event: Event = serde_json::from_value(event("GET", path, path)).unwrap();
        serde_json::to_value(answer(router.clone(), event).await).unwrap()
    };
    let reply = ask("/panics").await;
    assert_eq!(
        (&reply["statusCode"], &reply["body"]),
        (&json!(500), &json!(r#"{"error":"internal error"}"#))
    );
    assert_eq!(ask("/well").await["statusCode"], 200);
}
