//! `keybroker keys retire`.

use keybroker_common::audit::Decision;
use keybroker_initdata::KeyId;

use super::{
    documents::{Documents, UnknownArgs},
    signing::{key_id, short},
};
use crate::{
    confirm::ConfirmArgs,
    exit::{Exit, Failure},
    operator::{OperatorHandle, StoreArgs, signing_ring},
};

/// Take a signing key out of its ring: the broker never signs with it again
///
/// The command refuses while a registered init data document names the key, and lists the workloads. It also
/// refuses the current key: rotate the ring first. A next key that was prepared and that no document names
/// can be retired, too.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker keys retire 3f0c7a91e4d25b86c0913fd7a2486be51d0c93f7ab64e2185c7fd039be16a842

{}", Exit::TABLE))]
pub(super) struct RetireArgs {
    /// The key's id, as `keybroker keys list` prints it, or in base64url
    // One in 64 ids begins with a hyphen in base64url.
    #[arg(value_name = "KEY-ID", value_parser = key_id, allow_hyphen_values = true)]
    key: KeyId,
    #[command(flatten)]
    unknown: UnknownArgs,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) async fn run(args: &RetireArgs) -> Result<Exit, Failure> {
    let key = short(&args.key);
    // The command does not hold the file open while a person thinks: nobody else could open it.
    check(args, &args.store.open().await?).await?;
    if args.confirm.dry_run {
        say!("the signing key {key} would be retired");
        return Ok(Exit::Ok);
    }
    if !args.confirm.agreed(&format!("Retire the signing key {key} for good?"))? {
        say!("nothing was retired");
        return Ok(Exit::Failure);
    }
    let operator = args.store.open().await?;
    // A document that names the key may have been registered meanwhile.
    check(args, &operator).await?;
    signing_ring::change(&operator, Decision::KeyRetired, &args.key, |ring| ring.without(&args.key)).await?;
    say!("the signing key {key} is retired: the broker does not sign with it");
    Ok(Exit::Ok)
}

/// Refuses a key that cannot be spared.
async fn check(args: &RetireArgs, operator: &OperatorHandle) -> Result<(), Failure> {
    let refused = |error| Failure::new(Exit::Failure, error);
    signing_ring::read(operator).await?.without(&args.key).map_err(refused)?;
    let documents = Documents::read(operator, &args.key).await?;
    let key = short(&args.key);
    Documents::require_none(&documents.naming, &format!("the signing key {key} is named by"))?;
    documents.check_unknown(&args.unknown)
}

#[cfg(test)]
mod tests {
    use clap::{Parser as _, error::ErrorKind};

    use crate::Cli;

    #[test]
    fn an_id_may_begin_with_a_hyphen() {
        let read = |line: &str| {
            Cli::try_parse_from(format!("keybroker keys retire {line}").split(' '))
                .map_err(|error| error.kind())
        };
        let id = "-hsD0TCYcvQSCJHrjpk2DPnGlhMMfFLD2d9AmzwKK70";
        assert!(read(&format!("{id} --yes")).is_ok() && read(&format!("--yes {id}")).is_ok());
        assert_eq!(read("-h").unwrap_err(), ErrorKind::DisplayHelp);
        assert_eq!(read("--yes --no").unwrap_err(), ErrorKind::ValueValidation);
    }
}
