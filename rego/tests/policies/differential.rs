//! Bodies of rules, made at random, as OPA's own engine has them: what OPA refuses or leaves undefined is
//! refused here.
//!
//! Guesses, written down before the first run: `=` and destructuring differ; `not` over what is missing
//! differs; objects and sets by number as index differ; `every` and comprehensions do not. Found: `not` over
//! what is missing or unbound alone, and what OPA's types and its rules for declarations forbid.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use proptest::{
    prelude::*,
    sample::select,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value, json};

use super::{
    DEADLINE, compile,
    documented::{self, Difference},
    sample_once,
};

/// The recorded answers for machines where OPA's engine cannot run; `KEYBROKER_WRITE_RECORDED=1` writes it
/// again.
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/policies/opa/recorded.jsonl");

const REFERENCE: &str = r#"{"list":[1,2,3],"names":["a","b"],"mixed":[1,"5",null,true,[1]],"map":{"x":1,"y":5},
"text":{"x":"1","y":"5"},"floor":{"milan":{"snp":4}},"flag":{"on":true,"off":false},"max":5,"word":"5","empty":[],
"name":"a","both":[true,false],"nested":{"milan":["a","b"],"genoa":["c"]},"revoked":{"a":true}}"#;

const MODULE: &str = "package policy

above(x) := true if x > 1

twice(x) := x * 2 if x > 1

pick(a, b) := a if a == 1

pick(a, b) := b if a == 2

named(\"a\") := \"first\"

default never := false

never if data.flag.off

on if data.flag.on

off if data.flag.off

yes if data.flag.on

no if data.flag.off

number := 3

word := data.word if data.flag.on

names contains x if some x in data.names

by[x] := y if some x, y in data.map

either := 1 if data.flag.off
else := 2 if data.flag.on

allowed if not data.flag.off
";

fn terms() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => select(vec!["0", "1", "2", "5", "-1", "1.5"]),
        2 => select(vec!["\"a\"", "\"b\"", "\"5\"", "\"milan\"", "`a`"]),
        2 => select(vec!["true", "false", "null"]),
        4 => select(vec!["x", "y", "z", "i", "_"]),
        6 => select(vec![
            "input.snp.vmpl", "input.snp.product", "input.snp.guest_svn", "input.snp.csp_id",
            "input.snp.policy.smt_allowed", "input.snp.policy.debug_allowed", "input.snp.reported_tcb.snp",
            "input.snp.reported_tcb.fmc", "input.snp.signing_key", "input.policy_debug_allowed",
            "input.reported_tcb_snp", "input.absent", "input.snp.absent",
        ]),
        8 => select(vec![
            "data.list", "data.list[_]", "data.list[i]", "data.list[0]", "data.list[7]", "data.names",
            "data.names[_]", "data.mixed[_]", "data.mixed", "data.map", "data.map.x", "data.map[x]",
            "data.map[i]", "data.map.absent", "data.text.y", "data.text[x]",
            "data.floor[input.snp.product].snp", "data.floor.genoa.snp", "data.floor[x].snp", "data.flag.on",
            "data.flag.off", "data.flag[x]", "data.max", "data.word", "data.empty", "data.absent",
            "data.nested[input.snp.product]", "data.nested[x]", "data.nested[x][_]", "data.revoked[x]",
            "data.revoked.b",
        ]),
        4 => select(vec![
            "data.policy.never", "data.policy.on", "data.policy.off", "data.policy.number",
            "data.policy.word", "data.policy.names", "data.policy.names[x]", "data.policy.by",
            "data.policy.by.x", "data.policy.by[x]", "data.policy.either", "data.policy.allowed",
            "data.policy.absent",
        ]),
    ]
    .prop_map(str::to_owned);
    leaf.prop_recursive(2, 6, 3, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            1 => inner.clone().prop_map(|a| format!("count({a})")),
            1 => inner.clone().prop_map(|a| format!("data.policy.above({a})")),
            1 => inner.clone().prop_map(|a| format!("data.policy.twice({a})")),
            1 => inner.clone().prop_map(|a| format!("data.policy.named({a})")),
            1 => pair.clone().prop_map(|(a, b)| format!("data.policy.pick({a}, {b})")),
            1 => inner.clone().prop_map(|a| format!("lower({a})")),
            1 => inner.clone().prop_map(|a| format!("max({a})")),
            1 => inner.clone().prop_map(|a| format!("is_string({a})")),
            1 => pair.clone().prop_map(|(a, b)| format!("startswith({a}, {b})")),
            1 => pair.clone().prop_map(|(a, b)| format!("object.get({a}, {b}, 1)")),
            1 => (inner.clone(), select(vec!["+", "-", "*"]), inner.clone())
                .prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            1 => pair.clone().prop_map(|(a, b)| format!("[{a}, {b}]")),
            1 => pair.clone().prop_map(|(a, b)| format!("{{{a}, {b}}}")),
            1 => inner.clone().prop_map(|a| format!("{{\"x\": {a}}}")),
            1 => (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("[c | c := {a}; {b} == {c}]")),
            1 => pair.clone().prop_map(|(a, b)| format!("{{c | some c in {a}; c != {b}}}")),
            1 => pair.prop_map(|(a, b)| format!("[{a}, {b}][0]")),
        ]
    })
}

