//! Keys, evidence and bindings of each version.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};

use super::{
    super::{Fault, FieldName, Invalid, Part, handshake},
    *,
};
use crate::{
    challenge::{Claim, tests::given},
    ids::{CarriedId, KbsVersion, ReportHash, TrusteeClaim, WorkloadId},
    secret::seal::{GuestKey, GuestKeyError, JweForm},
};

const SHA384: KbsVersion = KbsVersion::V0_4_0(ReportHash::Sha384);

/// The base point of P-256 (SEC 2).
const X: &str = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
const Y: &str = "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

fn claim(version: KbsVersion) -> TrusteeClaim {
    TrusteeClaim { version, workload: None }
}

fn base64url(hex: &str) -> String {
    BASE64URL_NOPAD.encode(&HEXLOWER.decode(hex.as_bytes()).unwrap())
}

fn rsa(alg: &str) -> Value {
    json!({"kty": "RSA", "alg": alg, "n": BASE64URL_NOPAD.encode(&[0xC3; 256]), "e": "AQAB"})
}

fn ec() -> Value {
    json!({"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": base64url(X), "y": base64url(Y)})
}

/// The body of a guest of `version` with this key, and evidence that says nothing.
fn body(version: KbsVersion, key: &Value) -> Value {
    match version {
        KbsVersion::V0_1_0 => json!({"tee-pubkey": key, "tee-evidence": "{}"}),
        KbsVersion::V0_1_1 | KbsVersion::V0_2_0 => json!({"tee-pubkey": key, "tee-evidence": {}}),
        KbsVersion::V0_4_0(_) => json!({
            "init-data": null,
            "runtime-data": {"nonce": "AAAA", "tee-pubkey": key},
            "tee-evidence": {"primary_evidence": {}, "additional_evidence": ""},
        }),
    }
}

fn read(version: KbsVersion, body: &Value) -> Result<crate::broker::Evidence, Invalid> {
    evidence(&claim(version), body.to_string().as_bytes())
}

fn refusal(version: KbsVersion, body: &Value) -> Invalid {
    read(version, body).unwrap_err()
}

#[test]
fn each_version_has_its_kinds_of_keys() {
    use KbsVersion::{V0_1_0, V0_1_1, V0_2_0};
    let n = [0xC3; 256];
    let decode = |hex: &str| HEXLOWER.decode(hex.as_bytes()).unwrap();
    for version in KbsVersion::ALL {
        let early = matches!(version, V0_1_0 | V0_1_1);
        let key = |key: Value| read(version, &body(version, &key)).map(|evidence| evidence.guest_key);
        let later = |key| if early { Err(KeyFault::LaterForm.into()) } else { Ok(key) };
        assert_eq!(key(rsa("RSA1_5")), Ok(GuestKey::rsa(&n, &[1, 0, 1]).unwrap()));
        assert_eq!(key(rsa("RSA-OAEP-256")), later(GuestKey::rsa_oaep_256(&n, &[1, 0, 1]).unwrap()));
        assert_eq!(key(ec()), later(GuestKey::p256(&decode(X), &decode(Y)).unwrap()));
        assert_eq!(key(rsa("RSA-OAEP")), Err(KeyFault::Oaep.into()));
    }
    // The version decides whether the evidence is a text or a value.
    let fault = Invalid::Json { part: Part::Body, fault: Fault::Type };
    assert_eq!(refusal(V0_1_0, &body(V0_1_1, &rsa("RSA1_5"))), fault);
    assert!(read(V0_2_0, &body(V0_1_0, &rsa("RSA1_5"))).unwrap().report.is_err());
    let missing = |name| Invalid::Json { part: Part::Body, fault: Fault::MissingField(FieldName::new(name)) };
    assert_eq!(
        refusal(SHA384, &json!({"tee-evidence": body(SHA384, &ec())["tee-evidence"]})),
        missing("runtime-data")
    );
}

