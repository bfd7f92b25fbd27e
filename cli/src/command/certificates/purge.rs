//! `keybroker certificates purge`.

use jiff::{SignedDuration, Timestamp};
use keybroker_snp::product::Product;
use serde::Serialize;

use super::list::{self, EndorsementSummary};
use crate::{
    chip_prefix::ChipPrefix,
    confirm::ConfirmArgs,
    endorsement_row::{self as row, EndorsementRow, RowKind},
    endorser::AnchorArgs,
    exit::{Exit, Failure},
    operator::{self, StoreArgs},
    platform, table, when,
};

/// Delete certificates from the store: the broker asks AMD again for the ones it needs
///
/// A running `keybroker serve` forgets them at once, functions on AWS within a minute.
///
/// The command shows what it will delete, and asks. It keeps revocation lists unless you give
/// --revocation-lists: the broker never replaces a list by an older one, but if it has none, anybody who can
/// answer in place of AMD's KDS can bring an old list back.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, group(clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["product", "chip_id", "older_than"])), after_long_help = format!("\
Examples:
  A host that left the fleet:
      keybroker certificates purge --chip-id $CHIP_ID
  Certificates that were fetched long ago, first to see and then to delete:
      keybroker certificates purge --older-than 365d --dry-run
      keybroker certificates purge --older-than 365d --yes

{}", Exit::TABLE))]
pub(super) struct PurgeArgs {
    /// Only rows of this product
    #[arg(long, value_name = "milan|genoa|turin", value_parser = platform::product)]
    product: Option<Product>,
    /// Only certificates of this chip: its id in hex, or the first 16 or more digits of it
    #[arg(long, value_name = "HEX", value_parser = ChipPrefix::parse)]
    chip_id: Option<ChipPrefix>,
    /// Only rows that were fetched longer ago than this: 30d, 12h
    #[arg(long, value_name = "TIME", value_parser = when::duration)]
    older_than: Option<SignedDuration>,
    /// Also revocation lists
    #[arg(long, conflicts_with = "chip_id")]
    revocation_lists: bool,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print the deleted rows, or with --dry-run the rows that would be deleted, as one JSON document in
    /// place of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    anchors: AnchorArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Purged {
    /// Version of this form.
    schema: u8,
    dry_run: bool,
    deleted: Vec<EndorsementSummary>,
}

impl PurgeArgs {
    fn matches(&self, row: &EndorsementRow, now: Timestamp) -> bool {
        let chip = match (&self.chip_id, &row.kind) {
            (None, _) => true,
            (Some(wanted), RowKind::Certificate(id)) => wanted.names(id),
            (Some(_), _) => false,
        };
        let list = matches!(row.kind, RowKind::RevocationList(..) | RowKind::Revoking(_));
        let age = now.duration_since(row.fetched_at);
        chip && (!list || self.revocation_lists)
            && row.kind != RowKind::Note
            && (self.product.is_none() || row.kind.product() == self.product)
            && self.older_than.is_none_or(|limit| age > limit)
    }
}

pub(super) async fn run(args: &PurgeArgs) -> Result<Exit, Failure> {
    let anchors = args.anchors.read()?;
    let now = Timestamp::now();
    let operator = args.store.open().await?;
    let (mut rows, unreadable) = row::all(&operator, &anchors, now).await?;
    let exit = operator::tell_unreadable("the endorsement", &unreadable);
    rows.retain(|row| args.matches(row, now));
    if args.confirm.dry_run || rows.is_empty() {
        report(args, &rows, now)?;
        return Ok(exit);
    }
    // The command does not hold the file open while a person thinks: nobody else could open it.
    drop(operator);
    args.confirm.check_shown(args.json)?;
    if !args.confirm.yes {
        list::print(&rows, now)?;
        if !args.confirm.agreed(&format!("Delete these {}?", rows.len()))? {
            say!("nothing was deleted");
            return Ok(Exit::Failure);
        }
    }
    let operator = args.store.open().await?;
    for (done, row) in rows.iter().enumerate() {
        operator.store.delete_endorsement(&row.key).await.map_err(|error| {
            operator.failure(error).context(format!("deleting {}, with {done} deleted before", row.key))
        })?;
    }
    operator.certificates_changed().await?;
    report(args, &rows, now)?;
    Ok(exit)
}

fn report(args: &PurgeArgs, rows: &[EndorsementRow], now: Timestamp) -> anyhow::Result<()> {
    if args.json {
        let deleted = rows.iter().map(|row| EndorsementSummary::of(row, now)).collect();
        return table::json(&Purged { schema: 1, dry_run: args.confirm.dry_run, deleted });
    }
    if args.confirm.yes || args.confirm.dry_run {
        list::print(rows, now)?;
    }
    let verb = if args.confirm.dry_run { "would be" } else { "were" };
    say!("{} {verb} deleted", rows.len());
    Ok(())
}
