//! Requests that a check stopped, by check, with what helps.

use keybroker_common::audit::{Check, Decision};
use maud::{Markup, html};

use super::super::figures::{Figures, Stopped};
use super::{
    Page, Section,
    parts::{Row, figure, number, plural, prose},
};
use crate::table::printable;

pub(super) fn section(page: &Page) -> Section {
    let stopped = page.figures.stopped.by(|stopped| stopped.figure.count);
    let most = stopped.iter().map(|(_, stopped)| stopped.figure.count).max().unwrap_or_default();
    let body = html! {
        @if stopped.is_empty() {
            p {
                "Every request that the broker decided about was granted. Nothing that a decision needs was "
                "out of reach."
            }
        }
        @for (index, (key, stopped)) in stopped.into_iter().enumerate() {
            (Row {
                anchor: format!("refusal-{index}"),
                class: class(key),
                label: label(key, stopped),
                count: stopped.figure.count,
                most,
                behind: html! { (figure(&stopped.figure)) (page.all_records(&filters(key))) },
            }.markup())
            (advice(page, key))
        }
    };
    Section { anchor: "refusals", name: "Refusals", conclusion: conclusion(page.figures), body }
}

fn class(key: Key) -> &'static str {
    if key.is_some_and(|(_, decision)| *decision == UNAVAILABLE) { "undecided" } else { "refused" }
}

/// How many were refused, and by what.
pub(super) fn conclusion(figures: &Figures) -> String {
    let refused = figures.count(Decision::Refused);
    let checks = figures.stopped.by(|stopped| stopped.figure.count);
    let worst = checks.into_iter().find_map(|(key, stopped)| match key {
        Some((check, REFUSED)) => Some((printable(check), stopped.figure.count)),
        _ => None,
    });
    match (refused, worst) {
        (0, _) => "No request was refused".to_owned(),
        (1, Some((check, _))) => format!("One request was refused, by {check}"),
        (_, Some((check, count))) if count >= refused => {
            format!("{} requests were refused, all by {check}", number(refused))
        }
        (_, Some((check, count))) => {
            format!("{} requests were refused, {} of them by {check}", number(refused), number(count))
        }
        (_, None) => format!("{} refused", plural(refused, "request was", "requests were")),
    }
}

/// A check and what became of the request, by their names.
type Key<'a> = Option<&'a (String, &'static str)>;

const REFUSED: &str = "refused";
const UNAVAILABLE: &str = "unavailable";

fn label(key: Key, stopped: &Stopped) -> Markup {
    let workloads = plural(stopped.workloads() as u64, "workload", "workloads");
    html! {
        @match key {
            Some((check, decision)) => {
                code { (printable(check)) }
                @if *decision != REFUSED { span.tag { (decision) } }
            }
            None => "all other checks",
        }
        small { "at " (workloads) }
    }
}

/// The meaning of the check, and what helps. A check of a later release has none here.
fn advice(page: &Page, key: Key) -> Markup {
    let meaning =
        key.and_then(|(check, decision)| Some(Check::parse(check)?.meaning(*decision == UNAVAILABLE)));
    html! {
        @if let Some(meaning) = meaning {
            div.advice {
                p { (prose(&page.place.advice(meaning.means))) }
                p { strong { "Helps: " } (prose(&page.place.advice(meaning.helps))) }
            }
        }
    }
}

/// The filters of `keybroker audit` that lead to the same records.
fn filters<'a>(key: Key<'a>) -> Vec<(&'static str, &'a str)> {
    key.map(|(check, decision)| vec![("check", check.as_str()), ("decision", decision)]).unwrap_or_default()
}
