//! The findings as they come: a line for each at once, or all of them in one document.

use std::{
    cell::RefCell,
    io::{self, Write as _},
};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::finding::{Finding, Severity};
use crate::{counted::counted, credential, exit::Exit, suggest::StorePlace, table};

/// The findings of all checks, which are under way at once.
#[derive(Debug)]
pub(super) struct Report {
    /// Completes the commands that advice names.
    place: StorePlace,
    /// Whether the findings are kept for one document in place of a line each.
    json: bool,
    findings: RefCell<Vec<Finding>>,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Document<'a> {
    /// Version of this form.
    schema: u8,
    ok: usize,
    warn: usize,
    fail: usize,
    findings: &'a [Finding],
}

impl Report {
    /// An empty one.
    pub(super) fn new(place: StorePlace, json: bool) -> Self {
        Self { place, json, findings: RefCell::default() }
    }

    /// Takes findings, and prints them unless they are for a document. A line that cannot be printed shows at
    /// the end, when nothing else can be printed either.
    pub(super) fn tell(&self, findings: impl IntoIterator<Item = Finding>) {
        for mut finding in findings {
            finding.finding = credential::hidden(&finding.finding);
            finding.advice =
                finding.advice.take().map(|advice| credential::hidden(&self.place.advice(&advice)));
            if !self.json {
                let _ = print(&finding);
            }
            self.findings.borrow_mut().push(finding);
        }
    }

    /// Prints what is left to print. The document's findings are in the order of their checks' names, because
    /// the order in which they came is chance.
    pub(super) fn end(self) -> anyhow::Result<Exit> {
        let mut findings = self.findings.into_inner();
        findings.sort_by_key(|finding| finding.check);
        let count = |verdict| findings.iter().filter(|one| one.verdict == verdict).count();
        let [ok, warn, fail] = [Severity::Ok, Severity::Warn, Severity::Fail].map(count);
        if self.json {
            table::json(&Document { schema: 1, ok, warn, fail, findings: &findings })?;
        } else {
            table::line(&format!("{ok} ok, {}, {}", counted(warn, "warning"), counted(fail, "failure")))?;
        }
        Ok(if fail == 0 { Exit::Ok } else { Exit::Failure })
    }
}

fn print(Finding { check, verdict, finding, advice }: &Finding) -> io::Result<()> {
    let (word, colour) = match verdict {
        Severity::Ok => ("ok", AnsiColor::Green),
        Severity::Warn => ("warn", AnsiColor::Yellow),
        Severity::Fail => ("fail", AnsiColor::Red),
    };
    let style = Style::new().fg_color(Some(colour.into()));
    let mut out = anstream::stdout();
    writeln!(out, "{style}{word:<4}{style:#}  {check:<16}  {}", table::printable(finding))?;
    match advice {
        Some(advice) => writeln!(out, "{:>24}{}", "", table::printable(advice)),
        None => Ok(()),
    }
}
