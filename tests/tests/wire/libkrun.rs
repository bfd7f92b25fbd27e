//! The requests of libkrun's guest, and the answers that it must get, to the byte.

use std::collections::BTreeSet;

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use keybroker_simulator::{
    Product,
    guest::{Error, KrunGuest, Machine},
    http::Response,
    pki::CSP_ID,
};
use keybroker_tests::{
    connection::assert_short_refusal,
    remote, unique,
    world::{World, amd},
};

/// buildah removes the slash when it registers and keeps it in the image, so the guest asks for
/// `//kbs/v0/auth`.
#[tokio::test]
async fn krun_boots_with_a_url_that_ends_with_a_slash() {
    if remote::decides("a second slash in front of the path") {
        return;
    }
    let world = World::start();
    let id = unique("w");
    let passphrase = world.register(&id).await;
    for slashes in ["/", "//"] {
        let url = format!("{}{slashes}", world.url);
        let mut guest = KrunGuest::new(&url, &id, world.milan()).unwrap();
        assert_eq!(guest.boot().await, Ok(passphrase.clone().into_bytes()), "{url}");
    }
}

#[tokio::test]
async fn krun_boots_on_every_product_and_report_version() {
    let world = World::start();
    let id = unique("w");
    let passphrase = world.register(&id).await;
    for product in Product::ALL {
        for version in 2..=5 {
            let mut machine = world.machine(product, 1);
            machine.fields.version = version;
            let booted = world.krun(&id, machine).boot().await;
            assert_eq!(booted, Ok(passphrase.clone().into_bytes()), "{product}, version {version}");
        }
    }
}

fn in_cloud(world: &World, csp_id: &str) -> Machine {
    Machine::in_cloud(amd(Product::Milan), &world.chip(Product::Milan, 1), csp_id)
}

#[tokio::test]
async fn krun_boots_in_the_cloud_of_an_accepted_provider() {
    let world = World::start();
    let id = unique("w");
    let passphrase = world.register(&id).await;
    assert_eq!(world.krun(&id, in_cloud(&world, CSP_ID)).boot().await, Ok(passphrase.into_bytes()));
    let mut guest = world.polite(&id, in_cloud(&world, "CN=cc-sim-2.example.com"));
    world.assert_refused(guest.boot().await, (403, "chip-or-provider"));
}

#[tokio::test]
async fn no_provider_is_accepted_unless_it_is_named() {
    let Some(world) = World::with(&[], "a broker that accepts no provider") else { return };
    let id = unique("w");
    world.register(&id).await;
    let mut guest = world.polite(&id, in_cloud(&world, CSP_ID));
    world.assert_refused(guest.boot().await, (403, "chip-or-provider"));
}

#[tokio::test]
async fn a_guest_of_a_provider_without_its_vlek_is_refused() {
    let world = World::start();
    let id = unique("w");
    world.register(&id).await;
    let mut machine = in_cloud(&world, CSP_ID);
    machine.certificates.clear();
    world.assert_refused(world.polite(&id, machine).boot().await, (403, "endorsements"));
}

