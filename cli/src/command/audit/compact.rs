//! `keybroker audit compact`.

use keybroker_embedded::store::{EmbeddedStore, OpenError};

use crate::{
    exit::{Exit, Failure},
    operator::{StoreArgs, nothing_on_aws, unusable},
};

/// Give the room of deleted records back to the file system
///
/// A store's file never shrinks by itself: later records take the room of deleted ones. After the first large
/// `keybroker audit prune` this command makes the file as small as what it holds. End the broker first:
/// nobody may have the store open. If the command is cut off, the store is as it was before.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  systemctl stop keybroker
  sudo -u keybroker keybroker audit compact --data-dir /var/lib/keybroker
  systemctl start keybroker
  keybroker audit compact --data-dir /srv/keybroker

{}", Exit::TABLE))]
pub(super) struct CompactArgs {
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) fn run(args: &CompactArgs) -> Result<Exit, Failure> {
    if args.store.aws {
        return Err(nothing_on_aws("compact"));
    }
    let data_dir = args.store.data_dir()?;
    let freed = EmbeddedStore::compact(&data_dir).map_err(|error| {
        let locked = error == OpenError::Locked;
        let failure =
            unusable(&data_dir, error).context(format!("compacting the store in {}", data_dir.display()));
        if locked { failure.hint("end the broker, or the command, that has the store open") } else { failure }
    })?;
    say!("{} KiB were given back to the file system", freed >> 10);
    Ok(Exit::Ok)
}
