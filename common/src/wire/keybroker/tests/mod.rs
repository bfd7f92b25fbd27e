//! Registrations by reference values as sent: one row for each field that is there, absent, malformed or
//! would be ignored.

use data_encoding::BASE64;
use serde_json::{Value, json};

mod platform;

use super::{
    super::{Fault, FieldName, Invalid, Part},
    RegistrationFault, register_request, registered, released, resource_name,
};
use crate::{
    broker::RegisterRequest,
    dialect::Dialect,
    encoding::Hex,
    ids::HostData,
    requirements::{EvidenceForm, KeyDigests, Measurement},
    secret::seal::{Jwe, Sealed},
    workload::Registration,
};

/// The seed's own files, as its `rvp_cli` puts them into a body: a measurement, the query for it and a
/// passphrase.
fn seed() -> Value {
    json!({
        "query": ["data.measurement == input.measurement"],
        "reference_values": {"measurement": "4d".repeat(48)},
        "resources": {"passphrase": "mysecretpassphrase"},
    })
}

/// A body that requires an ID key and nothing else.
fn keyed() -> Value {
    json!({"resources": {}, "require": {"id_key_digest": "1d".repeat(48)}})
}

fn with(mut body: Value, changes: &[(&str, Value)]) -> Value {
    for (pointer, value) in changes {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[field] = value.clone();
    }
    body
}

fn read(body: &Value) -> Result<RegisterRequest, Invalid> {
    register_request(body.to_string().as_bytes(), HostData::random()).map(|(request, _)| request)
}

fn fault(body: &Value) -> RegistrationFault {
    match read(body) {
        Err(Invalid::Registration(fault)) => fault,
        other => panic!("{body}: {other:?}"),
    }
}

fn field(name: &str, fault: fn(FieldName) -> Fault) -> Invalid {
    Invalid::Json { part: Part::Body, fault: fault(FieldName::new(name)) }
}

