//! The policies of docs/policies.md, as they stand there.

use keybroker_common::policy::{Claims, Denied, PolicyEngine as _, PolicyText};
use keybroker_rego::{Policy, RegoEngine};
use keybroker_snp::product::Product;
use serde_json::Value;

use super::{DEADLINE, sample, support::Attempt};

const DOCUMENT: &str = include_str!("../../../docs/policies.md");

/// The text of every block whose first line ends in `label`.
fn blocks(label: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("```") && line.ends_with(label) {
            blocks.push(
                lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect(),
            );
        }
    }
    blocks
}

/// A line of "Differences from OPA": the body of a rule, what OPA makes of it, why it is refused here, and
/// what to write.
pub(crate) struct Difference {
    pub(crate) written: String,
    pub(crate) opa: String,
    refusal: String,
    instead: String,
}

pub(crate) fn differences() -> Vec<Difference> {
    let (_, section) = DOCUMENT.split_once("## Differences from OPA").unwrap();
    let (_, table) = section.split_once("|---|---|---|---|\n").unwrap();
    let row = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [written, opa, refusal, instead] = cells[..] else { panic!("{line}") };
        let code = |cell: &str| cell.trim_matches('`').to_owned();
        Difference {
            written: code(written),
            opa: opa.to_owned(),
            refusal: refusal.to_owned(),
            instead: code(instead),
        }
    };
    table.lines().take_while(|line| line.starts_with('|')).map(row).collect()
}

/// The bodies that hold here, and not in OPA, because its values are others.
pub(crate) fn other_values() -> Vec<String> {
    let (_, table) = DOCUMENT.split_once("| holds here | why |\n|---|---|\n").unwrap();
    let body = |line: &str| line.trim_start_matches("| `").split_once("` | ").unwrap().0.to_owned();
    table.lines().take_while(|line| line.starts_with('|')).map(body).collect()
}

pub(crate) fn reference_of_differences() -> String {
    blocks(" reference-of-differences").pop().unwrap()
}

/// Each line is refused with its words, in a rule and as a query, and what to write instead is not.
#[test]
fn differences_from_opa_are_refused_as_they_say() {
    let rows = differences();
    assert!(rows.len() >= 10, "{}", rows.len());
    let reference = reference_of_differences();
    for Difference { written, refusal, instead, .. } in rows {
        let rule = |body: &str| format!("package policy\n\nallow if {{ {body} }}\n");
        let query = ["data.policy.allow"];
        let refused = super::compile(&rule(&written), &query, &reference).unwrap_err().to_string();
        assert!(refused.contains(&refusal), "{written}: {refused}");
        super::compile(&rule(&instead), &query, &reference)
            .unwrap_or_else(|error| panic!("{instead}: {error}"));
        super::compile("", &[&instead], &reference).unwrap_or_else(|error| panic!("{instead}: {error}"));
    }
}

#[test]
fn values_that_are_others_in_opa_hold_here() {
    let bodies = other_values();
    assert!(bodies.len() >= 5, "{}", bodies.len());
    for body in bodies {
        let policy = super::compile("", &[&body], "{}").unwrap_or_else(|error| panic!("{body}: {error}"));
        assert_eq!(policy.evaluate(&sample(), DEADLINE), Ok(()), "{body}");
    }
}

fn documented(name: &str) -> PolicyText {
    let one = |label: &str| blocks(&format!(" {label}={name}"));
    let queries: Vec<String> = one("query");
    assert!(!queries.is_empty(), "{name} is not in the document");
    PolicyText {
        module: one("policy").pop(),
        queries: queries.into_iter().map(|query| query.trim_end().to_owned()).collect(),
        reference_values: one("reference").pop().unwrap(),
    }
}

