//! `keybroker tcb`: the levels of a platform, and AMD's bulletins.

mod explain;
mod list;

use keybroker_common::advisories::Row;

use crate::exit::{Exit, Failure};

/// Judge a report by AMD's bulletins, and list them
///
/// The broker has a dated table of AMD's security bulletins, which you can replace with a file of your own.
/// The table refuses nothing by itself.
#[derive(Debug, clap::Args)]
pub(crate) struct TcbArgs {
    #[command(subcommand)]
    command: TcbCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TcbCommand {
    Explain(explain::ExplainArgs),
    List(list::ListArgs),
}

/// Runs the command.
pub(crate) fn run(args: &TcbArgs) -> Result<Exit, Failure> {
    match &args.command {
        TcbCommand::Explain(args) => explain::run(args),
        TcbCommand::List(args) => list::run(args),
    }
}

/// The demands of a row, in one cell.
fn demands(row: &Row) -> String {
    let mut demands = Vec::new();
    demands.extend(row.levels.map(|levels| levels.to_string()));
    demands.extend(row.mitigations.map(|bits| format!("bit {bits}")));
    demands.extend(row.conditions.iter().map(ToString::to_string));
    if demands.is_empty() { "no number known".to_owned() } else { demands.join(" ") }
}

/// When somebody read a row at AMD, in one cell.
fn read(row: &Row) -> String {
    row.read_at_amd.map_or_else(|| "no".to_owned(), |date| date.to_string())
}
