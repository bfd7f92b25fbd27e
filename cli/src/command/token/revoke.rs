//! `keybroker token revoke`.

use keybroker_common::{
    audit::{AuditRecord, Decision},
    store::StoreError,
    token::Token,
};

use super::{no_token, which::Which};
use crate::{
    exit::{Exit, Failure},
    note::note,
    operator::StoreArgs,
    revoked,
};

/// Revoke a token
///
/// From the next request on, the token registers nothing. The workload that it has registered stays: revoke
/// that with `keybroker workload revoke`.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker token revoke 0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60
  keybroker token revoke 0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60 --aws --reason 'found in a build log'
  A token that is known itself, from a file, or typed:
      keybroker token revoke --token-file token
      keybroker token revoke --token-file -

{}", Exit::TABLE))]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    which: Which,
    /// The reason: a line of up to 200 characters. It stands in the audit record, and `token show` prints it
    #[arg(long, value_parser = note, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn run(args: &RevokeArgs) -> Result<Exit, Failure> {
    let id = args.which.id().await?;
    let operator = args.store.open().await?;
    let audit = operator.record_of_token(Decision::TokenRevoked, id);
    let audit = AuditRecord { reason: args.reason.clone(), ..audit };
    match operator.store.revoke_token(&id, &audit).await {
        Err(StoreError::Conflict) => return Err(no_token(&operator, id)),
        result => result.map_err(|error| operator.failure(error))?,
    }
    say!("{id} is revoked: it registers nothing from now on");
    // Whatever becomes of this look, the token is revoked.
    match operator.store.stored_token(&id).await {
        Ok(token) => tell_if_before(token, &audit),
        Err(error) => say!("whether it was revoked before cannot be seen: {error}"),
    }
    let owned = operator.place.command_with("workload list", &[("owner", &id.principal())], &[]);
    say!("what it registered stays; to see that: {owned}");
    Ok(Exit::Ok)
}

/// Tells if the token had been revoked before `audit` was written.
fn tell_if_before(token: Option<Token>, audit: &AuditRecord) {
    let Some(token) = token else { return };
    if let Some(at) = token.revoked_at.filter(|at| *at != audit.time) {
        say!("{}", revoked::already("it", at, token.revoked_by()));
    }
}
