//! Texts that are no result of this deployment, or none that counts.

use aws_lc_rs::hmac;
use data_encoding::{BASE64, BASE64URL, BASE64URL_NOPAD, Encoding, Specification};
use jiff::SignedDuration;
use keybroker_common::{
    broker::{Error, SessionProof},
    challenge::Deployment,
    ear::{NotRead, ReadResult, Results},
    ids::{AuditId, RegistrationDigest},
    keyring::ResultKey,
    secret::PASSPHRASE as PASSPHRASE_NAME,
};
use keybroker_testing::{
    clock::seconds,
    world::{TTL, stranger},
};
use serde_json::{Value, json};

use super::{Scene, part, payload, signed};

async fn refused(scene: &Scene, text: &str) -> NotRead {
    // By a process that has read no result yet, and by one that has.
    let fresh = scene.process().read(text, scene.now()).await.unwrap_err();
    let results = &scene.broker.attest.results;
    assert_eq!(results.read(text, scene.now()).await.unwrap_err(), fresh);
    fresh
}

/// The paths of everything in a document, members and elements, as JSON pointers.
fn paths(value: &Value, at: &str, found: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(values) => values.iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect(),
        _ => return,
    };
    for (name, value) in inner {
        let path = format!("{at}/{name}");
        paths(value, &path, found);
        found.push(path);
    }
}

/// Another value of the same kind.
fn altered(value: &Value) -> Value {
    match value {
        Value::String(text) => json!(format!("{text}0")),
        Value::Number(number) => json!(number.as_i64().unwrap() + 1),
        Value::Object(_) => json!({}),
        _ => json!([]),
    }
}

#[tokio::test]
async fn no_claim_can_be_altered_removed_or_added() {
    let scene = Scene::new().await;
    let text = scene.signed().await;
    assert!(scene.process().read(&text, scene.now()).await.is_ok());
    let (header, original, signature) = (part(&text, 0), payload(&text), text.rsplit('.').next().unwrap());
    let mut found = Vec::new();
    paths(&original, "", &mut found);
    assert!(found.len() > 40, "{found:?}");
    for path in &found {
        let mut claims = original.clone();
        let claim = claims.pointer_mut(path).unwrap();
        *claim = altered(claim);
        let parts = [&header, &serde_json::to_vec(&claims).unwrap()].map(|part| BASE64URL_NOPAD.encode(part));
        let altered = format!("{}.{signature}", parts.join("."));
        assert_eq!(refused(&scene, &altered).await, NotRead::Signature, "{path}");
    }
    // The broker's key signs no such thing; if it did, the form would still be wrong.
    for path in &found {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let mut claims = original.clone();
        // Maps of texts have any names, and some members are optional: the signature is what counts there.
        let free = ["/jwk", "/snp", "/tee-pubkey"].iter().any(|end| parent.ends_with(end));
        let Some(parent) = claims.pointer_mut(parent).and_then(Value::as_object_mut) else { continue };
        if free || name == "hardware" {
            continue;
        }
        parent.remove(name);
        let removed = signed(&header, &serde_json::to_vec(&claims).unwrap(), &scene.key);
        assert_eq!(refused(&scene, &removed).await, NotRead::Claims, "{path}");
    }
    for path in found.iter().map(String::as_str).chain([""]) {
        let mut claims = original.clone();
        let Some(object) = claims.pointer_mut(path).and_then(Value::as_object_mut) else { continue };
        object.insert("zz".to_owned(), json!(1));
        let added = signed(&header, &serde_json::to_vec(&claims).unwrap(), &scene.key);
        assert_eq!(refused(&scene, &added).await, NotRead::Claims, "{path}");
    }
}