#[test]
fn a_key_of_another_form_is_refused_in_words() {
    let p521 = json!({"kty": "EC", "crv": "P-521", "alg": "ECDH-ES+A256KW", "x": "AA", "y": "AA"});
    let akp = json!({"kty": "AKP", "alg": "ML-KEM-768", "pub": "AA"});
    let with = |key: Value, name: &str, value: Option<Value>| {
        let mut key = key;
        let object = key.as_object_mut().unwrap();
        match value {
            Some(value) => object.insert(name.to_owned(), value),
            None => object.remove(name),
        };
        key
    };
    let fault = |key: Value| refusal(SHA384, &body(SHA384, &key));
    let not_served = Invalid::from(KeyFault::NotServed);
    assert_eq!(fault(p521), not_served);
    assert_eq!(fault(akp), not_served);
    for (key, name, value) in [
        (rsa("RSA1_5"), "kty", "EC"),
        (rsa("RSA1_5"), "alg", "RSA"),
        (rsa("RSA1_5"), "crv", "P-256"),
        (ec(), "kty", "RSA"),
        (ec(), "crv", "P-384"),
        (ec(), "alg", "ECDH-ES"),
    ] {
        assert_eq!(fault(with(key, name, Some(value.into()))), not_served, "{name}");
    }
    for (key, name) in [(rsa("RSA1_5"), "n"), (rsa("RSA1_5"), "e"), (ec(), "x"), (ec(), "y")] {
        assert_eq!(fault(with(key.clone(), name, None)), KeyFault::Members.into(), "{name}");
        for text in ["A", "AA==", "+/", "A A"] {
            assert_eq!(
                fault(with(key.clone(), name, Some(text.into()))),
                KeyFault::Base64.into(),
                "{name} {text}"
            );
        }
    }
    assert_eq!(fault(with(rsa("RSA1_5"), "x", Some("AA".into()))), KeyFault::Members.into());
    assert_eq!(fault(with(ec(), "n", Some("AA".into()))), KeyFault::Members.into());
    // As guests write it whose coordinate is short, and filled up at the wrong end.
    let padded = base64url(&format!("{}30", &X[2..]));
    assert_eq!(fault(with(ec(), "x", Some(padded.into()))), Invalid::Key(GuestKeyError::Point));
    let short = base64url(&X[2..]);
    assert_eq!(fault(with(ec(), "x", Some(short.into()))), Invalid::Key(GuestKeyError::Point));
    assert_eq!(
        fault(with(rsa("RSA1_5"), "n", Some("AAAA".into()))),
        Invalid::Key(GuestKeyError::ModulusTooShort(0))
    );
}

/// The text is written out, and hashed by another implementation.
#[test]
fn report_data_is_the_hash_of_the_runtime_data() {
    let nonce = given(Claim::Later).nonce;
    let key = ec();
    let (x, y) = (base64url(X), base64url(Y));
    let early = format!(
        "{{\"nonce\":\"{}\",\"tee-pubkey\":{{\"alg\":\"ECDH-ES+A256KW\",\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"{x}\",\"y\":\"{y}\"}}}}",
        nonce.expose()
    );
    let late = early.replacen('{', "{\"additional-evidence\":\"\",", 1);
    for (version, text) in [
        (KbsVersion::V0_2_0, &early),
        (KbsVersion::V0_4_0(ReportHash::Sha256), &late),
        (SHA384, &late),
        (KbsVersion::V0_4_0(ReportHash::Sha512), &late),
    ] {
        use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
        let hash = match version {
            KbsVersion::V0_4_0(ReportHash::Sha256) => digest(&SHA256, text.as_bytes()),
            KbsVersion::V0_4_0(ReportHash::Sha512) => digest(&SHA512, text.as_bytes()),
            _ => digest(&SHA384, text.as_bytes()),
        };
        let report_data = read(version, &body(version, &key)).unwrap().binding.report_data(&nonce);
        let (hashed, zeros) = report_data.split_at(hash.as_ref().len());
        assert_eq!((hashed, zeros.iter().all(|byte| *byte == 0)), (hash.as_ref(), true), "{version:?}");
    }
    // An RSA key, of a version that hashes the same text.
    let n = BASE64URL_NOPAD.encode(&[0xC3; 256]);
    let text = format!(
        "{{\"nonce\":\"{}\",\"tee-pubkey\":{{\"alg\":\"RSA1_5\",\"e\":\"AQAB\",\"kty\":\"RSA\",\"n\":\"{n}\"}}}}",
        nonce.expose()
    );
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, text.as_bytes());
    for version in [KbsVersion::V0_1_0, KbsVersion::V0_1_1, KbsVersion::V0_2_0] {
        let report_data = read(version, &body(version, &rsa("RSA1_5"))).unwrap().binding.report_data(&nonce);
        assert_eq!(&report_data[..48], hash.as_ref());
    }
}

