//! The decisions, over time and by kind.

use keybroker_common::audit::Decision;
use maud::{Markup, html};

use super::super::{
    figures::{Figures, Outcome},
    span::Steps,
};
use super::{
    Page, Section,
    chart::{self, Bar, chart},
    parts::{Row, command, figure, number, plural},
};
use crate::command::audit::name;

pub(super) fn section(page: &Page) -> Section {
    let steps = page.span.steps(page.figures.first);
    let bars = bars(page.figures, &steps);
    let figures: Vec<_> = page.figures.decisions().collect();
    let most = figures.iter().map(|(_, figure)| figure.count).max().unwrap_or_default();
    let body = html! {
        @if figures.is_empty() {
            p { "No guest asked, nobody registered a workload, and no operator changed anything." }
        } @else {
            (chart(&bars, unit(&steps)))
            details.days {
                summary { "The same in numbers, with the newest records" }
                (numbers(page, &steps, &bars))
            }
            h3 { "By decision" }
            @for (decision, counted) in figures {
                (Row {
                    anchor: format!("decision-{}", name::decision(decision)),
                    class: class(decision),
                    label: html! { (name::decision(decision)) small { (means(decision)) } },
                    count: counted.count,
                    most,
                    behind: html! {
                        (figure(counted)) (page.all_records(&[("decision", name::decision(decision))]))
                    },
                }.markup())
            }
        }
    };
    Section { anchor: "decisions", name: "Decisions", conclusion: conclusion(&bars, unit(&steps)), body }
}

fn bars(figures: &Figures, steps: &Steps) -> Vec<Bar> {
    let tallies = figures.over(steps).into_iter();
    let labelled = steps.begins().zip(tallies);
    labelled.map(|(begin, tally)| Bar { begin, label: chart::label(steps, begin), tally }).collect()
}

/// One step, in words.
fn unit(steps: &Steps) -> &'static str {
    match steps.length {
        Steps::HOUR => "an hour",
        Steps::DAY => "a day",
        length if length < Steps::DAY => "in six hours",
        length if length == 7 * Steps::DAY => "a week",
        _ => "at a time",
    }
}

fn conclusion(bars: &[Bar], unit: &str) -> String {
    let refused = |bar: &Bar| bar.tally.count(Outcome::Refused);
    let all: u64 = bars.iter().map(refused).sum();
    let let_through = |bar: &Bar| bar.tally.count(Outcome::Attested) + bar.tally.count(Outcome::Released);
    let busiest: u64 = bars.iter().map(let_through).max().unwrap_or_default();
    let most = bars.iter().map(refused).max().unwrap_or_default();
    let worst: Vec<_> = bars.iter().filter(|bar| most > 0 && refused(bar) == most).collect();
    match worst.as_slice() {
        [one] if all == 1 => format!("The one refusal came {}", at(&one.label)),
        [one] if most == all => format!("All {} refusals came {}", number(all), at(&one.label)),
        [one] => {
            let most = number(most);
            format!("{most} of {} refusals came {}, more than at any other time", number(all), at(&one.label))
        }
        [_, ..] => format!("{} refusals, at most {} {unit}", number(all), number(most)),
        [] if busiest > 0 => {
            format!("Guests got what they asked for, at most {} {unit}", plural(busiest, "time", "times"))
        }
        [] => "No guest asked for a secret".to_owned(),
    }
}

/// When, before the label of a step.
fn at(label: &str) -> String {
    if label.starts_with("from ") || label.starts_with("week ") {
        format!("in the time {}", label.replacen("week of", "of the week of", 1))
    } else {
        format!("on {label}")
    }
}

/// Each step with records: its numbers, its newest records and the command for all.
fn numbers(page: &Page, steps: &Steps, bars: &[Bar]) -> Markup {
    html! {
        ol.records { @for (index, bar) in bars.iter().enumerate().filter(|(_, bar)| bar.tally.all() > 0) {
            li id={ "step-" (index) } {
                b { (bar.label) } ": " (told(bar)) "."
                p.ids { @for id in bar.tally.newest.rows() { code.id { (id) } " " } }
                (command(&page.audit(bar.begin, steps.end(bar.begin), &[])))
            }
        } }
    }
}

fn told(bar: &Bar) -> String {
    let counted = Outcome::ALL.map(|outcome| (outcome, bar.tally.count(outcome)));
    let told = counted.into_iter().filter(|(_, count)| *count > 0).map(|(outcome, count)| match outcome {
        Outcome::Attested => format!("{} attested", number(count)),
        Outcome::Released => format!("{} released", number(count)),
        Outcome::Refused => format!("{} refused or withheld", number(count)),
        Outcome::Undecided => format!("{} not decided", number(count)),
        Outcome::Changed => plural(count, "change", "changes"),
    });
    told.collect::<Vec<_>>().join(", ")
}

fn class(decision: Decision) -> &'static str {
    match Outcome::of(decision) {
        Outcome::Attested => "attested",
        Outcome::Released => "released",
        Outcome::Refused => "refused",
        Outcome::Undecided => "undecided",
        Outcome::Changed => "changed",
    }
}

/// A decision in a few words.
fn means(decision: Decision) -> &'static str {
    match decision {
        Decision::Attested => "every check of a guest held",
        Decision::Released => "secrets left the broker, encrypted to an attested guest",
        Decision::Refused => "a check stopped the request",
        Decision::Withheld => "a release on record did not leave after all",
        Decision::Unavailable => "nothing was decided, for want of something that the decision needs",
        Decision::Registered => "a workload got an id",
        Decision::Replaced => "a registration took the place of an earlier one",
        Decision::Revoked => "an operator ended a workload's releases",
        Decision::Restored => "an operator took a revocation back",
        Decision::Deleted => "an operator deleted a registration and its secrets",
        Decision::ResourceSet => "an operator set one secret",
        Decision::ResourceDeleted => "an operator deleted one secret",
        Decision::TokenCreated => "an operator made a token for a build",
        Decision::TokenRevoked => "an operator revoked a token",
        Decision::KeysTurned => "an operator rotated the broker's own keys",
        Decision::KeyPrepared => "an operator made the next signing key",
        Decision::KeyImported => "an operator brought a signing key",
        Decision::KeyRetired => "an operator retired a signing key",
        Decision::Rewrapped => "an operator moved secrets or keys to another wrapping key",
        Decision::Pruned => "an operator deleted old audit records",
    }
}
