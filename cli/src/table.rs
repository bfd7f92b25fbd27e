//! Results for people, on stdout: tables without borders, and text that cannot steer a terminal.

use std::io::{self, Write as _};

use anyhow::Context as _;
use comfy_table::{ColumnConstraint, Table, Width, presets::NOTHING};
use jiff::Timestamp;
use keybroker_common::encoding::is_format;
use serde::Serialize;

/// The text in place of an empty cell.
pub(crate) const NONE: &str = "-";

/// Prints a table: its columns' names, then a line for each row.
pub(crate) fn print(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> anyhow::Result<()> {
    let mut columns = Columns::new(header);
    columns.print(rows)?;
    columns.print_header()
}

/// The columns of a table that is printed as its rows come: each as wide as the rows until then need.
#[derive(Debug)]
pub(crate) struct Columns {
    /// The columns' names; `None` once they are printed.
    header: Option<Vec<String>>,
    widths: Vec<u16>,
}

impl Columns {
    /// The characters between two columns.
    const GAP: u16 = 2;

    /// Columns of these names.
    pub(crate) fn new(header: &[&str]) -> Self {
        let header = Some(header.iter().map(|name| name.to_uppercase()).collect());
        Self { header, widths: Vec::new() }
    }

    /// Prints a line for each row, the first time below the columns' names.
    pub(crate) fn print(&mut self, rows: impl IntoIterator<Item = Vec<String>>) -> anyhow::Result<()> {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() { Ok(()) } else { self.print_lines(rows) }
    }

    /// Prints the columns' names, unless they are printed.
    fn print_header(&mut self) -> anyhow::Result<()> {
        if self.header.is_some() { self.print_lines([]) } else { Ok(()) }
    }

    fn print_lines(&mut self, rows: impl IntoIterator<Item = Vec<String>>) -> anyhow::Result<()> {
        let mut table = Table::new();
        table.load_style(NOTHING);
        if let Some(header) = self.header.take() {
            table.set_header(header);
        }
        for row in rows {
            table.add_row(row.iter().map(|cell| printable(cell)));
        }
        let needed = table.column_max_content_widths();
        self.widths.resize(needed.len(), 0);
        let columns = self.widths.iter_mut().zip(needed).zip(table.column_iter_mut());
        for ((width, needed), column) in columns {
            *width = needed.max(*width);
            column.set_padding((0, Self::GAP));
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*width + Self::GAP)));
        }
        line(&table.trim_fmt())
    }
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

/// Prints text as it is.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    write!(io::stdout(), "{text}").context("printing")
}

/// Prints one JSON document.
pub(crate) fn json(document: &impl Serialize) -> anyhow::Result<()> {
    line(&spelt(&serde_json::to_string_pretty(document).context("printing")?))
}

/// Prints JSON documents, each on a line of its own.
pub(crate) fn json_lines(documents: &[impl Serialize]) -> anyhow::Result<()> {
    let mut lines = String::new();
    for document in documents {
        lines += &spelt(&serde_json::to_string(document).context("printing")?);
        lines.push('\n');
    }
    text(&lines)
}

/// `json` with the characters spelt out that steer a terminal: only strings have them, and there JSON may.
fn spelt(json: &str) -> String {
    let spelt = |c: char| {
        let mut units = [0; 2];
        c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>()
    };
    json.chars().map(|c| if c != '\n' && steers(c) { spelt(c) } else { c.into() }).collect()
}

/// A JSON document of schema 1 with one long list, which is printed as its items come.
#[derive(Debug)]
pub(crate) struct JsonList {
    empty: bool,
}

impl JsonList {
    /// Prints the beginning of a document whose list has this name.
    pub(crate) fn begin(list: &str) -> anyhow::Result<Self> {
        text(&format!("{{\n  \"schema\": 1,\n  \"{list}\": ["))?;
        Ok(Self { empty: true })
    }

    /// Prints an item.
    pub(crate) fn item(&mut self, item: &impl Serialize) -> anyhow::Result<()> {
        let item = spelt(&serde_json::to_string_pretty(item).context("printing")?);
        let comma = if self.empty { "" } else { "," };
        self.empty = false;
        text(&format!("{comma}\n    {}", item.replace('\n', "\n    ")))
    }

    /// Prints the end of the list, and behind it another member of the document.
    pub(crate) fn end(self, name: &str, member: &(impl Serialize + ?Sized)) -> anyhow::Result<()> {
        let member = spelt(&serde_json::to_string_pretty(member).context("printing")?);
        let close = if self.empty { "]" } else { "\n  ]" };
        line(&format!("{close},\n  \"{name}\": {}\n}}", member.replace('\n', "\n  ")))
    }
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
pub(crate) fn steers(c: char) -> bool {
    // Most text is ASCII, and there may be gigabytes of it.
    if c.is_ascii() {
        c.is_ascii_control()
    } else {
        c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || is_format(c)
    }
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