#[test]
fn init_data_is_hashed_as_it_came() {
    const DOCUMENT: &str = "version = \"0.1.0\"\nalgorithm = \"sha512\"\n[data]\n\"aa.toml\" = \"x\"\n";
    let with = |init_data: Value| {
        let mut body = body(SHA384, &ec());
        body["init-data"] = init_data;
        body
    };
    let sent = |format: &str, text: &str| with(json!({"format": format, "body": text}));
    let digest = keybroker_initdata::Algorithm::Sha512.digest(DOCUMENT);
    assert_eq!(read(SHA384, &sent("toml", DOCUMENT)).unwrap().init_data, Some(digest));
    assert_eq!(read(SHA384, &with(Value::Null)).unwrap().init_data, None);
    for (format, text) in [
        ("json", DOCUMENT),
        ("", DOCUMENT),
        ("toml", ""),
        ("toml", "version = \"0.1.0\""),
        ("toml", &DOCUMENT.replace("sha512", "md5")),
        ("toml", &DOCUMENT.replace("0.1.0", "0.2.0")),
        ("toml", &DOCUMENT.replace("[data]", "[dato]")),
    ] {
        assert_eq!(refusal(SHA384, &sent(format, text)), Invalid::InitData, "{format} {text}");
    }
    let form = |fault| Invalid::Json { part: Part::Body, fault };
    for wrong in [json!("x"), json!([]), json!(["toml", DOCUMENT]), json!(7)] {
        assert_eq!(refusal(SHA384, &with(wrong.clone())), form(Fault::Type), "{wrong}");
    }
    let twice = with(Value::Null).to_string().replacen('{', "{\"init-data\":null,", 1);
    let fault = evidence(&claim(SHA384), twice.as_bytes()).unwrap_err();
    assert_eq!(fault, form(Fault::DuplicateField(FieldName::new("init-data"))));
}

/// Nothing that the broker verifies binds the document of an Azure VM: its host could send any.
#[test]
fn init_data_beside_azures_evidence_counts_for_nothing() {
    let mut body = body(SHA384, &ec());
    let document = "version = \"0.1.0\"\nalgorithm = \"sha512\"\n[data]\n";
    body["init-data"] = json!({"format": "toml", "body": document});
    let said = |body: &Value| read(SHA384, body).unwrap().init_data;
    assert!(said(&body).is_some());
    body["tee-evidence"]["primary_evidence"] =
        json!({"version": 2, "tpm_quote": {}, "hcl_report": "AAAA", "vcek": ""});
    assert_eq!(said(&body), None);
    body["tee-evidence"]["primary_evidence"] = json!({"quote": {}, "report": [0], "vcek": ""});
    assert_eq!(said(&body), None);
}

#[test]
fn evidence_of_other_devices_is_refused() {
    let mut body = body(SHA384, &ec());
    body["tee-evidence"]["additional_evidence"] = "{}".into();
    assert_eq!(refusal(SHA384, &body), Invalid::AdditionalEvidence);
}

