//! `POST /kbs/v0/attest`: the evidence, and the key that it is bound to.

use std::sync::Arc;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use serde::Deserialize;
use sha2::{Digest, Sha512};

use super::{
    super::{Invalid, Part, json, trustee},
    certificates::{self, Entry},
};
use crate::{
    binding::{Binding, SentReport},
    broker::Evidence,
    challenge::Nonce,
    decision::EvidenceDigest,
    dialect::Dialect,
    ids::Claim,
    secret::seal::GuestKey,
};
use keybroker_snp::product::Product;

/// The one kind of key of libkrun's and keybroker's guests.
const RSA: &str = "RSA";

/// The one exponent that is served, as it is sent: 65537. See [`report_data`].
const EXPONENT: &str = "AQAB";

/// The guest's body: evidence, and the key that it is bound to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(rename = "tee-pubkey", deserialize_with = "json::object")]
    tee_pubkey: TeePubkey,
    /// JSON in a string.
    #[serde(rename = "tee-evidence")]
    tee_evidence: String,
}

/// An RSA key that the guest has just made: 2048 to 4096 bits, an odd modulus, the exponent 65537. Modulus
/// and exponent go by either of their two names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TeePubkey {
    #[serde(default)]
    kty: Option<String>,
    alg: String,
    /// The modulus, big-endian, in standard base64 with padding.
    #[serde(rename = "k-mod", alias = "n")]
    modulus: String,
    /// The exponent, likewise.
    #[serde(rename = "k-exp", alias = "e")]
    exponent: String,
}

/// An attestation report, and what helps to verify it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TeeEvidence {
    /// The report as the firmware gave it, 1184 bytes, in hex. REPORT_DATA must be
    /// `SHA-512(nonce ‖ modulus ‖ exponent)`, over the three base64 texts as sent.
    report: String,
    /// Where to ask first for the certificate of a report that does not say what CPU signed it: `milan`,
    /// `genoa`, `turin`.
    #[serde(rename = "gen", default)]
    generation: Option<String>,
    /// JSON in a string: certificates that the host has.
    #[serde(default)]
    cert_chain: Option<String>,
}

/// Whether it is Trustee's guest that presents this, speaks one of `dialects` and made `claim`. Where the
/// claim leaves open whether the guest is keybroker's, its key's `alg` decides, before anything is hashed.
pub fn is_trustees(dialects: &[Dialect], claim: &Claim, body: &[u8]) -> Result<bool, Invalid> {
    let Claim::Trustee(claim) = claim else { return Ok(false) };
    let either = claim.dialects().contains(&Dialect::Keybroker);
    Ok(dialects.contains(&Dialect::Trustee) && (!either || key_algorithm(body)? != RSA))
}

/// Reads what a guest presents that speaks one of `dialects` and made `claim`.
pub fn evidence(dialects: Vec<Dialect>, claim: &Claim, body: &[u8]) -> Result<Evidence, Invalid> {
    let told_apart = dialects.contains(&Dialect::Trustee);
    match claim {
        Claim::Trustee(trustees) if is_trustees(&dialects, claim, body)? => trustee::evidence(trustees, body),
        Claim::Trustee(_) if told_apart => of_hex(vec![Dialect::Keybroker], body),
        _ => of_hex(dialects, body),
    }
}

/// The `alg` of the guest's key. The rest of the body is read after it.
fn key_algorithm(body: &[u8]) -> Result<String, Invalid> {
    #[derive(Deserialize)]
    struct Key {
        alg: String,
    }
    #[derive(Deserialize)]
    struct Keyed {
        #[serde(rename = "tee-pubkey", deserialize_with = "json::object")]
        tee_pubkey: Key,
    }
    json::read(Part::Body, body).map(|Keyed { tee_pubkey }| tee_pubkey.alg)
}

/// Reads what libkrun's or keybroker's guest presents: they differ in nothing here but the names of the key's
/// fields, and either may use the other's. The report's own form is not looked at: `Report::parse` judges
/// that.
fn of_hex(dialects: Vec<Dialect>, body: &[u8]) -> Result<Evidence, Invalid> {
    let digest = EvidenceDigest::of(body);
    let body: Body = json::read(Part::Body, body)?;
    let sent: TeeEvidence = json::read(Part::TeeEvidence, body.tee_evidence.as_bytes())?;
    let (guest_key, key_texts) = guest_key(body.tee_pubkey)?;
    Ok(Evidence {
        dialects,
        workload_id: None,
        init_data: None,
        report: HEXLOWER_PERMISSIVE
            .decode(sent.report.as_bytes())
            .map(|bytes| Ok(SentReport::bare(bytes)))
            .map_err(|_| Invalid::ReportHex)?,
        claimed_product: sent.generation.as_deref().and_then(product_hint),
        certificates: sent.cert_chain.as_deref().map_or(Ok(Vec::new()), certificate_chain)?,
        guest_key,
        binding: Arc::new(key_texts),
        digest,
    })
}

