//! `keybroker tcb list`: the table of AMD's bulletins.

use keybroker_common::{
    advisories::{Advisories, Row},
    encoding::Hex,
};
use keybroker_snp::silicon::Cpuid;
use serde::Serialize;

use super::{demands, read};
use crate::{
    advisories::AdvisoriesArgs,
    exit::{Exit, Failure},
    table::{self, NONE},
};

/// Print the table of AMD's bulletins
///
/// READ says when somebody read a row's numbers at AMD. CONFIRMED names the operator who checked the row:
/// only such a row can be part of a floor.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker tcb list --silicon milan-b1
  A file of your own, where SHA256 is what `sha256sum advisories.json` prints:
      keybroker tcb list --advisories advisories.json --advisories-sha256 $SHA256

{}", Exit::TABLE))]
pub(super) struct ListArgs {
    /// Only rows of this silicon: a stepping's name, or its CPUID signature
    #[arg(long, value_name = "SILICON", value_parser = silicon)]
    silicon: Option<Cpuid>,
    /// Print one JSON document in place of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    advisories: AdvisoriesArgs,
}

fn silicon(text: &str) -> Result<Cpuid, String> {
    Cpuid::parse(text).ok_or_else(|| {
        let names: Vec<_> = Cpuid::names().collect();
        format!("must be {}, or a CPUID signature such as 0x00A00F11", names.join(", "))
    })
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    /// Version of this form.
    schema: u8,
    date: String,
    sha256: Hex<32>,
    rows: Vec<&'a Row>,
}

pub(super) fn run(args: &ListArgs) -> Result<Exit, Failure> {
    let advisories = args.advisories.read()?;
    let of_silicon = |row: &&Row| args.silicon.is_none_or(|silicon| row.silicon == silicon);
    let rows: Vec<_> = advisories.rows().iter().filter(of_silicon).collect();
    if args.json {
        let date = advisories.date().to_string();
        table::json(&Listed { schema: 1, date, sha256: advisories.sha256(), rows })?;
        return Ok(Exit::Ok);
    }
    let header = ["silicon", "bulletin", "published", "demands", "read", "confirmed"];
    table::print(&header, rows.iter().map(|row| cells(row)))?;
    tell(&advisories);
    Ok(Exit::Ok)
}

fn cells(row: &Row) -> Vec<String> {
    vec![
        row.silicon.text(),
        row.bulletin.clone(),
        row.published.to_string(),
        demands(row),
        read(row),
        row.confirmed.clone().unwrap_or_else(|| NONE.to_owned()),
    ]
}

/// Tells on stderr which table it is, and that it refuses nothing.
fn tell(advisories: &Advisories) {
    let unconfirmed = advisories.rows().iter().filter(|row| row.is_unconfirmed()).count();
    say!(
        "a table of {}, SHA-256 {}: {unconfirmed} of {} rows unconfirmed: nobody read their numbers at AMD. \
         --json prints where each number comes from",
        advisories.date(),
        advisories.sha256(),
        advisories.rows().len()
    );
}
