//! buildah's requests and the answers that it must get.

use keybroker_simulator::build::{Buildah, tee_config};
use keybroker_tests::{passphrase, remote, unique, world::World};
use serde_json::Value;

#[tokio::test]
async fn a_registration_is_answered_with_200_and_the_audit_id() {
    let world = World::start();
    let response = world.build(&unique("w"), "open sesame").register().await.unwrap();
    assert_eq!(response.status, 200, "buildah takes 200 and 202 for success, not 201 and not 204");
    assert_eq!(response.header("content-length"), [response.body.len().to_string()]);
    assert_eq!(response.header("content-type"), ["application/json"]);
    assert!(!response.chunked);
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["id"], "{body}");
    assert_eq!(body["id"].as_str().unwrap().len(), 36, "{body}");
}

#[tokio::test]
async fn the_second_post_of_a_build_sets_the_passphrase() {
    let world = World::start();
    let id = unique("w");
    world.register(&id).await;
    let second = world.register(&id).await;
    assert_eq!(world.krun(&id, world.milan()).boot().await, Ok(second.into_bytes()));
}

#[tokio::test]
async fn ids_of_64_hex_digits_are_accepted() {
    let world = World::start();
    let id = passphrase();
    let passphrase = world.register(&id).await;
    // With a long host name, the URL would not fit into libkrun's buffer, so the other guest asks.
    assert_eq!(world.polite(&id, world.milan()).boot().await, Ok(passphrase.into_bytes()));
}

#[tokio::test]
async fn ids_may_hold_what_a_url_carries_unescaped() {
    let world = World::start();
    for id in ["a.b_c~d", "a:b@c+d", "a=b&c;d", "a(b)!*,$'", "z\u{fc}rich"] {
        if !id.is_ascii() && remote::decides("a path that is not ASCII") {
            continue;
        }
        let id = unique(id);
        let passphrase = world.register(&id).await;
        assert_eq!(world.krun(&id, world.milan()).boot().await, Ok(passphrase.into_bytes()), "{id}");
    }
}

#[tokio::test]
async fn credentials_in_the_url_do_no_harm() {
    let world = World::start();
    let (id, passphrase) = (unique("w"), passphrase());
    let mut build = world.build(&id, &passphrase);
    build.url = world.url.replace("http://", "http://build:token@");
    let response = build.register().await.unwrap();
    assert!(Buildah::accepts(&response), "{}", response.text());
    assert_eq!(world.krun(&id, world.milan()).boot().await, Ok(passphrase.into_bytes()));
}

#[tokio::test]
async fn passphrases_arrive_as_they_were_registered() {
    let world = World::start();
    let passphrases = [
        "x",
        "b+a/s/e64==",
        "Go escapes <these> & \u{2028}\u{2029}",
        "quotes \" and \\ and \u{7}",
        "caf\u{e9} \u{1f511}",
        " spaces at both ends ",
        &"e".repeat(245),
        &"\u{e9}".repeat(122),
    ];
    for passphrase in passphrases {
        let id = unique("w");
        let response = world.build(&id, passphrase).register().await.unwrap();
        assert!(Buildah::accepts(&response), "{passphrase:?}: {}", response.text());
        let received = world.krun(&id, world.milan()).boot().await.unwrap();
        assert_eq!(String::from_utf8(received).unwrap(), passphrase);
    }
}

#[tokio::test]
async fn measurements_may_be_written_in_capitals() {
    let world = World::start();
    let (id, passphrase) = (unique("w"), passphrase());
    let mut build = world.build(&id, &passphrase);
    build.launch_measurement.make_ascii_uppercase();
    assert!(Buildah::accepts(&build.register().await.unwrap()));
    assert_eq!(world.krun(&id, world.milan()).boot().await, Ok(passphrase.into_bytes()));
}

#[tokio::test]
async fn tee_config_asks_for_more_than_the_floor() {
    let world = World::start();
    let abi = |major, minor| {
        tee_config(15).replace(r#""major":0,"minor":0"#, &format!(r#""major":{major},"minor":{minor}"#))
    };
    // The registration's tee_config, the guest's policy, and the check that it fails.
    let rows = [
        (tee_config(15), 0x3_0000, None),
        (tee_config(1), 0x3_0000, None),
        (tee_config(14), 0x3_0000, Some("guest-policy-smt")),
        (tee_config(0), 0x3_0000, Some("guest-policy-smt")),
        (tee_config(14), 0x2_0000, None),
        (abi(1, 51), 0x3_0000, Some("guest-policy-abi")),
        (abi(1, 51), 0x3_0132, Some("guest-policy-abi")),
        (abi(1, 51), 0x3_0133, None),
    ];
    for (tee_config, policy, check) in rows {
        let (id, passphrase) = (unique("w"), passphrase());
        let build = Buildah { tee_config, ..world.build(&id, &passphrase) };
        assert!(Buildah::accepts(&build.register().await.unwrap()), "{build:?}");
        let mut machine = world.milan();
        machine.fields.policy = policy;
        let mut guest = world.polite(&id, machine);
        match check {
            None => assert_eq!(guest.boot().await, Ok(passphrase.into_bytes()), "{build:?}"),
            Some(check) => drop(world.assert_refused(guest.boot().await, (403, check))),
        }
    }
}

/// On the loopback anyone on this machine may register. A web page in a browser on this machine must not,
/// even if its host name resolves to the loopback.
#[tokio::test]
async fn a_foreign_host_name_cannot_register_on_the_loopback() {
    let world = World::serve(&[]);
    let body = world.build(&unique("w"), "open sesame").body();
    // A path with more slashes in front is the same route.
    for path in
        ["/kbs/v0/register_workload", "/rvp/register", "//kbs/v0/register_workload", "///rvp/register"]
    {
        let mut connection = world.connect();
        connection.send(format!(
            "POST {path} HTTP/1.1\r\nHost: rebound.example.org:8080\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let response = connection.response().unwrap();
        assert_eq!(response.status, 421, "{}", response.text());
        assert!((3..=199).contains(&response.body.len()));
    }
}
