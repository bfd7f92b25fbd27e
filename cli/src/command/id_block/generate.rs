//! `keybroker id-block generate`.

use std::path::PathBuf;

use keybroker_common::encoding::Hex;
use serde::Serialize;

use crate::{
    exit::{Exit, Failure},
    id_key, table,
};

/// Make ID keys or author keys
///
/// Each file is made for its owner alone, and a second one with `.pub` behind its name has the public half.
/// No file is overwritten, and no secret is printed.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker id-block generate id-2026.pem
  keybroker id-block generate author.pem id-2026.pem id-2027.pem

{}", Exit::TABLE))]
pub(super) struct GenerateArgs {
    /// The files to make
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Print one JSON document in place of the lines
    #[arg(long)]
    json: bool,
}

/// A key's files, and its digest as reports have it.
#[derive(Debug, Serialize)]
struct Generated {
    file: PathBuf,
    public: PathBuf,
    digest: Hex<48>,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct GenerateOutput {
    /// Version of this form.
    schema: u8,
    keys: Vec<Generated>,
}

pub(super) fn run(args: &GenerateArgs) -> Result<Exit, Failure> {
    let make = |file: &PathBuf| {
        let digest = Hex(id_key::generate(file)?.digest());
        Ok::<_, Failure>(Generated { public: id_key::public_path(file), file: file.clone(), digest })
    };
    let keys = args.files.iter().map(make).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        table::json(&GenerateOutput { schema: 1, keys })?;
        return Ok(Exit::Ok);
    }
    for key in keys {
        table::print_fields(&[
            ("secret key", key.file.display().to_string()),
            ("public key", key.public.display().to_string()),
            ("digest", key.digest.to_string()),
        ])?;
    }
    Ok(Exit::Ok)
}
