//! `docs/reference-values.schema.json`: the document that `keybroker workload export` writes and `keybroker
//! register --from` reads. Its schema is that of the body of `POST /rvp/register`, with two differences:
//! secrets may be given apart, and there is a form for registrations as buildah makes them.

use std::{collections::BTreeSet, fs, sync::LazyLock};

use keybroker_common::{
    dialect::Dialect,
    encoding::Hex,
    ids::{HostData, WorkloadId},
    platform::{BySilicon, ChipId, Condition, FirmwareVersion, PlatformDemands},
    policy::PolicyText,
    requirements::{
        Abi, AppraisalPolicy, BoundBy, EvidenceForm, InitDataRequirement, KeyDigests, Measurement,
        ReferenceValues,
    },
    wire::keybroker::{Exported, register_request},
    workload::Registration,
};
use keybroker_initdata::Algorithm;
use keybroker_snp::product::Product;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{document, judge::Judge};

/// Where the documentation has it.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference-values.schema.json");

const DESCRIPTION: &str = "The reference values and requirements of a registration. `keybroker workload export` \
                           writes such a document, without secrets. `keybroker register --from` reads one: the secrets are in \
                           it, or given by --resource or --passphrase-file. But for the dialect `v0`, the document with \
                           its secrets is the body of `POST /rvp/register`. The document must name a launch measurement \
                           (in `measurements` or `reference_values.measurement`) or `require.id_key_digest`.";

/// The whole schema.
fn schema() -> Value {
    let components = document()["components"]["schemas"].take();
    let mut schema = components["RegisterReferenceValues"].clone();
    let mut definitions = json!({});
    define(&schema, &components, &mut definitions);
    definitions["Require"]["properties"]["minimum_abi"] = json!({
        "description": "The least ABI that the guest policy must demand. Only with the dialect `v0`.",
        "type": "string",
        "pattern": r"^[0-9]{1,3}\.[0-9]{1,3}$",
    });
    let dialects = &mut schema["properties"]["dialects"];
    dialects["items"]["enum"] = json!(["v0", "v1", "trustee"]);
    dialects["description"] = json!(
        "The dialects in which the guests may ask: `v0`, alone, for a registration as buildah makes it. Without \
         it: `v1` where there is a `workload_id`, and else keybroker's."
    );
    // The forms are told apart by their members, and the least ABI is of one form alone.
    let others = schema["oneOf"].as_array_mut().unwrap();
    for form in others.iter_mut() {
        form["properties"]["require"]["properties"]["minimum_abi"] = json!(false);
        if form["properties"]["dialects"]["minItems"] == 2 {
            form["properties"]["dialects"]["items"] = json!({ "enum": ["v1", "trustee"] });
        }
    }
    let only = |names: &[&str], of: &Value| -> Value {
        let names_of = of["properties"].as_object().unwrap().keys();
        names_of
            .filter(|name| !names.contains(&name.as_str()))
            .map(|name| (name.clone(), json!(false)))
            .collect()
    };
    let mut properties =
        only(&["workload_id", "dialects", "measurements", "require"], &components["RegisterReferenceValues"]);
    properties["dialects"] = json!({ "const": ["v0"] });
    properties["measurements"] = json!({ "minItems": 1, "maxItems": 1 });
    properties["require"] = json!({ "properties": only(&["smt"], &components["Require"]) });
    others.push(json!({
        "description": "Guests of libkrun, registered as buildah does: the secret is the passphrase.",
        "properties": properties,
        "required": ["workload_id", "dialects", "measurements"],
    }));
    let rest = schema.as_object_mut().unwrap();
    rest.remove("required");
    rest.remove("description");
    let mut whole = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Reference values",
        "description": DESCRIPTION,
    });
    whole.as_object_mut().unwrap().append(rest);
    whole["$defs"] = definitions;
    relocated(whole)
}

/// Adds every schema that `schema` leads to.
fn define(schema: &Value, components: &Value, definitions: &mut Value) {
    match schema {
        Value::Array(values) => values.iter().for_each(|value| define(value, components, definitions)),
        Value::Object(members) => {
            let name = members.get("$ref").and_then(|to| to.as_str()?.strip_prefix("#/components/schemas/"));
            if let Some(name) = name.filter(|name| definitions.get(name).is_none()) {
                definitions[name] = components[name].clone();
                define(&components[name], components, definitions);
            }
            members.values().for_each(|value| define(value, components, definitions));
        }
        _ => {}
    }
}