#[test]
fn a_request_from_rvp_cli_is_read() {
    let sent = format!(
        r#"{{"query":["data.measurement == input.measurement"],"reference_values":{{"measurement":"{}"}},"resources":{{"passphrase":"mysecretpassphrase"}}}}"#,
        "4d".repeat(48)
    );
    let host_data = HostData::random();
    let (request, launched) = register_request(sent.as_bytes(), host_data).unwrap();
    assert_eq!(launched, host_data.to_bytes());
    assert_eq!(request.dialects, Dialect::Keybroker.into());
    assert_eq!(request.workload_id, host_data.workload_id());
    assert_eq!(request.reference_values.measurements, [Measurement([0x4D; 48])]);
    assert_eq!(request.policy.host_data, Some(Hex(host_data.to_bytes())));
    assert_eq!(request.secrets["passphrase"].expose(), b"mysecretpassphrase");
    let rego = request.rego.unwrap();
    assert_eq!(rego.queries, ["data.measurement == input.measurement"]);
    assert_eq!(rego.module, None);
    // As it was sent, to the byte.
    assert_eq!(rego.reference_values, format!(r#"{{"measurement":"{}"}}"#, "4d".repeat(48)));
}

#[test]
fn the_answer_is_host_data_in_base64_between_quotes() {
    let host_data = HostData::random();
    let answer = String::from_utf8(registered(&host_data.to_bytes())).unwrap();
    let decoded = BASE64.decode(&answer.as_bytes()[1..answer.len() - 1]).unwrap();
    assert_eq!(decoded, host_data.to_bytes());
    assert_eq!(decoded[16..], [0; 16]);
    assert_eq!(HostData::from_report(&host_data.to_bytes()), Some(host_data));
    assert_eq!(serde_json::from_str::<String>(&answer).unwrap().len(), 44);
}

#[test]
fn a_registration_names_a_measurement_or_an_id_key() {
    assert_eq!(fault(&json!({"resources": {}})), RegistrationFault::Unbound);
    let query_alone = json!({"query": ["true"], "resources": {}});
    assert_eq!(fault(&query_alone), RegistrationFault::Unbound);
    let author = json!({"resources": {}, "require": {"author_key_digest": "a0".repeat(48)}});
    assert_eq!(fault(&author), RegistrationFault::Unbound);
    assert_eq!(read(&keyed()).unwrap().reference_values.measurements, []);
    let measured = json!({"resources": {}, "measurements": ["4D".repeat(48)]});
    assert_eq!(read(&measured).unwrap().reference_values.measurements, [Measurement([0x4D; 48])]);
}

#[test]
fn measurements_have_one_form() {
    let field = "reference_values.measurement";
    for bad in [json!(""), json!([]), json!("4d"), json!(["4d"]), json!(7), json!({}), json!("x".repeat(96))]
    {
        let body = with(seed(), &[("/reference_values/measurement", bad.clone())]);
        assert_eq!(fault(&body), RegistrationFault::Measurement(field), "{bad}");
    }
    for bad in [json!([]), json!(["4d".repeat(48)]), json!(7), json!("4d")] {
        let body = with(seed(), &[("/reference_values", bad)]);
        assert_eq!(fault(&body), RegistrationFault::ReferenceValues);
    }
    let several = json!(["4d".repeat(48), "4e".repeat(48)]);
    let body = with(seed(), &[("/reference_values/measurement", several.clone())]);
    assert_eq!(read(&body).unwrap().reference_values.measurements.len(), 2);
    for bad in [json!([]), json!(["4d"]), json!([""])] {
        let body = json!({"resources": {}, "measurements": bad});
        assert_eq!(fault(&body), RegistrationFault::Measurement("measurements"));
    }
    let zeros = json!({"resources": {}, "measurements": ["00".repeat(48)]});
    assert_eq!(fault(&zeros), RegistrationFault::Zeros("measurements"));
    let zeros = with(seed(), &[("/reference_values/measurement", json!("00".repeat(48)))]);
    assert_eq!(fault(&zeros), RegistrationFault::Zeros(field));
}

#[test]
fn two_sets_of_measurements_must_both_hold() {
    let of = |digits: &str| json!(digits.repeat(48));
    let body = |sent: Value| with(seed(), &[("/measurements", sent)]);
    let request = read(&body(json!([of("4e"), of("4d")]))).unwrap();
    assert_eq!(request.reference_values.measurements, [Measurement([0x4D; 48])]);
    assert_eq!(fault(&body(json!([of("4e")]))), RegistrationFault::Disjoint);
}

/// One row per requirement: satisfied by the form, malformed, or one that would require nothing.
#[test]
fn every_requirement_has_its_form() {
    let required = |name: &str, value: Value| with(keyed(), &[(&format!("/require/{name}"), value)]);
    let policy = |name: &str, value: Value| read(&required(name, value)).unwrap().policy;
    let refused = |name: &str, value: Value| fault(&required(name, value));

    let keys =
        |keys: &[[u8; 48]]| KeyDigests::try_from(Vec::from_iter(keys.iter().copied().map(Hex))).unwrap();
    let (one, other) = ("AB".repeat(48), "cd".repeat(48));
    assert_eq!(policy("id_key_digest", json!(one)).id_key_digest, Some(keys(&[[0xAB; 48]])));
    let both = policy("id_key_digest", json!([one, other])).id_key_digest;
    assert_eq!(both, Some(keys(&[[0xAB; 48], [0xCD; 48]])));
    for wrong in [json!([]), json!([one, one.to_lowercase()]), json!(vec![json!(one); 17])] {
        assert_eq!(refused("id_key_digest", wrong), RegistrationFault::Keys("id_key_digest"));
    }
    let zeros = json!([one, "00".repeat(48)]);
    assert_eq!(refused("id_key_digest", zeros), RegistrationFault::Zeros("id_key_digest"));
    assert_eq!(policy("author_key_digest", json!("ab".repeat(48))).author_key_digest, Some(Hex([0xAB; 48])));
    assert_eq!(policy("family_id", json!("ab".repeat(16))).family_id, Some(Hex([0xAB; 16])));
    assert_eq!(policy("image_id", json!("ab".repeat(16))).image_id, Some(Hex([0xAB; 16])));
    assert_eq!(policy("minimum_guest_svn", json!(7)).minimum_guest_svn, Some(7));
    assert!(policy("single_socket", json!(true)).require_single_socket);
    assert!(policy("smt", json!(false)).forbid_smt);
    assert!(policy("ciphertext_hiding", json!(true)).require_ciphertext_hiding);

    for bad in [json!("snp"), json!("AZ-SNP-VTPM"), json!("azsnpvtpm"), json!("")] {
        assert_eq!(refused("evidence", bad), RegistrationFault::Evidence);
    }

    for (name, digits) in
        [("id_key_digest", 96), ("author_key_digest", 96), ("family_id", 32), ("image_id", 32)]
    {
        for bad in ["", "ab", &"x".repeat(digits), &"ab".repeat(digits)] {
            assert_eq!(refused(name, json!(bad)), RegistrationFault::Hex(name, digits), "{bad}");
        }
    }
    for name in ["id_key_digest", "author_key_digest"] {
        assert_eq!(refused(name, json!("00".repeat(48))), RegistrationFault::Zeros(name));
    }
    for (name, nothing) in [
        ("minimum_guest_svn", json!(0)),
        ("single_socket", json!(false)),
        ("smt", json!(true)),
        ("ciphertext_hiding", json!(false)),
    ] {
        assert_eq!(refused(name, nothing), RegistrationFault::Nothing(name));
    }
    assert_eq!(refused("host_data", json!("d0".repeat(32))), RegistrationFault::HostData);
    for (name, wrong) in [("smt", json!("false")), ("minimum_guest_svn", json!(-1)), ("family_id", json!([]))]
    {
        let refused = read(&required(name, wrong)).unwrap_err();
        assert_eq!(refused, Invalid::Json { part: Part::Body, fault: Fault::Type }, "{name}");
    }
}

/// On Azure nothing of the guest's own is in HOST_DATA or in the launch measurement.
#[test]
fn an_azure_guest_is_bound_by_nothing_of_its_own() {
    let body = |dialect: &str, init_data: Option<&str>, host_data: bool| {
        let mut body = json!({
            "workload_id": "web",
            "dialects": [dialect],
            "measurements": ["4d".repeat(48)],
            "resources": {"a/b/c": "x"},
            "require": {"evidence": "az-snp-vtpm"},
        });
        if let Some(bound_by) = init_data {
            body["init_data"] =
                json!({"bound_by": bound_by, "algorithm": "sha256", "digest": "d1".repeat(32)});
        }
        if dialect == "v1" {
            body["resources"] = json!({"passphrase": "x"});
        }
        if host_data {
            body["require"]["host_data"] = json!("d1".repeat(32));
        }
        body
    };
    for possible in [body("trustee", None, false), body("v1", Some("nothing"), false)] {
        let request = read(&possible).unwrap();
        assert_eq!(request.policy.evidence, EvidenceForm::AzSnpVtpm);
        let registration = Registration {
            serial: uuid::Uuid::nil(),
            dialects: request.dialects,
            owner: None,
            reference_values: request.reference_values,
            policy: request.policy,
            rego: None,
        };
        let words = crate::wire::bound_by(&registration);
        assert!(words.contains("every Azure VM with it has the same"), "{words}");
    }
    for impossible in [
        with(keyed(), &[("/require/evidence", json!("az-snp-vtpm"))]),
        body("trustee", Some("host_data"), false),
        body("trustee", None, true),
        body("v1", Some("host_data"), false),
        body("v1", Some("measurement"), false),
        body("v1", Some("nothing"), true),
    ] {
        assert_eq!(fault(&impossible), RegistrationFault::BoundOnAzure, "{impossible}");
    }
}

#[test]
fn an_id_block_counts_under_a_required_key_alone() {
    let measured =
        |require: Value| json!({"resources": {}, "measurements": ["4d".repeat(48)], "require": require});
    for (name, value) in [
        ("family_id", json!("fa".repeat(16))),
        ("image_id", json!("1a".repeat(16))),
        ("minimum_guest_svn", json!(7)),
    ] {
        assert_eq!(fault(&measured(json!({ name: value }))), RegistrationFault::Unsigned(name));
        let signed = json!({ name: value, "author_key_digest": "a0".repeat(48) });
        assert!(read(&measured(signed)).is_ok(), "{name}");
    }
}

#[test]
fn a_field_that_would_be_ignored_is_refused() {
    let module = with(keyed(), &[("/policy", json!("package p"))]);
    assert_eq!(fault(&module), RegistrationFault::Ignored("policy"));
    let mut values = seed();
    values.as_object_mut().unwrap().remove("query");
    assert!(read(&values).is_ok(), "the measurement is enforced all the same");
    let more = with(values, &[("/reference_values/svn", json!(7))]);
    assert_eq!(fault(&more), RegistrationFault::Ignored("reference_values"));
    let empty = with(keyed(), &[("/reference_values", json!({}))]);
    assert_eq!(fault(&empty), RegistrationFault::Ignored("reference_values"));
    for name in ["Query", "workload", "measurement"] {
        let unknown = with(seed(), &[(&format!("/{name}"), json!(1))]);
        assert_eq!(read(&unknown).unwrap_err(), field(name, Fault::UnknownField));
    }
    let unknown = with(keyed(), &[("/require/debug", json!(true))]);
    assert_eq!(read(&unknown).unwrap_err(), field("debug", Fault::UnknownField));
    let mut missing = seed();
    missing.as_object_mut().unwrap().remove("resources");
    assert_eq!(read(&missing).unwrap_err(), field("resources", Fault::MissingField));
}

/// As from a template whose variable was not set: nothing is not what was meant.
#[test]
fn null_is_no_way_to_leave_a_requirement_out() {
    for at in [
        "/query",
        "/reference_values",
        "/policy",
        "/measurements",
        "/minimum_tcb",
        "/minimum_committed_tcb",
        "/minimum_current_tcb",
        "/minimum_launch_tcb",
        "/workload_id",
        "/init_data",
        "/require",
        "/require/host_data",
        "/require/id_key_digest",
        "/require/author_key_digest",
        "/require/family_id",
        "/require/image_id",
        "/require/minimum_guest_svn",
        "/require/products",
        "/require/chips",
        "/require/current_mitigations",
        "/require/launch_mitigations",
        "/require/platform",
        "/require/minimum_firmware",
        "/require/single_socket",
        "/require/smt",
        "/require/ciphertext_hiding",
    ] {
        let refused = read(&with(keyed(), &[(at, Value::Null)])).unwrap_err();
        let expected = match at {
            "/reference_values" => RegistrationFault::ReferenceValues.into(),
            _ => Invalid::Json { part: Part::Body, fault: Fault::Type },
        };
        assert_eq!(refused, expected, "{at}");
    }
    let measurement = with(seed(), &[("/reference_values/measurement", Value::Null)]);
    assert_eq!(fault(&measurement), RegistrationFault::Measurement("reference_values.measurement"));
}

#[test]
fn duplicate_names_are_refused() {
    let measurement = "4d".repeat(48);
    let body = |inner: &str| format!(r#"{{"measurements":["{measurement}"],{inner}}}"#);
    let refusal = |inner: &str| register_request(body(inner).as_bytes(), HostData::random()).unwrap_err();
    let duplicate =
        |part, name: &str| Invalid::Json { part, fault: Fault::DuplicateField(FieldName::new(name)) };
    assert_eq!(refusal(r#""resources":{"a":"1","a":"2"}"#), duplicate(Part::Body, "a"));
    assert_eq!(refusal(r#""resources":{},"resources":{}"#), duplicate(Part::Body, "resources"));
    assert_eq!(
        refusal(r#""resources":{},"require":{"smt":false,"smt":false}"#),
        duplicate(Part::Body, "smt")
    );
    let values = format!(r#"{{"measurement":"{measurement}","measurement":"{measurement}"}}"#);
    let inner = format!(r#""resources":{{}},"query":["true"],"reference_values":{values}"#);
    assert_eq!(refusal(&inner), duplicate(Part::ReferenceValues, "measurement"));
}

/// No other list of dialects, no init data that only the guest speaks of, and nothing left unsaid.
#[test]
fn dialects_are_v1_and_trustee_with_what_ties_their_guests() {
    let body = |dialects: Value, bound_by: Option<&str>| {
        let mut body = json!({
            "workload_id": "web",
            "dialects": dialects,
            "measurements": ["4d".repeat(48)],
            "resources": {"default/key/disk": "s"},
        });
        if let Some(bound_by) = bound_by {
            body["init_data"] =
                json!({"bound_by": bound_by, "algorithm": "sha256", "digest": "d1".repeat(32)});
        }
        body
    };
    let host_data = Some("host_data");
    let read_as = |dialects: Value, bound_by| read(&body(dialects, bound_by)).unwrap().dialects;
    assert_eq!(read_as(json!(["trustee"]), None), Dialect::Trustee.into());
    assert_eq!(read_as(json!(["trustee"]), host_data), Dialect::Trustee.into());
    let both = read_as(json!(["v1", "trustee"]), host_data);
    assert!([Dialect::Native, Dialect::Trustee].into_iter().all(|dialect| both.contains(dialect)));
    for dialects in [json!(["trustee"]), json!(["v1", "trustee"]), json!(["trustee", "v1"])] {
        for bound_by in ["measurement", "nothing"] {
            let fault = fault(&body(dialects.clone(), Some(bound_by)));
            assert_eq!(fault, RegistrationFault::TrusteeBinding, "{dialects} {bound_by}");
        }
    }
    for dialects in ["libkrun", "v0", "keybroker"].map(|name| json!(["trustee", name])) {
        assert!(read(&body(dialects.clone(), host_data)).is_err(), "{dialects}");
    }
    for dialect in [Dialect::Libkrun, Dialect::Keybroker] {
        for dialects in [json!([dialect]), json!([dialect, Dialect::Trustee])] {
            let fault = fault(&body(dialects.clone(), host_data));
            assert_eq!(fault, RegistrationFault::Dialects, "{dialects}");
        }
    }
    assert_eq!(fault(&body(json!(["v1", "trustee"]), None)), RegistrationFault::InitDataAlone);
    let mut unnamed = body(json!(["trustee"]), None);
    unnamed.as_object_mut().unwrap().remove("workload_id");
    assert_eq!(fault(&unnamed), RegistrationFault::DialectsAlone);
}

#[test]
fn resources_are_bounded() {
    let body = |resources: Value| with(keyed(), &[("/resources", resources)]);
    let many = |count: usize| (0..count).map(|index| (format!("r{index}"), json!("s"))).collect::<Value>();
    assert_eq!(read(&body(many(16))).unwrap().secrets.len(), 16);
    assert_eq!(fault(&body(many(17))), RegistrationFault::ResourceCount);
    assert_eq!(fault(&body(many(1000))), RegistrationFault::ResourceCount);
    assert!(read(&body(json!({"A-z.0_9": "s".repeat(4000)}))).is_ok());
    for length in [0, 4001] {
        assert_eq!(fault(&body(json!({"a": "s".repeat(length)}))), RegistrationFault::ResourceLength);
    }
    for name in ["", "a/b", "a b", "é", ".", "..", &"n".repeat(65)] {
        assert_eq!(fault(&body(json!({ name: "s" }))), RegistrationFault::ResourceName, "{name}");
        assert_eq!(resource_name(name), Err(Invalid::ResourceName), "{name}");
    }
    for wrong in [json!([]), json!({"a": 1}), json!({"a": null})] {
        let refused = read(&body(wrong)).unwrap_err();
        assert_eq!(refused, Invalid::Json { part: Part::Body, fault: Fault::Type });
    }
}

#[test]
fn a_resource_that_is_no_text_comes_in_base64() {
    let body = |resource: Value| with(keyed(), &[("/resources", json!({ "a": resource }))]);
    let bytes: Vec<u8> = (0..=255).collect();
    let request = read(&body(json!({"base64": BASE64.encode(&bytes)}))).unwrap();
    assert_eq!(request.secrets["a"].expose(), bytes);
    let longest = |length: usize| read(&body(json!({"base64": BASE64.encode(&vec![0; length])})));
    assert!(longest(4000).is_ok());
    for length in [0, 4001] {
        let fault = Err(Invalid::Registration(RegistrationFault::ResourceLength));
        assert_eq!(longest(length).map(drop), fault);
    }
    let refused = |fault| Invalid::Json { part: Part::Body, fault };
    for (resource, error) in [
        (json!({}), field("base64", Fault::MissingField)),
        (json!({"base64": "AA==", "more": 1}), field("more", Fault::UnknownField)),
        (json!({"base64": "AA"}), refused(Fault::Type)),
        (json!({"base64": "_w=="}), refused(Fault::Type)),
        (json!({"base64": "AB=="}), refused(Fault::Type)),
        (json!({"base64": 1}), refused(Fault::Type)),
        (json!(["AA=="]), refused(Fault::Type)),
    ] {
        assert_eq!(read(&body(resource.clone())).unwrap_err(), error, "{resource}");
    }
    let twice = br#"{"resources":{"a":{"base64":"AA==","base64":"AA=="}},"measurements":["00"]}"#;
    let error = register_request(twice, HostData::random()).unwrap_err();
    assert_eq!(error, field("base64", Fault::DuplicateField));
}

#[test]
fn keybrokers_guest_reads_ciphertext_in_hex_alone() {
    let short = released(&Sealed::Pkcs1(vec![0x00, 0xAB, 0xFF]));
    assert_eq!(short, br#"{"protected":"","encrypted_key":"","iv":"","ciphertext":"00abff","tag":""}"#);
    let member = str::to_owned;
    let long = Sealed::Jwe(Jwe {
        protected: member("p"),
        encrypted_key: member("k"),
        iv: member("i"),
        ciphertext: member("c"),
        tag: member("t"),
    });
    let expected = br#"{"protected":"p","encrypted_key":"k","iv":"i","ciphertext":"c","tag":"t"}"#;
    assert_eq!(released(&long), expected);
}
