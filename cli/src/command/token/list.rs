//! `keybroker token list`.

use jiff::Timestamp;
use keybroker_common::store::{Cursor, Unreadable};
use serde::Serialize;

use super::summary::TokenSummary;
use crate::{
    exit::{Exit, Failure},
    listing,
    operator::{self, StoreArgs},
    table::{self, NONE, time},
};

/// List tokens
///
/// The command lists the oldest first. It lists tokens that a build may still use, and with --all also those
/// that have expired, are revoked, or have a build window that is over. A token also ends when a guest
/// attests: `workload show` says whether one has. The store keeps no token itself.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker token list
  keybroker token list --all --json
  keybroker token list --aws --prefix keybroker

{}", Exit::TABLE))]
pub(super) struct ListArgs {
    /// Also tokens that builds cannot use
    #[arg(long)]
    all: bool,
    /// Print one JSON document in place of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct TokenListing {
    /// Version of this form.
    schema: u8,
    tokens: Vec<TokenSummary>,
    unreadable: Vec<Unreadable>,
}

pub(super) async fn run(args: &ListArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
    let page = async |after: Option<&Cursor>| operator.store.tokens(after).await;
    let (mut rows, unreadable) = listing::all(&operator, page).await?;
    rows.sort_by_key(|token| (token.created_at, token.id));
    let now = Timestamp::now();
    let tokens = rows.into_iter().map(|token| TokenSummary::of(token, now));
    let tokens: Vec<_> = tokens.filter(|token| args.all || token.counts()).collect();
    if args.json {
        table::json(&TokenListing { schema: 1, tokens, unreadable: unreadable.clone() })?;
    } else if tokens.is_empty() {
        say!("no tokens");
    } else {
        let header = ["id", "state", "created", "expires", "workload", "by", "note"];
        table::print(&header, tokens.into_iter().map(row))?;
    }
    Ok(operator::tell_unreadable("the token", &unreadable))
}

fn row(token: TokenSummary) -> Vec<String> {
    let none = || NONE.to_owned();
    let workload = token.bound_to.or(token.made_for);
    vec![
        token.id.to_string(),
        token.state.to_owned(),
        time(token.created_at),
        time(token.expires_at),
        workload.map_or_else(none, |id| id.to_string()),
        token.created_by.unwrap_or_else(none),
        token.note.unwrap_or_else(none),
    ]
}