/// The schema with its references led to where the schemas are now.
fn relocated(schema: Value) -> Value {
    let text = schema.to_string().replace("\"#/components/schemas/", "\"#/$defs/");
    serde_json::from_str(&text).unwrap()
}

/// `KEYBROKER_WRITE_DOCS=1` writes the file anew.
#[test]
fn the_schema_in_the_documentation_is_that_of_the_code() {
    let generated = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("KEYBROKER_WRITE_DOCS").is_some() {
        fs::write(FILE, &generated).unwrap();
    }
    let committed = fs::read_to_string(FILE).unwrap();
    assert!(committed == generated, "docs/reference-values.schema.json is not what the code generates");
}

/// Whether the schema allows a document.
fn allowed(document: &Value) -> bool {
    static JUDGE: LazyLock<Judge> = LazyLock::new(|| Judge::new(schema()));
    let mut root = JUDGE.document.clone();
    for name in ["$schema", "title", "$defs"] {
        root.as_object_mut().unwrap().remove(name);
    }
    JUDGE.allows(&root, document)
}

/// A registration that demands everything, of guests in this dialect.
fn everything(dialect: Dialect) -> Registration {
    let keys = KeyDigests::try_from(vec![Hex([0x1D; 48]), Hex([0x2D; 48])]).unwrap();
    let digest = Algorithm::Sha384.digest("a document");
    let init_data =
        InitDataRequirement { digest, bound_by: BoundBy::HostData, broker_keys: Some(Vec::new()) };
    fn rows<T: serde::de::DeserializeOwned>(rows: Value) -> T {
        serde_json::from_value(rows).unwrap()
    }
    let levels = || {
        rows(json!({
            "milan": { "snp": 1 },
            "turin-c1": { "fmc": 1, "boot_loader": 2, "tee": 3, "snp": 4, "microcode": 5 },
        }))
    };
    let bits: fn() -> BySilicon<_> = || rows(json!({ "milan-x": [1, 63], "0x00A10F11": [] }));
    let named = matches!(dialect, Dialect::Native | Dialect::Trustee);
    Registration {
        serial: Uuid::nil(),
        dialects: dialect.into(),
        owner: Some("somebody".to_owned()),
        reference_values: ReferenceValues {
            measurements: vec![Measurement([0x4D; 48]), Measurement([0x4E; 48])],
        },
        policy: AppraisalPolicy {
            forbid_smt: true,
            require_single_socket: true,
            require_ciphertext_hiding: true,
            minimum_abi: None,
            platform: PlatformDemands {
                products: Some(vec![Product::Milan, Product::Turin]),
                chips: Some(vec![
                    ChipId::parse(&"c1".repeat(64)).unwrap(),
                    ChipId::parse(&"c2".repeat(8)).unwrap(),
                ]),
                minimum_tcb: levels(),
                minimum_committed_tcb: levels(),
                minimum_current_tcb: levels(),
                minimum_launch_tcb: levels(),
                current_mitigations: bits(),
                launch_mitigations: bits(),
                conditions: Condition::ALL.to_vec(),
                minimum_firmware: Some(FirmwareVersion { major: 1, minor: 55, build: 29 }),
            },
            host_data: Some(Hex(HostData::random().to_bytes())).filter(|_| !named),
            id_key_digest: Some(keys),
            author_key_digest: Some(Hex([0xA0; 48])),
            family_id: Some(Hex([0xFA; 16])),
            image_id: Some(Hex([0x1A; 16])),
            minimum_guest_svn: Some(2),
            // Azure's evidence cannot be beside HOST_DATA: it has a document of its own.
            evidence: EvidenceForm::Snp,
            init_data: Some(init_data).filter(|_| named),
        },
        rego: Some(PolicyText {
            module: Some("package policy\n\nallow if input.snp.vmpl == 0\n".to_owned()),
            queries: vec!["data.policy.allow".to_owned()],
            reference_values: "{ \"more\": 1.50 }".to_owned(),
        }),
    }
}