/// Evaluates `name` for the sample's claims as altered: `(pointer, value)`.
fn evaluate(name: &str, altered: &[(&str, Value)]) -> Result<(), Denied> {
    let policy = Policy::compile(&documented(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    policy.evaluate(&altered_claims(altered), DEADLINE)
}

fn altered_claims(altered: &[(&str, Value)]) -> Claims {
    let mut claims = sample();
    for (name, value) in altered {
        let text = || value.as_str().unwrap().to_owned();
        let number = || u8::try_from(value.as_u64().unwrap()).unwrap();
        let tcb = claims.snp.reported_tcb.as_mut().unwrap();
        match *name {
            "measurement" => claims.measurement = text(),
            "chip_id" => claims.snp.chip_id = text(),
            "id_key_digest" => claims.snp.id_key_digest = text(),
            "author_key_digest" => claims.snp.author_key_digest = text(),
            "author_key_en" => claims.snp.author_key_en = value.as_bool().unwrap(),
            "guest_svn" => claims.snp.guest_svn = number().into(),
            "boot_loader" => tcb.boot_loader = number(),
            "tee" => tcb.tee = number(),
            "snp" => tcb.snp = number(),
            "microcode" => tcb.microcode = number(),
            "smt" => claims.snp.platform.smt_enabled = value.as_bool().unwrap(),
            "tsme" => claims.snp.platform.tsme_enabled = value.as_bool().unwrap(),
            "no tcb" => claims.snp.reported_tcb = None,
            other => panic!("{other}"),
        }
    }
    claims
}

fn denied(name: &str, altered: &[(&str, Value)]) {
    assert!(evaluate(name, altered).is_err(), "{name} accepts {altered:?}");
}

fn accepted(name: &str, altered: &[(&str, Value)]) {
    assert_eq!(evaluate(name, altered), Ok(()), "{name}: {altered:?}");
}

fn hex(byte: u8, len: usize) -> Value {
    format!("{byte:02x}").repeat(len).into()
}

#[test]
fn one_measurement() {
    accepted("one-measurement", &[("measurement", hex(0x0A, 48))]);
    denied("one-measurement", &[("measurement", hex(0x0B, 48))]);
    denied("one-measurement", &[]);
}

#[test]
fn several_releases() {
    accepted("releases", &[("measurement", hex(0x0A, 48))]);
    accepted("releases", &[("measurement", hex(0x0B, 48))]);
    denied("releases", &[("measurement", hex(0x09, 48))]);
    denied("releases", &[("measurement", hex(0x0C, 48))]);
}

#[test]
fn a_tcb_floor_with_a_grace_list() {
    let tcb = |boot_loader: u8, tee: u8, snp: u8, microcode: u8| {
        [("boot_loader", boot_loader), ("tee", tee), ("snp", snp), ("microcode", microcode)]
            .map(|(name, value)| (name, Value::from(value)))
    };
    accepted("tcb-floor", &tcb(4, 0, 24, 219));
    accepted("tcb-floor", &tcb(9, 9, 99, 255));
    for low in [tcb(3, 0, 24, 219), tcb(4, 0, 23, 219), tcb(4, 0, 24, 218)] {
        denied("tcb-floor", &low);
    }
    let chip = |low: [(&'static str, Value); 4]| [low.to_vec(), vec![("chip_id", hex(0xC2, 64))]].concat();
    accepted("tcb-floor", &chip(tcb(4, 0, 22, 213)));
    denied("tcb-floor", &chip(tcb(4, 0, 21, 213)));
    denied("tcb-floor", &chip(tcb(3, 0, 22, 213)));
    denied("tcb-floor", &[("no tcb", Value::Null)]);
}

#[test]
fn a_signed_image() {
    let guest = |id: u8, author: u8, author_key_en: bool, svn: u8| {
        vec![
            ("id_key_digest", hex(id, 48)),
            ("author_key_digest", hex(author, 48)),
            ("author_key_en", author_key_en.into()),
            ("guest_svn", svn.into()),
        ]
    };
    accepted("signed-image", &guest(0x1D, 0xA1, true, 3));
    accepted("signed-image", &guest(0x1D, 0xA1, true, 4));
    denied("signed-image", &guest(0x1D, 0xA1, true, 2));
    denied("signed-image", &guest(0x1E, 0xA1, true, 3));
    denied("signed-image", &guest(0x1D, 0xA2, true, 3));
    denied("signed-image", &guest(0x1D, 0xA1, false, 3));
    denied("signed-image", &[]);
}

#[test]
fn one_clouds_vlek() {
    let policy = Policy::compile(&documented("one-cloud")).unwrap();
    let vlek = Attempt::vlek(Product::Milan);
    let mut claims = Claims::of(&vlek.verify().unwrap());
    let reference: Value = serde_json::from_str(&documented("one-cloud").reference_values).unwrap();
    claims.snp.csp_id = Some(reference["csp_ids"][0].as_str().unwrap().to_owned());
    assert_eq!(policy.evaluate(&claims, DEADLINE), Ok(()));
    claims.snp.csp_id = Some("CN=elsewhere.example".to_owned());
    assert!(policy.evaluate(&claims, DEADLINE).is_err());
    assert!(policy.evaluate(&sample(), DEADLINE).is_err());
}

#[test]
fn two_of_three() {
    let guest = |smt: bool, tsme: bool, microcode: u8| {
        [("smt", Value::from(smt)), ("tsme", tsme.into()), ("microcode", microcode.into())]
    };
    accepted("two-of-three", &guest(false, true, 219));
    accepted("two-of-three", &guest(false, true, 218));
    accepted("two-of-three", &guest(false, false, 219));
    accepted("two-of-three", &guest(true, true, 219));
    denied("two-of-three", &guest(true, true, 218));
    denied("two-of-three", &guest(false, false, 218));
    denied("two-of-three", &guest(true, false, 219));
}

/// The bounds of a deadline and of threads are those of the evaluator: every sample fits.
#[tokio::test]
async fn every_policy_is_admitted() {
    let evaluator = RegoEngine::default();
    let mut policies = 0;
    for name in ["one-measurement", "releases", "tcb-floor", "signed-image", "one-cloud", "two-of-three"] {
        assert_eq!(evaluator.check(&documented(name)).await, Ok(()), "{name}");
        policies += 1;
    }
    let documented = DOCUMENT.lines().filter(|line| line.starts_with("```json reference=")).count();
    assert_eq!(policies, documented);
}