#[tokio::test]
async fn claims_have_one_form() {
    let scene = Scene::new().await;
    let text = scene.signed().await;
    let (header, claims) = (part(&text, 0), String::from_utf8(part(&text, 1)).unwrap());
    let exp = payload(&text)["exp"].to_string();
    let mut wrong = vec![
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        format!(" {claims}"),
        format!("{claims}\n"),
        format!("{claims}{claims}"),
        claims.replacen(':', ": ", 1),
        claims.replacen("\"exp\":", "\"\\u0065xp\":", 1),
        claims.replacen(&format!("\"exp\":{exp}"), &format!("\"exp\":{exp}.0"), 1),
        claims.replacen(&format!("\"exp\":{exp}"), &format!("\"exp\":\"{exp}\""), 1),
        claims.replacen(&format!("\"exp\":{exp}"), "\"exp\":18446744073709551615", 1),
        claims.replacen(&format!("\"exp\":{exp}"), "\"exp\":1e99", 1),
        claims.replacen(&format!("\"exp\":{exp}"), "\"exp\":null", 1),
        format!("\u{feff}{claims}"),
    ];
    // The same member twice: with its own value, and with another before and behind it.
    for (name, other) in [("exp", "1"), ("iss", "\"x\""), ("cnf", "{}"), ("keybroker.session", "\"x\"")] {
        let member = format!("\"{name}\":");
        let own = format!("\"{name}\":{}", payload(&text)[name]);
        wrong.push(claims.replacen(&member, &format!("{member}{other},{member}"), 1));
        wrong.push(claims.replacen('{', &format!("{{{own},"), 1));
        wrong.push(format!("{},{own}}}", claims.strip_suffix('}').unwrap()));
    }
    let nested = r#""measurement":"#;
    wrong.push(claims.replacen(nested, &format!("{nested}\"00\",{nested}"), 1));
    let status = r#""ear.status":"#;
    wrong.push(claims.replacen(status, &format!("{status}\"affirming\",{status}"), 1));
    for wrong in wrong {
        assert_ne!(wrong, claims);
        let text = signed(&header, wrong.as_bytes(), &scene.key);
        assert_eq!(refused(&scene, &text).await, NotRead::Claims, "{wrong}");
    }
}

/// Signed by whatever key and algorithm: the header must be the ring's, to the byte.
#[tokio::test]
async fn no_header_but_the_rings_counts() {
    let scene = Scene::new().await;
    let text = scene.signed().await;
    let (header, claims) = (part(&text, 0), part(&text, 1));
    let good: Value = serde_json::from_slice(&header).unwrap();
    let other = ResultKey::generate().unwrap();
    let with = |name: &str, value: Value| {
        let mut header = good.clone();
        header[name] = value;
        header
    };
    let (own, others) = (scene.key.public(), other.public());
    let jwk = |key: &ResultKey| serde_json::to_value(key.public().jwk()).unwrap();
    let mut swapped = with("kid", json!(others.kid()));
    swapped["jwk"] = jwk(&other);
    let mut without = vec![];
    for name in ["typ", "alg", "kid", "jwk"] {
        let mut header = good.clone();
        header.as_object_mut().unwrap().remove(name);
        without.push(header);
    }
    let wrong = [
        with("alg", json!("none")),
        with("alg", json!("None")),
        with("alg", json!("")),
        with("alg", json!("HS256")),
        with("alg", json!("RS256")),
        with("alg", json!("ES384")),
        with("alg", json!("es256")),
        with("alg", json!(["ES256"])),
        with("typ", json!("JOSE")),
        with("kid", json!("")),
        with("kid", json!(others.kid())),
        with("jwk", jwk(&other)),
        with("jku", json!("https://broker.example/jwks")),
        with("x5u", json!("https://broker.example/cert")),
        with("x5c", json!([BASE64.encode(b"certificate")])),
        with("crit", json!(["exp"])),
        with("b64", json!(false)),
        with("cty", json!("JWT")),
        with("zip", json!("DEF")),
        swapped,
    ];
    for header in wrong.iter().chain(&without) {
        let bytes = serde_json::to_vec(header).unwrap();
        for key in [&scene.key, &other] {
            let text = signed(&bytes, &claims, key);
            assert_eq!(refused(&scene, &text).await, NotRead::Key, "{header}");
        }
        // And with no signature at all.
        let unsigned = [bytes.as_slice(), &claims].map(|part| BASE64URL_NOPAD.encode(part)).join(".");
        for text in [format!("{unsigned}."), format!("{unsigned}.AA")] {
            assert_eq!(refused(&scene, &text).await, NotRead::Key, "{header}");
        }
    }
    // The ring's own header in another form.
    let text = String::from_utf8(header.clone()).unwrap();
    for form in [
        text.replacen(':', ": ", 1),
        format!("{text} "),
        text.replacen("\"alg\":", "\"alg\":\"none\",\"alg\":", 1),
    ] {
        let token = signed(form.as_bytes(), &claims, &scene.key);
        assert_eq!(refused(&scene, &token).await, NotRead::Key, "{form}");
    }
    // The public key as the secret of a keyed hash, in each form in which a library might take it.
    let forms = [
        own.as_bytes().to_vec(),
        own.to_string().into_bytes(),
        serde_json::to_vec(&own.jwk()).unwrap(),
        header.clone(),
    ];
    for secret in forms {
        for header in [&header, &serde_json::to_vec(&with("alg", json!("HS256"))).unwrap()] {
            let message = [header, &claims].map(|part| BASE64URL_NOPAD.encode(part)).join(".");
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
            let text = format!("{message}.{}", BASE64URL_NOPAD.encode(tag.as_ref()));
            assert!(matches!(refused(&scene, &text).await, NotRead::Key | NotRead::Signature));
        }
    }
}

