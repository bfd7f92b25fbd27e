//! Rows of comma-separated values, as RFC 4180 has them.
//!
//! A cell can hold a stranger's text, and a spreadsheet takes a cell for a formula that begins with one of
//! `= + - @`, of the same at full width, a tab or a carriage return. Such a cell gets an apostrophe in front:
//! then it is text. Control characters are spelt out, as in tables: so no cell has a line break. A semicolon
//! is quoted, too: where it separates cells, what stands behind it would be a cell of its own.

use crate::table::printable;

/// A row with its line break.
pub(crate) fn row<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let cells: Vec<_> = cells.into_iter().map(cell).collect();
    cells.join(",") + "\r\n"
}

fn cell(text: &str) -> String {
    const FORMULAS: [char; 10] = ['=', '+', '-', '@', '＝', '＋', '－', '＠', '\t', '\r'];
    let guard = if text.starts_with(FORMULAS) { "'" } else { "" };
    let text = format!("{guard}{}", printable(text));
    if text.contains(['"', ',', ';']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_are_no_formulas() {
        for (text, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"so\"", "\"say \"\"so\"\"\""),
            ("=HYPERLINK(\"http://x\",1)", "\"'=HYPERLINK(\"\"http://x\"\",1)\""),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("a;=1", "\"a;=1\""),
            ("＝1", "'＝1"),
            ("＋1", "'＋1"),
            ("－1", "'－1"),
            ("＠1", "'＠1"),
            ("\t=1", "'\\u{9}=1"),
            ("\r=1", "'\\u{d}=1"),
            ("a\nb", "a\\u{a}b"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{202e}=1", "\\u{202e}=1"),
            ("1-1=0", "1-1=0"),
        ] {
            assert_eq!(cell(text), expected, "{text:?}");
        }
        assert_eq!(row(["a", "b,c"]), "a,\"b,c\"\r\n");
    }
}
