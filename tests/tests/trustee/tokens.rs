//! Hostile tokens and cookies at a resource: the exact answer, no release on record, and the genuine token of
//! the same moment still works.

use std::{fs, process::Command, time::Instant};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use keybroker_simulator::guest::{
    Error, Said,
    trustee::{Credential, KbsVersion, TrusteeGuest},
};
use keybroker_tests::{DEADLINE, operator::Operator, remote, world::World};
use serde_json::{Value, json};

use crate::scene::{PATH, Refusal, Scene, assert_said};

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

fn text(part: &str) -> String {
    String::from_utf8(BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
}

/// The three parts of a token.
fn parts(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().unwrap()
}

/// A key of the attacker's.
struct Forger(EcdsaKeyPair);

impl Forger {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// `payload`, as it stands in a token, under this header.
    fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{payload}", b64(header));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", b64(signature))
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        json!({"crv": "P-256", "kty": "EC", "x": b64(x), "y": b64(y)})
    }
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

fn cookie(guest: &TrusteeGuest) -> String {
    format!("Cookie: kbs-session-id={}", guest.session_id.clone().unwrap())
}

/// Asserts that every text is refused as a token, that nothing was recorded about it, and that `guest`'s own
/// token is still good.
async fn assert_no_tokens(scene: &Scene, guest: &mut TrusteeGuest, tokens: Vec<(&str, String)>) {
    let before = scene.decisions();
    for (name, token) in tokens {
        println!("{name}");
        scene.assert_response(&scene.ask(PATH, &[&bearer(&token)]), Refusal::NO_SESSION);
    }
    assert_eq!(scene.decisions(), before);
    assert_eq!(guest.resource(PATH, Credential::Bearer).await.as_deref(), Ok(scene.secret.as_bytes()));
    assert_eq!(scene.released(), 1);
}