#[tokio::test]
async fn another_keys_signature_does_not_count() {
    let scene = Scene::new().await;
    let text = scene.signed().await;
    let (header, claims) = (part(&text, 0), part(&text, 1));
    let other = ResultKey::generate().unwrap();
    assert_eq!(refused(&scene, &signed(&header, &claims, &other)).await, NotRead::Signature);
    // A key that signs answers to guests signs no results: its signature has another length.
    let answers = keybroker_native::SigningKey::generate().unwrap();
    let message = [&header, &claims].map(|part| BASE64URL_NOPAD.encode(part)).join(".");
    let signature = BASE64URL_NOPAD.encode(&answers.sign(message.as_bytes()).unwrap());
    assert_eq!(refused(&scene, &format!("{message}.{signature}")).await, NotRead::Signature);
    // Signatures of other results of the same key, of nothing, in other forms.
    let mut later = scene.record.clone();
    later.time += SignedDuration::from_secs(1);
    let claims_of_later = scene.claims_by(&later, &scene.registration, &scene.broker.attest.fleet);
    let others = scene.process().sign(&claims_of_later).await.unwrap().expose().to_owned();
    let raw = part(&text, 2);
    let der = [&[0x30, 0x44, 2, 32], &raw[..32], &[2, 32], &raw[32..]].concat();
    for signature in [
        part(&others, 2),
        vec![],
        vec![0; 64],
        vec![0xFF; 64],
        raw[..63].to_vec(),
        [&raw[..], &[0]].concat(),
        der,
    ] {
        let text = format!("{message}.{}", BASE64URL_NOPAD.encode(&signature));
        assert_eq!(refused(&scene, &text).await, NotRead::Signature);
    }
    for bit in 0..512 {
        let mut signature = raw.clone();
        signature[bit / 8] ^= 1 << (bit % 8);
        let text = format!("{message}.{}", BASE64URL_NOPAD.encode(&signature));
        assert_eq!(scene.process().read(&text, scene.now()).await, Err(NotRead::Signature), "{bit}");
    }
}

