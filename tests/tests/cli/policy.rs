//! `keybroker verify` with a policy: the results of queries, and files that are no policy.

use std::{fs, path::Path};

use keybroker_simulator::{Product, guest::Machine, pki::Chip};
use keybroker_tests::{
    genuine,
    program::{self, Ended},
    skip,
    world::amd,
};
use serde_json::{Value, json};

/// A time at which the certificate of the sample is valid.
const AT: &str = "2026-06-01T00:00:00Z";

/// The sample's MEASUREMENT.
const SAMPLE: &str =
    "7a1e5c266c0108dbc9bb94fa926951320940915d0aafb42464bd88b579ea158d3e1a0dc39b2c60bd95b9c480cd81841f";

/// Files of a policy.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        text(&path).to_owned()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Verifies the sample with further arguments. Without them, every check passes.
fn verify(arguments: &[&str]) -> Ended {
    let (report, vcek) = genuine::sev_sample();
    let sample = ["verify", "--report", text(&report), "--endorsement", text(&vcek), "--at", AT];
    program::run(&[&sample, arguments].concat())
}

/// The exit code, and every query's row of `--json` without the check's name.
fn rows(ended: &Ended) -> (Option<i32>, Vec<Value>) {
    let verdict: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
    let mut rows = verdict["checks"].as_array().unwrap().clone();
    rows.retain_mut(|row| row.as_object_mut().unwrap().remove("check") == Some("policy".into()));
    (ended.code, rows)
}

fn queries(queries: &[&str], further: &[&str]) -> (Option<i32>, Vec<Value>) {
    let mut arguments: Vec<_> = queries.iter().flat_map(|query| ["--query", query]).collect();
    arguments.extend(further);
    arguments.push("--json");
    rows(&verify(&arguments))
}

#[test]
fn every_query_reports_its_result() {
    let files = Files::new();
    let policy = files.write(
        "policy.rego",
        "package policy\n\nallow if input.measurement in data.measurements\n\n\
         broken if 1 / input.snp.vmpl == 1\n",
    );
    let reference = json!({"measurements": [SAMPLE]}).to_string();
    let reference = files.write("reference.json", reference);
    let further = ["--policy", &policy, "--reference", &reference];
    let (code, given) = queries(
        &[
            "data.policy.allow",
            "input.measurement == \"66\"",
            "input.no_such_claim",
            "input.snp.vmpl",
            "data.policy.broken",
        ],
        &further,
    );
    assert_eq!(code, Some(3));
    let failed = |query: &str, gave: &str, cause: &str| {
        let result = "failed";
        json!({ "result": result, "query": query, "gave": gave, "cause": cause })
    };
    assert_eq!(
        given,
        [
            json!({"result": "passed", "query": "data.policy.allow", "gave": "true"}),
            failed("input.measurement == \"66\"", "false", "false"),
            failed("input.no_such_claim", "undefined", "undefined"),
            failed("input.snp.vmpl", "not_boolean", "not a boolean"),
            failed("data.policy.broken", "error", "an error: divide by zero"),
        ]
    );
}

/// A statement that does not hold gives no solution, whichever word it begins with.
#[test]
fn a_false_query_with_not_or_every_fails() {
    let fails = [
        "not true",
        "not input.snp.policy.smt_allowed",
        "every x in [1] { x == 2 }",
        "input.snp.vmpl == 0; not input.snp.policy.smt_allowed",
        "some x in [1]; x == 2",
    ];
    let (code, given) = queries(&fails, &[]);
    assert_eq!(code, Some(3));
    assert!(given.iter().all(|row| row["result"] == "failed" && row["gave"] == "undefined"), "{given:?}");
    for fails in fails {
        assert_eq!(queries(&[fails], &[]).0, Some(3), "{fails}");
    }
    let holds = [
        "not false",
        "every x in [1] { x == 1 }",
        "not input.snp.policy.debug_allowed; some x in [1]; x == 1",
    ];
    assert_eq!(queries(&holds, &[]).0, Some(0));
}

