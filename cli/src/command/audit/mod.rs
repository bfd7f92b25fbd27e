//! `keybroker audit`: what was decided, and why; and the log's length.

mod basis;
mod compact;
pub(super) mod explain;
mod export;
mod levels;
mod list;
mod measurement;
pub(super) mod name;
mod one;
mod prune;

use anyhow::anyhow;
use jiff::Timestamp;
use keybroker_common::{
    audit::{AuditRecord, Decision},
    ids::{AuditId, WorkloadId},
    store::AuditQuery,
};

use crate::{
    chip_prefix::ChipPrefix,
    exit::{Exit, Failure},
    operator::{self, StoreArgs, workload_id},
    when::When,
};

/// Explain why a guest got nothing, or list the decisions about a workload
///
/// Give the id that a guest printed on its console: the command explains that decision in words. Give
/// --workload or a span of time: the command prints one line for each decision, the oldest first. It has
/// 8192 decisions in hand at a time: one that is farther from its place stands too late.
///
/// On AWS the records of a workload come from an index, which may lag a moment behind the table. Without
/// --workload the command reads the whole tables, and AWS charges for that.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker audit 019387a2-6f3c-7c41-9d2e-0b6a5f1c2d3e
  keybroker audit --workload billing-7f3a --since 24h
  keybroker audit --workload billing-7f3a --since 2026-11-01T00:00:00Z --until 7d --json
  keybroker audit --since 1h --aws
  keybroker audit --since 30d --decision refused --check measurement
  The levels of a fleet:
      keybroker audit --since 30d --tcb
  keybroker audit export --since 2026-11-01T00:00:00Z >november.jsonl
  keybroker audit prune --older-than 400d --dry-run

{}", Exit::TABLE))]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["id", "workload", "chip_id", "since", "until"]))]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: Option<AuditCommand>,
    /// The id of a decision, which the guest was told
    #[arg(
        value_name = "ID",
        value_parser = audit_id,
        conflicts_with_all = ["workload", "chip_id", "since", "until"]
    )]
    id: Option<AuditId>,
    /// Only decisions about this workload
    #[arg(long, value_name = "ID", value_parser = workload_id)]
    workload: Option<WorkloadId>,
    /// Only decisions about guests on this chip: its id in hex, or the first 16 or more digits of it. On AWS
    /// this reads the whole tables unless you also give --workload
    #[arg(long, value_name = "HEX", value_parser = ChipPrefix::parse)]
    chip_id: Option<ChipPrefix>,
    /// Only this decision: refused, unavailable, released, revoked and so on, as the column has it
    #[arg(long, value_name = "DECISION", value_parser = name::parse_decision, conflicts_with = "id")]
    decision: Option<Decision>,
    /// Only decisions that this check stopped: measurement, guest-policy-debug and so on
    #[arg(long, value_name = "CHECK", conflicts_with = "id")]
    check: Option<String>,
    /// Only what was decided at the request of this principal, as records name it: uid/0, token/…
    #[arg(long, value_name = "PRINCIPAL", conflicts_with = "id")]
    principal: Option<String>,
    #[command(flatten)]
    span: SpanArgs,
    /// Show the levels of the platforms on which guests attested, in place of the decisions: for each kind of
    /// silicon and each level the verdict by AMD's bulletins of that day, and the numbers of guests and chips
    #[arg(long, conflicts_with = "id")]
    tcb: bool,
    /// Print one JSON document in place of the text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

impl AuditArgs {
    /// The query for the records that are asked for, but for the chip.
    fn query(&self) -> Result<AuditQuery, Failure> {
        Ok(AuditQuery { workload: self.workload.clone(), ..self.span.query()? })
    }

    /// Whether a record is asked for, beside what the store was asked for.
    fn wants(&self, record: &AuditRecord) -> bool {
        let chip = record.evidence.as_ref().map(|evidence| evidence.chip_id.as_str());
        let check = record.failed.as_ref().map(|failed| failed.check.as_str());
        self.chip_id.as_ref().is_none_or(|asked| chip.is_some_and(|chip| asked.begins(chip)))
            && self.decision.is_none_or(|asked| record.decision == asked)
            && self.principal.as_deref().is_none_or(|asked| record.principal.as_deref() == Some(asked))
            && self.check.as_deref().is_none_or(|asked| check == Some(asked))
    }
}

#[derive(Debug, clap::Subcommand)]
enum AuditCommand {
    Export(export::ExportArgs),
    Prune(prune::PruneArgs),
    Compact(compact::CompactArgs),
}

/// A span of time.
#[derive(Debug, Clone, Copy, clap::Args)]
struct SpanArgs {
    /// Only decisions since this time: 24h or 7d ago, or a time in RFC 3339
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    since: Option<When>,
    /// Only decisions before this time, in the same form
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    until: Option<When>,
}

impl SpanArgs {
    /// The query for all records of the span.
    fn query(self) -> Result<AuditQuery, Failure> {
        let now = Timestamp::now();
        let [since, until] = [self.since, self.until].map(|when| when.map(|when| when.seen_from(now)));
        if since.zip(until).is_some_and(|(since, until)| since >= until) {
            return Err(Failure::new(Exit::Usage, anyhow!("--since must be before --until")));
        }
        Ok(AuditQuery { workload: None, since, until })
    }
}

fn audit_id(text: &str) -> Result<AuditId, &'static str> {
    text.parse()
        .map(AuditId)
        .map_err(|_| "not the id of a decision, which is a UUID such as 019387a2-6f3c-7c41-9d2e-0b6a5f1c2d3e")
}

/// Runs the command.
pub(crate) fn run(args: &AuditArgs) -> Result<Exit, Failure> {
    operator::block_on(async {
        match &args.command {
            Some(AuditCommand::Export(args)) => export::run(args).await,
            Some(AuditCommand::Prune(args)) => prune::run(args).await,
            Some(AuditCommand::Compact(args)) => compact::run(args),
            None => match args.id {
                Some(id) => one::run(args, id).await,
                None if args.tcb => levels::run(args).await,
                None => list::run(args).await,
            },
        }
    })
}
