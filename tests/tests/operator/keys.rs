//! `keybroker keys`, on each kind of store; and what a rotation means for guests under way.

use keybroker_common::keyring::{Keyring, Purpose, ResultKey};
use keybroker_simulator::guest::PoliteGuest;
use keybroker_tests::{
    operator::{Contents, Operator},
    unique,
    world::World,
};
use serde_json::{Value, json};

/// The ring of this name, as `keys list` shows it.
fn ring(operator: &Operator, name: &str) -> Value {
    let listed = operator.json(&["keys", "list"]);
    let rings = listed["rings"].as_array().unwrap();
    rings.iter().find(|ring| ring["ring"] == name).unwrap_or_else(|| panic!("{listed}")).clone()
}

fn numbers(ring: &Value) -> Vec<u64> {
    ring["keys"].as_array().unwrap().iter().map(|key| key["number"].as_u64().unwrap()).collect()
}

/// The records of rotations, oldest first.
fn turns(operator: &Operator) -> Vec<Value> {
    let records = operator.json(&["audit", "--since", "1h"])["records"].clone();
    let turned = |record: &&Value| record["decision"] == "keys_turned";
    records.as_array().unwrap().iter().filter(turned).cloned().collect()
}

#[tokio::test]
async fn rings_are_listed_and_turned_and_each_turn_is_on_record() {
    let rings = Purpose::TURNING.map(|purpose| (purpose, a_ring(purpose)));
    let contents = Contents { rings: rings.to_vec(), ..Contents::default() };
    for operator in Operator::everywhere(&contents).await {
        let kind = operator.kind;
        let challenge = ring(&operator, "challenge");
        assert_eq!((numbers(&challenge), &challenge["due"]), (vec![1], &json!(false)), "{kind}");
        assert_eq!(challenge["keys"][0]["state"], "used", "{kind}");
        let table = operator.out(&["keys", "list"]);
        let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[0],
            ["RING", "NUMBER", "MADE", "USED", "SINCE", "STATE", "KEY", "ID"],
            "{kind}: {table}"
        );
        let names: Vec<_> = lines[1..].iter().map(|line| line[0]).collect();
        assert_eq!(names, ["challenge", "session", "result"], "{kind}: {table}");
        // Third parties know the key of results by this name.
        let result = ring(&operator, "result");
        assert_eq!(lines[3].last(), result["keys"][0]["key_id"].as_str().as_ref(), "{kind}: {table}");
        // The bytes that stand for the wrapped key.
        for shown in [table, operator.json(&["keys", "list"]).to_string()] {
            assert!(!shown.contains("xcXFxcXF") && !shown.contains("c5c5c5c5"), "{kind}: {shown}");
        }

        operator.out(&["keys", "rotate", "session"]);
        let session = ring(&operator, "session");
        assert_eq!((numbers(&session), &session["due"]), (vec![1], &json!(true)), "{kind}");
        assert_eq!(ring(&operator, "challenge"), challenge, "{kind}: the other ring is as it was");

        // Without a terminal nobody can confirm, and --dry-run changes nothing.
        let refused = operator.run(&["keys", "rotate", "--now"]);
        assert!(refused.code == Some(2) && refused.log.contains("must start again"), "{kind}: {refused:?}");
        let dry = operator.run(&["keys", "rotate", "--now", "--dry-run"]);
        assert!(dry.code == Some(0) && dry.log.contains("would count"), "{kind}: {dry:?}");
        assert_eq!((ring(&operator, "challenge"), turns(&operator).len()), (challenge, 1), "{kind}");

        operator.out(&["keys", "rotate", "--now", "--yes"]);
        for name in ["challenge", "session", "result"] {
            let emptied = ring(&operator, name);
            assert_eq!((numbers(&emptied), &emptied["due"]), (vec![], &json!(true)), "{kind}");
        }
        let turns = turns(&operator);
        let acts: Vec<_> = turns.iter().map(|record| record["act"]["turned"].clone()).collect();
        let act = |ring: &str, at_once: bool| json!({"ring": ring, "at_once": at_once});
        let at_once = ["challenge", "session", "result"].map(|ring| act(ring, true));
        assert_eq!(acts, [vec![act("session", false)], at_once.to_vec()].concat(), "{kind}");
        let expected = if kind == "aws" { "aws-access-key/test" } else { "uid/" };
        assert!(turns[0]["principal"].as_str().unwrap().starts_with(expected), "{kind}: {turns:?}");
        let words = operator.out(&["audit", turns[1]["id"].as_str().unwrap()]);
        assert!(words.contains("The broker's keys of the ring challenge were dropped by "), "{words}");

        // As earlier releases took the name.
        let again = operator.run(&["keys", "rotate", "--ring", "challenge"]);
        assert!(again.code == Some(0) && again.log.contains("there is no key yet"), "{kind}: {again:?}");
    }
}

