//! `keybroker serve` keeps its promises after it was killed, and names what keeps it from starting.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, path::Path, process::Command, sync::Arc};

use keybroker_simulator::{
    Product,
    build::Buildah,
    guest::Error,
    kds::{Behaviour, Kds, Kind},
};
use keybroker_tests::{
    passphrase,
    program::Ended,
    secrets::{contains, key_of, spellings},
    server::{Home, Server},
    unique,
    world::{World, anchors, kds},
};
use tokio::task::JoinHandle;

/// Kills the broker and starts another process over the same files.
fn after_a_power_cut(world: World) -> World {
    let (server, home, kds) = world.into_parts();
    assert_eq!(server.kill().code, None, "a signal ended it");
    World::over(home, kds, &[])
}

#[tokio::test]
async fn a_challenge_and_a_session_survive_kill_9() {
    let mut world = World::serve(&[]);
    let id = unique("w");
    let passphrase = world.register(&id).await;
    let mut guest = world.polite(&id, world.milan());
    guest.auth().await.unwrap();
    world = after_a_power_cut(world);
    guest = world.adopt(&mut guest);
    guest.attest().await.unwrap();
    world = after_a_power_cut(world);
    guest = world.adopt(&mut guest);
    assert_eq!(guest.key().await, Ok(passphrase.into_bytes()));
    // A challenge that was used stays used.
    world.assert_refused(guest.attest().await, (401, "session"));
}

/// A backup does not know what was decided after it was made, so a challenge from before its restore must not
/// count. The copy of the directory is one as `cp` makes it.
#[tokio::test]
async fn no_challenge_or_session_survives_a_restore_from_a_backup() {
    let mut world = World::serve(&[]);
    let id = unique("w");
    let passphrase = world.register(&id).await.into_bytes();
    let (mut challenged, mut attested) = (world.polite(&id, world.milan()), world.polite(&id, world.milan()));
    challenged.auth().await.unwrap();
    attested.auth().await.unwrap();
    attested.attest().await.unwrap();
    let (server, home, kds) = world.into_parts();
    server.terminate();
    let (data, backup) = (home.data_dir(), home.data_dir().with_extension("backup"));
    let copied = Command::new("cp").arg("-a").arg(&data).arg(&backup).status().unwrap();
    assert!(copied.success());
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&backup, &data).unwrap();
    world = World::over(home, kds, &[]);
    let challenged = world.adopt(&mut challenged);
    let attested = world.adopt(&mut attested);
    for answer in [challenged.attest().await.map(drop), attested.key().await.map(drop)] {
        assert!(matches!(&answer, Err(Error::Refused(said)) if said.status == 401), "{answer:?}");
    }
    assert_eq!(world.polite(&id, world.milan()).boot().await, Ok(passphrase));
}

#[tokio::test]
async fn an_acknowledged_registration_survives_kill_9() {
    let mut world = World::serve(&[]);
    let mut registered = Vec::new();
    for round in 0..20 {
        let (id, passphrase) = (unique("w"), passphrase());
        let response = world.build(&id, &passphrase).register().await.unwrap();
        world = after_a_power_cut(world);
        assert!(Buildah::accepts(&response), "round {round}: {}", response.text());
        registered.push((id, passphrase));
    }
    for (id, passphrase) in registered {
        assert_eq!(world.polite(&id, world.milan()).boot().await, Ok(passphrase.into_bytes()), "{id}");
    }
}

