//! Parts that several sections share.

use jiff::Timestamp;
use maud::{Markup, html};

use super::super::{entry::Entry, figures::Figure, registrations::Group};
use super::Page;

/// A number with its thousands apart.
pub(super) fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 record`, `2 records`.
pub(super) fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// The same at the beginning of a sentence.
pub(super) fn times(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("One {one}") } else { plural(count, one, many) }
}

/// `24 November 2026`.
pub(super) fn day(time: Timestamp) -> String {
    time.strftime("%-d %B %Y").to_string()
}

/// `24 November 2026, 16:43`.
pub(super) fn minute(time: Timestamp) -> String {
    time.strftime("%-d %B %Y, %H:%M").to_string()
}

fn second(time: Timestamp) -> String {
    time.strftime("%-d %b %Y, %H:%M:%S").to_string()
}

/// A command that a reader can take as it stands.
pub(super) fn command(command: &str) -> Markup {
    html! { p.command { code { (command) } } }
}

/// Words in which commands and names stand between backticks.
pub(super) fn prose(words: &str) -> Markup {
    html! {
        @for (index, part) in words.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// A bar for `count` of `most`.
fn bar(class: &str, count: u64, most: u64) -> Markup {
    let width = (count.saturating_mul(1000) / most.max(1)).max(10);
    html! {
        svg.bar.(class) viewBox="0 0 1000 8" preserveAspectRatio="none" aria-hidden="true" {
            rect.rail width="1000" height="8" {}
            rect.fill width=(width) height="8" {}
        }
    }
}

/// A row with a figure, which opens to what is behind the figure.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) anchor: String,
    /// The class that colours the bar.
    pub(super) class: &'a str,
    pub(super) label: Markup,
    pub(super) count: u64,
    pub(super) most: u64,
    pub(super) behind: Markup,
}

impl Row<'_> {
    pub(super) fn markup(self) -> Markup {
        let Self { anchor, class, label, count, most, behind } = self;
        html! {
            details.row id=(anchor) {
                summary { span.label { (label) } (bar(class, count, most)) span.count { (number(count)) } }
                (behind)
            }
        }
    }
}

/// The newest records of a figure.
pub(super) fn figure(figure: &Figure) -> Markup {
    html! {
        @if (figure.newest.rows().len() as u64) < figure.count {
            p.all { "The newest " (figure.newest.rows().len()) " of " (number(figure.count)) ":" }
        }
        ol.records { @for entry in figure.newest.rows() { (record(entry)) } }
    }
}

fn record(entry: &Entry) -> Markup {
    html! {
        li {
            time datetime=(entry.time) { (second(entry.time)) }
            @if let Some(workload) = &entry.workload { " " b { (workload) } }
            p { (entry.words) }
            @if let Some(reason) = &entry.reason { p { "The reason that was given: " (reason) } }
            code.id { (entry.id) }
        }
    }
}

/// The oldest registrations of a group, each with the record of its registration.
pub(super) fn group(page: &Page, group: &Group) -> Markup {
    html! {
        @if (group.oldest.rows().len() as u64) < group.count {
            p.all { "The oldest " (group.oldest.rows().len()) " of " (number(group.count)) ":" }
        }
        ol.records { @for row in group.oldest.rows() {
            li {
                time datetime=(row.at) { (second(row.at)) } " " b { (row.id) }
                @if row.revoked { span.tag { "revoked" } }
                @match page.figures.registration(&row.id) {
                    Some(id) => p { "Registered by record " code.id { (id) } },
                    None => {
                        p { "The record of its registration is not of this span:" }
                        (command(&page.place.command_with("audit", &[("workload", row.id.as_str())], &[])))
                    },
                }
            }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_by_thousands() {
        let read = [0, 7, 999, 1000, 12_345, 999_999, 1_000_000].map(number);
        assert_eq!(read, ["0", "7", "999", "1,000", "12,345", "999,999", "1,000,000"]);
    }

    #[test]
    fn words_between_backticks_are_code() {
        assert_eq!(prose("run `a <b>` & c").into_string(), "run <code>a &lt;b&gt;</code> &amp; c");
        assert_eq!(prose("plain").into_string(), "plain");
    }
}
