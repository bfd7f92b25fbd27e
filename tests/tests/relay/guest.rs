//! The guest relay before a real broker, over TLS: guests boot through it, and nothing else goes through.

use std::{net::Ipv4Addr, sync::Arc};

use data_encoding::HEXLOWER;
use keybroker_simulator::{
    Product,
    guest::{
        Error, KeybrokerGuest, KrunGuest, PoliteGuest,
        trustee::{Credential, KbsVersion, KeyForm, TrusteeGuest},
    },
    kds::Kds,
    rvp::RvpCli,
    tls::{Authority, ServerName},
};
use keybroker_tests::{
    connection::{Connection, assert_short_refusal},
    passphrase,
    relay::{self, Relay},
    remote,
    server::{Home, Server},
    skip,
    tls::Terminator,
    unique,
    world::{MEASUREMENT, World, anchors, kds},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// An id like those that buildah makes: 64 hexadecimal digits.
fn buildahs_id() -> String {
    passphrase()
}

#[tokio::test]
async fn libkruns_guest_boots_with_an_id_of_64_characters() {
    let world = World::start();
    let relay = Relay::over_tls(&world, &[]);
    let id = buildahs_id();
    let passphrase = world.register(&id).await;
    assert_eq!(relay.krun(&id, world.milan()).boot().await, Ok(passphrase.into_bytes()));
}

/// Guests ask like this if the image's URL ends with a slash. The relay asks the broker for the normal route.
#[tokio::test]
async fn libkruns_guest_boots_with_a_url_that_ends_with_a_slash() {
    let world = World::serve(&[]);
    for base in ["", "/"] {
        let relay = Relay::to(&format!("{}{base}", world.url), &[]);
        let id = unique("w");
        let passphrase = world.register(&id).await;
        let mut guest = KrunGuest::new(&format!("{}/", relay.url()), &id, world.milan()).unwrap();
        assert_eq!(guest.boot().await, Ok(passphrase.into_bytes()));
    }
}

#[tokio::test]
async fn fifty_guests_boot_at_once() {
    let world = World::start();
    let relay = Relay::over_tls(&world, &[]);
    let id = buildahs_id();
    let passphrase = world.register(&id).await.into_bytes();
    let machine = world.milan();
    // The broker has the chip's certificate before the crowd comes.
    assert_eq!(relay.krun(&id, machine.clone()).boot().await.as_ref(), Ok(&passphrase));
    let mut guests = JoinSet::new();
    for _ in 0..50 {
        let mut guest = relay.krun(&id, machine.clone());
        guests.spawn(async move { guest.boot().await });
    }
    for booted in guests.join_all().await {
        assert_eq!(booted.as_ref(), Ok(&passphrase));
    }
}

#[tokio::test]
async fn guests_that_honour_http_boot_too() {
    let world = World::start();
    let relay = Relay::over_tls(&world, &[]);
    let id = buildahs_id();
    let passphrase = world.register(&id).await;
    let mut guest = PoliteGuest::new(relay.url(), &id, world.milan()).unwrap();
    assert_eq!(guest.boot().await, Ok(passphrase.into_bytes()));

    let build = RvpCli::new(&world.url, &MEASUREMENT, "open sesame");
    let host_data = RvpCli::host_data(&build.register().await.unwrap()).unwrap();
    let mut machine = world.machine(Product::Milan, 2);
    machine.fields.host_data = host_data;
    let mut guest = KeybrokerGuest::new(relay.url(), machine).unwrap();
    assert_eq!(guest.boot("passphrase").await, Ok(b"open sesame".to_vec()));
}

/// By its cookie, or by its attestation result in place of it.
#[tokio::test]
async fn guests_of_trustee_fetch_their_resources_too() {
    const NAME: &str = "default/key/disk";
    let world = World::start();
    let relay = Relay::over_tls(&world, &[]);
    // Percent-encoded in the path.
    let id = unique("a@b:");
    let body = json!({
        "workload_id": id,
        "dialects": ["trustee"],
        "measurements": [HEXLOWER.encode(&MEASUREMENT)],
        "resources": {NAME: "open sesame"},
    });
    let registered = world.ask("POST", "/rvp/register", &[], Some(&body.to_string()));
    assert_eq!(registered.status, 200, "{}", registered.text());
    let url = format!("{}/w/{}", relay.url(), id.replace('@', "%40").replace(':', "%3A"));
    let versions = [(KbsVersion::V0_1_0, KeyForm::Rsa1_5), (KbsVersion::V0_4_0, KeyForm::P256)];
    for (version, form) in versions {
        for credential in Credential::ALL {
            let mut guest = TrusteeGuest::new(&url, version, form, world.milan()).unwrap();
            let opened = guest.boot(NAME, credential).await;
            assert_eq!(opened.as_deref(), Ok(&b"open sesame"[..]), "{version:?} {credential:?}");
        }
    }
    // Another version is refused in words that fit through.
    let mut guest = TrusteeGuest::new(&url, KbsVersion::V0_4_0, KeyForm::P256, world.milan()).unwrap();
    let later = guest.auth_request().body().replace("0.4.0", "0.5.0");
    let Err(Error::Refused(said)) = guest.auth_with(&later).await else { panic!("it was given a challenge") };
    let said: Value = serde_json::from_str(&said.body).unwrap();
    assert!(said["detail"].as_str().unwrap().contains("0.1.0, 0.1.1, 0.2.0, 0.4.0"), "{said}");
    let keys = relay.ask(world.request("GET", "/kbs/v0/jwks", &[], None));
    assert_eq!((keys.status, keys.text()), (200, world.ask("GET", "/kbs/v0/jwks", &[], None).text()));
}

#[tokio::test]
async fn a_refusal_reaches_the_guest_with_the_id_of_its_record() {
    let world = World::start();
    let relay = Relay::over_tls(&world, &[]);
    let id = unique("w");
    world.register(&id).await;
    let mut machine = world.milan();
    machine.fields.measurement = [1; 48];
    let mut guest = relay.krun(&id, machine);
    guest.auth().await.unwrap();
    world.assert_refused(guest.attest().await, (403, "measurement"));
    assert!(matches!(guest.key().await, Err(Error::BadKey(said)) if [401, 429].contains(&said.status)));
}

#[tokio::test]
async fn nobody_registers_through_a_guest_relay() {
    let world = World::start();
    let relay = Relay::over_tls(&world, &[]);
    let id = unique("w");
    let body = world.build(&id, "open sesame").body();
    for path in
        ["/kbs/v0/register_workload", "/rvp/register", "/iam/kbs/v0/register_workload", "/iam/rvp/register"]
    {
        let response = relay.ask(world.request("POST", path, &[], Some(&body)));
        assert_short_refusal(&response);
        assert_eq!(response.status, 404, "{path}");
    }
    // The id is still free: nothing was registered.
    world.register(&id).await;
}

/// The relay forwards the broker's refusals, and its own answers look the same.
#[tokio::test]
async fn every_answer_arrives_in_one_read_with_its_length() {
    let world = World::start();
    let relay = Relay::over_tls(&world, &[]);
    let auth = r#"{"extra-params":"{\"workload_id\":\"w\"}","tee":"snp","version":"0.0.0"}"#;
    let requests = [
        (world.request("POST", "/kbs/v0/auth", &[], Some(auth)), 200),
        (world.request("POST", "/kbs/v0/attest", &[], Some("{}")), 401),
        (world.request("GET", "/kbs/v0/key/w", &[], None), 401),
        (world.request("GET", "/kbs/v0/resource/w", &[], None), 401),
        (world.request("DELETE", "/kbs/v0/auth", &[], None), 405),
        (world.request("HEAD", "/kbs/v0/key/w", &["Connection: close"], None), 405),
        (world.request("GET", "/nowhere", &[], None), 404),
        (world.request("GET", "/healthz", &[], None), 200),
    ];
    for (request, status) in requests {
        let bytes = {
            let mut connection = relay.connect();
            connection.send(&request);
            String::from_utf8(connection.one_read()).unwrap()
        };
        let (head, body) = bytes.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        assert!(request.starts_with("HEAD") || body.len().to_string() == length, "{bytes}");
        assert!(!head.contains("transfer-encoding"), "{bytes}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_prove_the_brokers_name_is_not_asked() {
    let world = World::start();
    let (ca, namesake) = (Authority::new(), Authority::new());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), ca.pem()).unwrap();
    let trusting = ["--ca", file.path().to_str().unwrap()];
    let another = |name| Terminator::with(&ca.issue(name), &world.authority());
    let rows = [
        // The certificate is sound, but this relay does not trust its authority.
        ("UnknownIssuer", Terminator::start(&ca, &world.authority()), &[][..]),
        ("BadSignature", Terminator::start(&namesake, &world.authority()), &trusting),
        ("not valid for", another(ServerName::Address(Ipv4Addr::new(127, 0, 0, 2).into())), &trusting),
        ("not valid for", another(ServerName::Dns("k.example.org")), &trusting),
    ];
    for (cause, tls, arguments) in rows {
        let relay = Server::start(relay::command(&tls.url, arguments));
        let mut connection = Connection::open(relay.url.strip_prefix("http://").unwrap());
        connection.send(world.request("POST", "/kbs/v0/auth", &[], Some("{}")));
        let response = connection.response().unwrap();
        let unreachable = r#"{"error":"the broker cannot be reached"}"#;
        assert_eq!((response.status, response.text().as_str()), (502, unreachable));
        let line = relay.log(|line| line.contains("WARN").then(|| line.to_owned())).unwrap();
        assert!(line.contains(cause), "{cause}: {line}");
    }
}

fn serve(home: &Home, kds: &Kds, authority: &str) -> Server {
    let mut command = home.untrusting(&kds.url());
    command.args(["--listen", authority, "--trust-anchor"]).arg(home.anchors());
    Server::start(command)
}

#[tokio::test]
async fn a_broker_that_was_restarted_is_asked_again() {
    if remote::url().is_some() {
        return skip("restarting the broker behind the relay: a deployment has settings of its own");
    }
    // An address of the loopback on which nothing else listens or connects: its port stays free meanwhile.
    let (home, kds) = (Home::new(&anchors()), Arc::new(kds()));
    let server = serve(&home, &kds, "127.7.7.7:0");
    let world = World::of(server, home, kds);
    let relay = Relay::to(&world.url, &[]);
    let id = unique("w");
    let passphrase = world.register(&id).await.into_bytes();
    let (authority, machine) = (world.authority(), world.milan());
    // The relay keeps its connections to this broker open.
    assert_eq!(relay.krun(&id, machine.clone()).boot().await.as_ref(), Ok(&passphrase));
    let (server, home, kds) = world.into_parts();
    server.kill();
    let response = relay.ask(
        "POST /kbs/v0/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: 2\r\n\r\n{}",
    );
    assert_eq!(response.status, 502, "{}", response.text());
    let _again = serve(&home, &kds, &authority);
    assert_eq!(relay.krun(&id, machine).boot().await.as_ref(), Ok(&passphrase));
}