#[tokio::test]
async fn a_chip_once_seen_boots_after_a_restart_without_amd() {
    let mut world = World::serve(&[]);
    let id = unique("w");
    let passphrase = world.register(&id).await;
    world.krun(&id, world.milan()).boot().await.unwrap();
    world = after_a_power_cut(world);
    world.kds.otherwise(Behaviour::Reset);
    let asked = world.kds.count(Kind::Vcek);
    let booted = world.krun(&id, world.milan()).boot().await;
    assert_eq!(booted, Ok(passphrase.into_bytes()), "{}", world.server().out_until_now());
    assert_eq!(world.kds.count(Kind::Vcek), asked);
    // A new chip has to wait for AMD.
    match world.polite(&id, world.machine(Product::Milan, 2)).boot().await {
        Err(Error::Refused(said)) => assert_eq!(said.status, 503, "{said:?}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_under_way_at_sigterm_is_answered() {
    let (server, _home, kds, attesting) = attesting().await;
    server.signal("TERM");
    server.log(|line| line.contains("stopping").then_some(())).expect("it says that it stops");
    kds.release();
    attesting.await.unwrap().unwrap();
    let ended = server.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let attested = |line: &str| line.contains(r#""decision":"attested""#);
    assert!(ended.out.lines().any(attested), "the attestation was recorded: {}", ended.out);
}

/// A broker with a request in hand: it waits for AMD, whose service answers once it is released.
async fn attesting() -> (Server, Home, Arc<Kds>, JoinHandle<Result<(), Error>>) {
    let world = World::serve(&[]);
    let id = unique("w");
    world.register(&id).await;
    let mut guest = world.polite(&id, world.milan());
    guest.auth().await.unwrap();
    let (server, home, kds) = world.into_parts();
    kds.hold();
    let attesting = tokio::spawn(async move { guest.attest().await.map(drop) });
    kds.arrived(Kind::Vcek, 1).await;
    (server, home, kds, attesting)
}

/// The rest of this request never comes. A broker that waited for it could not answer all within its time.
#[tokio::test]
async fn a_client_that_owes_a_body_cannot_spoil_the_end() {
    let world = World::serve(&[]);
    let body = world.build(&unique("w"), "open sesame").body();
    let request = world.request("POST", "/kbs/v0/register_workload", &[], Some(&body));
    let (head, _) = request.split_at(request.len() - body.len());
    let (first, rest) = head.split_at(head.len() - 2);
    let mut connection = world.connect();
    connection.send(first);
    // Connections are accepted in their order: the broker has this one now.
    assert_eq!(world.ask("GET", "/healthz", &[], None).status, 200);
    let (server, _home, _kds) = world.into_parts();
    server.signal("TERM");
    server.log(|line| line.contains("stopping").then_some(())).expect("it says that it stops");
    connection.send(rest);
    let ended = server.wait();
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{}", ended.log);
}

#[tokio::test]
async fn a_second_signal_ends_the_broker_at_once() {
    let (server, _home, _kds, _attesting) = attesting().await;
    server.signal("TERM");
    server.log(|line| line.contains("stopping").then_some(())).expect("it says that it stops");
    server.signal("INT");
    let ended = server.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(ended.log.contains("ended before all requests were answered"), "{}", ended.log);
}

/// Every file and socket under `directory`. A socket has no contents.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                let contents = if path.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
                vec![(path.display().to_string(), contents)]
            }
        })
        .collect()
}

