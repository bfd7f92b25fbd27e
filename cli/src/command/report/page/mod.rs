//! The page: one HTML document that loads nothing and runs nothing.
//!
//! Text from records and registrations may be a stranger's. `maud` escapes every text, and the style sheet is
//! the only exception in the whole page. Should markup get in all the same, the policy in the document's head
//! lets a browser do nothing with it: no script, no request, and no style but the one of that digest.

mod chart;
mod decisions;
mod levels;
mod lists;
mod owners;
mod parts;
mod refusals;
mod unreleased;
mod workloads;

use aws_lc_rs::digest;
use data_encoding::BASE64;
use jiff::Timestamp;
use keybroker_common::{audit::Decision, store::Unreadable};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::parts::{command, day, figure, minute, number, plural, times};
use super::{
    figures::{Figures, Outcome},
    registrations::Registrations,
    span::Span,
};
use crate::{endorsement_row::EndorsementRow, suggest::StorePlace, table::printable};

/// The first bytes of every report.
pub(super) const BEGIN: &str = "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"generator\" content=\"keybroker ";

const STYLE: &str = include_str!("style.css");

/// Everything that a page shows.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) span: &'a Span,
    /// When the store was read.
    pub(super) made: Timestamp,
    pub(super) place: &'a StorePlace,
    pub(super) figures: &'a Figures,
    pub(super) registrations: &'a Registrations,
    pub(super) lists: &'a [EndorsementRow],
    pub(super) unreadable: &'a [Unreadable],
}

/// A section: its anchor, its name in the contents, its conclusion and what follows that.
struct Section {
    anchor: &'static str,
    name: &'static str,
    conclusion: String,
    body: Markup,
}