#[tokio::test]
async fn a_result_counts_from_a_minute_before_it_was_made_until_its_session_ends() {
    let scene = Scene::new().await;
    let (text, results) = (scene.signed().await, scene.process());
    let (made, minute) = (scene.record.time, SignedDuration::from_secs(60));
    let second = SignedDuration::from_secs(1);
    for now in [made - minute, made, made + TTL - second] {
        assert!(results.read(&text, now).await.is_ok(), "{now}");
    }
    for now in [made - minute - second, made - SignedDuration::from_hours(1)] {
        assert_eq!(results.read(&text, now).await, Err(NotRead::Early), "{now}");
    }
    for now in [made + TTL, made + TTL + second, made + TTL * 100] {
        assert_eq!(results.read(&text, now).await, Err(NotRead::Over), "{now}");
    }
    // By a clock that ran ahead when it was made.
    let mut claims = payload(&text);
    claims["exp"] = json!(claims["exp"].as_i64().unwrap() + 24 * 3600);
    let ahead = String::from_utf8(part(&text, 1)).unwrap();
    let ahead = ahead.replacen(
        &format!("\"exp\":{}", payload(&text)["exp"]),
        &format!("\"exp\":{}", claims["exp"]),
        1,
    );
    let ahead = signed(&part(&text, 0), ahead.as_bytes(), &scene.key);
    assert_eq!(refused(&scene, &ahead).await, NotRead::Over);
}

/// Even if it holds the same keys.
#[tokio::test]
async fn another_deployments_result_does_not_count() {
    let scene = Scene::new().await;
    let own = scene.signed().await;
    for name in ["", "other", &format!("{} ", scene.deployment().as_str())] {
        let other = scene.process_of(Deployment::new(name));
        assert_eq!(other.read(&own, scene.now()).await, Err(NotRead::Deployment));
        let fleet = &scene.broker.attest.fleet;
        let claims = keybroker_common::ear::Claims::of(
            &scene.record,
            &scene.session,
            &scene.registration,
            fleet,
            &Deployment::new(name),
        );
        let theirs = other.sign(&claims).await.unwrap();
        assert_eq!(refused(&scene, theirs.expose()).await, NotRead::Deployment);
    }
}

#[tokio::test]
async fn what_has_another_form_is_refused_by_its_form() {
    let scene = Scene::new().await;
    let text = scene.signed().await;
    let [header, claims, signature] = text.split('.').collect::<Vec<_>>()[..] else { panic!("{text}") };
    for wrong in [
        "",
        ".",
        header,
        &format!("{header}.{claims}"),
        &format!("{text}.{signature}"),
        // The five parts of a JWE.
        &format!("{header}..{claims}.{signature}.{signature}"),
    ] {
        assert_eq!(refused(&scene, wrong).await, NotRead::Form, "{wrong}");
    }
    for wrong in
        ["..", "...", &format!("Bearer {text}"), &format!(" {text}"), &format!(".{claims}.{signature}")]
    {
        assert!(matches!(refused(&scene, wrong).await, NotRead::Form | NotRead::Key), "{wrong}");
    }
    // The JSON forms.
    let general = json!({"payload": claims, "signatures": [{"protected": header, "signature": signature}]});
    let flattened = json!({"payload": claims, "protected": header, "signature": signature});
    for json in [general, flattened] {
        assert_eq!(refused(&scene, &json.to_string()).await, NotRead::Form);
    }
    let at_most = "a".repeat(Results::MAX_LEN);
    assert_eq!(refused(&scene, &at_most).await, NotRead::Form);
    for len in [Results::MAX_LEN + 1, 100_000] {
        let long = format!("{text}{}", "a".repeat(len));
        assert_eq!(refused(&scene, &long).await, NotRead::TooLong);
        assert_eq!(refused(&scene, &"a".repeat(len)).await, NotRead::TooLong);
        assert_eq!(refused(&scene, &".".repeat(len)).await, NotRead::TooLong);
    }
}

