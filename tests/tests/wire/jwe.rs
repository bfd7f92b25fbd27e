//! Libraries of others open what the broker seals: tests/jwe.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use keybroker_common::secret::{
    Secret,
    seal::{GuestKey, Jwe, JweForm},
};
use keybroker_simulator::guest::trustee::{Credential, KbsVersion, KeyForm, TrusteeGuest};
use keybroker_tests::{
    unique,
    world::{MEASUREMENT, World},
};
use serde_json::{Value, json};

use crate::readers::Reader;

fn sealed(key: &GuestKey, clear: &[u8]) -> Jwe {
    key.seal_jwe(&Secret::new(clear.to_vec()), JweForm::Rfc7516).unwrap()
}

const ELLIPTIC: &str = "ECDH-ES+A256KW";
const OAEP: &str = "RSA-OAEP-256";
const RSA1_5: &str = "RSA1_5";

/// All of them read both.
#[test]
fn libraries_of_others_open_what_is_sealed() {
    for mut reader in Reader::each() {
        for (index, key) in [reader.keys(ELLIPTIC), reader.keys(OAEP)].concat() {
            for clear in [b"s".to_vec(), vec![0xff; 300], vec![b's'; 4000]] {
                let opened = reader.open(index, &sealed(&key, &clear));
                assert_eq!(opened, Ok(clear), "{} {}", reader.name, key.alg());
            }
        }
    }
}

/// One coordinate in 256 begins with a zero, which a JWK keeps.
#[test]
fn libraries_of_others_open_to_short_coordinates() {
    for mut reader in Reader::each() {
        let (index, key) = reader.keys(ELLIPTIC).remove(0);
        let mut short = 0;
        while short < 4 {
            let jwe = sealed(&key, b"passphrase");
            let header = BASE64URL_NOPAD.decode(jwe.protected.as_bytes()).unwrap();
            let header: Value = serde_json::from_slice(&header).unwrap();
            let coordinates = ["x", "y"]
                .map(|name| BASE64URL_NOPAD.decode(header["epk"][name].as_str().unwrap().as_bytes()));
            if coordinates.into_iter().any(|coordinate| coordinate.unwrap()[0] == 0) {
                short += 1;
                assert_eq!(reader.open(index, &jwe), Ok(b"passphrase".to_vec()), "{}", reader.name);
            }
        }
    }
}

/// jose does not know RSA1_5, and jwcrypto reads it if it is told to. joserfc also has to be told about
/// RSA-OAEP-256, since RFC 7518 recommends the one with SHA-1.
#[test]
fn libraries_of_others_have_to_be_told() {
    let opens = |reader: &mut Reader, alg| {
        let (index, key) = reader.keys(alg).remove(0);
        let jwe = sealed(&key, b"passphrase").to_json();
        [false, true].map(|by_name| reader.ask(index, &jwe, by_name).is_ok())
    };
    for mut reader in Reader::each() {
        let opened = [ELLIPTIC, OAEP, RSA1_5].map(|alg| opens(&mut reader, alg));
        let expected = match reader.name {
            "jwcrypto" => [[true, true], [true, true], [false, true]],
            "joserfc" => [[true, true], [false, true], [false, true]],
            _ => [[true, true], [true, true], [false, false]],
        };
        assert_eq!(opened, expected, "{}", reader.name);
    }
}

/// No library reads the form before the RFC: its header is no base64url, and it has no tag apart.
#[test]
fn libraries_of_others_refuse_the_form_before_the_rfc() {
    for mut reader in Reader::each() {
        let (index, key) = reader.keys(RSA1_5).remove(0);
        let secret = Secret::new(b"passphrase".to_vec());
        let jwe = key.seal_jwe(&secret, JweForm::BeforeRfc).unwrap();
        assert!(reader.open(index, &jwe).is_err(), "{}", reader.name);
    }
}

/// joserfc drops the header's text, as Trustee's guests do: a header in other bytes that says the same opens,
/// and one that was authenticated in other bytes would not. So the bytes are those that it writes.
#[test]
fn one_library_authenticates_what_it_writes_of_the_header() {
    for mut reader in Reader::each() {
        for (index, key) in [reader.keys(ELLIPTIC), reader.keys(OAEP)].concat() {
            let mut jwe = sealed(&key, b"passphrase");
            let header = BASE64URL_NOPAD.decode(jwe.protected.as_bytes()).unwrap();
            let header = String::from_utf8(header).unwrap().replace(':', " : ");
            jwe.protected = BASE64URL_NOPAD.encode(header.as_bytes());
            let opened = reader.open(index, &jwe);
            assert_eq!(opened.is_ok(), reader.name == "joserfc", "{} {}", reader.name, key.alg());
        }
    }
}

/// Each member altered, and what is for another key.
#[test]
fn libraries_of_others_open_nothing_altered() {
    let members: [fn(&mut Jwe) -> &mut String; 5] = [
        |jwe| &mut jwe.protected,
        |jwe| &mut jwe.encrypted_key,
        |jwe| &mut jwe.iv,
        |jwe| &mut jwe.ciphertext,
        |jwe| &mut jwe.tag,
    ];
    for mut reader in Reader::each() {
        for keys in [reader.keys(ELLIPTIC), reader.keys(OAEP)] {
            let [(index, key), (other, _)] = keys.as_slice() else { panic!("two keys") };
            let jwe = sealed(key, b"passphrase");
            assert!(reader.open(*index, &jwe).is_ok(), "{} {}", reader.name, key.alg());
            assert!(reader.open(*other, &jwe).is_err(), "{} {}", reader.name, key.alg());
            for member in members {
                let mut altered = jwe.clone();
                let text = member(&mut altered);
                let mut bytes = BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                *text = BASE64URL_NOPAD.encode(&bytes);
                let opened = reader.open(*index, &altered);
                assert!(opened.is_err(), "{} {}: {altered:?}", reader.name, key.alg());
            }
        }
    }
}

/// A guest with a key of the library's own attests, and the library opens the answer's body as it came.
#[tokio::test]
async fn libraries_of_others_open_what_the_broker_answers() {
    let world = World::start();
    let (workload, clear) = (unique("jwe"), "a resource: süß");
    let body = json!({
        "workload_id": workload,
        "dialects": ["trustee"],
        "measurements": [HEXLOWER.encode(&MEASUREMENT)],
        "resources": {"default/key/1": clear},
    });
    let response = world.ask("POST", "/rvp/register", &[], Some(&body.to_string()));
    assert_eq!(response.status, 200, "{}", response.text());
    let url = format!("{}/w/{workload}", world.url);
    for mut reader in Reader::each() {
        for (index, jwk) in reader.jwks.clone().into_iter().enumerate() {
            let alg = jwk.member("alg").unwrap().to_owned();
            // The guest's own key is of no use: another's is in what it sends.
            let mut guest =
                TrusteeGuest::new(&url, KbsVersion::V0_4_0, KeyForm::P256, world.milan()).unwrap();
            guest.auth().await.unwrap();
            let message = guest.attestation_for(jwk).unwrap();
            guest.attest_with(&message.body()).await.unwrap();
            for credential in Credential::ALL {
                let answer = guest.resource_response("default/key/1", credential).await.unwrap();
                let opened = reader.ask(index, &answer.body, true);
                let expected = (alg != RSA1_5 || reader.name != "jose").then(|| clear.as_bytes().to_vec());
                assert_eq!(opened.ok(), expected, "{} {alg}", reader.name);
            }
        }
    }
}
