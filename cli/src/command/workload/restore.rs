//! `keybroker workload restore`.

use keybroker_common::{audit::Decision, ids::WorkloadId, store::StoreError};

use super::workload_id;
use crate::{
    exit::{Exit, Failure},
    operator::StoreArgs,
    table::time,
};

/// Take the revocation of a workload back
///
/// From the next request on, the broker appraises guests again, by the same registration. A guest that had
/// attested before the revocation must attest again: start it again.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker workload restore billing-7f3a
  keybroker workload restore billing-7f3a --aws

{}", Exit::TABLE))]
pub(super) struct RestoreArgs {
    /// The workload
    #[arg(value_name = "ID", value_parser = workload_id)]
    id: WorkloadId,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn run(args: &RestoreArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
    let row = operator.workload(&args.id).await?;
    let audit = operator.record(Decision::Restored, &row);
    match operator.store.restore(&args.id, row.digest(), &audit).await {
        Err(StoreError::Conflict) => return Err(operator.changed_since(&args.id)),
        result => result.map_err(|error| operator.failure(error))?,
    }
    match row.revoked_at {
        Some(since) => {
            say!("{} is restored; it had been revoked since {}", args.id, time(since))
        }
        None => say!("{} was not revoked: nothing changes, and the log keeps the attempt", args.id),
    }
    Ok(Exit::Ok)
}