/// A result in a result, and a JWE in one: the ring's header, and no claims.
#[tokio::test]
async fn nothing_is_nested() {
    let scene = Scene::new().await;
    let text = scene.signed().await;
    let header = part(&text, 0);
    let jwe = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AAAAAAAAAAAAAAAA.AA.AAAAAAAAAAAAAAAAAAAAAA";
    for inner in [text.as_bytes(), jwe.as_bytes(), format!("\"{text}\"").as_bytes()] {
        assert_eq!(refused(&scene, &signed(&header, inner, &scene.key)).await, NotRead::Claims);
        let nested = signed(br#"{"typ":"JWT","alg":"ES256","cty":"JWT"}"#, inner, &scene.key);
        assert_eq!(refused(&scene, &nested).await, NotRead::Key);
    }
    assert!(matches!(refused(&scene, jwe).await, NotRead::Form));
}

#[tokio::test]
async fn base64url_has_one_form() {
    let standard = {
        let mut specification = Specification::new();
        specification.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
        specification.encoding().unwrap()
    };
    let scene = Scene::new().await;
    let text = scene.signed().await;
    let parts: Vec<_> = text.split('.').collect();
    let again = |encoding: &Encoding, nth: usize| {
        let mut parts: Vec<_> = parts.iter().map(|part| (*part).to_owned()).collect();
        parts[nth] = encoding.encode(&part(&text, nth));
        parts.join(".")
    };
    let mut wrong = Vec::new();
    for nth in 0..3 {
        wrong.extend([again(&BASE64URL, nth), again(&standard, nth)]);
        for extra in ["=", "==", "A", "\n", " "] {
            let mut parts: Vec<_> = parts.iter().map(|part| (*part).to_owned()).collect();
            parts[nth].push_str(extra);
            wrong.push(parts.join("."));
        }
        // Bits behind the last byte.
        let last = parts[nth].chars().last().unwrap();
        if !part(&text, nth).len().is_multiple_of(3) {
            let next = char::from_u32(u32::from(last) + 1).unwrap();
            let mut parts: Vec<_> = parts.iter().map(|part| (*part).to_owned()).collect();
            parts[nth].pop();
            parts[nth].push(next);
            wrong.push(parts.join("."));
        }
    }
    let mut tried = 0;
    for wrong in wrong.iter().filter(|wrong| **wrong != text) {
        let refused = refused(&scene, wrong).await;
        assert!(
            matches!(refused, NotRead::Key | NotRead::Signature | NotRead::Claims),
            "{refused:?} {wrong}"
        );
        tried += 1;
    }
    assert!(tried > 17, "{tried}");
}

/// Were a decision taken away in the store, its challenge could be answered by another guest: each part alone
/// tells the result of before from the session that is there.
#[tokio::test]
async fn a_result_is_of_one_session() {
    let scene = Scene::new().await;
    let result = scene.process().read(&scene.signed().await, scene.now()).await.unwrap();
    assert!(result.is_of(&scene.session));
    let second = seconds(1);
    let others = [
        ReadResult { session_id: stranger(), ..result.clone() },
        ReadResult { decision: AuditId::new(), ..result.clone() },
        ReadResult { registration: RegistrationDigest::of(b"another"), ..result.clone() },
        ReadResult { guest_key: [7; 32], ..result.clone() },
        ReadResult { expires_at: result.expires_at - second, ..result.clone() },
        ReadResult { expires_at: result.expires_at + second, ..result.clone() },
    ];
    for other in others {
        assert!(!other.is_of(&scene.session), "{other:?}");
        if other.session_id == *scene.session.session_id() {
            let proof = SessionProof::Result(other);
            let error = scene.broker.attest.named_resource(&proof, PASSPHRASE_NAME).await.unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{error:?}");
            let cause = "the attestation result is another session's";
            scene.world.assert_recorded(&error, "session", cause);
        }
    }
    let proof = SessionProof::Result(result);
    scene.broker.attest.named_resource(&proof, PASSPHRASE_NAME).await.unwrap();
}