/// A ring with the key 1, just made.
pub(crate) fn a_ring(purpose: Purpose) -> Keyring {
    let wrapped = keybroker_common::secret::WrappedSecret {
        key_id: "local:0123456789abcdef".to_owned(),
        ciphertext: vec![0xC5; 60],
    };
    let (ring, now) = (Keyring::default(), jiff::Timestamp::now());
    if purpose == Purpose::Result {
        ring.with_result(wrapped, ResultKey::generate().unwrap().public().clone(), now)
    } else {
        ring.with(wrapped, now)
    }
}

#[tokio::test]
async fn a_store_without_keys_has_none_to_rotate() {
    let operator = Operator::file(&Contents::default()).await;
    let listed = operator.run(&["keys", "list"]);
    assert!(listed.out.is_empty() && listed.log.contains("session: there is no key, "), "{listed:?}");
    let ended = operator.run(&["keys", "rotate", "--now", "--yes"]);
    assert!(ended.code == Some(0) && ended.log.contains("there is no key yet"), "{ended:?}");
    assert_eq!(turns(&operator), Vec::<Value>::new());
    for arguments in [
        &["keys"][..],
        &["keys", "rotate", "secrets"],
        &["keys", "rotate", "session", "--ring", "session"],
        &["keys", "list", "--now"],
    ] {
        assert_eq!(operator.run(arguments).code, Some(2), "{arguments:?}");
    }
}

/// The broker that comes next has learned it; one that runs learns it within a minute.
async fn restarted(world: World) -> World {
    let (server, home, kds) = world.into_parts();
    server.terminate();
    World::over(home, kds, &[])
}

async fn challenged(world: &World, id: &str) -> PoliteGuest {
    let mut guest = world.polite(id, world.milan());
    guest.auth().await.unwrap();
    guest
}

async fn attested(world: &World, id: &str) -> PoliteGuest {
    let guest = challenged(world, id).await;
    guest.attest().await.unwrap();
    guest
}

#[tokio::test]
async fn guests_go_on_over_a_rotation_in_time() {
    let mut world = World::serve(&[]);
    let id = unique("w");
    let passphrase = world.register(&id).await.into_bytes();
    let (mut challenged, mut attested) = (challenged(&world, &id).await, attested(&world, &id).await);
    Operator::of(&world).out(&["keys", "rotate"]);
    world = restarted(world).await;
    let challenged = world.adopt(&mut challenged);
    let attested = world.adopt(&mut attested);
    challenged.attest().await.unwrap();
    for guest in [&challenged, &attested] {
        assert_eq!(guest.key().await, Ok(passphrase.clone()));
    }
    let operator = Operator::of(&world);
    for name in ["challenge", "session"] {
        let turned = ring(&operator, name);
        assert_eq!((numbers(&turned), &turned["keys"][1]["state"]), (vec![1, 2], &json!("next")), "{turned}");
    }
}

#[tokio::test]
async fn guests_start_again_after_a_stolen_challenge_key_was_dropped() {
    let mut world = World::serve(&[]);
    let id = unique("w");
    let passphrase = world.register(&id).await.into_bytes();
    let (mut challenged, mut attested) = (challenged(&world, &id).await, attested(&world, &id).await);
    Operator::of(&world).out(&["keys", "rotate", "challenge", "--now", "--yes"]);
    world = restarted(world).await;
    let challenged = world.adopt(&mut challenged);
    let attested = world.adopt(&mut attested);
    for answer in [challenged.attest().await.map(drop), attested.key().await.map(drop)] {
        assert!(
            matches!(answer, Err(keybroker_simulator::guest::Error::Refused(said)) if said.status == 401)
        );
    }
    assert_eq!(world.polite(&id, world.milan()).boot().await, Ok(passphrase));
    assert_eq!(numbers(&ring(&Operator::of(&world), "challenge")), [2]);
}

#[tokio::test]
async fn guests_that_attested_start_again_after_a_stolen_session_key_was_dropped() {
    let mut world = World::serve(&[]);
    let id = unique("w");
    let passphrase = world.register(&id).await.into_bytes();
    let (mut challenged, mut attested) = (challenged(&world, &id).await, attested(&world, &id).await);
    Operator::of(&world).out(&["keys", "rotate", "session", "--now", "--yes"]);
    world = restarted(world).await;
    let challenged = world.adopt(&mut challenged);
    let attested = world.adopt(&mut attested);
    world.assert_refused(attested.key().await, (401, "session"));
    // A challenge does not depend on this ring.
    challenged.attest().await.unwrap();
    assert_eq!(challenged.key().await, Ok(passphrase));
}
