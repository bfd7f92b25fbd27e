//! `keybroker audit`: what was decided, and why; and the log's length.

mod basis;
mod columns;
mod compact;
pub(super) mod explain;
mod export;
mod filter;
mod follow;
mod levels;
mod list;
mod looks;
mod measurement;
pub(super) mod name;
mod newest;
mod one;
mod prune;
mod released;

use anyhow::anyhow;
use jiff::Timestamp;
use keybroker_common::{
    ids::{AuditId, WorkloadId},
    store::AuditQuery,
};

use self::filter::Filter;
use crate::{
    exit::{Exit, Failure},
    given::GivenId,
    listing::{FormArgs, Window},
    operator::{self, StoreArgs, workload_id},
    when::When,
};

/// Explain why a guest got nothing, or list the decisions about a workload
///
/// Give the id that a guest printed on its console: the command explains that decision in words. Give a
/// filter, a span of time or a number: the command prints one line for each decision. It prints the oldest
/// first. With --limit it prints the newest, and the newest first. Without --limit it has 8192 decisions in
/// hand at a time: one that is farther from its place stands too late.
///
/// On AWS the records of a workload come from an index, which may lag a moment behind the table. Without
/// --workload the command reads the whole tables, and AWS charges for that, whatever the other options are.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker audit 019387a2-6f3c-7c41-9d2e-0b6a5f1c2d3e
  keybroker audit --limit 20
  keybroker audit --workload billing-7f3a --since 24h
  keybroker audit --workload billing-7f3a --since 2026-11-01T00:00:00Z --until 7d --json
  keybroker audit --since 1h --aws
  keybroker audit --since 30d --decision refused --decision unavailable --check measurement
  keybroker audit --token 0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60
  Decisions as they come:
      keybroker audit --follow --decision refused
      keybroker audit --follow --workload billing-7f3a --aws --json-lines
  Each released secret, with its chip and its registration:
      keybroker audit --released --since 30d --csv >releases.csv
  The levels of a fleet:
      keybroker audit --since 30d --tcb
  keybroker audit export --since 2026-11-01T00:00:00Z >november.jsonl
  keybroker audit prune --older-than 400d --dry-run

{}", Exit::TABLE))]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true).args([
    "id", "workload", "since", "until", "limit", "follow", "released",
    "chip_id", "measurement", "decision", "check", "principal", "token",
]))]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: Option<AuditCommand>,
    /// The id of a decision, which the guest was told
    #[arg(
        value_name = "ID",
        value_parser = GivenId::of_decision,
        conflicts_with_all = ["workload", "since", "until"]
    )]
    id: Option<GivenId<AuditId>>,
    /// Only decisions about this workload
    #[arg(long, value_name = "ID", value_parser = workload_id)]
    workload: Option<WorkloadId>,
    #[command(flatten)]
    span: SpanArgs,
    /// Only so many decisions, the newest ones, and the newest first: 8192 at most
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u16).range(1..=i64::from(newest::Newest::MOST)),
        conflicts_with = "id"
    )]
    limit: Option<u16>,
    /// Go on, and print new decisions as they come, until Ctrl-C: from now on, or with --since from that time
    /// on
    ///
    /// The command looks every 2 seconds; on AWS every 5, and only with --workload. It prints each decision
    /// once, within 10 minutes of it, and mostly at once. The clocks of this machine and of the broker must
    /// agree within a minute.
    #[arg(long, conflicts_with_all = ["id", "until", "limit", "tcb", "released"])]
    follow: bool,
    /// Show the releases alone, each with the secrets, the chip, the registration and the measurement
    ///
    /// `withheld` marks the second record of a release that did not leave. On AWS the command reads the
    /// record of the attestation of each release besides.
    #[arg(long, conflicts_with_all = ["id", "tcb", "decision"])]
    released: bool,
    /// Show the levels of the platforms on which guests attested, in place of the decisions: for each kind of
    /// silicon and each level the verdict by AMD's bulletins of that day, and the numbers of guests and chips
    #[arg(long, conflicts_with_all = ["id", "limit", "decision", "check"])]
    tcb: bool,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    store: StoreArgs,
}

impl AuditArgs {
    /// The query for the records that are asked for, but for the filters.
    fn query(&self) -> Result<AuditQuery, Failure> {
        Ok(AuditQuery { workload: self.workload.clone(), ..self.span.query()? })
    }

    /// Warns at the end of a list of so many decisions, from the oldest on, if nothing gave them an order:
    /// neither DynamoDB nor the window.
    fn warn_of_order(&self, printed: usize) {
        let most = Window::<(), ()>::ROWS;
        if self.store.aws && self.workload.is_none() && printed > most {
            say!(
                "warning: on AWS more than {most} decisions come in no order of time: give --workload, --limit \
                 or a shorter span"
            );
        }
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
        Ok(AuditQuery { since, until, ..AuditQuery::default() })
    }
}

/// Runs the command.
pub(crate) fn run(args: &AuditArgs) -> Result<Exit, Failure> {
    args.filter.check()?;
    args.filter.warn();
    operator::block_on(async {
        match &args.command {
            Some(AuditCommand::Export(args)) => export::run(args).await,
            Some(AuditCommand::Prune(args)) => prune::run(args).await,
            Some(AuditCommand::Compact(args)) => compact::run(args),
            None => match args.id {
                Some(given) => one::run(args, given.id()?).await,
                None if args.tcb => levels::run(args).await,
                None if args.released => released::run(args).await,
                None if args.follow => follow::run(args).await,
                None => list::run(args).await,
            },
        }
    })
}
