//! `keybroker resource set`.

use std::{
    mem,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use keybroker_common::{
    amend::Change,
    secret::{Secret, bounds::MAX_SECRET_LEN},
};

use super::change::{self, ChangeArgs};
use crate::{
    bounded,
    exit::{Exit, Failure, Unusable},
};

/// Set one secret of a workload to the contents of a file
///
/// The secret is every byte of the file. If the workload has a secret of this name, the file replaces it for
/// good, and the command asks first. Every secret of the workload is bound to the new registration: if one
/// was not wrapped for the registration that is there, somebody altered the store, and the command changes
/// nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker resource set web default/key/image-kek image.key
  pass show web/tls | keybroker resource set web tls.key - --yes
  keybroker resource set web tls.key tls.pem --aws --prefix keybroker --yes

{}", Exit::TABLE))]
pub(super) struct SetArgs {
    /// The file of the secret; `-` reads standard input
    #[arg(value_name = "FILE", index = 3)]
    file: PathBuf,
    // Behind the file, which would else stand under the last heading of these.
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) async fn run(args: &SetArgs) -> Result<Exit, Failure> {
    let secret = read(&args.file)?;
    change::run(&args.change, Change::Set(secret)).await
}

/// The contents of a file, which need not be one on a disk: a shell makes pipes of `<(…)`.
fn read(path: &Path) -> Result<Secret, Failure> {
    if bounded::is_stdin(path) {
        bounded::check_piped()?;
    }
    let mut bytes = bounded::given(path).with_context(|| Unusable::reading(path))?;
    if !(1..=MAX_SECRET_LEN).contains(&bytes.len()) {
        let error = anyhow!("a secret must have 1 to {MAX_SECRET_LEN} bytes");
        return Err(error.context(Unusable::reading(path)).into());
    }
    Ok(Secret::new(mem::take(&mut *bytes)))
}