/// So that the decision about the challenge says what is wrong with it.
#[test]
fn a_report_of_no_known_shape_is_left_to_the_broker() {
    for version in KbsVersion::ALL {
        let evidence = read(version, &body(version, &rsa("RSA1_5"))).unwrap();
        assert_eq!(evidence.dialects, [Dialect::Trustee]);
        assert!(evidence.report.unwrap_err().to_string().contains("attestation_report"));
    }
}

#[test]
fn the_key_decides_whose_guest_it_is_where_the_challenge_leaves_it_open() {
    let either = Claim::Trustee(claim(KbsVersion::V0_1_0));
    let both = vec![Dialect::Keybroker, Dialect::Trustee];
    assert_eq!(either.dialects(), both);
    let seeds = json!({
        "tee-pubkey": {"kty": "RSA", "alg": "RSA", "n": BASE64.encode(&[0xC3; 256]), "e": "AQAB"},
        "tee-evidence": "{\"report\":\"00\"}",
    });
    let dialects = |claim: &Claim, body: &Value| {
        let evidence = handshake::evidence(both.clone(), claim, body.to_string().as_bytes());
        evidence.map(|evidence| evidence.dialects)
    };
    assert_eq!(dialects(&either, &seeds), Ok(vec![Dialect::Keybroker]));
    assert_eq!(dialects(&either, &body(KbsVersion::V0_1_0, &rsa("RSA1_5"))), Ok(vec![Dialect::Trustee]));
    for (alg, fault) in
        [("RSA-OAEP-256", KeyFault::LaterForm), ("RSA-OAEP", KeyFault::Oaep), ("rsa", KeyFault::NotServed)]
    {
        assert_eq!(dialects(&either, &body(KbsVersion::V0_1_0, &rsa(alg))), Err(fault.into()));
    }
    // A guest that names its workload in the URL is Trustee's, and so is one of any later version.
    let workload = CarriedId::new(WorkloadId::new("web").unwrap());
    let named = Claim::Trustee(TrusteeClaim { version: KbsVersion::V0_1_0, workload });
    assert_eq!(dialects(&named, &seeds), Err(KeyFault::NotServed.into()));
    let later = Claim::Trustee(claim(KbsVersion::V0_1_1));
    let mut seeds_in_place = seeds.clone();
    seeds_in_place["tee-evidence"] = json!({"report": "00"});
    assert_eq!(dialects(&later, &seeds_in_place), Err(KeyFault::NotServed.into()));
    // One that asked otherwise is keybroker's, whatever its key.
    let trustees = body(KbsVersion::V0_1_0, &rsa("RSA1_5"));
    let fault = handshake::evidence(both, &Claim::HostData, trustees.to_string().as_bytes()).unwrap_err();
    assert!(matches!(fault, Invalid::Json { part: Part::TeeEvidence, .. }), "{fault:?}");
}

#[test]
fn a_resource_is_named_by_three_parts() {
    let name = |parts| ResourceName::new(parts).map(|name| name.as_str().to_owned());
    assert_eq!(name(["default", "key", "1"]).as_deref(), Some("default/key/1"));
    assert_eq!(name(["_a", "-b.c", "d..e"]).as_deref(), Some("_a/-b.c/d..e"));
    for part in ["", ".", "..", ".a", "a/b", "a b", "ü", "%41", &"a".repeat(65)] {
        for parts in [[part, "b", "c"], ["a", part, "c"], ["a", "b", part]] {
            assert_eq!(name(parts), None, "{parts:?}");
        }
    }
}

#[test]
fn the_version_decides_the_form_of_a_jwe() {
    let form = |version| Claim::Trustee(claim(version)).jwe_form();
    assert_eq!([KbsVersion::V0_1_0, KbsVersion::V0_1_1].map(form), [JweForm::BeforeRfc; 2]);
    assert_eq!([KbsVersion::V0_2_0, SHA384].map(form), [JweForm::Rfc7516; 2]);
}
