//! Messages, read and written by releases of kbs-types.

use serde_json::Value;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::{Exchange, Transcript, transcripts};

/// The resources that a release can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// Members are texts, whatever they hold.
    Texts,
    /// `protected` must be an object: neither form of a resource is read.
    Objects,
    /// A JWE of RFC 7516 whose header has texts alone, and so no `epk`.
    JweWithoutEpk,
    /// Every JWE of RFC 7516.
    Jwe,
}

/// A release of kbs-types. Functions that read and write give the text that the type writes after it has read
/// one.
pub trait Release {
    /// Its version.
    const NAME: &'static str;
    /// Whether attest has the form of 0.4.0, which excludes the earlier one.
    const COMPOSITE: bool;
    /// The resources that it can read.
    const READS: Reads;

    /// Reads and writes `Request`.
    fn request(text: &str) -> Result<String, String>;
    /// Reads and writes `Challenge`.
    fn challenge(text: &str) -> Result<String, String>;
    /// Reads and writes `Attestation`.
    fn attestation(text: &str) -> Result<String, String>;
    /// Reads and writes `Response`.
    fn resource(text: &str) -> Result<String, String>;
    /// Reads and writes `ErrorInformation`.
    fn error(text: &str) -> Result<String, String>;
    /// Reads and writes `TeePubKey`.
    fn key(text: &str) -> Result<String, String>;
    /// The text that the release authenticates for a resource, if it has `generate_aad`.
    fn aad(text: &str) -> Option<Vec<u8>>;
    /// The digest of the release itself, if it has hash algorithms.
    fn digest(algorithm: &str, text: &[u8]) -> Option<Vec<u8>>;
}

/// Implements [`Release`] for a crate.
#[macro_export]
macro_rules! release {
    ($name:ident, $krate:ident, $version:literal, $composite:literal, $reads:ident $(, $more:ident)*) => {
        struct $name;
        impl $crate::messages::Release for $name {
            const NAME: &'static str = $version;
            const COMPOSITE: bool = $composite;
            const READS: $crate::messages::Reads = $crate::messages::Reads::$reads;
            fn request(text: &str) -> Result<String, String> {
                $crate::again::<$krate::Request>(text)
            }
            fn challenge(text: &str) -> Result<String, String> {
                $crate::again::<$krate::Challenge>(text)
            }
            fn attestation(text: &str) -> Result<String, String> {
                $crate::again::<$krate::Attestation>(text)
            }
            fn resource(text: &str) -> Result<String, String> {
                $crate::again::<$krate::Response>(text)
            }
            fn error(text: &str) -> Result<String, String> {
                $crate::again::<$krate::ErrorInformation>(text)
            }
            fn key(text: &str) -> Result<String, String> {
                $crate::again::<$krate::TeePubKey>(text)
            }
            $crate::release!(@aad $krate $($more)*);
            $crate::release!(@digest $krate $($more)*);
        }
    };
    (@aad $krate:ident) => {
        fn aad(_: &str) -> Option<Vec<u8>> {
            None
        }
    };
    (@aad $krate:ident aad $($hash:ident)?) => {
        fn aad(text: &str) -> Option<Vec<u8>> {
            let resource: $krate::Response = $crate::read(text).expect("it was read before");
            Some(resource.protected.generate_aad().expect("a header"))
        }
    };
    (@digest $krate:ident $(aad)?) => {
        fn digest(_: &str, _: &[u8]) -> Option<Vec<u8>> {
            None
        }
    };
    (@digest $krate:ident aad hash) => {
        fn digest(algorithm: &str, text: &[u8]) -> Option<Vec<u8>> {
            let algorithm = $crate::read::<$krate::HashAlgorithm>(&format!("\"{algorithm}\""));
            Some(algorithm.expect("an algorithm").digest(text))
        }
    };
}

/// Every message of every transcript, as `R` reads and writes it.
pub fn check<R: Release>() {
    let mut checked = 0;
    for transcript in transcripts() {
        for exchange in &transcript.exchanges {
            checked += 1;
            let at = format!("kbs-types {}, {}, {}", R::NAME, transcript.name, exchange.step);
            one::<R>(&transcript, exchange, &at);
        }
        bound::<R>(&transcript);
    }
    assert!(checked > 0, "no messages");
}

