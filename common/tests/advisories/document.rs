//! docs/advisories.md has the table of the file that this release ships.

use keybroker_common::advisories::{Advisories, Row};

/// The rows as the document has them.
fn rows() -> String {
    let line = |row: &Row| {
        let mut demands = Vec::new();
        demands.extend(row.levels.map(|levels| levels.to_string().replace(',', ", ").replace('=', " ")));
        demands.extend(row.mitigations.map(|bits| format!("bit {bits}")));
        demands.extend(row.conditions.iter().map(ToString::to_string));
        let demands = if demands.is_empty() { "no number".to_owned() } else { demands.join(", ") };
        let read = row.read_at_amd.map_or_else(|| "no".to_owned(), |date| date.to_string());
        format!(
            "| {} | {} | {} | {demands} | {read} | {} |",
            row.bulletin,
            row.published,
            row.silicon.text(),
            row.source
        )
    };
    let header =
        "| bulletin | published | silicon | demands | read at AMD | source |\n|---|---|---|---|---|---|";
    let lines = Advisories::shipped().rows().iter().map(line).collect::<Vec<_>>();
    format!("{header}\n{}\n\n", lines.join("\n"))
}

/// With `KEYBROKER_WRITE_DOCS` set, the test writes the rows into the document.
#[test]
fn the_document_has_the_shipped_table() {
    const BEGIN: &str = "<!-- the table of common/src/advisories/table.json -->\n\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/advisories.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (before, after) = document.split_once(BEGIN).unwrap();
    let (table, after) = after.split_once("## ").unwrap();
    let expected = rows();
    if std::env::var_os("KEYBROKER_WRITE_DOCS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{expected}## {after}")).unwrap();
        return;
    }
    let written = table.lines().zip(expected.lines()).find(|(written, expected)| written != expected);
    assert_eq!(written, None, "set KEYBROKER_WRITE_DOCS and run the test again");
    assert_eq!(table.len(), expected.len(), "set KEYBROKER_WRITE_DOCS and run the test again");
    let date = format!("of {}", Advisories::shipped().date());
    assert!(before.contains(&date), "the document names the table's date");
}
