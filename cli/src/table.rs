//! Results for people, on stdout: tables without borders, and text that cannot steer a terminal.

use std::io::{self, Write as _};

use anyhow::Context as _;
use comfy_table::{Table, presets::NOTHING};
use jiff::Timestamp;
use serde::Serialize;

/// What stands where there is nothing.
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

/// Prints lines of a name and a value, the values under each other. Where a name is empty, a value goes on.
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
    line(&serde_json::to_string_pretty(document).context("printing")?)
}

/// A point in time in whole seconds, UTC: never one that is still to come.
pub(crate) fn time(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// The same, if it has come.
pub(crate) fn optional_time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| NONE.to_owned(), time)
}

/// `text` with its control characters spelt out: what others wrote must not steer the operator's terminal.
pub(crate) fn printable(text: &str) -> String {
    let spelt = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(spelt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_does_not_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{9b}ä"), "a\\u{1b}[2Jb\\nc\\u{9b}ä");
    }
}