#[test]
fn an_endless_query_and_those_after_it_time_out() {
    let files = Files::new();
    let policy = files.write(
        "policy.rego",
        "package policy\n\nallow if {\n\tsome a in data.many\n\tsome b in data.many\n\tsome c in data.many\n\
         \tsome d in data.many\n\ta + b + c + d < 0\n}\n",
    );
    let many: Vec<u32> = (0..1000).collect();
    let reference = files.write("reference.json", json!({ "many": many }).to_string());
    let (code, given) =
        queries(&["data.policy.allow", "true"], &["--policy", &policy, "--reference", &reference]);
    assert_eq!(code, Some(3));
    for row in given {
        assert_eq!(row["gave"], "timed_out", "{row}");
        assert_eq!(row["result"], "failed", "{row}");
    }
}

#[test]
fn without_a_query_the_policys_allow_decides() {
    let files = Files::new();
    let policy = files.write("policy.rego", "package my.app\n\nallow if input.snp.vmpl == 0\n");
    assert_eq!(
        queries(&[], &["--policy", &policy]),
        (Some(0), vec![json!({"result": "passed", "query": "data.my.app.allow", "gave": "true"})])
    );
    let other = files.write("other.rego", "package my.app\n\ndeny := false\n");
    let (code, given) = queries(&[], &["--policy", &other]);
    assert_eq!((code, &given[0]["gave"]), (Some(3), &json!("undefined")));
    assert_eq!(queries(&["data.my.app.deny == false"], &["--policy", &other]).0, Some(0));
    assert_eq!(queries(&[], &[]), (Some(0), vec![]), "no policy, no row");
}

