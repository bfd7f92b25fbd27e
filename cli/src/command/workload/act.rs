//! `keybroker workload revoke` and `restore`.

use anyhow::anyhow;
use keybroker_common::{audit::Decision, ids::WorkloadId, store::StoreError};

use super::{existing, workload_id, written};
use crate::{
    exit::{Exit, Failure},
    operator::StoreArgs,
    table::time,
};

/// Release nothing more for a workload
///
/// Guests that have attested, too, get nothing from their next request on; what they have got stays theirs.
/// `restore` takes it back. The id stays taken.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker workload revoke billing-7f3a
  keybroker workload revoke billing-7f3a --aws --prefix keybroker

{}", Exit::TABLE))]
pub(super) struct RevokeArgs {
    /// The workload
    #[arg(value_name = "ID", value_parser = workload_id)]
    id: WorkloadId,
    #[command(flatten)]
    store: StoreArgs,
}

/// Take a revocation back
///
/// From the next request on guests are appraised again, by the registration as it was. Guests that had
/// attested before the revocation must attest anew: start them again.
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

pub(super) async fn revoke(args: &RevokeArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
    let row = existing(&operator, &args.id).await?;
    let audit = operator.record(Decision::Revoked, &row);
    written(&operator, &args.id, operator.store.revoke(&args.id, &audit).await)?;
    match row.revoked_at {
        Some(since) => anstream::eprintln!("{} was revoked already, since {}", args.id, time(since)),
        None => anstream::eprintln!("{} is revoked: nothing is released for it any more", args.id),
    }
    anstream::eprintln!("undo: {}", operator.place.command("workload restore", &[args.id.as_str()]));
    Ok(Exit::Ok)
}

pub(super) async fn restore(args: &RestoreArgs) -> Result<Exit, Failure> {
    let operator = args.store.open().await?;
    let row = existing(&operator, &args.id).await?;
    let audit = operator.record(Decision::Restored, &row);
    match operator.store.restore(&args.id, row.digest(), &audit).await {
        Err(StoreError::Conflict) => {
            let error = anyhow!("{} is not what it was a moment ago", args.id);
            let show = operator.place.command("workload show", &[args.id.as_str()]);
            return Err(Failure::new(Exit::Failure, error).hint(format!("look at it again: {show}")));
        }
        result => result.map_err(|error| operator.failure(error))?,
    }
    match row.revoked_at {
        Some(since) => anstream::eprintln!("{} is restored; it was revoked since {}", args.id, time(since)),
        None => anstream::eprintln!("{} was not revoked", args.id),
    }
    Ok(Exit::Ok)
}
