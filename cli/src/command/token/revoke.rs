//! `keybroker token revoke`.

use keybroker_common::{audit::Decision, ids::TokenId, store::StoreError};

use crate::{
    exit::{Exit, Failure},
    operator::{StoreArgs, no_such},
};

/// Revoke a token
///
/// From the next request on it registers nothing. What it has registered stays: `keybroker workload revoke`
/// is for that.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker token revoke 0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60
  keybroker token revoke 0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60 --aws

{}", Exit::TABLE))]
pub(super) struct RevokeArgs {
    /// The token's id, as `token create` and `token list` show it: not the token
    #[arg(value_name = "ID", value_parser = token_id)]
    id: TokenId,
    #[command(flatten)]
    store: StoreArgs,
}

fn token_id(text: &str) -> Result<TokenId, &'static str> {
    TokenId::parse(text).ok_or("not a token's id: 32 hexadecimal digits")
}

pub(super) async fn run(args: &RevokeArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
    let audit = operator.record_of_token(Decision::TokenRevoked, args.id);
    match operator.store.revoke_token(&args.id, &audit).await {
        Err(StoreError::Conflict) => {
            let list = operator.place.command("token list --all", &[]);
            return Err(no_such("token", args.id).hint(format!("{list} shows all of them")));
        }
        result => result.map_err(|error| operator.failure(error))?,
    }
    anstream::eprintln!("{} is revoked: it registers nothing any more", args.id);
    Ok(Exit::Ok)
}
