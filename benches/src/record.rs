//! All that was measured, as JSON.

use serde_json::{Value, json};

use crate::figure::{Figure, Run, Runs};

/// Every figure of every run of every subject.
pub(crate) fn json<'a>(conditions: &str, results: impl IntoIterator<Item = (&'a str, &'a Runs)>) -> Value {
    let measured: Vec<Value> = results.into_iter().map(subject).collect();
    json!({"conditions": conditions, "measured": measured})
}

fn subject((name, runs): (&str, &Runs)) -> Value {
    let runs: Vec<Value> = runs.0.iter().map(run).collect();
    json!({"name": name, "runs": runs})
}

fn run(run: &Run) -> Value {
    run.iter().map(figure).collect()
}

fn figure(figure: &Figure) -> Value {
    let Figure { metric, clients, value } = figure;
    json!({"figure": metric.name(), "clients": clients, "value": value, "unit": metric.unit()})
}
