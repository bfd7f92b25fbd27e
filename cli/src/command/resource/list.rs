//! `keybroker resource list`.

use keybroker_common::ids::{RegistrationDigest, WorkloadId};
use serde::Serialize;

use crate::{
    exit::{Exit, Failure},
    operator::{StoreArgs, workload_id},
    secret_row::{SecretRow, rows},
    table,
};

/// List the secrets of a workload by name
///
/// The command shows the wrapped length and the wrapping key of each, and never the secret.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker resource list billing-7f3a
  keybroker resource list billing-7f3a --aws --json

{}", Exit::TABLE))]
pub(super) struct ListArgs {
    /// The workload
    #[arg(value_name = "WORKLOAD", value_parser = workload_id)]
    workload: WorkloadId,
    /// Print one JSON document in place of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    /// Version of this form.
    schema: u8,
    workload_id: &'a WorkloadId,
    registration: RegistrationDigest,
    resources: Vec<SecretRow<'a>>,
}

pub(super) async fn run(args: &ListArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
    let workload = operator.workload(&args.workload).await?;
    if args.json {
        table::json(&Listed {
            schema: 1,
            workload_id: &workload.id,
            registration: workload.digest(),
            resources: rows(&workload).collect(),
        })?;
        return Ok(Exit::Ok);
    }
    if workload.secrets.is_empty() {
        say!("no resources");
        return Ok(Exit::Ok);
    }
    let cells =
        |row: SecretRow<'_>| vec![row.name.to_owned(), row.wrapped_bytes.to_string(), row.key_id.to_owned()];
    table::print(&["name", "wrapped bytes", "wrapping key"], rows(&workload).map(cells))?;
    Ok(Exit::Ok)
}
