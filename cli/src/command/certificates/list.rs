//! `keybroker certificates list`.

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use keybroker_common::encoding::amd;
use keybroker_snp::product::{Product, TcbVersion};
use serde::Serialize;

use crate::{
    chip_prefix::ChipPrefix,
    endorsement_row::{self as row, EndorsementRow, RowKind, RowState},
    endorser::AnchorArgs,
    exit::{Exit, Failure},
    operator::{self, StoreArgs},
    platform,
    table::{self, NONE, time},
};

/// Show AMD's certificates and revocation lists in the store, and whether the broker would use them now
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker certificates list
  keybroker certificates list --product milan
  keybroker certificates list --aws --json | jq '.rows[] | select(.state == \"unusable\")'

An unusable row costs one request to AMD and nothing else: the broker asks for it again.

{}", Exit::TABLE))]
pub(super) struct ListArgs {
    /// Only rows of this product
    #[arg(long, value_name = "milan|genoa|turin", value_parser = platform::product)]
    product: Option<Product>,
    /// Only certificates of this chip: its id in hex, or the first 16 or more digits of it
    #[arg(long, value_name = "HEX", value_parser = ChipPrefix::parse)]
    chip_id: Option<ChipPrefix>,
    /// Print one JSON document in place of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    anchors: AnchorArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct EndorsementListing {
    /// Version of this form.
    schema: u8,
    rows: Vec<EndorsementSummary>,
}

/// A row in that document.
#[derive(Debug, Serialize)]
pub(super) struct EndorsementSummary {
    key: String,
    kind: &'static str,
    #[serde(with = "amd::optional_product", skip_serializing_if = "Option::is_none")]
    product: Option<Product>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chip_id: Option<String>,
    #[serde(with = "amd::optional_tcb", skip_serializing_if = "Option::is_none")]
    tcb: Option<TcbVersion>,
    fetched_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    this_update: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_update: Option<Timestamp>,
    /// Seconds since thisUpdate.
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<i64>,
    state: RowState,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

impl EndorsementSummary {
    pub(super) fn of(row: &EndorsementRow, now: Timestamp) -> Self {
        let (chip_id, tcb) = match &row.kind {
            RowKind::Certificate(id) => (Some(HEXLOWER.encode(id.hwid())), Some(id.tcb())),
            _ => (None, None),
        };
        Self {
            key: row.key.clone(),
            kind: row.kind.name(),
            product: row.kind.product(),
            chip_id,
            tcb,
            fetched_at: row.fetched_at,
            this_update: row.updates.map(|(this, _)| this),
            next_update: row.updates.map(|(_, next)| next),
            age: row.updates.map(|(this, _)| now.duration_since(this).as_secs()),
            state: row.state.clone(),
            cause: row.cause.clone(),
        }
    }
}

pub(super) async fn run(args: &ListArgs) -> Result<Exit, Failure> {
    let anchors = args.anchors.read()?;
    let now = Timestamp::now();
    let operator = args.store.open().await?;
    let (mut rows, unreadable) = row::all(&operator, &anchors, now).await?;
    let exit = operator::tell_unreadable("the endorsement", &unreadable);
    rows.retain(|row| args.product.is_none() || row.kind.product() == args.product);
    rows.retain(|row| match (&args.chip_id, &row.kind) {
        (None, _) => true,
        (Some(wanted), RowKind::Certificate(id)) => wanted.names(id),
        (Some(_), _) => false,
    });
    if args.json {
        let rows = rows.iter().map(|row| EndorsementSummary::of(row, now)).collect();
        table::json(&EndorsementListing { schema: 1, rows })?;
    } else {
        print(&rows, now)?;
    }
    Ok(exit)
}

/// The rows as a table, without the broker's notes.
pub(super) fn print(rows: &[EndorsementRow], now: Timestamp) -> anyhow::Result<()> {
    let header = ["kind", "product", "chip", "tcb", "fetched", "this update", "next update", "age", "state"];
    let rows = rows.iter().filter(|row| row.kind != RowKind::Note);
    table::print(&header, rows.map(|row| cells(row, now)))
}

fn cells(row: &EndorsementRow, now: Timestamp) -> Vec<String> {
    let none = || NONE.to_owned();
    let (chip, tcb) = match &row.kind {
        RowKind::Certificate(id) => {
            (HEXLOWER.encode(id.hwid()).chars().take(16).collect(), id.tcb().to_string())
        }
        RowKind::Chain(_, kind) | RowKind::RevocationList(_, kind) => (kind.to_string(), none()),
        RowKind::Revoking(_) | RowKind::Note => (none(), none()),
    };
    let (this, next, age) = match row.updates {
        Some((this, next)) => (time(this), time(next), row::days(now, this)),
        None => (none(), none(), none()),
    };
    let state = match (&row.state, &row.cause) {
        (RowState::Ok, _) => "ok".to_owned(),
        (RowState::UnknownToAmd, _) => "unknown to AMD".to_owned(),
        (RowState::Note, _) => none(),
        (RowState::Unusable, cause) => format!("unusable: {}", cause.as_deref().unwrap_or_default()),
    };
    let product = row.kind.product().map_or_else(none, |product| product.to_string());
    vec![row.kind.name().to_owned(), product, chip, tcb, time(row.fetched_at), this, next, age, state]
}