fn guest_key(sent: TeePubkey) -> Result<(GuestKey, KeyTexts), Invalid> {
    if sent.alg != RSA || sent.kty.is_some_and(|kty| kty != "RSA") {
        return Err(Invalid::KeyAlgorithm);
    }
    let number = |text: &str| BASE64.decode(text.as_bytes()).map_err(|_| Invalid::KeyBase64);
    let key = GuestKey::rsa(&number(&sent.modulus)?, &number(&sent.exponent)?)?;
    if sent.exponent != EXPONENT {
        return Err(Invalid::KeyExponent);
    }
    Ok((key, KeyTexts { modulus: sent.modulus, exponent: sent.exponent }))
}

/// The product that a guest says it runs on. libkrun always says `milan`: it is a hint where to ask first,
/// and a text that means nothing is no hint.
fn product_hint(generation: &str) -> Option<Product> {
    match generation.to_ascii_lowercase().as_str() {
        "milan" => Some(Product::Milan),
        "genoa" | "bergamo" | "siena" => Some(Product::Genoa),
        "turin" => Some(Product::Turin),
        _ => None,
    }
}

fn certificate_chain(text: &str) -> Result<Vec<Vec<u8>>, Invalid> {
    let entries: Vec<Entry> = json::read_all(Part::CertChain, text.as_bytes())?;
    certificates::usable(entries)
}

/// The guest's key as texts, exactly as sent: the report is bound to these characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTexts {
    /// Modulus, base64 as sent.
    pub modulus: String,
    /// Exponent, base64 as sent.
    pub exponent: String,
}

impl Binding for KeyTexts {
    /// The nonce is hashed as the text that the guest was sent.
    fn report_data(&self, nonce: &Nonce) -> [u8; 64] {
        report_data(&nonce.expose(), &self.modulus, &self.exponent)
    }
}

