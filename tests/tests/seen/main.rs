//! Checks what the functions did while other suites ran, from the local AWS's record and the functions' log.
//! Each function called exactly what `infra/permissions.txt` lists (another test compares the roles with that
//! table), and the functions measured every metric.
//!
//! | variable | is |
//! |---|---|
//! | `KEYBROKER_TEST_CALLS` | the record of calls, as `localstack/moto_serial.py` writes it |
//! | `KEYBROKER_TEST_LOG` | the functions' log |
//!
//! `tests/functions` runs the other suites first, then this one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
};

use keybroker_common::metrics::Count;
use keybroker_tests::{calls::Call, metrics::METRICS, permissions::permissions, skip};
use serde_json::Value;

/// The caller that made the tables and the key.
const PROVISIONING: &str = "test";

fn lines(variable: &str) -> Vec<String> {
    let path =
        env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: tests/functions sets it"));
    let text = fs::read(&path).unwrap();
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

/// A row of `infra/permissions.txt`: function, operation, IAM action, table or key.
type Row = (String, String, String, String);

/// `key` or a table without its prefix.
fn on(name: &str) -> String {
    match name.strip_prefix("keybroker-") {
        Some(table) => table.to_owned(),
        None if name == "alias/keybroker" => "key".to_owned(),
        None => name.to_owned(),
    }
}

/// How often each row was seen.
fn seen() -> BTreeMap<Row, usize> {
    let mut seen: BTreeMap<Row, usize> = BTreeMap::new();
    for line in lines("KEYBROKER_TEST_CALLS") {
        let call = Call::read(&line);
        for part in call.parts.iter().filter(|_| call.by != PROVISIONING) {
            let row = (call.by.clone(), call.operation.clone(), part.action.clone(), on(&part.on));
            *seen.entry(row).or_default() += 1;
        }
    }
    // KMS answers with the ARN of the key that the alias leads to. There is one key.
    let arns: BTreeSet<_> =
        seen.keys().map(|row| &row.3).filter(|name| name.starts_with("arn:aws:kms:")).cloned().collect();
    assert_eq!(arns.len(), 1, "{arns:?}");
    let mut merged = BTreeMap::new();
    for ((by, operation, action, on), count) in seen {
        let on = if arns.contains(&on) { "key".to_owned() } else { on };
        *merged.entry((by, operation, action, on)).or_default() += count;
    }
    merged
}

#[test]
#[ignore = "it checks what other suites did: tests/functions runs it after them"]
fn each_function_called_exactly_what_its_role_allows() {
    let seen = seen();
    for ((function, operation, action, on), count) in &seen {
        println!("{function:9} {operation:19} {action:20} {on:13} {count:>6}");
    }
    let expected = permissions().map(|row| {
        let [function, operation, action, on] =
            [row.function, row.operation, row.action, row.on].map(str::to_owned);
        (function, operation, action, on)
    });
    assert_eq!(seen.into_keys().collect::<BTreeSet<_>>(), expected.collect());
}

/// The metrics of a line in the embedded metric format. Their namespace is the prefix of the names of
/// `localstack/stack`'s functions.
fn measured(line: &str) -> Vec<String> {
    // Other lines of the log hold no JSON.
    let line: Value =
        line.find('{').and_then(|at| serde_json::from_str(&line[at..]).ok()).unwrap_or_default();
    let directives = line["_aws"]["CloudWatchMetrics"].as_array().into_iter().flatten();
    let directives = directives.inspect(|directive| assert_eq!(directive["Namespace"], "stack"));
    let metrics = directives.flat_map(|directive| directive["Metrics"].as_array().unwrap());
    metrics
        .map(|metric| {
            let name = metric["Name"].as_str().unwrap();
            // A request that measures a stage more than once has a list of times.
            assert!(line[name].is_number() || line[name].is_array(), "{line}");
            name.to_owned()
        })
        .collect()
}

#[test]
#[ignore = "it checks what other suites did: tests/functions runs it after them"]
fn the_functions_measured_every_documented_metric() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for measured in lines("KEYBROKER_TEST_LOG").iter().flat_map(|line| measured(line)) {
        *seen.entry(measured).or_default() += 1;
    }
    for (metric, count) in &seen {
        println!("{metric:18} {count:>6}");
    }
    // No function panics while these suites run.
    let mut expected: BTreeSet<_> =
        METRICS.into_iter().filter(|metric| *metric != Count::Panicked.name()).collect();
    let throttled = Count::KdsThrottled.name();
    if !seen.contains_key(throttled) && expected.remove(throttled) {
        skip(&format!("{throttled} in the functions' log: the AMD of these suites never says 429"));
    }
    assert_eq!(seen.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected);
}