impl Page<'_> {
    /// The document.
    pub(super) fn html(&self) -> String {
        let sections = [
            decisions::section(self),
            refusals::section(self),
            workloads::section(self),
            levels::section(self),
            unreleased::section(self),
            lists::section(self),
            owners::section(self),
            self.limits(),
        ];
        let title = format!("keybroker, {} to {}", day(self.span.since), day(self.span.until));
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="generator" content={ "keybroker " (env!("CARGO_PKG_VERSION")) };
                    meta http-equiv="Content-Security-Policy" content=(policy());
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="robots" content="noindex, nofollow";
                    meta name="referrer" content="no-referrer";
                    meta name="color-scheme" content="light dark";
                    title { (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    (self.header())
                    nav aria-label="Contents" {
                        ul { @for section in &sections {
                            li { a href={ "#" (section.anchor) } { (section.name) } }
                        } }
                    }
                    main { @for section in &sections {
                        section id=(section.anchor) aria-labelledby={ (section.anchor) "-title" } {
                            p.name { (section.name) }
                            div.content {
                                h2 id={ (section.anchor) "-title" } { (section.conclusion) }
                                (section.body)
                            }
                        }
                    } }
                    (self.footer())
                }
            }
        };
        page.into_string()
    }

    fn header(&self) -> Markup {
        let count = |decision| self.figures.count(decision);
        let tiles = [
            ("attested", count(Decision::Attested), "attested", "#decisions"),
            ("released", count(Decision::Released), "released", "#decisions"),
            ("refused", count(Decision::Refused), "refused", "#refusals"),
            ("refused", count(Decision::Withheld), "withheld", "#refusals"),
            ("undecided", count(Decision::Unavailable), "not decided", "#refusals"),
            ("changed", self.changes(), "changes", "#owners"),
        ];
        // These two are rare.
        let seldom = |name| matches!(name, "withheld" | "not decided");
        let tiles = tiles.into_iter().filter(|(_, count, name, _)| *count > 0 || !seldom(*name));
        html! {
            header {
                p.mark { (key()) "keybroker" }
                h1 { (self.conclusion()) }
                p.scope {
                    (minute(self.span.since)) " to " (minute(self.span.until)) " UTC, "
                    (plural(self.figures.records, "record", "records")) " and "
                    (plural(self.registrations.count, "registration", "registrations")) "."
                }
                ul.tiles { @for (class, count, name, href) in tiles {
                    li.(class) { a href=(href) { b { (number(count)) } span { (name) } } }
                } }
                @if self.figures.simulated.count > 0 { (self.simulated()) }
            }
        }
    }

    /// The whole span in two sentences.
    fn conclusion(&self) -> String {
        let releases = match self.figures.count(Decision::Released) {
            0 if self.figures.records == 0 => return "Nothing was decided in this time.".to_owned(),
            0 => "No secret was released".to_owned(),
            1 => "One release to an attested guest".to_owned(),
            count => format!("{} releases to attested guests", number(count)),
        };
        format!("{releases}. {}.", refusals::conclusion(self.figures))
    }

    /// The number of registrations and operators' acts.
    fn changes(&self) -> u64 {
        let changed = |decision| Outcome::of(decision) == Outcome::Changed;
        let figures = self.figures.decisions().filter(|(decision, _)| changed(*decision));
        figures.map(|(_, figure)| figure.count).sum()
    }

    fn simulated(&self) -> Markup {
        let simulated = &self.figures.simulated;
        html! {
            div.warning id="simulated" {
                p {
                    strong { "Simulated hardware. " }
                    (times(simulated.count, "record rests", "records rest"))
                    " on a root that is not AMD's. Nothing proves that this hardware is genuine."
                }
                details { summary { "Which records" } (figure(simulated)) (self.all_records(&[])) }
            }
        }
    }

    /// Limits of the figures, and rows that are missing from them.
    fn limits(&self) -> Section {
        let unreadable = self.unreadable.len() as u64;
        let conclusion = match unreadable {
            0 => "Every row of the store could be read".to_owned(),
            _ => format!(
                "{} could not be read and {} missing above",
                plural(unreadable, "row", "rows"),
                if unreadable == 1 { "is" } else { "are" }
            ),
        };
        let body = html! {
            @if unreadable > 0 {
                ul.plain { @for row in self.unreadable.iter().take(20) {
                    li { code { (printable(&row.key)) } ": " (printable(&row.cause)) }
                } }
            }
            p {
                "The page shows what the store holds: records that were pruned, and requests that the broker "
                "turned away before it decided, are not in it. A request that the broker could not decide "
                "about is in its log alone, unless a release was under way. Registrations, owners and "
                "revocation lists are those of " (minute(self.made)) " UTC, and not of the span. A guest "
                "that started twice counts twice. All times are in UTC."
            }
            p { "To explain one record:" }
            (command(&self.place.command("audit", &["ID"])))
        };
        Section { anchor: "limits", name: "Limits", conclusion, body }
    }

    fn footer(&self) -> Markup {
        let (since, until) = (self.span.since.to_string(), self.span.until.to_string());
        let options = [("since", since.as_str()), ("until", &until), ("html", "report.html")];
        html! {
            footer {
                p {
                    "Made on " (minute(self.made)) " UTC by keybroker " (env!("CARGO_PKG_VERSION"))
                    ". The page holds no secret, loads nothing and runs no script. To make it again:"
                }
                (command(&self.place.command_with("report", &options, &[])))
            }
        }
    }

    /// The command that lists the records from `since` to `until`, as far as the span goes, to which these
    /// filters lead.
    fn audit(&self, since: Timestamp, until: Timestamp, filters: &[(&str, &str)]) -> String {
        let (since, until) = (since.max(self.span.since).to_string(), until.min(self.span.until).to_string());
        let span = [("since", since.as_str()), ("until", until.as_str())];
        self.place.command_with("audit", &[filters, &span].concat(), &[])
    }

    /// This form of `audit` over the span.
    fn audit_by(&self, form: &str) -> String {
        let (since, until) = (self.span.since.to_string(), self.span.until.to_string());
        self.place.command_with(form, &[("since", &since), ("until", &until)], &[])
    }

    /// The command that lists all records behind a figure, with a line that says so.
    fn all_records(&self, filters: &[(&str, &str)]) -> Markup {
        let filters = usable(filters);
        all(filters, &self.audit(self.span.since, self.span.until, filters))
    }

    /// The same for registrations.
    fn all_workloads(&self, filters: &[(&str, &str)]) -> Markup {
        let filters = usable(filters);
        all(filters, &self.place.command_with("workload list", filters, &[]))
    }
}

/// The filters, unless a value has characters that are not shown: a reader must see what a command does.
fn usable<'a>(filters: &'a [(&'a str, &'a str)]) -> &'a [(&'a str, &'a str)] {
    if filters.iter().all(|(_, value)| printable(value) == **value) { filters } else { &[] }
}

fn all(filters: &[(&str, &str)], listing: &str) -> Markup {
    html! {
        p.all { @if filters.is_empty() { "Among all:" } @else { "All of them:" } }
        (command(listing))
    }
}

/// The policy for a browser: the style of this page, and nothing else.
fn policy() -> String {
    let style = BASE64.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()).as_ref());
    format!("default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'")
}

/// The mark: a key in a circle.
fn key() -> Markup {
    html! {
        svg viewBox="0 0 32 32" width="32" height="32" aria-hidden="true" {
            circle.ring cx="16" cy="16" r="15" {}
            circle.bow cx="16" cy="12" r="4.5" {}
            path.bit d="M16 16.5v9M16 21h4M16 25h3" {}
        }
    }
}

#[cfg(test)]
mod tests;
