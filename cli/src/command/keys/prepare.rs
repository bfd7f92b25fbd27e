//! `keybroker keys prepare`.

use keybroker_common::{audit::Decision, keyring::Purpose};
use keybroker_native::SigningKey;
use serde::Serialize;

use super::signing::{PublicKey, ValidityArgs};
use crate::{
    exit::{Exit, Failure},
    operator::{StoreArgs, WrappingArgs, signing_ring},
    table,
};

/// Make the next signing key, and print it
///
/// The broker signs nothing with it before `keybroker keys rotate signature`. Until then register the
/// workloads again, with init data documents that name this key beside the current one: the command prints
/// the lines for a document's file keybroker.toml. If a next key is prepared already, the command prints that
/// one and makes none.
///
/// The first key of a deployment is used at once.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker keys prepare
  keybroker keys prepare --valid-for 730d --aws --prefix keybroker

{}", Exit::TABLE))]
pub(super) struct PrepareArgs {
    #[command(flatten)]
    validity: ValidityArgs,
    /// Print one JSON document in place of the lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wrapping: WrappingArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Prepared {
    /// Version of this form.
    schema: u8,
    #[serde(flatten)]
    key: PublicKey,
    /// Whether the broker signs with it already.
    used: bool,
}

pub(super) async fn run(args: &PrepareArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
    let mut ring = signing_ring::checked(&operator, args.wrapping.key_file()).await?;
    if ring.prepared().is_some() {
        say!("a next key is prepared already: this is it");
    } else {
        let wrap = args.wrapping.open(&args.store, &operator, Purpose::Signature).await?;
        let key = SigningKey::generate().map_err(|error| Failure::new(Exit::Failure, error))?;
        ring = signing_ring::add(&operator, wrap.as_ref(), &key, Decision::KeyPrepared).await?;
    }
    let Some((newest, key)) = ring.keys.last().and_then(|newest| Some((newest, newest.signing_key()?)))
    else {
        return Err(anyhow::anyhow!("the ring signature holds no signing key").into());
    };
    if args.json {
        table::json(&Prepared { schema: 1, key: PublicKey::of(key), used: newest.from.is_some() })?;
        return Ok(Exit::Ok);
    }
    say!("{}", signing_ring::told(newest, &operator.place));
    args.validity.print([key])
}
