//! Tokens on each kind of broker, from the operator's command to the guest: what a build can do with a token,
//! and what the token in the image can still do.

use data_encoding::BASE64;
use keybroker_simulator::{build::Buildah, http::Response};
use keybroker_tests::{
    operator::Operator,
    passphrase, remote, skip, unique,
    world::{MEASUREMENT, World, audit_id},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Makes a token with these further arguments. Returns the document that `--json` prints.
fn made(world: &World, arguments: &[&str]) -> Value {
    let operator = Operator::of(world);
    let created = operator.json(&[&["token", "create", "--url", &world.url], arguments].concat());
    assert_eq!(created["token"].as_str().unwrap().len(), 14, "{created}");
    created
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

/// Registers as buildah does, with the token's URL.
async fn build(token: &Value, id: &str, passphrase: &str) -> Response {
    Buildah::new(text(token, "url"), id, &MEASUREMENT, passphrase).register().await.unwrap()
}

/// Asserts that the broker refused the token as it refuses every invalid one, and recorded this cause.
fn assert_turned_away(world: &World, response: &Response, cause: &str) {
    assert_eq!(response.status, 401, "{}", response.text());
    assert_eq!(response.header("www-authenticate"), ["Bearer"]);
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(body, json!({ "error": "not authenticated", "id": audit_id(&response.text()) }));
    if let Some(record) = world.audit(&response.text()) {
        assert_eq!(record["failed"], json!({ "check": "token", "cause": cause }), "{record}");
    }
}

const FOREIGN: &str = "the token is another workload's";
const RELEASED: &str = "a guest has attested as what the token registered";
const UNKNOWN: &str = "there is no such token";

/// The whole life of a token: `buildah --layers` posts twice, the guest gets the second passphrase, and the
/// token in the image can do nothing more.
#[tokio::test]
async fn a_token_registers_a_build_and_ends_when_its_guest_attests() {
    let world = World::start();
    let (token, id, second) = (made(&world, &[]), unique("w"), passphrase());
    assert_eq!(build(&token, &id, &passphrase()).await.status, 200);
    assert_eq!(build(&token, &id, &second).await.status, 200);
    assert_eq!(world.krun(&id, world.milan()).boot().await, Ok(second.clone().into_bytes()));

    assert_turned_away(&world, &build(&token, &id, "mine").await, RELEASED);
    assert_turned_away(&world, &build(&token, &unique("w"), "mine").await, FOREIGN);
    assert_eq!(
        world.krun(&id, world.milan()).boot().await,
        Ok(second.into_bytes()),
        "the registration has not changed"
    );

    let operator = Operator::of(&world);
    let shown = operator.json(&["workload", "show", &id]);
    assert_eq!(shown["owner"], format!("token/{}", text(&token, "id")), "{shown}");
    let of_token = operator.json(&["token", "show", text(&token, "id")]);
    assert_eq!((&of_token["state"], &of_token["bound_to"]), (&json!("used"), &json!(id)), "{of_token}");
    assert_eq!(of_token["registered"]["registration"], shown["registration"], "the second of the two");
}

/// A token that is read out of the image before the first guest attests can only change the passphrase, which
/// is a denial of service.
#[tokio::test]
async fn a_token_from_an_image_cannot_change_the_measurement() {
    let world = World::start();
    let (token, id) = (made(&world, &[]), unique("w"));
    assert_eq!(build(&token, &id, "first").await.status, 200);
    let other = Buildah::new(text(&token, "url"), &id, &[0x66; 48], "mine").register().await.unwrap();
    assert_eq!(other.status, 409, "{}", other.text());
}

#[tokio::test]
async fn a_token_is_taken_from_either_half_of_basic_and_from_bearer() {
    let world = World::start();
    let basic = |pair: String| format!("Authorization: Basic {}", BASE64.encode(pair.as_bytes()));
    let forms: [&dyn Fn(&str) -> String; 4] = [
        &|token| basic(format!("x:{token}")),
        &|token| basic(format!("{token}:")),
        &|token| basic(format!("{token}:x")),
        &|token| format!("Authorization: Bearer {token}"),
    ];
    for form in forms {
        let (token, id) = (made(&world, &[]), unique("w"));
        let body = world.build(&id, "p").body();
        let header = form(text(&token, "token"));
        let response = world.ask("POST", "/kbs/v0/register_workload", &[&header], Some(&body));
        assert_eq!(response.status, 200, "{}", response.text());
        assert!(Operator::of(&world).json(&["workload", "show", &id])["owner"].is_string());
    }
}

/// The answer to each invalid token is the same.
#[tokio::test]
async fn an_unknown_revoked_or_foreign_token_is_401() {
    let world = World::start();
    let operator = Operator::of(&world);
    let unknown = json!({ "url": world.url.replace("://", "://x:AAAAAAAAAAAAAA@") });
    assert_turned_away(&world, &build(&unknown, &unique("w"), "p").await, UNKNOWN);

    let revoked = made(&world, &[]);
    operator.out(&["token", "revoke", text(&revoked, "id")]);
    assert_turned_away(&world, &build(&revoked, &unique("w"), "p").await, "the token is revoked");

    let foreign = made(&world, &["--workload-id", &unique("w")]);
    assert_turned_away(&world, &build(&foreign, &unique("w"), "p").await, FOREIGN);
}

/// No sleep is needed: the token has expired when it is made.
#[tokio::test]
async fn a_token_that_has_expired_is_401() {
    let world = World::start();
    let token = made(&world, &["--ttl", "1ns"]);
    assert_turned_away(&world, &build(&token, &unique("w"), "p").await, "the token's time is up");
    let all = Operator::of(&world).json(&["token", "list", "--all"]);
    let listed = all["tokens"].as_array().unwrap().iter().find(|row| row["id"] == token["id"]).unwrap();
    assert_eq!(listed["state"], "expired", "{listed}");
}

#[tokio::test]
async fn a_token_for_an_id_takes_that_id_over() {
    let world = World::start();
    let id = unique("w");
    world.boots_a_guest(&id).await;
    // A guest has attested, so neither an anonymous build nor another token can replace the registration.
    assert_eq!(world.build(&id, "p").register().await.unwrap().status, 409);
    assert_eq!(build(&made(&world, &[]), &id, "p").await.status, 409);
    let (token, next) = (made(&world, &["--workload-id", &id]), passphrase());
    assert_eq!(build(&token, &id, &next).await.status, 200);
    assert_eq!(world.krun(&id, world.milan()).boot().await, Ok(next.into_bytes()));
}

#[tokio::test]
async fn one_token_used_for_many_ids_at_once_registers_exactly_one() {
    let world = World::start();
    let token = made(&world, &[]);
    let mut builds = JoinSet::new();
    // All tests of a deployment share its instances and their limit for failed authentication.
    let count = if remote::url().is_some() { 30 } else { 100 };
    for _ in 0..count {
        let (token, id) = (token.clone(), unique("w"));
        builds.spawn(async move { (id.clone(), build(&token, &id, "p").await) });
    }
    let answers = builds.join_all().await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|(_, response)| response.status == 200);
    let statuses: Vec<_> = lost.iter().map(|(_, response)| response.status).collect();
    assert_eq!(won.len(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
    let operator = Operator::of(&world);
    for (id, response) in &answers {
        let shown = operator_has(&operator, id);
        assert_eq!(shown, response.status == 200, "{id}");
    }
}

/// One listing would be faster, but a person would ask for each id.
fn operator_has(operator: &Operator, id: &str) -> bool {
    operator.run(&["workload", "show", id]).code == Some(0)
}

/// Each registration of reference values has an id of its own, and a token registers one id.
#[tokio::test]
async fn a_token_registers_by_reference_values_once() {
    let world = World::start();
    let token = made(&world, &[]);
    let header = format!("Authorization: Bearer {}", text(&token, "token"));
    let body = json!({
        "query": ["data.measurement == input.measurement"],
        "reference_values": { "measurement": "4d".repeat(48) },
        "resources": { "secret": "open sesame" },
    })
    .to_string();
    let register = || world.ask("POST", "/rvp/register", &[&header], Some(&body));
    assert_eq!(register().status, 200);
    assert_turned_away(&world, &register(), FOREIGN);
}

/// In the mode `token`, a registration without a token is refused.
#[tokio::test]
async fn without_a_token_nobody_registers_in_token_mode() {
    let Some(world) = World::with(&["--registration", "token"], "a broker that takes tokens alone") else {
        return;
    };
    let response = world.build(&unique("w"), "p").register().await.unwrap();
    assert_eq!(response.status, 401);
    let record = world.audit(&response.text()).unwrap();
    assert_eq!(record["failed"]["check"], "principal", "{record}");
    let id = unique("w");
    assert_eq!(build(&made(&world, &[]), &id, "open sesame").await.status, 200);
    assert_eq!(world.krun(&id, world.milan()).boot().await, Ok(b"open sesame".to_vec()));
}

/// Clients with wrong tokens cannot fill the log, and cannot keep builds out.
#[tokio::test]
async fn a_flood_of_wrong_tokens_is_429_and_a_right_one_goes_through() {
    if remote::url().is_some() {
        skip("a flood: each instance of a function counts for itself");
        return;
    }
    let world = World::start();
    let wrong = json!({ "url": world.url.replace("://", "://x:AAAAAAAAAAAAAA@") });
    let id = unique("w");
    let mut on_record = 0;
    let last = loop {
        let response = build(&wrong, &id, "p").await;
        if response.status != 401 {
            break response;
        }
        on_record += 1;
        assert!(on_record < 100);
    };
    assert_eq!(last.status, 429);
    assert!(last.header("retry-after")[0].parse::<u64>().unwrap() > 0);
    assert!((3..=199).contains(&last.body.len()));
    assert_eq!(build(&made(&world, &[]), &id, "p").await.status, 200);
}