fn expressions() -> impl Strategy<Value = String> {
    let order = select(vec!["==", "==", "==", "!=", "<", "<=", ">", ">="]);
    prop_oneof![
        5 => (terms(), order, terms()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        3 => (terms(), terms()).prop_map(|(a, b)| format!("{a} in {b}")),
        4 => terms(),
    ]
}

fn statements() -> impl Strategy<Value = String> {
    let variable = || select(vec!["x", "y", "z", "i"]);
    prop_oneof![
        6 => expressions(),
        6 => expressions().prop_map(|of| format!("not {of}")),
        4 => (variable(), terms()).prop_map(|(x, of)| format!("{x} := {of}")),
        2 => (terms(), terms()).prop_map(|(a, b)| format!("{a} = {b}")),
        1 => (variable(), variable(), terms()).prop_map(|(x, y, of)| format!("[{x}, {y}] := {of}")),
        3 => (variable(), terms()).prop_map(|(x, of)| format!("some {x} in {of}")),
        1 => (variable(), variable(), terms()).prop_map(|(x, y, of)| format!("some {x}, {y} in {of}")),
        1 => variable().prop_map(|x| format!("some {x}")),
        3 => (terms(), expressions())
            .prop_map(|(of, body)| format!("every e in {of} {{ {} }}", body.replace('z', "e"))),
        1 => (terms(), expressions())
            .prop_map(|(of, body)| format!("every e in {of} {{ not {} }}", body.replace('z', "e"))),
    ]
}

fn bodies(count: usize) -> Vec<String> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[0x5E; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = prop::collection::vec(statements(), 1..4).prop_map(|statements| statements.join("\n"));
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// Statements that people wrote, or may write.
fn written() -> Vec<String> {
    super::statements::all().into_iter().map(str::to_owned).collect()
}

/// Whether it holds here: as a query, and as the body of a rule.
fn here(body: &str) -> [bool; 2] {
    let holds = |module: &str, query: &str| {
        compile(module, &[query], REFERENCE)
            .is_ok_and(|policy| policy.evaluate(&sample_once(), DEADLINE).is_ok())
    };
    let rule = format!("{MODULE}\nasked if {{\n{body}\n}}\n");
    [holds(MODULE, body), holds(&rule, "data.policy.asked")]
}

/// OPA's answer to each body, and its reason where it refuses it. `Err`: it does not run here.
fn opa(bodies: &[String], data: &str) -> Result<Vec<(bool, String)>, String> {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies/opa/run");
    let mut child = Command::new(run)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    let input = serde_json::to_value(sample_once()).unwrap();
    let lines: Vec<String> = bodies
        .iter()
        .map(|body| json!({"module": MODULE, "body": body, "data": data, "input": input}).to_string() + "\n")
        .collect();
    let writer =
        std::thread::spawn(move || lines.iter().try_for_each(|line| stdin.write_all(line.as_bytes())));
    let ended = child.wait_with_output().map_err(|error| error.to_string())?;
    // It may have ended before it read all.
    let _ = writer.join().unwrap();
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        return Err(said.lines().last().unwrap_or("without a word").to_owned());
    }
    let answer = |line: &str| {
        let answer: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        (answer.get("holds").and_then(Value::as_bool).unwrap(), text("message"))
    };
    Ok(String::from_utf8(ended.stdout).unwrap().lines().map(answer).collect())
}

/// Nothing holds here that does not in OPA.
fn compare(said: &BTreeMap<String, (bool, String)>) -> [usize; 3] {
    let mut parted = Vec::new();
    let [mut both, mut stricter, mut neither, mut stricter_types] = [0; 4];
    for (body, (holds, message)) in said {
        let here = here(body);
        match (here.contains(&true), holds) {
            // The document says that these are taken: they hold for no more than they say.
            (true, false)
                if ["rego_type_error", "declared var", "declared above"]
                    .iter()
                    .any(|kind| message.contains(kind)) =>
            {
                stricter_types += 1;
            }
            (true, false) => parted.push(format!("{here:?} {body:?}: {message}")),
            (true, true) => both += 1,
            (false, true) => stricter += 1,
            (false, false) => neither += 1,
        }
    }
    parted.sort_by_key(String::len);
    parted.truncate(40);
    assert!(parted.is_empty(), "held here and not in OPA:\n{}", parted.join("\n"));
    assert!(stricter_types * 50 <= said.len(), "{stricter_types} hold that OPA's types forbid");
    [both, stricter, neither]
}

fn opa_runs() -> bool {
    let Err(why) = opa(&["true".to_owned()], "{}") else { return true };
    let line = format!("\nskipped: comparison with OPA's own engine, recorded cases run instead: {why}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    false
}

/// The document's column of what OPA makes of each line.
#[test]
fn differences_from_opa_are_what_opa_says() {
    if !opa_runs() {
        return;
    }
    let rows = documented::differences();
    let bodies: Vec<String> = rows.iter().map(|row| row.written.clone()).collect();
    let answers = opa(&bodies, &documented::reference_of_differences()).unwrap();
    assert_eq!(answers.len(), rows.len());
    for (Difference { written, opa, .. }, (holds, message)) in rows.iter().zip(answers) {
        let said = if holds {
            "holds"
        } else if message.is_empty() {
            "undefined"
        } else {
            "refuses it"
        };
        assert_eq!(opa, said, "{written}: {message}");
    }
}

#[test]
fn values_that_are_others_here_are_so_in_opa() {
    if !opa_runs() {
        return;
    }
    let bodies = documented::other_values();
    let answers = opa(&bodies, "{}").unwrap();
    assert_eq!(answers.len(), bodies.len());
    for (body, (holds, message)) in bodies.iter().zip(answers) {
        // A body that OPA cannot read has no value to compare.
        assert!(message.is_empty() || message.contains("eval_builtin_error"), "{body}: {message}");
        assert!(!holds, "{body}");
    }
}

#[test]
fn a_body_that_opa_does_not_grant_is_not_granted() {
    let count = env::var("KEYBROKER_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(500);
    if !opa_runs() {
        return;
    }
    let bodies: Vec<String> = written().into_iter().chain(bodies(count)).collect();
    let answers = opa(&bodies, REFERENCE).unwrap();
    assert_eq!(answers.len(), bodies.len());
    let said: BTreeMap<String, (bool, String)> = bodies.into_iter().zip(answers).collect();
    if env::var_os("KEYBROKER_WRITE_RECORDED").is_some() {
        let line = |(body, (holds, message)): (&String, &(bool, String))| {
            json!({"body": body, "holds": holds, "message": message.chars().take(100).collect::<String>()})
                .to_string()
                + "\n"
        };
        fs::write(RECORDED, said.iter().map(line).collect::<String>()).unwrap();
    }
    let [both, stricter, neither] = compare(&said);
    println!("both hold: {both}, OPA alone: {stricter}, neither: {neither}");
    assert!(
        both * 20 > said.len() && neither * 20 > said.len(),
        "{both}, {stricter}, {neither}: of little meaning"
    );
}

#[test]
fn a_body_that_opa_refused_on_record_is_not_granted() {
    let recorded = fs::read_to_string(RECORDED).unwrap();
    let one = |line: &str| {
        let case: Value = serde_json::from_str(line).unwrap();
        (
            case["body"].as_str().unwrap().to_owned(),
            (case["holds"].as_bool().unwrap(), case["message"].as_str().unwrap().to_owned()),
        )
    };
    let [both, ..] = compare(&recorded.lines().map(one).collect());
    assert!(both > 20, "{both}");
}
