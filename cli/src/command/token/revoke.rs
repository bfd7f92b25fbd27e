//! `keybroker token revoke`.

use keybroker_common::{audit::Decision, ids::TokenId, store::StoreError};

use crate::{
    exit::{Exit, Failure},
    operator::{StoreArgs, no_such},
};

/// Revoke a token
///
/// From the next request on, the token registers nothing. The workload that it has registered stays: revoke
/// that with `keybroker workload revoke`.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker token revoke 0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60
  keybroker token revoke 0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60 --aws

{}", Exit::TABLE))]
pub(super) struct RevokeArgs {
    /// The token's id, not the token itself: `token create` and `token list` show it
    #[arg(value_name = "ID", value_parser = token_id)]
    id: TokenId,
    #[command(flatten)]
    store: StoreArgs,
}

fn token_id(text: &str) -> Result<TokenId, &'static str> {
    TokenId::parse(text).ok_or("not the id of a token, which has 32 hexadecimal digits")
}

pub(super) async fn run(args: &RevokeArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
    let audit = operator.record_of_token(Decision::TokenRevoked, args.id);
    match operator.store.revoke_token(&args.id, &audit).await {
        Err(StoreError::Conflict) => {
            let list = operator.place.command("token list --all", &[]);
            return Err(no_such("token", args.id).hint(format!("to see all of them: {list}")));
        }
        result => result.map_err(|error| operator.failure(error))?,
    }
    anstream::eprintln!("{} is revoked: it registers nothing from now on", args.id);
    Ok(Exit::Ok)
}