/// The value that binds a guest's report to the challenge and to its key: SHA-512 of the three base64 texts
/// as they were sent.
///
/// Nothing separates the texts. So somebody who passes a guest's report on could move the border between
/// modulus and exponent, and present a key that the guest never had and that may be easy to factor. The nonce
/// has a fixed length, and there is one exponent in one spelling: so the border is fixed.
pub fn report_data(nonce: &str, modulus: &str, exponent: &str) -> [u8; 64] {
    Sha512::new().chain_update(nonce).chain_update(modulus).chain_update(exponent).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{Fault, FieldName},
        *,
    };
    use crate::{challenge::Claim, secret::seal::GuestKeyError};

    const EVIDENCE: &str = r#"{"gen":"milan","report":"00ABcd","cert_chain":"[]"}"#;

    fn modulus() -> String {
        BASE64.encode(&[0xc3; 256])
    }

    fn body_with(alg: &str, modulus: &str, exponent: &str, evidence: &str) -> Vec<u8> {
        let evidence = serde_json::to_string(evidence).unwrap();
        format!(
            r#"{{"tee-pubkey":{{"alg":"{alg}","k-mod":"{modulus}","k-exp":"{exponent}"}},"tee-evidence":{evidence}}}"#
        )
        .into_bytes()
    }

    fn body(evidence: &str) -> Vec<u8> {
        body_with("RSA", &modulus(), "AQAB", evidence)
    }

    fn refusal(body: &[u8]) -> Invalid {
        of_hex(vec![Dialect::Libkrun], body).unwrap_err()
    }

    fn evidence_fault(fault: Fault) -> Invalid {
        Invalid::Json { part: Part::TeeEvidence, fault }
    }

    #[test]
    fn a_request_from_libkrun_is_read() {
        let nonce = crate::challenge::tests::given(Claim::HostData).nonce;
        let read = of_hex(vec![Dialect::Libkrun], &body(EVIDENCE)).unwrap();
        assert_eq!(read.dialects, [Dialect::Libkrun]);
        assert_eq!(read.report, Ok(SentReport::bare([0x00, 0xab, 0xcd])));
        assert_eq!(read.claimed_product, Some(Product::Milan));
        assert_eq!(read.certificates, Vec::<Vec<u8>>::new());
        assert_eq!(read.guest_key, GuestKey::rsa(&[0xc3; 256], &[1, 0, 1]).unwrap());
        assert_eq!(read.binding.report_data(&nonce), report_data(&nonce.expose(), &modulus(), "AQAB"));
    }

    #[test]
    fn fields_come_in_any_order() {
        let evidence_text =
            serde_json::to_string(r#"{"cert_chain":"[]","report":"00","gen":"turin"}"#).unwrap();
        let modulus = modulus();
        let sent = format!(
            r#"{{"tee-evidence":{evidence_text},"tee-pubkey":{{"k-exp":"AQAB","k-mod":"{modulus}","alg":"RSA"}}}}"#
        );
        assert_eq!(
            of_hex(vec![Dialect::Libkrun], sent.as_bytes()).unwrap().claimed_product,
            Some(Product::Turin)
        );
    }

    #[test]
    fn the_generation_is_a_hint() {
        let hint = |generation: &str| {
            of_hex(vec![Dialect::Libkrun], &body(&format!(r#"{{"gen":"{generation}","report":""}}"#)))
                .unwrap()
                .claimed_product
        };
        assert_eq!(hint("milan"), Some(Product::Milan));
        assert_eq!(hint("GENOA"), Some(Product::Genoa));
        assert_eq!(hint("Bergamo"), Some(Product::Genoa));
        assert_eq!(hint("siena"), Some(Product::Genoa));
        assert_eq!(hint("Turin"), Some(Product::Turin));
        assert_eq!(hint("rome"), None);
        assert_eq!(of_hex(vec![Dialect::Libkrun], &body(r#"{"report":""}"#)).unwrap().claimed_product, None);
    }

    #[test]
    fn a_report_that_is_not_hex_is_refused() {
        for report in ["0", "0g", " 00", "00\u{e9}", "0x00"] {
            assert_eq!(
                refusal(&body(&format!(r#"{{"report":"{report}"}}"#))),
                Invalid::ReportHex,
                "{report}"
            );
        }
    }

    #[test]
    fn evidence_of_another_form_is_refused() {
        assert_eq!(refusal(&body("")), evidence_fault(Fault::Syntax));
        assert_eq!(refusal(&body("{}")), evidence_fault(Fault::MissingField(FieldName::new("report"))));
        let twice = r#"{"report":"00","report":"01"}"#;
        assert_eq!(refusal(&body(twice)), evidence_fault(Fault::DuplicateField(FieldName::new("report"))));
        let unknown = r#"{"report":"00","verified":true}"#;
        assert_eq!(refusal(&body(unknown)), evidence_fault(Fault::UnknownField(FieldName::new("verified"))));
        let chain = Invalid::Json { part: Part::CertChain, fault: Fault::Syntax };
        assert_eq!(refusal(&body(r#"{"report":"00","cert_chain":""}"#)), chain);
    }

    #[test]
    fn evidence_in_place_of_text_is_refused() {
        let sent = String::from_utf8(body("@")).unwrap().replace(r#""@""#, r#"{"report":"00"}"#);
        assert_eq!(refusal(sent.as_bytes()), Invalid::Json { part: Part::Body, fault: Fault::Type });
    }

    #[test]
    fn a_key_in_an_array_is_refused() {
        let modulus = modulus();
        let sent = format!(r#"{{"tee-pubkey":["RSA","{modulus}","AQAB"],"tee-evidence":"{{}}"}}"#);
        assert_eq!(refusal(sent.as_bytes()), Invalid::Json { part: Part::Body, fault: Fault::Type });
    }

    /// A key with these fields, and evidence.
    fn with_key(key: &str) -> Vec<u8> {
        let evidence = serde_json::to_string(EVIDENCE).unwrap();
        format!(r#"{{"tee-pubkey":{{{key}}},"tee-evidence":{evidence}}}"#).into_bytes()
    }

    #[test]
    fn the_keys_numbers_have_two_pairs_of_names() {
        let nonce = crate::challenge::tests::given(Claim::HostData).nonce;
        let n = modulus();
        for key in [
            format!(r#""kty":"RSA","alg":"RSA","n":"{n}","e":"AQAB""#),
            format!(r#""kty":"RSA","alg":"RSA","k-mod":"{n}","k-exp":"AQAB""#),
            format!(r#""alg":"RSA","n":"{n}","e":"AQAB""#),
        ] {
            let read = of_hex(vec![Dialect::Keybroker], &with_key(&key)).unwrap();
            assert_eq!(read.dialects, [Dialect::Keybroker]);
            assert_eq!(read.guest_key, GuestKey::rsa(&[0xc3; 256], &[1, 0, 1]).unwrap());
            assert_eq!(read.binding.report_data(&nonce), report_data(&nonce.expose(), &modulus(), "AQAB"));
        }
        let both = format!(r#""alg":"RSA","n":"{n}","k-mod":"{n}","e":"AQAB""#);
        let fault = Fault::DuplicateField(FieldName::new("k-mod"));
        assert_eq!(refusal(&with_key(&both)), Invalid::Json { part: Part::Body, fault });
        let other = format!(r#""kty":"EC","alg":"RSA","n":"{n}","e":"AQAB""#);
        assert_eq!(refusal(&with_key(&other)), Invalid::KeyAlgorithm);
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        for alg in ["EC", "rsa", "RSA-OAEP", ""] {
            assert_eq!(
                refusal(&body_with(alg, &modulus(), "AQAB", EVIDENCE)),
                Invalid::KeyAlgorithm,
                "{alg}"
            );
        }
    }

    #[test]
    fn numbers_that_are_not_standard_base64_are_refused() {
        let modulus = modulus();
        for (modulus, exponent) in [
            (modulus.trim_end_matches('='), "AQAB"),
            (&modulus.replacen('w', "-", 1), "AQAB"),
            (&modulus, "AQA"),
        ] {
            assert_eq!(refusal(&body_with("RSA", modulus, exponent, EVIDENCE)), Invalid::KeyBase64);
        }
    }

    #[test]
    fn keys_not_fit_to_encrypt_to_are_refused() {
        let refused = |modulus: &[u8], exponent: &[u8]| {
            refusal(&body_with("RSA", &BASE64.encode(modulus), &BASE64.encode(exponent), EVIDENCE))
        };
        let mut even = [0xc3; 256];
        even[255] = 0xc2;
        assert_eq!(refused(&[0xc3; 128], &[1, 0, 1]), Invalid::Key(GuestKeyError::ModulusTooShort(1024)));
        assert_eq!(refused(&[0xc3; 513], &[1, 0, 1]), Invalid::Key(GuestKeyError::ModulusTooLong(4104)));
        assert_eq!(refused(&even, &[1, 0, 1]), Invalid::Key(GuestKeyError::EvenModulus));
        assert_eq!(refused(&[0xc3; 256], &[1]), Invalid::Key(GuestKeyError::Exponent));
        assert_eq!(refused(&[0xc3; 256], &[4]), Invalid::Key(GuestKeyError::Exponent));
        assert_eq!(refused(&[0xc3; 256], &[]), Invalid::Key(GuestKeyError::Exponent));
    }

    #[test]
    fn the_border_between_modulus_and_exponent_cannot_be_moved() {
        // 3072 bits have no padding. The last three bytes would make an exponent that is odd and short
        // enough.
        let modulus = BASE64.encode(&[[0xc3; 381].as_slice(), &[0, 1, 1]].concat());
        let texts = modulus.clone() + "AQAB";
        assert!(of_hex(vec![Dialect::Libkrun], &body_with("RSA", &modulus, "AQAB", EVIDENCE)).is_ok());
        let (modulus, exponent) = texts.split_at(modulus.len() - 4);
        let [n, e] = [modulus, exponent].map(|text| BASE64.decode(text.as_bytes()).unwrap());
        assert!(GuestKey::rsa(&n, &e).is_ok());
        assert_eq!(refusal(&body_with("RSA", modulus, exponent, EVIDENCE)), Invalid::KeyExponent);
    }

    #[test]
    fn any_other_exponent_or_spelling_is_refused() {
        for exponent in ["Aw==", "AAEAAQ==", "AAAAAQAB"] {
            assert_eq!(refusal(&body_with("RSA", &modulus(), exponent, EVIDENCE)), Invalid::KeyExponent);
        }
    }

    #[test]
    fn report_data_is_sha_512_of_the_texts_in_a_row() {
        // SHA-512("abc"), FIPS 180-4.
        let expected = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                        2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        assert_eq!(data_encoding::HEXLOWER.encode(&report_data("a", "b", "c")), expected);
        assert_ne!(report_data("a", "b", "c"), report_data("b", "a", "c"));
    }
}