#[tokio::test]
async fn a_token_that_the_broker_did_not_sign_releases_nothing() {
    let scene = Scene::named(World::start());
    let mut guest = scene.attested(KbsVersion::V0_4_0).await;
    let token = guest.token.clone().unwrap();
    let [header, payload, _] = parts(&token);
    let genuine: Value = serde_json::from_str(&text(header)).unwrap();
    let (kid, jwk) = (&genuine["kid"], &genuine["jwk"]);
    let forger = Forger::new();
    let own = forger.jwk();
    let claimed = |header: Value| forger.sign(&header.to_string(), payload);

    let none = |header: Value| format!("{}.{payload}.", b64(header.to_string()));
    let point = |name: &str| BASE64URL_NOPAD.decode(jwk[name].as_str().unwrap().as_bytes()).unwrap();
    let keyed = |key: &[u8]| {
        let signed =
            format!("{}.{payload}", b64(json!({"typ": "JWT", "alg": "HS256", "kid": kid}).to_string()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
        format!("{signed}.{}", b64(tag))
    };
    let uncompressed = [vec![4], point("x"), point("y")].concat();
    let tokens = vec![
        ("alg none", none(json!({"typ": "JWT", "alg": "none"}))),
        (
            "alg none under the broker's key",
            none(json!({"typ": "JWT", "alg": "none", "kid": kid, "jwk": jwk})),
        ),
        ("no signature", format!("{header}.{payload}.")),
        ("a signature of zeros", format!("{header}.{payload}.{}", b64([0; 64]))),
        ("its own key", claimed(json!({"typ": "JWT", "alg": "ES256", "jwk": own}))),
        (
            "its own key under its own kid",
            claimed(json!({"typ": "JWT", "alg": "ES256", "kid": "k", "jwk": own})),
        ),
        (
            "its own key under the broker's kid",
            claimed(json!({"typ": "JWT", "alg": "ES256", "kid": kid, "jwk": own})),
        ),
        ("the broker's header over its own signature", forger.sign(&text(header), payload)),
        (
            "a key to be fetched",
            claimed(json!({"typ": "JWT", "alg": "ES256", "jku": "http://127.0.0.1:9/jwks", "kid": "k"})),
        ),
        ("HS256 with the broker's public key", keyed(&uncompressed)),
        ("HS256 with the broker's JWK", keyed(jwk.to_string().as_bytes())),
    ];
    assert_no_tokens(&scene, &mut guest, tokens).await;
}

#[tokio::test]
async fn a_token_with_altered_claims_releases_nothing() {
    let scene = Scene::named(World::start());
    let mut guest = scene.attested(KbsVersion::V0_4_0).await;
    let other = scene.attested(KbsVersion::V0_4_0).await;
    let token = guest.token.clone().unwrap();
    let [header, payload, signature] = parts(&token);
    let claims = text(payload);
    let read: Value = serde_json::from_str(&claims).unwrap();
    let other = other.token.unwrap();
    let other_claims: Value = serde_json::from_str(&text(parts(&other)[1])).unwrap();
    let mut tokens = Vec::new();
    // Each value is put in the place of the genuine one, to the byte.
    let altered = [
        ("exp", json!(read["exp"].as_i64().unwrap() + 86_400)),
        ("iat", json!(read["iat"].as_i64().unwrap() - 1)),
        ("jti", other_claims["jti"].clone()),
        ("keybroker.session", other_claims["keybroker.session"].clone()),
        ("workload_id", json!("another")),
        ("iss", json!("another")),
    ];
    for (name, value) in altered {
        let (from, to) = (format!(r#""{name}":{}"#, read[name]), format!(r#""{name}":{value}"#));
        assert!(claims.contains(&from), "{claims}");
        tokens.push((name, format!("{header}.{}.{signature}", b64(claims.replacen(&from, &to, 1)))));
    }
    let affirming = claims.replace("contraindicated", "affirming");
    assert_ne!(affirming, claims, "the hardware is simulated");
    let own_key = {
        let x = read["cnf"]["jwk"]["x"].as_str().unwrap();
        claims.replace(x, other_claims["cnf"]["jwk"]["x"].as_str().unwrap())
    };
    let [_, other_payload, other_signature] = parts(&other);
    for (name, claims) in [
        ("status", affirming),
        ("cnf", own_key),
        ("one claim more", claims.replacen('{', r#"{"admin":true,"#, 1)),
        ("a blank", claims.replacen(',', ", ", 1)),
        ("no claims", "{}".to_owned()),
        ("no object", "null".to_owned()),
    ] {
        tokens.push((name, format!("{header}.{}.{signature}", b64(claims))));
    }
    tokens.push(("claims of another token", format!("{header}.{other_payload}.{signature}")));
    tokens.push(("a signature of another token", format!("{header}.{payload}.{other_signature}")));
    assert_no_tokens(&scene, &mut guest, tokens).await;
}

#[tokio::test]
async fn text_that_is_no_token_or_one_within_another_releases_nothing() {
    let scene = Scene::named(World::start());
    let mut guest = scene.attested(KbsVersion::V0_4_0).await;
    let token = guest.token.clone().unwrap();
    let [header, payload, signature] = parts(&token);
    let nested = Forger::new();
    let outer = json!({"typ": "JWT", "cty": "JWT", "alg": "ES256", "jwk": nested.jwk()}).to_string();
    let json = format!(r#"{{"protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#);
    let jwe = b64(r#"{"alg":"dir","enc":"A256GCM","cty":"JWT"}"#);
    let tokens = vec![
        ("x", "x".to_owned()),
        ("two dots", "..".to_owned()),
        ("three dots", "...".to_owned()),
        ("a part too few", format!("{header}.{payload}")),
        ("a part too many", format!("{token}.{signature}")),
        ("a dot behind", format!("{token}.")),
        ("twice", format!("{token},{token}")),
        ("in quotes", format!("\"{token}\"")),
        ("with padding", format!("{header}.{payload}.{signature}==")),
        ("in another case", token.to_ascii_lowercase()),
        ("with a line of its own", format!("{token}#")),
        ("its session id", guest.session_id.clone().unwrap()),
        ("a signature around it", nested.sign(&outer, &b64(&token))),
        ("the broker's header around it", format!("{header}.{}.{signature}", b64(&token))),
        ("a signature in JSON", json),
        ("an encryption around it", format!("{jwe}..{}.{}.{}", b64([1; 12]), b64(&token), b64([2; 16]))),
        ("9 KiB in front", format!("{}{token}", "A".repeat(9 * 1024))),
        ("9 KiB of payload", format!("{header}.{}.{signature}", "A".repeat(9 * 1024))),
        ("9 KiB behind", format!("{token}{}", "A".repeat(9 * 1024))),
    ];
    assert_no_tokens(&scene, &mut guest, tokens).await;
}

/// A server's own limit on headers answers in the broker's place, or the broker does.
#[tokio::test]
async fn a_token_of_100_kb_releases_nothing() {
    if remote::decides("a header of 100 kB") {
        return;
    }
    let scene = Scene::named(World::start());
    let mut guest = scene.attested(KbsVersion::V0_4_0).await;
    let token = guest.token.clone().unwrap();
    let [header, payload, signature] = parts(&token);
    let long = "A".repeat(100_000);
    for token in [format!("{token}{long}"), format!("{header}.{payload}{long}.{signature}"), long.clone()] {
        let response = scene.ask(PATH, &[&bearer(&token)]);
        assert_eq!((response.status, response.text().as_str()), (431, ""));
    }
    assert_eq!(scene.released(), 0);
    assert_eq!(guest.resource(PATH, Credential::Bearer).await.as_deref(), Ok(scene.secret.as_bytes()));
}

#[tokio::test]
async fn the_header_is_bearer_with_a_token_once_and_without_a_cookie() {
    let scene = Scene::named(World::start());
    let guest = scene.attested(KbsVersion::V0_4_0).await;
    let other = scene.attested(KbsVersion::V0_4_0).await;
    let (token, own) = (guest.token.clone().unwrap(), bearer(&guest.token.clone().unwrap()));
    let no_bearer =
        Refusal::unread_credential("the Authorization header is not Bearer with an attestation result");
    let two = Refusal::unread_credential("the request names two sessions");
    let basic = |pair: String| format!("Authorization: Basic {}", BASE64.encode(pair.as_bytes()));
    let rows = vec![
        (vec![], Refusal::NO_COOKIE),
        (vec!["Authorization:".to_owned()], no_bearer),
        (vec!["Authorization: Bearer".to_owned()], no_bearer),
        (vec![format!("Authorization: {token}")], no_bearer),
        (vec![format!("Authorization: DPoP {token}")], no_bearer),
        (vec![basic(format!("x:{token}"))], no_bearer),
        (vec![basic(token.clone())], no_bearer),
        (vec![format!("Authorization: Bearer  {token}")], Refusal::NO_SESSION),
        (vec![format!("Authorization: Bearer Bearer {token}")], Refusal::NO_SESSION),
        // Even of one and the same session.
        (vec![own.clone(), cookie(&guest)], two),
        (vec![own.clone(), cookie(&other)], two),
        (vec![own.clone(), cookie(&guest), cookie(&other)], two),
        (vec![basic(format!("x:{token}")), cookie(&guest)], no_bearer),
        (vec![cookie(&guest), cookie(&other)], two),
        (vec![format!("Proxy-Authorization: Bearer {token}")], Refusal::NO_COOKIE),
        (vec![format!("Cookie: kbs-session-id={token}")], Refusal::NO_COOKIE),
        (vec!["Cookie: kbs-session-id=".to_owned()], Refusal::NO_COOKIE),
        (vec![cookie(&guest).replace("kbs-session-id", "session_id")], Refusal::NO_COOKIE),
    ];
    for (headers, expected) in rows {
        let cookies = headers.iter().filter(|header| header.starts_with("Cookie:")).count();
        if cookies > 1 && remote::decides("two Cookie fields") {
            continue;
        }
        println!("{headers:?}");
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        scene.assert_response(&scene.ask(PATH, &headers), expected);
    }
    if !remote::decides("two Authorization headers") {
        for second in [own.as_str(), "Authorization: Bearer x", "Authorization: Basic eDp5"] {
            scene.assert_response(&scene.ask(PATH, &[&own, second]), no_bearer);
            scene.assert_response(&scene.ask(PATH, &[second, &own]), no_bearer);
        }
    }
    assert_eq!(scene.released(), 0);
    // The scheme has no case, and the same cookie twice is one session.
    let twice = cookie(&guest)
        + cookie(&guest).strip_prefix("Cookie:").map(|pair| format!(";{pair}")).unwrap().as_str();
    for headers in [vec![own.replace("Bearer", "bearer")], vec![twice]] {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        assert_eq!(scene.ask(PATH, &headers).status, 200);
    }
    assert_eq!(scene.released(), 2);
}

/// Neither way shows the secret to a thief: it is sealed to the guest's key.
#[tokio::test]
async fn another_sessions_token_or_cookie_opens_nothing_without_its_key() {
    let scene = Scene::named(World::start());
    let victim = scene.attested(KbsVersion::V0_4_0).await;
    let mut thief = scene.attested(KbsVersion::V0_4_0).await;
    thief.token.clone_from(&victim.token);
    assert_eq!(thief.resource(PATH, Credential::Bearer).await, Err(Error::Decrypt));
    thief.session_id.clone_from(&victim.session_id);
    assert_eq!(thief.resource(PATH, Credential::Cookie).await, Err(Error::Decrypt));
    // The thief's report over the victim's nonce comes too late.
    thief.nonce.clone_from(&victim.nonce);
    scene.assert_refused(thief.attest().await, Refusal::LATE);
}

#[tokio::test]
async fn a_session_that_nobody_attested_under_releases_nothing() {
    let scene = Scene::named(World::start());
    let mut guest = scene.challenged(KbsVersion::V0_4_0).await;
    let answer = guest.resource(PATH, Credential::Cookie).await;
    let record = scene.assert_refused(answer, Refusal::LATE);
    assert!(record.is_none_or(|record| record["secret"] == PATH));
    // Its form is right, and the broker did not make it: there is nothing that a record could be about.
    let id = guest.session_id.replace(String::new()).unwrap();
    let (tagged, named) = id.split_at(20);
    let altered = if named.starts_with('A') { "B" } else { "A" };
    guest.session_id = Some(format!("{tagged}{altered}{}", &named[1..]));
    scene.assert_refused(guest.resource(PATH, Credential::Cookie).await, Refusal::NO_SESSION);
    assert_eq!(scene.released(), 0);
    guest.session_id = Some(id);
    guest.attest().await.unwrap();
    assert_eq!(guest.resource(PATH, Credential::Cookie).await.as_deref(), Ok(scene.secret.as_bytes()));
}

/// A token that an operator makes for builds is none of a guest's.
#[tokio::test]
async fn a_registration_token_releases_nothing() {
    let scene = Scene::named(World::start());
    let operator = Operator::of(&scene.world);
    let made = operator.json(&["token", "create", "--url", &scene.world.url, "--workload-id", &scene.id]);
    let token = made["token"].as_str().unwrap();
    scene.assert_response(&scene.ask(PATH, &[&bearer(token)]), Refusal::NO_SESSION);
    assert_eq!(scene.released(), 0);
}

/// A token is for resources alone.
#[tokio::test]
async fn a_token_is_no_credential_at_any_other_route() {
    let scene = Scene::named(World::start());
    let guest = scene.attested(KbsVersion::V0_4_0).await;
    let own = bearer(&guest.token.clone().unwrap());
    let body = guest.attestation().unwrap().body();
    let attest = scene.world.ask("POST", "/kbs/v0/attest", &[&own], Some(&body));
    assert_eq!((attest.status, attest.text().as_str()), (401, r#"{"error":"no session cookie"}"#));
    for path in ["/kbs/v0/resource/disk".to_owned(), format!("/kbs/v0/key/{}", scene.id)] {
        let response = scene.world.ask("GET", &path, &[&own], None);
        assert_eq!(
            (response.status, response.text().as_str()),
            (401, r#"{"error":"no session cookie"}"#),
            "{path}"
        );
    }
    assert_eq!(scene.released(), 0);
}

/// Attests and gets the secret, within the life of one session: on a busy machine not the first, maybe.
async fn in_time(guest: &mut TrusteeGuest) {
    let until = Instant::now() + DEADLINE;
    while let Err(error) = guest.boot(PATH, Credential::Bearer).await {
        let late = matches!(&error, Error::Refused(said) if said.status == 401);
        assert!(late && Instant::now() < until, "{error:?}");
    }
}

#[tokio::test]
async fn a_token_and_a_session_end_together() {
    let Some(world) = World::with(&["--session-ttl", "3"], "sessions of three seconds") else { return };
    let scene = Scene::named(world);
    // The broker fetches the certificates here, so that nothing below waits for them.
    in_time(&mut scene.guest(KbsVersion::V0_4_0)).await;
    let mut guest = scene.guest(KbsVersion::V0_4_0);
    in_time(&mut guest).await;
    let until = Instant::now() + DEADLINE;
    for (credential, expected) in
        [(Credential::Bearer, Refusal::NO_SESSION), (Credential::Cookie, Refusal::LATE)]
    {
        let ended = loop {
            let answer = guest.resource(PATH, credential).await;
            if answer.is_err() {
                break answer;
            }
            assert!(Instant::now() < until, "it does not end");
        };
        scene.assert_refused(ended, expected);
    }
    let released = scene.released();
    assert!(released > 0);
    // An answer of before the end is given no more.
    let body = guest.exchanges.iter().find(|exchange| exchange.step == "attest").unwrap().request.clone();
    scene.assert_refused(guest.attest_with(&body.unwrap()).await, Refusal::LATE);
    assert_eq!(scene.released(), released);
    in_time(&mut guest).await;
}

#[tokio::test]
async fn another_deployments_token_and_cookie_release_nothing() {
    let Some(world) = World::with(&[], "another deployment") else { return };
    let other = Scene::named(world);
    let scene = Scene::named(World::serve(&[]));
    let guest = other.attested(KbsVersion::V0_4_0).await;
    scene.assert_response(&scene.ask(PATH, &[&bearer(&guest.token.clone().unwrap())]), Refusal::NO_SESSION);
    scene.assert_response(&scene.ask(PATH, &[&cookie(&guest)]), Refusal::NO_SESSION);
    assert_eq!((scene.released(), other.released()), (0, 0));
}

/// The copy has the same keys and the same decisions, so that signature and session would hold.
#[tokio::test]
async fn no_token_survives_a_restore_from_a_backup() {
    let Some(world) = World::with(&[], "a restore from a backup") else { return };
    let mut scene = Scene::named(world);
    let guest = scene.attested(KbsVersion::V0_4_0).await;
    let (server, home, kds) = scene.world.into_parts();
    server.terminate();
    let (data, backup) = (home.data_dir(), home.data_dir().with_extension("backup"));
    assert!(Command::new("cp").arg("-a").arg(&data).arg(&backup).status().unwrap().success());
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&backup, &data).unwrap();
    scene.world = World::over(home, kds, &[]);
    for header in [bearer(&guest.token.clone().unwrap()), cookie(&guest)] {
        scene.assert_response(&scene.ask(PATH, &[&header]), Refusal::NO_SESSION);
    }
    assert_eq!(scene.released(), 0);
    scene.still_boots().await;
}

#[tokio::test]
async fn a_token_survives_kill_9() {
    let Some(world) = World::with(&[], "a power cut") else { return };
    let mut scene = Scene::named(world);
    let guest = scene.attested(KbsVersion::V0_4_0).await;
    let (server, home, kds) = scene.world.into_parts();
    server.kill();
    scene.world = World::over(home, kds, &[]);
    assert_eq!(scene.ask(PATH, &[&bearer(&guest.token.clone().unwrap())]).status, 200);
    assert_eq!(scene.released(), 1);
}

/// Token and secret stay out of the log and the records.
#[tokio::test]
async fn no_token_and_no_secret_stands_in_the_log() {
    let Some(world) = World::with(&[], "the log of a process") else { return };
    let scene = Scene::named(world);
    let mut guest = scene.attested(KbsVersion::V0_4_0).await;
    guest.resource(PATH, Credential::Bearer).await.unwrap();
    let token = guest.token.clone().unwrap();
    let altered = format!("{token}x");
    let said = scene.ask(PATH, &[&bearer(&altered)]);
    assert_said(&scene.world, &Said::from(&said), Refusal::NO_SESSION);
    let [_, payload, signature] = parts(&token).map(str::to_owned);
    let (server, ..) = scene.world.into_parts();
    let ended = server.terminate();
    for text in [payload, signature, scene.secret.clone(), guest.session_id.clone().unwrap()] {
        assert!(!ended.out.contains(&text) && !ended.log.contains(&text), "{text}");
        assert!(!ended.log.contains(&HEXLOWER.encode(text.as_bytes())));
    }
}
