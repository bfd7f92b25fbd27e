//! Guests of Trustee's: a workload's id in the path, an attestation result in the Authorization header, and
//! evidence of half a megabyte.

use keybroker_common::http::EVIDENCE_LIMIT;
use keybroker_simulator::guest::{
    Machine,
    trustee::{Jwe, KbsVersion, KeyForm, TrusteeGuest},
};

use super::*;

/// The templates of the routes, as API Gateway names them.
const AUTH_OF: &str = "/w/{workload_id}/kbs/v0/auth";
const ATTEST_OF: &str = "/w/{workload_id}/kbs/v0/attest";
const RESOURCE_OF: &str = "/w/{workload_id}/kbs/v0/resource/{repository}/{type}/{tag}";
const NAMED_RESOURCE: &str = "/kbs/v0/resource/{repository}/{type}/{tag}";

/// A request for `path`, which API Gateway matched to `route`.
fn matched(method: &str, route: &str, path: &str, body: Option<&str>) -> Value {
    let mut event = event(method, route, path);
    if let Some(body) = body {
        // As an API does for which a media type is binary.
        event["body"] = BASE64.encode(body.as_bytes()).into();
        event["isBase64Encoded"] = true.into();
    }
    event
}

fn guest(world: &World) -> TrusteeGuest {
    let hardware = &world.ground.hardware;
    let machine = Machine::new(&hardware.amd, &hardware.chip);
    TrusteeGuest::new("http://127.0.0.1:9", KbsVersion::V0_4_0, KeyForm::P256, machine).unwrap()
}

async fn registered(world: &World, id: &str) {
    let body = json!({
        "workload_id": id,
        "dialects": ["trustee"],
        "measurements": ["4d".repeat(48)],
        "resources": {"default/key/tls": "the key"},
    });
    let reply = world.reply(post("/rvp/register", &body.to_string())).await;
    assert_eq!(reply["statusCode"], 200, "{reply}");
}

/// The guest's cookie and attestation result.
async fn attested(world: &World, guest: &mut TrusteeGuest, before: &str) -> (String, String) {
    let body = guest.auth_request().body();
    let asked = matched("POST", AUTH_OF, &format!("{before}/kbs/v0/auth"), Some(&body));
    let reply = world.reply(asked).await;
    assert_eq!(reply["statusCode"], 200, "{reply}");
    let cookie = reply["cookies"][0].as_str().unwrap().split(';').next().unwrap().to_owned();
    let challenge: Value = serde_json::from_str(reply["body"].as_str().unwrap()).unwrap();
    guest.nonce = Some(challenge["nonce"].as_str().unwrap().to_owned());
    // Blanks behind the body change nothing but its length.
    let mut body = guest.attestation().unwrap().body();
    body += &" ".repeat(EVIDENCE_LIMIT - body.len());
    let mut long =
        matched("POST", ATTEST_OF, &format!("{before}/kbs/v0/attest"), Some(&(body.clone() + " ")));
    long["cookies"] = json!([cookie]);
    let reply = world.reply(long).await;
    assert_eq!(reply["statusCode"], 413, "{reply}");
    assert!(reply["body"].as_str().unwrap().contains("PayloadTooLarge"), "{reply}");
    let mut sent = matched("POST", ATTEST_OF, &format!("{before}/kbs/v0/attest"), Some(&body));
    sent["cookies"] = json!([cookie]);
    let reply = world.reply(sent).await;
    assert_eq!(reply["statusCode"], 200, "{reply}");
    let answer: Value = serde_json::from_str(reply["body"].as_str().unwrap()).unwrap();
    (cookie, answer["token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_guest_whose_url_names_its_workload_boots_with_either_credential() {
    let world = world(Admission::OPEN).await;
    registered(&world, "w{ü}").await;
    // API Gateway decodes the path, other servers of events may not; a stage or a base path may stand before.
    for before in ["/w/w{ü}", "/w/w%7B%C3%BC%7D", "/prod/w/w{ü}"] {
        let mut guest = guest(&world);
        let (cookie, result) = attested(&world, &mut guest, before).await;
        let named = matched("GET", RESOURCE_OF, &format!("{before}/kbs/v0/resource/default/key/tls"), None);
        let plain = matched("GET", NAMED_RESOURCE, "/kbs/v0/resource/default/key/tls", None);
        for asked in [named, plain] {
            let mut by_cookie = asked.clone();
            by_cookie["cookies"] = json!([cookie]);
            let mut by_result = asked.clone();
            by_result["headers"]["authorization"] = format!("Bearer {result}").into();
            for event in [by_cookie, by_result] {
                let reply = world.reply(event).await;
                assert_eq!((&reply["statusCode"], &reply["isBase64Encoded"]), (&json!(200), &json!(false)));
                let jwe = Jwe::parse(reply["body"].as_str().unwrap().as_bytes()).unwrap();
                assert_eq!(jwe.open(KbsVersion::V0_4_0.jwe(), &guest.key), Ok(b"the key".to_vec()));
            }
            let reply = world.reply(asked).await;
            assert_eq!(reply["statusCode"], 401, "{reply}");
        }
    }
}

/// However its slashes come, an id in the path names one workload, and the path leads to one route.
#[tokio::test]
async fn an_id_with_a_slash_names_no_workload() {
    let world = world(Admission::OPEN).await;
    let body = guest(&world).auth_request().body();
    for (path, status) in [
        ("/w/web/kbs/v0/auth", 200),
        ("/w/a/b/kbs/v0/auth", 404),
        ("/w/a%2Fb/kbs/v0/auth", 401),
        ("/w/../kbs/v0/auth", 401),
        ("/w/%2e%2e/kbs/v0/auth", 401),
        ("/w//kbs/v0/auth", 401),
        ("/w/a\\b/kbs/v0/auth", 401),
        ("/w/a?b/kbs/v0/auth", 401),
        ("/w/a#b/kbs/v0/auth", 401),
        ("/w/%ff/kbs/v0/auth", 404),
    ] {
        let reply = world.reply(matched("POST", AUTH_OF, path, Some(&body))).await;
        assert_eq!(reply["statusCode"], status, "{path}: {reply}");
    }
}

#[tokio::test]
async fn the_keys_of_attestation_results_are_shown() {
    let reply = world(Admission::OPEN).await.reply(event("GET", "/kbs/v0/jwks", "/kbs/v0/jwks")).await;
    assert_eq!(
        (&reply["statusCode"], &reply["headers"]["content-type"]),
        (&json!(200), &json!("application/json"))
    );
    let keys: Value = serde_json::from_str(reply["body"].as_str().unwrap()).unwrap();
    assert_eq!(keys["keys"][0]["crv"], "P-256", "{keys}");
}
