//! Results for people, on stdout: tables without borders, and text that cannot steer a terminal.

use std::io::{self, Write as _};

use anyhow::Context as _;
use comfy_table::{Table, presets::NOTHING};
use jiff::Timestamp;
use keybroker_common::encoding::is_format;
use serde::Serialize;

/// The text in place of an empty cell.
pub(crate) const NONE: &str = "-";

/// Prints a table: its columns' names, then a line for each row.
pub(crate) fn print(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    line(&table.trim_fmt())
}

/// Prints lines of a name and a value, with the values in one column. If a name is empty, the line continues
/// the value above.
pub(crate) fn print_fields(fields: &[(&str, String)]) -> anyhow::Result<()> {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    for (name, value) in fields {
        line(format!("{name:<width$}{}", printable(value)).trim_end())?;
    }
    Ok(())
}

/// Prints a line.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{text}").context("printing")
}

/// Prints one JSON document.
pub(crate) fn json(document: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(document).context("printing")?;
    // Only strings have such characters, and there JSON may spell them out.
    let spelt = |c: char| {
        let mut units = [0; 2];
        c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>()
    };
    line(&text.chars().map(|c| if c != '\n' && steers(c) { spelt(c) } else { c.into() }).collect::<String>())
}

/// A point in time in whole seconds, UTC, rounded down: never later than the time itself.
pub(crate) fn time(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// The same, or nothing if there is no time.
pub(crate) fn optional_time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| NONE.to_owned(), time)
}

/// `text` with control and format characters spelt out: text of strangers must not steer the operator's
/// terminal, nor look like other text.
pub(crate) fn printable(text: &str) -> String {
    let spelt = |c: char| if steers(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(spelt).collect()
}

/// Whether `c` is a control character, breaks the line, or changes how others are shown.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || is_format(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_strangers_does_not_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{9b}ä"), "a\\u{1b}[2Jb\\u{a}c\\u{9b}ä");
        assert_eq!(printable("a\u{202e}b\u{2028}c\u{e0001}"), "a\\u{202e}b\\u{2028}c\\u{e0001}");
    }
}