/// A reader of the table must not think that the broker asks only for a query's `true`.
#[test]
fn the_table_has_every_query_and_the_limits_of_a_policy() {
    let ended = verify(&["--query", "input.snp.vmpl\n==\t0", "--query", "input.snp.vmpl == 1"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let lines: Vec<_> = ended.out.lines().collect();
    let [.., holds, fails, worth, tcb, count] = lines[..] else { panic!("{ended:?}") };
    assert_eq!(holds, "policy                      passed       input.snp.vmpl == 0: true");
    assert_eq!(fails, "policy                      failed       input.snp.vmpl == 1: false");
    assert!(worth.starts_with("A policy alone grants nothing"), "{worth}");
    assert!(tcb.starts_with("The platform is "), "{tcb}");
    assert_eq!(count, "25 passed, 1 failed, 4 not checked");
    assert!(!verify(&[]).out.contains("A policy alone"));
}

#[test]
fn a_policy_lifts_no_check_and_its_failure_is_not_verified() {
    let evidence = |query: &str, further: &[&str]| {
        let ended = verify(&[&["--query", query, "--json"], further].concat());
        let verdict: Value = serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{ended:?}"));
        (ended.code, verdict["evidence"]["verified"].as_bool().unwrap())
    };
    assert_eq!(evidence("true", &[]), (Some(0), true));
    assert_eq!(evidence("true", &["--measurement", &"66".repeat(48)]), (Some(3), false));
    assert_eq!(evidence("false", &[]), (Some(3), false));
}

#[test]
fn a_broken_policy_is_located_and_nothing_is_verified() {
    let files = Files::new();
    let good = files.write("good.rego", "package policy\n\nallow := true\n");
    let open = files.write("open.rego", "package policy\n\nallow if {\n");
    let sends = files.write("sends.rego", "package policy\n\nallow if http.send({}).ok\n");
    let accent = files.write("accent.rego", "package policy\n# caf\u{e9}\n");
    let latin = files.write("latin.rego", b"package policy # caf\xe9\n");
    let long = files.write("long.rego", "# ".repeat(10_000));
    let empty = files.write("empty.rego", "");
    let array = files.write("array.json", "[1]");
    let broken = files.write("broken.json", "{\n  \"a\": 1,\n}");
    let twice = files.write("twice.json", r#"{"a": 1, "a": 2}"#);
    let shadows = files.write("shadows.json", r#"{"policy": 1}"#);
    let gone = text(&files.0.path().join("gone")).to_owned();
    let sixteen: Vec<&str> = ["--query", "true"].repeat(17);
    let table: [(&[&str], i32, &str); 18] = [
        (&["--policy", &open], 5, "open.rego: the policy, line 4, column 1: "),
        (&["--policy", &open, "--query", "true"], 5, "open.rego: the policy, line 4, column 1: "),
        (&["--policy", &sends], 5, "line 3, column 19: not allowed: the function http.send"),
        (&["--policy", &accent], 5, "accent.rego: the policy, line 2, column 6: a character"),
        (&["--policy", &latin], 5, "latin.rego: it is not UTF-8"),
        (&["--policy", &long], 5, "longer than 16384 bytes"),
        (&["--policy", &empty], 5, "empty.rego: the policy, line 1"),
        (&["--policy", &gone], 5, "cannot read"),
        (&["--policy", &good, "--reference", &gone], 5, "cannot read"),
        (
            &["--policy", &good, "--reference", &array],
            5,
            "array.json: the reference values are not a JSON object",
        ),
        (&["--policy", &good, "--reference", &broken], 5, "not JSON: line 3, column 1"),
        (&["--policy", &good, "--reference", &twice], 5, "the same name twice"),
        (&["--policy", &good, "--reference", &shadows], 5, "good.rego: the reference values have \"policy\""),
        (&["--reference", &array], 2, "--policy"),
        (&["--query", "1 +"], 2, "--query \"1 +\": query 0, line 2, column 1: "),
        (
            &["--query", "true", "--query", "true with input as {}"],
            2,
            "query 1, line 1, column 6: not allowed: the keyword with",
        ),
        (&["--query", ""], 2, "--query \"\": query 0, line 1, column 1"),
        (&sixteen, 2, "more than 16 queries"),
    ];
    for (arguments, code, says) in table {
        let ended = verify(arguments);
        assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{arguments:?}: {ended:?}");
        assert!(ended.log.contains(says), "{says}: {ended:?}");
        assert!(!ended.log.contains("panicked"), "{ended:?}");
    }
}

/// A report of version 2 does not name the CPU, and without the product no TCB in it can be read.
#[test]
fn without_a_product_no_query_is_asked() {
    let (report, _) = genuine::sev_sample();
    let ended = program::run(&["verify", "--report", text(&report), "--query", "true", "--json"]);
    let (code, given) = rows(&ended);
    assert_eq!(code, Some(1), "{ended:?}");
    let cause = "the product is not known without a certificate";
    assert_eq!(given, [json!({"result": "not_checked", "query": "true", "cause": cause})]);
}

#[test]
fn claims_of_a_report_with_a_cpu_need_no_certificate() {
    let files = Files::new();
    for product in Product::ALL {
        let machine = Machine::new(amd(product), &Chip::new(product, 1));
        let report = files.write("report.bin", machine.report([0; 64]));
        let query = format!("input.snp.product == {:?}", product.to_string().to_lowercase());
        let ended = program::run(&["verify", "--report", &report, "--query", &query, "--json"]);
        let (code, given) = rows(&ended);
        assert_eq!(given[0]["gave"], "true", "{product}: {ended:?}");
        // No signature was checked, so the command does not succeed, even if the query is true.
        assert_eq!(code, Some(1), "{product}: {ended:?}");
        let ended = program::run(&["verify", "--report", &report, "--query", "false", "--json"]);
        assert_eq!(rows(&ended).0, Some(3), "{product}: {ended:?}");
    }
}

#[test]
fn a_vlek_names_its_provider() {
    let Some(directory) = genuine::vector("trustee-milan-vlek") else {
        return skip("genuine evidence trustee-milan-vlek: not beside this clone");
    };
    let file = |name: &str| text(&directory.join(name)).to_owned();
    let (report, vlek, asvk) = (file("report.bin"), file("vlek.der"), file("asvk.der"));
    let evidence = ["verify", "--report", &report, "--endorsement", &vlek, "--endorsement", &asvk, "--json"];
    let query = |query: &str| rows(&program::run(&[&evidence[..], &["--query", query]].concat())).1;
    let provider = r#"input.snp.signing_key == "vlek"; input.snp.csp_id == "CN=cc-us-east-2.amazonaws.com""#;
    assert_eq!(query(provider)[0]["gave"], "true");
    assert_eq!(query("input.snp.csp_id == null")[0]["gave"], "false");
}
