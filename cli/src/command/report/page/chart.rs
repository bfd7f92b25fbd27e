//! Decisions over time, as bars.
//!
//! Releases and refusals have a scale each: three refusals beside five thousand releases must be seen. The
//! drawing has no text, which would shrink with it on a phone: axes and legend are text of the page.

use jiff::Timestamp;
use maud::{Markup, html};

use super::super::{
    figures::{Outcome, Tally},
    span::Steps,
};
use super::parts::number;

/// Units of the drawing for one step, and from its base to its top.
const WIDTH: usize = 10;
const HEIGHT: u64 = 100;

/// A step of the chart with what was decided in it.
pub(super) struct Bar {
    pub(super) begin: Timestamp,
    pub(super) label: String,
    pub(super) tally: Tally,
}

/// The label of a step that begins at `begin`.
pub(super) fn label(steps: &Steps, begin: Timestamp) -> String {
    let form = if steps.length < Steps::DAY {
        "%-d %B, %H:%M"
    } else if steps.length == Steps::DAY {
        "%-d %B"
    } else {
        "week of %-d %B %Y"
    };
    let form = if steps.length > 7 * Steps::DAY { "from %-d %B %Y" } else { form };
    begin.strftime(form).to_string()
}

/// Both panels, their axes and the legend.
pub(super) fn chart(bars: &[Bar], unit: &str) -> Markup {
    let ends = [bars.first(), bars.get(bars.len() / 2), bars.last()];
    html! {
        figure.chart {
            (panel(bars, unit, "Let through", &[Outcome::Released, Outcome::Attested]))
            (panel(bars, unit, "Stopped", &[Outcome::Refused, Outcome::Undecided]))
            p.axis aria-hidden="true" { @for bar in ends.into_iter().flatten() { span { (bar.label) } } }
            figcaption {
                ul.legend { @for (class, name) in LEGEND {
                    li { span.swatch.(class) {} (name) }
                } }
            }
        }
    }
}

const LEGEND: [(&str, &str); 4] = [
    ("attested", "attested"),
    ("released", "released"),
    ("refused", "refused or withheld"),
    ("undecided", "not decided"),
];

fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Attested => "attested",
        Outcome::Released => "released",
        Outcome::Refused => "refused",
        Outcome::Undecided => "undecided",
        Outcome::Changed => "changed",
    }
}

fn panel(bars: &[Bar], unit: &str, name: &str, outcomes: &[Outcome]) -> Markup {
    let sum = |bar: &Bar| outcomes.iter().map(|outcome| bar.tally.count(*outcome)).sum::<u64>();
    let most = bars.iter().map(sum).max().unwrap_or_default();
    let width = WIDTH * bars.len();
    html! {
        p.panel {
            (name) " " span { @if most == 0 { "none" } @else { "at most " (number(most)) " " (unit) } }
        }
        svg.panel viewBox={ "0 0 " (width) " " (HEIGHT) } preserveAspectRatio="none" role="group"
            aria-label={ (name) " over time" } {
            @for (index, bar) in bars.iter().enumerate().filter(|(_, bar)| sum(bar) > 0) {
                (self::bar(index, bar, most, outcomes))
            }
            line.base x1="0" y1=(HEIGHT) x2=(width) y2=(HEIGHT) {}
        }
    }
}

fn bar(index: usize, bar: &Bar, most: u64, outcomes: &[Outcome]) -> Markup {
    let counts = outcomes.iter().map(|outcome| (*outcome, bar.tally.count(*outcome)));
    let counts: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
    let told: Vec<_> = counts.iter().map(|(outcome, count)| format!("{count} {}", class(*outcome))).collect();
    let told = format!("{}: {}", bar.label, told.join(", "));
    let mut base = HEIGHT;
    let mut rects = Vec::new();
    for (outcome, count) in counts {
        // Few of many are seen, too.
        let height = (count.saturating_mul(HEIGHT) / most.max(1)).max(3).min(base);
        base -= height;
        rects.push((class(outcome), base, height));
    }
    html! {
        a href={ "#step-" (index) } aria-label=(told) {
            title { (told) }
            @for (class, y, height) in rects {
                rect.(class) x=(index * WIDTH + 1) y=(y) width=(WIDTH - 2) height=(height) {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::report::span::Span;

    #[test]
    fn a_step_is_labelled_as_long_as_it_is() {
        let until: Timestamp = "2026-11-29T08:35:00Z".parse().unwrap();
        let first = |hours: i64| {
            let since = until - jiff::SignedDuration::from_hours(hours);
            let steps = Span { since, until }.steps(Some(since));
            label(&steps, steps.begins().next().unwrap())
        };
        assert_eq!(first(24), "28 November, 08:00");
        assert_eq!(first(30 * 24), "30 October");
        assert_eq!(first(365 * 24), "week of 24 November 2025");
        assert_eq!(first(1000 * 24), "from 19 February 2024");
    }
}
