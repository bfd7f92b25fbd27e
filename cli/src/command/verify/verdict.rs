//! The results of the checks, as a table and as JSON.

use std::io::{self, Write as _};

use anstyle::AnsiColor;
use keybroker_common::{advisories::TcbVerdict, audit::EvidenceSummary, policy::Gave};
use keybroker_snp::verify::Outcome;
use serde::Serialize;

/// The name of the check of which every query of a policy is a row.
const POLICY: &str = "policy";

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum CheckResult {
    Passed,
    Failed,
    NotChecked,
}

#[derive(Debug, Serialize)]
struct CheckRow {
    check: &'static str,
    result: CheckResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(flatten)]
    query: Option<Query>,
}

/// A query of a policy.
#[derive(Debug, Serialize)]
struct Query {
    query: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gave: Option<&'static str>,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    /// Version of this form.
    schema: u8,
    passed: usize,
    pub(super) failed: usize,
    not_checked: usize,
    checks: Vec<CheckRow>,
    pub(super) evidence: Option<EvidenceSummary>,
    /// How the platform stands to AMD's bulletins, where its product is known. No check.
    pub(super) tcb: Option<TcbVerdict>,
}

impl Default for Verdict {
    fn default() -> Self {
        Self {
            schema: 1,
            passed: 0,
            failed: 0,
            not_checked: 0,
            checks: Vec::new(),
            evidence: None,
            tcb: None,
        }
    }
}

impl Verdict {
    /// Adds a check.
    pub(super) fn add(&mut self, check: &'static str, outcome: Outcome<impl ToString>) {
        let (result, cause) = match outcome {
            Outcome::Passed => (CheckResult::Passed, None),
            Outcome::Failed(error) => (CheckResult::Failed, Some(error.to_string())),
            Outcome::NotChecked => (CheckResult::NotChecked, None),
        };
        self.push(CheckRow { check, result, cause, query: None });
    }

    /// Adds a row for each query of a policy, with its result. There are no results if the report's product
    /// is not known.
    pub(super) fn add_policy(&mut self, queries: &[String], results: Option<Vec<Gave>>) {
        let results = results.map(|results| results.into_iter().map(Some).collect());
        let results: Vec<_> = results.unwrap_or_else(|| vec![None; queries.len()]);
        for (query, gave) in queries.iter().zip(results) {
            let (result, cause) = match &gave {
                Some(Gave::True) => (CheckResult::Passed, None),
                Some(gave) => (CheckResult::Failed, Some(gave.to_string())),
                None => (
                    CheckResult::NotChecked,
                    Some("the product is not known without a certificate".to_owned()),
                ),
            };
            let query = Query { query: query.clone(), gave: gave.as_ref().map(name) };
            self.push(CheckRow { check: POLICY, result, cause, query: Some(query) });
        }
    }

    fn push(&mut self, row: CheckRow) {
        let count = match row.result {
            CheckResult::Passed => &mut self.passed,
            CheckResult::Failed => &mut self.failed,
            CheckResult::NotChecked => &mut self.not_checked,
        };
        *count += 1;
        self.checks.push(row);
    }

    /// Whether the check was made and holds.
    pub(super) fn has_passed(&self, check: &str) -> bool {
        self.checks.iter().any(|row| row.check == check && row.result == CheckResult::Passed)
    }

    /// Prints it for people.
    pub(super) fn print_table(&self) -> io::Result<()> {
        let mut out = anstream::stdout().lock();
        let width = self.checks.iter().map(|row| row.check.len()).max().unwrap_or_default();
        for row in &self.checks {
            let (color, text, default) = match row.result {
                CheckResult::Passed => (AnsiColor::Green, "passed", ""),
                CheckResult::Failed => (AnsiColor::Red, "failed", ""),
                CheckResult::NotChecked => (AnsiColor::Yellow, "not checked", "no input for it"),
            };
            let (check, style) = (row.check, color.on_default());
            let cause = row.cause.as_deref().unwrap_or(default);
            let said = row.query.as_ref().map_or_else(|| cause.to_owned(), |query| query.line(cause));
            writeln!(out, "{check:<width$} {style}{text:<12}{style:#} {said}")?;
        }
        if self.checks.iter().any(|row| row.check == POLICY) {
            writeln!(
                out,
                "A policy alone grants nothing: the broker evaluates it only after every other check holds."
            )?;
        }
        let Self { passed, failed, not_checked, tcb, .. } = self;
        if let Some(tcb) = tcb {
            writeln!(
                out,
                "The platform is {tcb}. Nothing is refused for that. `keybroker tcb explain FILE` has the details."
            )?;
        }
        writeln!(out, "{passed} passed, {failed} failed, {not_checked} not checked")
    }
}

impl Query {
    /// The query on one line, with its result.
    fn line(&self, cause: &str) -> String {
        let query = self.query.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("{query}: {}", if cause.is_empty() { "true" } else { cause })
    }
}

/// The name of a query's result, which scripts read.
fn name(gave: &Gave) -> &'static str {
    match gave {
        Gave::True => "true",
        Gave::False => "false",
        Gave::Undefined => "undefined",
        Gave::NotBoolean => "not_boolean",
        Gave::Error(_) => "error",
        Gave::TimedOut => "timed_out",
    }
}
