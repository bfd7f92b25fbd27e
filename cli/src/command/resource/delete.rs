//! `keybroker resource delete`.

use keybroker_common::amend::Change;

use super::change::{self, ChangeArgs};
use crate::exit::{Exit, Failure};

/// Delete one secret of a workload, for good
///
/// Nobody can bring the secret back: it must be set again. The last secret of a workload cannot be deleted.
/// To end all releases, use `keybroker workload revoke` or `keybroker workload delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker resource delete web default/key/image-kek
  keybroker resource delete web tls.key --dry-run
  keybroker resource delete web tls.key --aws --prefix keybroker --yes

{}", Exit::TABLE))]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) async fn run(args: &DeleteArgs) -> Result<Exit, Failure> {
    change::run(&args.change, Change::Delete).await
}
