//! The log and the audit records hold no secret at any log level. The log does hold the warnings that a build
//! needs.

use std::fs;

use keybroker_simulator::{
    Product,
    guest::{GuestKey, KeybrokerGuest},
    rvp::RvpCli,
};
use keybroker_tests::{
    passphrase,
    secrets::{contains, key_of, spellings},
    unique,
    world::{MEASUREMENT, World},
};
use serde_json::json;

/// Lets requests of every kind succeed and many fail. Returns every secret that was used, with its
/// description.
async fn story(world: &World) -> Vec<(&'static str, Vec<u8>)> {
    let mut secrets: Vec<(&'static str, Vec<u8>)> = Vec::new();
    let id = unique("w");
    secrets.push(("replaced passphrase", world.register(&id).await.into()));
    let passphrase_ = world.register(&id).await;
    secrets.push(("passphrase", passphrase_.clone().into()));

    let mut guest = world.krun(&id, world.milan());
    assert_eq!(guest.boot().await, Ok(passphrase_.into_bytes()));
    let mut debug = world.krun(&id, world.milan());
    debug.state.machine.fields.policy |= 1 << 19;
    debug.boot().await.unwrap_err();
    let mut hosts = world.krun(&id, world.machine(Product::Genoa, 1));
    hosts.auth().await.unwrap();
    let report = hosts.state.report().unwrap();
    hosts.state.key = GuestKey::generate();
    let evidence = hosts.state.attest_body_with(&report);
    hosts.attest_with(&evidence).await.unwrap_err();
    let mut nobody = world.krun(&unique("w"), world.milan());
    nobody.boot().await.unwrap_err();
    for guest in [&guest, &debug, &hosts, &nobody] {
        secrets.push(("nonce", guest.state.nonce.clone().unwrap().into()));
        secrets.push(("session", guest.state.session_id.clone().unwrap().into()));
        let modulus = guest.state.key.modulus();
        secrets.push(("modulus", data_encoding::BASE64.decode(modulus.as_bytes()).unwrap()));
    }

    // Passphrases in registrations that the broker refuses: in bodies that it can parse and in bodies that it
    // cannot.
    for spoil in [
        |body: String| body,
        |body: String| body + "!",
        |body: String| body.replace("passphrase", "password"),
    ] {
        let refused = passphrase();
        let body = spoil(world.build(&id, &refused).body());
        assert!(world.ask("POST", "/kbs/v0/register_workload", &[], Some(&body)).status >= 400);
        secrets.push(("refused passphrase", refused.into()));
    }
    by_reference_values(world, &mut secrets).await;
    // Secrets in places where a client may put them by mistake.
    let misplaced = passphrase();
    world.ask(
        "GET",
        &format!("/kbs/v0/key/{id}?passphrase={misplaced}"),
        &[&format!("X-Secret: {misplaced}")],
        None,
    );
    world.ask("POST", "/kbs/v0/auth", &[&format!("Authorization: Bearer {misplaced}")], Some("{"));
    secrets.push(("misplaced secret", misplaced.into()));
    secrets
}

/// The same for keybroker's clients: short and long resources that reach the guest, and some that the broker
/// refuses.
async fn by_reference_values(world: &World, secrets: &mut Vec<(&'static str, Vec<u8>)>) {
    let (short, long) = (passphrase(), passphrase().repeat(20));
    let resources = json!({"short": short, "long": long});
    let cli = RvpCli { resources, ..RvpCli::new(&world.url, &MEASUREMENT, "") };
    let mut machine = world.milan();
    machine.fields.host_data = RvpCli::host_data(&cli.register().await.unwrap()).unwrap();
    let mut guest = KeybrokerGuest::new(&world.url, machine).unwrap();
    assert_eq!(guest.boot("short").await, Ok(short.clone().into()));
    assert_eq!(guest.resource("long").await, Ok(long.clone().into()));
    guest.resource("other").await.unwrap_err();
    secrets.extend([("resource", short.into()), ("long resource", long.into())]);
    secrets.push(("nonce", guest.state.nonce.clone().unwrap().into()));
    secrets.push(("session", guest.state.session_id.clone().unwrap().into()));
    for query in ["input.", "1 / 0 == 1"] {
        let refused = passphrase();
        let query = vec![query.to_owned()];
        let cli = RvpCli { query, ..RvpCli::new(&world.url, &MEASUREMENT, &refused) };
        assert_eq!(cli.register().await.unwrap().status, 400);
        assert_eq!(cli.send(&(cli.body() + "!")).await.unwrap().status, 400);
        secrets.push(("refused resource", refused.into()));
    }
}

async fn nothing_secret_is_written(format: &str) {
    let world = World::serve(&["--log", "trace", "--log-format", format]);
    let secrets = story(&world).await;
    let key = key_of(&fs::read_to_string(world.home().key_file()).unwrap()).unwrap();
    let (server, _home, _kds) = world.into_parts();
    let ended = server.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(
        ended.log.contains("TRACE") && ended.log.contains("workload registered"),
        "little is logged: {}",
        ended.log
    );
    assert!(ended.out.contains(r#""decision":"released""#) && ended.out.contains(r#""decision":"refused""#));

    for (what, secret) in secrets.into_iter().chain([("wrapping key", key)]) {
        for spelling in spellings(&secret) {
            for (place, written) in [("log", &ended.log), ("audit", &ended.out)] {
                let text = String::from_utf8_lossy(&spelling);
                let found = written.lines().find(|line| contains(line.as_bytes(), &spelling));
                assert_eq!(found, None, "a {what} is in the {place}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn a_text_log_holds_no_secret() {
    nothing_secret_is_written("text").await;
}

#[tokio::test]
async fn a_json_log_holds_no_secret() {
    nothing_secret_is_written("json").await;
}

#[tokio::test]
async fn a_key_url_that_overflows_libkruns_buffer_gets_a_warning() {
    let world = World::serve(&[]);
    let room = 99 - world.url.len() - "/kbs/v0/key/".len();
    // A cookie has fewer characters for an id.
    let (fits, overflows) = ("f".repeat(room.min(64)), "o".repeat(room + 1));
    let passphrase = world.register(&fits).await;
    assert_eq!(world.krun(&fits, world.milan()).boot().await, Ok(passphrase.into_bytes()));
    let credentials = "c".repeat(room - "user:token@".len() + 1);
    let mut build = world.build(&credentials, "open sesame");
    build.url = world.url.replace("http://", "http://user:token@");
    assert_eq!(build.register().await.unwrap().status, 200);
    world.register(&overflows).await;

    let (server, _home, _kds) = world.into_parts();
    let log = server.terminate().log;
    let warnings: Vec<_> =
        log.lines().filter(|line| line.contains("WARN") && line.contains("too long")).collect();
    assert_eq!(warnings.len(), 2, "{log}");
    for (warning, id) in warnings.iter().zip([&credentials, &overflows]) {
        assert!(warning.contains(id.as_str()) && warning.contains("(characters beyond: 1)"), "{warning}");
    }
    for id in [&fits, &credentials, &overflows] {
        assert!(
            log.lines().any(|line| line.contains("workload registered") && line.contains(id.as_str())),
            "{log}"
        );
    }
}