fn one<R: Release>(transcript: &Transcript, exchange: &Exchange, at: &str) {
    let Exchange { step, request, status, response } = exchange;
    let (request, response) = (request.as_deref(), response.as_str());
    if *status != 200 {
        assert_eq!(R::error(response).as_deref(), Ok(response), "{at}");
    }
    match (step.as_str(), request) {
        ("auth", Some(request)) => {
            assert_eq!(R::request(request).as_deref(), Ok(request), "{at}");
            if *status == 200 {
                assert_eq!(R::challenge(response).as_deref(), Ok(response), "{at}");
            }
        }
        ("attest", Some(request)) => {
            let read = R::attestation(request);
            if R::COMPOSITE == (transcript.version == "0.4.0") {
                assert_eq!(read.as_deref(), Ok(request), "{at}");
            } else {
                assert!(read.is_err(), "{at}: a release reads one form");
            }
        }
        (resource, None) if resource.starts_with("resource/") && *status == 200 => {
            let rfc7516 = transcript.version != "0.1.0" && transcript.version != "0.1.1";
            let reads = match R::READS {
                Reads::Texts => true,
                Reads::Objects => false,
                Reads::JweWithoutEpk => rfc7516 && transcript.alg != "ECDH-ES+A256KW",
                Reads::Jwe => rfc7516,
            };
            let read = R::resource(response);
            assert_eq!(read.is_ok(), reads, "{at}: {read:?}");
            if reads {
                assert_eq!(read.as_deref(), Ok(response), "{at}");
                let protected: Value = read_member(response, "protected");
                let authenticated = R::aad(response);
                let authenticated =
                    authenticated.map(|aad| Value::from(String::from_utf8(aad).expect("a text")));
                assert_eq!(authenticated.unwrap_or_else(|| protected.clone()), protected, "{at}");
            }
        }
        _ => assert_ne!(*status, 200, "{at}: not a message of this protocol"),
    }
}

/// Compares REPORT_DATA with the digest that a client with this release computes from the last challenge and
/// from its own answer.
fn bound<R: Release>(transcript: &Transcript) {
    let at = format!("kbs-types {}, {}", R::NAME, transcript.name);
    let last = |step: &str| transcript.exchanges.iter().rfind(|exchange| exchange.step == step);
    let (Some(challenge), Some(answer)) = (last("auth"), last("attest")) else { return };
    if R::COMPOSITE != (transcript.version == "0.4.0") {
        return;
    }
    let request = answer.request.as_deref().expect("a body");
    let sent: Value = serde_json::from_str(request).expect("JSON");
    let runtime = sent.get("runtime-data").unwrap_or(&sent);
    let key = R::key(&runtime["tee-pubkey"].to_string()).expect("a key");
    let key: Value = serde_json::from_str(&key).expect("JSON");
    let mut data = serde_json::json!({
        "tee-pubkey": key,
        "nonce": read_member(&challenge.response, "nonce"),
    });
    if R::COMPOSITE {
        data["additional-evidence"] = sent["tee-evidence"]["additional_evidence"].clone();
        assert_eq!(runtime["nonce"], data["nonce"], "{at}");
    }
    let text = serde_json_canonicalizer::to_vec(&data).expect("a canonical form");
    let mut digest = match transcript.hash.as_str() {
        "sha256" => Sha256::digest(&text).to_vec(),
        "sha384" => Sha384::digest(&text).to_vec(),
        "sha512" => Sha512::digest(&text).to_vec(),
        other => panic!("{at}: {other}"),
    };
    if let Some(own) = R::digest(&transcript.hash, &text) {
        assert_eq!(own, digest, "{at}");
    }
    digest.resize(64, 0);
    assert_eq!(digest, transcript.report_data, "{at}");
    assert_eq!(digest, transcript.report[0x50..0x90], "{at}");
}

fn read_member(text: &str, name: &str) -> Value {
    let value: Value = serde_json::from_str(text).expect("JSON");
    value[name].clone()
}
