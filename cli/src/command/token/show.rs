//! `keybroker token show`.

use jiff::Timestamp;
use keybroker_common::{
    audit::{AuditRecord, Decision},
    ids::{AuditId, RegistrationDigest, TokenId},
    store::{AuditQuery, Cursor},
    token::Bound,
    workload::BUILD_WINDOW,
};
use serde::Serialize;

use super::{no_token, summary::TokenSummary, which::Which};
use crate::{
    exit::{Exit, Failure},
    listing,
    operator::{self, OperatorHandle, StoreArgs},
    table::{self, NONE, optional_time, time},
};

/// Show one token: what it registered, who made it, and whether it still counts
///
/// The command never prints the token. It takes the registration that the token wrote from the audit log: the
/// last one that the token wrote in its build.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker token show 0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60
  keybroker token show 0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60 --aws --json
  A token that was found somewhere, without its id:
      keybroker token show --token-file token

{}", Exit::TABLE))]
pub(super) struct ShowArgs {
    #[command(flatten)]
    which: Which,
    /// Print one JSON document in place of the text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Shown {
    /// Version of this form.
    schema: u8,
    #[serde(flatten)]
    summary: TokenSummary,
    /// The last registration that it wrote; `None` if there is none, or its record is gone.
    registered: Option<Registered>,
}

/// A registration that a token wrote.
#[derive(Debug, Serialize)]
struct Registered {
    at: Timestamp,
    registration: Option<RegistrationDigest>,
    record: AuditId,
}

pub(super) async fn run(args: &ShowArgs) -> Result<Exit, Failure> {
    let id = args.which.id().await?;
    let operator = args.store.open().await?;
    let token = operator.store.stored_token(&id).await.map_err(|error| operator.failure(error))?;
    let token = token.ok_or_else(|| no_token(&operator, id))?;
    let (registered, exit) = match &token.bound {
        Some(bound) => registered(&operator, id, bound).await?,
        None => (None, Exit::Ok),
    };
    let summary = TokenSummary::of(token, Timestamp::now());
    if summary.created_by.is_none() {
        let audit = operator.place.command_with("audit", &[("token", &id.to_string())], &[]);
        say!("the row does not tell who made it; to see that: {audit}");
    }
    if args.json {
        table::json(&Shown { schema: 1, summary, registered })?;
    } else {
        table::print_fields(&fields(summary, registered.as_ref()))?;
    }
    Ok(exit)
}

/// The last registration that the token with this id wrote, and the exit code that follows from records that
/// cannot be read.
async fn registered(
    operator: &OperatorHandle,
    id: TokenId,
    bound: &Bound,
) -> Result<(Option<Registered>, Exit), Failure> {
    let query = AuditQuery {
        workload: Some(bound.workload_id.clone()),
        since: Some(bound.at),
        until: bound.at.checked_add(BUILD_WINDOW).and_then(|end| end.checked_add(AuditQuery::SKEW)).ok(),
        // No challenge is behind such a record.
        lead: Some(AuditQuery::SKEW),
        ..AuditQuery::default()
    };
    let page = async |after: Option<&Cursor>| operator.store.audit_records(&query, after).await;
    let (principal, mut last) = (id.principal(), None::<AuditRecord>);
    let unreadable = listing::pages(operator, page, |records| {
        let written = records.into_iter().filter(|record| {
            matches!(record.decision, Decision::Registered | Decision::Replaced)
                && record.principal.as_ref() == Some(&principal)
        });
        last = last.take().into_iter().chain(written).max_by_key(|record| record.time);
        Ok(())
    });
    let unreadable = unreadable.await?;
    let registered = last.map(|AuditRecord { id, time, registration, .. }| Registered {
        at: time,
        registration,
        record: id,
    });
    Ok((registered, operator::tell_unreadable("the audit record", &unreadable)))
}

fn fields(summary: TokenSummary, registered: Option<&Registered>) -> Vec<(&'static str, String)> {
    let text = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
    let mut fields = vec![
        ("id", summary.id.to_string()),
        ("state", summary.state.to_owned()),
        ("created", time(summary.created_at)),
        ("by", text(summary.created_by)),
        ("expires", time(summary.expires_at)),
        ("made for", text(summary.made_for.map(|id| id.to_string()))),
        ("first used", optional_time(summary.bound_at)),
        ("workload", text(summary.bound_to.map(|id| id.to_string()))),
    ];
    if let Some(Registered { at, registration, record }) = registered {
        fields.push(("last used", time(*at)));
        fields.push(("registration", text(registration.map(|digest| digest.to_string()))));
        fields.push(("record", record.to_string()));
    }
    if let Some(at) = summary.revoked_at {
        let by = summary.revocation.as_ref().and_then(|revocation| revocation.by.as_ref());
        let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
        fields.push(("revoked", format!("since {}{by}", time(at))));
    }
    let reason = summary.revocation.and_then(|revocation| revocation.reason);
    fields.extend(reason.map(|reason| ("reason", reason)));
    fields.extend(summary.note.map(|note| ("note", note)));
    fields
}