#[tokio::test]
async fn a_challenge_is_readable_to_the_clients_parser() {
    let world = World::start();
    let mut sessions = BTreeSet::new();
    for _ in 0..20 {
        let response = world.krun("w", world.milan()).auth().await.unwrap();
        let text = response.text();
        let nonce =
            text.strip_prefix(r#"{"nonce":""#).and_then(|rest| rest.strip_suffix(r#"","extra-params":""}"#));
        let nonce = nonce.unwrap_or_else(|| panic!("{text}"));
        assert_eq!((nonce.len(), BASE64.decode(nonce.as_bytes()).unwrap().len()), (44, 32), "{nonce}");
        assert!(response.body.len() < 8 * 1024);

        let cookies = response.header("set-cookie");
        let [cookie] = cookies.as_slice() else { panic!("{cookies:?}") };
        let mut parts = cookie.split("; ");
        let session = parts.next().unwrap().strip_prefix("session_id=").unwrap();
        let made = session.strip_suffix('w').expect("the workload id");
        assert!(
            session.len() <= 99 && BASE64URL_NOPAD.decode(made.as_bytes()).unwrap().len() == 26,
            "{session}"
        );
        let attributes: Vec<_> = parts.collect();
        assert!(attributes.contains(&"HttpOnly") && attributes.contains(&"Path=/"), "{cookie}");
        assert!(!cookie.to_ascii_lowercase().contains("secure"), "plain http would lose it: {cookie}");
        assert!(sessions.insert(session.to_owned()) && sessions.insert(nonce.to_owned()), "drawn twice");
        assert_whole(&response);
    }
}

/// Asserts that a response has its length, is in one piece, must not be cached, and is no redirect.
fn assert_whole(response: &Response) {
    let head = String::from_utf8_lossy(&response.raw);
    assert_eq!(response.status, 200, "{head}");
    assert_eq!(response.header("content-length"), [response.body.len().to_string()], "{head}");
    assert!(!response.chunked && response.header("transfer-encoding").is_empty(), "{head}");
    assert_eq!(response.header("cache-control"), ["no-store"], "{head}");
    assert!(response.raw.ends_with(&response.body), "something follows the body: {head}");
}

#[tokio::test]
async fn a_successful_attest_has_no_body() {
    let world = World::start();
    let id = unique("w");
    world.register(&id).await;
    let mut guest = world.krun(&id, world.milan());
    guest.auth().await.unwrap();
    let response = guest.attest().await.unwrap();
    assert_whole(&response);
    assert_eq!(response.header("content-length"), ["0"]);
    assert!(response.raw.ends_with(b"\r\n\r\n"));
}

/// The cookie of a guest that has attested, and the path of its key.
async fn attested(world: &World) -> (keybroker_simulator::guest::KrunGuest, String, String) {
    let id = unique("w");
    world.register(&id).await;
    let mut guest = world.krun(&id, world.milan());
    guest.auth().await.unwrap();
    guest.attest().await.unwrap();
    let cookie = format!("session_id={}", guest.state.session_id.as_ref().unwrap());
    (guest, cookie, format!("/kbs/v0/key/{id}"))
}

#[tokio::test]
async fn a_key_is_quoted_hex_with_nul_only_without_user_agent() {
    let world = World::start();
    let (guest, cookie, path) = attested(&world).await;
    let cookie = format!("Cookie: {cookie}");
    for (agent, end) in [(None, "\"\0"), (Some("User-Agent: curl/8"), "\""), (Some("User-Agent:"), "\"")] {
        let headers: Vec<&str> = agent.into_iter().chain([cookie.as_str()]).collect();
        let response = world.ask("GET", &path, &headers, None);
        assert_whole(&response);
        let text = String::from_utf8(response.body.clone()).unwrap();
        let hex = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix(end))
            .unwrap_or_else(|| panic!("{text:?}"));
        let ciphertext = HEXLOWER.decode(hex.as_bytes()).unwrap();
        assert_eq!(ciphertext.len(), 256, "as long as the guest's modulus");
        assert!(guest.state.key.decrypt(&ciphertext).is_ok());
    }
}

#[tokio::test]
async fn a_session_may_fetch_its_key_again_sealed_anew() {
    let world = World::start();
    let (mut guest, cookie, path) = attested(&world).await;
    let cookie = format!("Cookie: {cookie}");
    let [one, other] = [(); 2].map(|()| world.ask("GET", &path, &[&cookie], None).body);
    assert_ne!(one, other);
    assert_eq!(guest.key().await, guest.key().await);
}

#[tokio::test]
async fn a_cookie_that_comes_twice_is_one_cookie() {
    let world = World::start();
    let (_guest, cookie, path) = attested(&world).await;
    let field = format!("Cookie: {cookie}");
    let accepted: [&[&str]; 4] = [
        &[&field],
        &[&field, &field],
        &[&format!("{field}; {cookie}")],
        &[&format!("Cookie: theme=dark; {cookie}; {cookie}")],
    ];
    for headers in accepted {
        assert_eq!(world.ask("GET", &path, headers, None).status, 200, "{headers:?}");
    }
}

#[tokio::test]
async fn cookies_of_two_sessions_are_refused() {
    let world = World::start();
    let (_guest, cookie, path) = attested(&world).await;
    let (_other, other, _) = attested(&world).await;
    let two = [format!("Cookie: {cookie}"), format!("Cookie: {other}")];
    let joined = format!("Cookie: {cookie}; {other}");
    for headers in [&[two[0].as_str(), two[1].as_str()][..], &[&joined], &[two[1].as_str(), two[0].as_str()]]
    {
        if headers.len() > 1 && remote::decides("two Cookie fields") {
            continue;
        }
        let response = world.ask("GET", &path, headers, None);
        assert_short_refusal(&response);
        assert_eq!(response.status, 400, "{headers:?}");
    }
}

#[tokio::test]
async fn a_refusal_crashes_no_guest_of_libkrun() {
    let world = World::start();
    let id = unique("w");
    world.register(&id).await;
    let mut machine = world.milan();
    machine.fields.vmpl = 1;
    let mut guest = world.krun(&id, machine);
    guest.auth().await.unwrap();
    assert!(matches!(guest.attest().await, Err(Error::Refused(_))), "it sees a refusal, not a crash");
    // The guest ignores refusals and goes on. The guest cannot decrypt the answer that it gets in place of
    // the key.
    match guest.key().await {
        Err(Error::BadKey(_) | Error::Decrypt) => {}
        other => panic!("{other:?}"),
    }
}
