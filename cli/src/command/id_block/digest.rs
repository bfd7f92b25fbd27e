//! `keybroker id-block digest`.

use std::path::PathBuf;

use data_encoding::HEXLOWER;

use crate::{
    exit::{Exit, Failure},
    id_key, table,
};

/// Print the digests of keys, as reports have them in ID_KEY_DIGEST and AUTHOR_KEY_DIGEST
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker id-block digest id-2026.pem.pub
  keybroker id-block digest author.pem.pub id-2026.pem.pub

{}", Exit::TABLE))]
pub(super) struct DigestArgs {
    /// Files with the public or the secret half of a key of P-384, in PEM or DER
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &DigestArgs) -> Result<Exit, Failure> {
    for file in &args.files {
        table::line(&HEXLOWER.encode(&id_key::public(file)?.digest()))?;
    }
    Ok(Exit::Ok)
}
