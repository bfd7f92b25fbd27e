//! `keybroker tcb explain`: the levels of one report, and how they stand to each bulletin.

use std::{io, path::Path};

use anyhow::{Context as _, anyhow};
use keybroker_common::{
    advisories::{Advisories, Row, TcbVerdict},
    encoding::Hex,
    platform::{Condition, FirmwareVersion, MitigationBits, Version},
};
use keybroker_snp::{product::Product, report::Report, silicon::Cpuid};
use serde::Serialize;

use super::{demands, read};
use crate::{
    advisories::AdvisoriesArgs,
    evidence::{self, Evidence},
    exit::{Exit, Failure, Unusable},
    table,
};

/// Show the levels of a report's platform, and how they stand to AMD's bulletins
///
/// The command verifies nothing: `keybroker verify` checks whether the report is genuine. It ends with 0
/// whatever the verdict is.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker tcb explain report.bin
  snpguest report /dev/stdout request.bin --random | keybroker tcb explain - --json

{}", Exit::TABLE))]
pub(super) struct ExplainArgs {
    /// The report: 1184 bytes, raw, in hex or in base64, or in Azure's blob; - for standard input
    #[arg(value_name = "REPORT")]
    report: String,
    /// Print one JSON document in place of the text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    advisories: AdvisoriesArgs,
}

/// A row, and what the platform lacks for it.
#[derive(Debug, Serialize)]
struct Judged<'a> {
    #[serde(flatten)]
    row: &'a Row,
    misses: Vec<String>,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    /// Version of this form.
    schema: u8,
    /// The SHA-256 of the table.
    sha256: Hex<32>,
    /// The report's fields, by name.
    report: serde_json::Map<String, serde_json::Value>,
    verdict: TcbVerdict,
    rows: Vec<Judged<'a>>,
}

pub(super) fn run(args: &ExplainArgs) -> Result<Exit, Failure> {
    let report = given(&args.report)?;
    let advisories = args.advisories.read()?;
    let silicon = report.cpuid();
    // A report of version 2 does not say of which product it is. Its levels cannot be judged, whatever it is.
    let product = match silicon {
        None => None,
        Some(silicon) => Some(served(silicon)?),
    };
    let verdict = advisories.verdict(&report, product.unwrap_or(Product::Milan));
    let verdict = TcbVerdict { committed: verdict.committed.filter(|_| product.is_some()), ..verdict };
    let rows = judged(&advisories, &report, silicon.zip(product));
    let fields = fields(&report, product);
    if args.json {
        let report = fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        table::json(&Explained { schema: 1, sha256: advisories.sha256(), report, verdict, rows })?;
        return Ok(Exit::Ok);
    }
    table::print_fields(&fields)?;
    table::line("")?;
    table::line(&format!("This platform is {verdict}."))?;
    if !rows.is_empty() {
        table::line("")?;
        table::print(&["bulletin", "published", "demands", "the platform", "read"], rows.iter().map(cells))?;
    }
    say!("note: the report is not verified here: `keybroker verify --report FILE` does that");
    Ok(Exit::Ok)
}

fn given(path: &str) -> Result<Report, Failure> {
    if path != "-" {
        return Ok(Evidence::report_in(Path::new(path))?);
    }
    let read = || {
        let evidence = Evidence::of(&evidence::bounded(io::stdin().lock())?)?;
        let report = evidence.report.ok_or_else(|| anyhow!("it holds no report"))?;
        anyhow::Ok(report.read()?.report().clone())
    };
    Ok(read().context(Unusable("reading standard input".to_owned()))?)
}

/// The product of silicon, or what a release would need to serve it.
fn served(silicon: Cpuid) -> Result<Product, Failure> {
    silicon.product().ok_or_else(|| {
        let error = anyhow!("the report is of {silicon}, which this release does not serve");
        let failure = Failure::new(Exit::Failure, error);
        match silicon.unserved() {
            Some(line) => {
                failure.hint(format!("it is {}: a release that serves it needs {}", line.name, line.needs))
            }
            None => failure,
        }
    })
}

fn judged<'a>(advisories: &'a Advisories, report: &Report, of: Option<(Cpuid, Product)>) -> Vec<Judged<'a>> {
    let Some((silicon, product)) = of else { return Vec::new() };
    let misses = |row: &Row| row.misses(report, product).iter().map(ToString::to_string).collect();
    advisories.rows_of(silicon).map(|row| Judged { row, misses: misses(row) }).collect()
}

fn cells(Judged { row, misses }: &Judged<'_>) -> Vec<String> {
    let platform = match (misses.as_slice(), row.is_shown()) {
        ([], true) => "has it".to_owned(),
        ([], false) => "cannot be judged".to_owned(),
        (misses, _) => misses.join("; "),
    };
    vec![row.bulletin.clone(), row.published.to_string(), demands(row), platform, read(row)]
}

/// The fields of the report about its platform.
fn fields(report: &Report, product: Option<Product>) -> Vec<(&'static str, String)> {
    let mut fields = vec![("version", report.version().to_string())];
    fields.extend(report.cpuid().map(|silicon| ("silicon", silicon.to_string())));
    if let Some(product) = product {
        for version in [Version::Reported, Version::Committed, Version::Current, Version::Launch] {
            let tcb = version.of(report, product);
            let tcb =
                tcb.map_or_else(|| "unreadable: a reserved byte is set".to_owned(), |tcb| tcb.to_string());
            fields.push((version.name(), tcb));
        }
    }
    fields.push(("firmware", FirmwareVersion::from(report.current_version()).to_string()));
    fields.push(("committed_firmware", FirmwareVersion::from(report.committed_version()).to_string()));
    if let Some((current, launch)) = report.current_mit_vector().zip(report.launch_mit_vector()) {
        fields.push(("mitigations", bits(current)));
        fields.push(("launch_mitigations", bits(launch)));
        if current & !launch != 0 {
            let since = bits(current & !launch);
            fields.push((
                "note",
                format!("the guest was launched before bit {since} was verified: start it again"),
            ));
        }
    }
    let conditions = Condition::ALL.iter().filter(|condition| condition.holds(report));
    let conditions: Vec<_> = conditions.map(ToString::to_string).collect();
    fields.push(("platform", if conditions.is_empty() { "none".to_owned() } else { conditions.join(" ") }));
    fields
}

fn bits(vector: u64) -> String {
    let bits = MitigationBits::of((0..64).filter(|bit| vector >> bit & 1 == 1));
    bits.unwrap_or(MitigationBits::NONE).to_string()
}
