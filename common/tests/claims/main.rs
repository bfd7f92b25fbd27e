//! The claims: every field of a report, and the schema that describes them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{fs, path::Path};

use keybroker_common::policy::{Claims, schema};
use keybroker_snp::product::Product;
use keybroker_testing as support;
use serde_json::{Value, json};

use support::Attempt;

/// Where the documentation has the schema.
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/claims.schema.json");

/// The claims of a simulated Milan.
fn sample() -> Claims {
    Claims::of(&Attempt::vcek(Product::Milan).verify().unwrap())
}

fn json(claims: &Claims) -> Value {
    serde_json::to_value(claims).unwrap()
}

#[test]
fn strings_stand_at_the_root() {
    let claims = json(&sample());
    let root: Vec<(&str, &str)> = claims
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect();
    assert_eq!(root.len() + 1, claims.as_object().unwrap().len(), "all but snp are strings");
    let of = |name| root.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    assert_eq!(of("measurement").unwrap().len(), 96);
    assert_eq!(of("policy_debug_allowed"), Some("false"));
    assert_eq!(of("policy_migrate_ma"), Some("false"));
    assert_eq!(of("policy_smt_allowed"), Some("true"));
    assert_eq!(of("policy_single_socket"), Some("false"));
    assert_eq!(of("policy_abi_major"), Some("0"));
    let tcb = &claims["snp"]["reported_tcb"];
    for (name, part) in [
        ("reported_tcb_bootloader", "boot_loader"),
        ("reported_tcb_tee", "tee"),
        ("reported_tcb_snp", "snp"),
        ("reported_tcb_microcode", "microcode"),
    ] {
        assert_eq!(of(name).unwrap(), tcb[part].to_string(), "{name}");
    }
}

/// Each field of a report has a claim of its own: with another value there, another claim.
#[test]
fn every_field_of_the_report_is_claimed() {
    let base = Attempt::vcek(Product::Turin).fields(|fields| fields.version = 5);
    let before = json(&Claims::of(&base.verify().unwrap()));
    for (offset, len, claim) in [
        (0x004, 4, "/snp/guest_svn"),
        (0x008, 1, "/snp/policy/abi_minor"),
        (0x009, 1, "/snp/policy/abi_major"),
        (0x010, 16, "/snp/family_id"),
        (0x020, 16, "/snp/image_id"),
        (0x030, 4, "/snp/vmpl"),
        (0x038, 1, "/snp/current_tcb/fmc"),
        (0x090, 48, "/snp/measurement"),
        (0x0C0, 32, "/snp/host_data"),
        (0x0E0, 48, "/snp/id_key_digest"),
        (0x110, 48, "/snp/author_key_digest"),
        (0x140, 32, "/snp/report_id"),
        (0x160, 32, "/snp/report_id_ma"),
        (0x1E0, 1, "/snp/committed_tcb/fmc"),
        (0x1E8, 1, "/snp/current_version/build"),
        (0x1E9, 1, "/snp/current_version/minor"),
        (0x1EA, 1, "/snp/current_version/major"),
        (0x1EC, 1, "/snp/committed_version/build"),
        (0x1ED, 1, "/snp/committed_version/minor"),
        (0x1EE, 1, "/snp/committed_version/major"),
        (0x1F0, 1, "/snp/launch_tcb/fmc"),
        (0x1F8, 8, "/snp/launch_mit_vector"),
        (0x200, 8, "/snp/current_mit_vector"),
    ] {
        let mut altered = Attempt::vcek(Product::Turin).fields(|fields| fields.version = 5);
        altered.signed_bytes = vec![(offset + len - 1, 0x5A)];
        let after = json(&Claims::of(&altered.verify().unwrap()));
        assert_ne!(before.pointer(claim).unwrap(), after.pointer(claim).unwrap(), "{claim}");
    }
}

/// Bits of GUEST_POLICY and PLATFORM_INFO, each alone.
#[test]
fn every_bit_has_its_claim() {
    let bits = [
        (16, "smt_allowed"),
        (18, "migrate_ma_allowed"),
        (19, "debug_allowed"),
        (20, "single_socket"),
        (21, "cxl_allowed"),
        (22, "mem_aes_256_xts"),
        (23, "rapl_disabled"),
        (24, "ciphertext_hiding"),
        (25, "page_swap_disabled"),
    ];
    for (bit, claim) in bits {
        let attempt = Attempt::vcek(Product::Milan).fields(|fields| fields.policy = 1 << 17 | 1 << bit);
        let claims = json(&Claims::of(&attempt.verify().unwrap()));
        for (_, other) in bits {
            assert_eq!(claims["snp"]["policy"][other], json!(other == claim), "{claim}: {other}");
        }
    }
    let bits = [
        (0, "smt_enabled"),
        (1, "tsme_enabled"),
        (2, "ecc_enabled"),
        (3, "rapl_disabled"),
        (4, "ciphertext_hiding_enabled"),
        (5, "alias_check_complete"),
        (7, "tio_enabled"),
    ];
    for (bit, claim) in bits {
        let attempt = Attempt::vcek(Product::Milan).fields(|fields| fields.platform_info = 1 << bit);
        let claims = json(&Claims::of(&attempt.verify().unwrap()));
        for (_, other) in bits {
            assert_eq!(claims["snp"]["platform"][other], json!(other == claim), "{claim}: {other}");
        }
    }
}

#[test]
fn the_signing_key_is_claimed() {
    let vcek = json(&Claims::of(&Attempt::vcek(Product::Genoa).verify().unwrap()));
    assert_eq!(vcek["snp"]["signing_key"], "vcek");
    assert_eq!(vcek["snp"]["csp_id"], Value::Null);
    assert_eq!(vcek["snp"]["product"], "genoa");
    let attempt = Attempt::vlek(Product::Genoa);
    let vlek = json(&Claims::of(&attempt.verify().unwrap()));
    assert_eq!(vlek["snp"]["signing_key"], "vlek");
    assert_eq!(vlek["snp"]["csp_id"], attempt.accepted_csp_ids.first().unwrap().as_str());
}

/// `KEYBROKER_WRITE_DOCS=1` writes the file anew.
#[test]
fn the_schema_in_the_documentation_is_that_of_the_code() {
    let generated = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("KEYBROKER_WRITE_DOCS").is_some() {
        fs::write(SCHEMA, &generated).unwrap();
    }
    let committed = fs::read_to_string(Path::new(SCHEMA)).unwrap();
    assert!(committed == generated, "docs/claims.schema.json is not what the code generates");
}

/// The schema names every claim, and no other.
#[test]
fn the_schema_has_every_claim() {
    let schema = serde_json::to_value(schema()).unwrap();
    check(&schema, &schema, &json(&sample()), "input");
}

fn check(root: &Value, schema: &Value, value: &Value, path: &str) {
    let Some(fields) = value.as_object() else { return };
    let schema = schema.get("anyOf").and_then(|any| any.get(0)).unwrap_or(schema);
    let schema = match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    let properties = schema["properties"].as_object().unwrap_or_else(|| panic!("{path}: {schema}"));
    let names: Vec<_> = properties.keys().collect();
    assert_eq!(names.len(), fields.len(), "{path}");
    for (name, value) in fields {
        let property = properties.get(name).unwrap_or_else(|| panic!("{path}.{name}"));
        check(root, property, value, &format!("{path}.{name}"));
    }
}
