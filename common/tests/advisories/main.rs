//! The table of AMD's bulletins: its file, the verdict by it, and the floors that it sets.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod document;
mod files;
mod floors;
mod genuine;
mod properties;
mod rows;

use keybroker_common::advisories::{Advisories, TcbVerdict};
use keybroker_simulator::{Product, Tcb, pki::Chip, report::ReportFields};
use keybroker_snp::{report::Report, silicon::Cpuid};
use serde_json::{Value, json};

/// A table of these rows, as of the end of 2026.
fn table(rows: &[Value]) -> Advisories {
    Advisories::parse(file(rows).as_bytes()).unwrap()
}

/// The file of that table.
fn file(rows: &[Value]) -> String {
    json!({"format": 1, "date": "2026-12-31", "rows": rows}).to_string()
}

/// A row of a bulletin that was published in May 2026, with these members beside those that every row has.
fn row(bulletin: &str, silicon: &str, members: Value) -> Value {
    let mut row = json!({
        "bulletin": bulletin, "published": "2026-05", "silicon": silicon, "source": "a test",
        "read_at_amd": null, "confirmed": null,
    });
    row.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    row
}

/// A report of this silicon, of version 5, at these levels, with `alter` made to it.
fn report(silicon: &str, levels: [u8; 5], alter: impl FnOnce(&mut ReportFields)) -> Report {
    let Cpuid { family, model, stepping } = Cpuid::parse(silicon).unwrap();
    let product = of(silicon);
    let [fmc, boot_loader, tee, snp, microcode] = levels;
    let mut fields = ReportFields::new(&Chip::new(product, 1));
    (fields.version, fields.cpuid) = (5, [family, model, stepping]);
    fields.reported_tcb = Tcb { fmc, boot_loader, tee, snp, microcode };
    alter(&mut fields);
    let mut bytes = fields.encode().to_vec();
    bytes.resize(Report::SIZE, 0);
    Report::parse(&bytes).unwrap()
}

/// The product of silicon, for the simulator.
fn of(silicon: &str) -> Product {
    let product = Cpuid::parse(silicon).unwrap().product().unwrap();
    Product::ALL.into_iter().find(|one| one.name() == product.name()).unwrap()
}

/// The verdict on a report of this silicon.
fn verdict(table: &Advisories, silicon: &str, report: &Report) -> TcbVerdict {
    table.verdict(report, Cpuid::parse(silicon).unwrap().product().unwrap())
}