/// A registration as buildah makes it.
fn as_buildah() -> Registration {
    let policy = AppraisalPolicy {
        forbid_smt: true,
        minimum_abi: Some(Abi { major: 1, minor: 55 }),
        ..AppraisalPolicy::default()
    };
    let reference_values = ReferenceValues { measurements: vec![Measurement([0x4D; 48])] };
    Registration { reference_values, policy, rego: None, ..everything(Dialect::Libkrun) }
}

fn exported(registration: &Registration) -> Value {
    let id = WorkloadId::new("web").unwrap();
    serde_json::to_value(Exported::new(&id, registration).unwrap()).unwrap()
}

/// Adds the names of all members, as paths.
fn names(schema: &Value, whole: &Value, at: &str, found: &mut BTreeSet<String>) {
    let schema = match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => whole.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        found.insert(format!("{at}/{name}"));
        names(property, whole, &format!("{at}/{name}"), found);
    }
}

/// Every member of the schema is one that an export can have, but for secrets, and for the document of which
/// the broker keeps the digest.
#[test]
fn exports_are_allowed_and_have_every_member() {
    let exports = [Dialect::Keybroker, Dialect::Native, Dialect::Trustee].map(everything);
    let mut exports: Vec<_> = exports.iter().map(exported).collect();
    let mut chosen = everything(Dialect::Trustee);
    (chosen.policy.host_data, chosen.policy.init_data) = (Some(Hex([0xD0; 32])), None);
    let mut azure = everything(Dialect::Trustee);
    (azure.policy.evidence, azure.policy.init_data) = (EvidenceForm::AzSnpVtpm, None);
    exports.extend([exported(&chosen), exported(&azure), exported(&as_buildah())]);
    for export in &exports {
        assert!(allowed(export), "{export:#}");
    }
    let (whole, mut all) = (schema(), BTreeSet::new());
    names(&whole, &whole, "", &mut all);
    all.retain(|name| !name.starts_with("/minimum_") || name.matches('/').count() == 1);
    for left_out in ["/resources", "/init_data/document"] {
        assert!(all.remove(left_out));
    }
    let missing: Vec<_> =
        all.into_iter().filter(|name| exports.iter().all(|one| one.pointer(name).is_none())).collect();
    assert_eq!(missing, Vec::<String>::new());
}

/// Without its secrets or with them, the document is what the broker reads.
#[test]
fn an_export_with_its_secrets_is_allowed_and_read() {
    for dialect in [Dialect::Keybroker, Dialect::Native, Dialect::Trustee] {
        let mut export = exported(&everything(dialect));
        export["resources"] = match dialect {
            Dialect::Trustee => json!({ "default/key/one": "a secret" }),
            _ => json!({ "key": { "base64": "AAECAw==" } }),
        };
        assert!(allowed(&export), "{export:#}");
        let read = register_request(export.to_string().as_bytes(), HostData::random());
        assert!(read.is_ok(), "{export:#}: {read:?}");
    }
}

#[test]
fn what_is_no_such_document_is_not_allowed() {
    let export = exported(&everything(Dialect::Keybroker));
    let krun = exported(&as_buildah());
    for (document, at, value) in [
        (&export, "/more", json!(1)),
        (&export, "/measurements", json!([])),
        (&export, "/measurements", json!("4d".repeat(48))),
        (&export, "/require/minimum_abi", json!("1.55")),
        (&export, "/require/smt", json!(true)),
        (&export, "/require/id_key_digest", json!("1d")),
        (&export, "/workload_id", json!("web")),
        (&export, "/resources", json!({ "key": "" })),
        (&krun, "/resources", json!({ "key": "a secret" })),
        (&krun, "/measurements", json!(["4d".repeat(48), "4e".repeat(48)])),
        (&krun, "/minimum_tcb", json!({ "milan": { "snp": 1 } })),
        (&krun, "/require/minimum_guest_svn", json!(1)),
        (&krun, "/dialects", json!(["v0", "v1"])),
        (&krun, "/dialects", json!(["v1"])),
    ] {
        assert!(allowed(document));
        let mut altered = document.clone();
        let (parent, name) = at.rsplit_once('/').unwrap();
        altered.pointer_mut(parent).unwrap()[name] = value.clone();
        assert!(!allowed(&altered), "{at}: {value}");
    }
}