#[tokio::test]
async fn the_data_directory_holds_neither_passphrase_nor_key() {
    let world = World::serve(&[]);
    let id = unique("w");
    let replaced = world.register(&id).await;
    let passphrase = world.register(&id).await;
    let mut guest = world.polite(&id, world.milan());
    guest.boot().await.unwrap();
    // Killed, so that it cannot clean up.
    let (server, home, _kds) = world.into_parts();
    server.kill();

    let line = fs::read_to_string(home.key_file()).unwrap();
    let key = key_of(&line).unwrap();
    assert_eq!(key.len(), 32);
    let stored = files(&home.data_dir());
    assert!(stored.iter().any(|(_, bytes)| contains(bytes, id.as_bytes())), "the search finds what is there");
    let secrets = [replaced.as_bytes(), passphrase.as_bytes(), &key];
    for needle in secrets.into_iter().flat_map(spellings) {
        for (name, bytes) in &stored {
            assert!(!contains(bytes, &needle), "{} in {name}", String::from_utf8_lossy(&needle));
        }
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn key_and_store_are_apart_and_private_to_their_owner() {
    let world = World::serve(&[]);
    let home = world.home();
    assert!(!home.key_file().starts_with(home.data_dir()));
    assert_eq!((mode(&home.key_file()), mode(&home.data_dir())), (0o600, 0o700));
    for (name, _) in files(&home.data_dir()) {
        assert_eq!(mode(Path::new(&name)) & 0o077, 0, "{name}");
    }
}

/// Asserts that `command` ends by itself with `code`, has these words in its log, and prints nothing.
fn assert_ends(mut command: Command, code: i32, words: &[&str]) {
    let ended = Ended::from(command.output().unwrap());
    assert_eq!(ended.code, Some(code), "{}", ended.log);
    assert!(ended.log.contains("error: ") && ended.out.is_empty(), "{}{}", ended.out, ended.log);
    for word in words {
        assert!(ended.log.contains(word), "{word:?} in {}", ended.log);
    }
    assert!(!ended.log.contains("panicked"), "{}", ended.log);
}

#[tokio::test]
async fn a_second_broker_on_the_same_store_ends_with_6() {
    let world = World::serve(&[]);
    let command = world.home().command(&world.kds.url(), &[]);
    assert_ends(command, 6, &["hint: end the other broker", "--data-dir"]);
    world.boots_a_guest(&unique("w")).await;
}

#[tokio::test]
async fn a_store_with_entries_opens_with_its_own_key_only() {
    let world = World::serve(&[]);
    let id = unique("w");
    let passphrase = world.register(&id).await;
    let (server, home, kds) = world.into_parts();
    server.terminate();
    let key = fs::read(home.key_file()).unwrap();

    fs::remove_file(home.key_file()).unwrap();
    assert_ends(home.command(&kds.url(), &[]), 5, &["is not there", "hint: restore the key file"]);
    assert!(!home.key_file().exists(), "the broker makes no other key");

    let other = Home::new(&anchors());
    other.serve(&kds.url(), &[]).terminate();
    fs::copy(other.key_file(), home.key_file()).unwrap();
    assert_ends(home.command(&kds.url(), &[]), 5, &["wrapping key", "hint: give the store's own key"]);

    for (contents, mode, words) in
        [(&b"junk"[..], 0o600, "key"), (&key, 0o640, "640"), (&key[..70], 0o600, "key")]
    {
        fs::write(home.key_file(), contents).unwrap();
        fs::set_permissions(home.key_file(), fs::Permissions::from_mode(mode)).unwrap();
        assert_ends(home.command(&kds.url(), &[]), 5, &[words]);
    }
    fs::write(home.key_file(), &key).unwrap();
    let world = World::over(home, kds, &[]);
    assert_eq!(world.krun(&id, world.milan()).boot().await, Ok(passphrase.into_bytes()));
}

#[tokio::test]
async fn a_damaged_store_is_not_used() {
    let home = Home::new(&anchors());
    let kds = kds();
    home.serve(&kds.url(), &[]).terminate();
    for (name, bytes) in files(&home.data_dir()) {
        fs::write(&name, &bytes[..bytes.len() / 2]).unwrap();
    }
    let ended = Ended::from(home.command(&kds.url(), &[]).output().unwrap());
    assert!(matches!(ended.code, Some(1 | 5)), "{:?}: {}", ended.code, ended.log);
    assert!(
        ended.log.contains("error: opening the store") && !ended.log.contains("panicked"),
        "{}",
        ended.log
    );
}

#[test]
fn a_busy_port_is_named_with_a_hint() {
    let home = Home::new(&anchors());
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let mut command = home.untrusting("http://127.0.0.1:9");
    command.args(["--listen", &address]);
    assert_ends(command, 1, &[&address, "hint: another process has this port", "--listen"]);
}
