//! `keybroker resource set`.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use keybroker_common::{
    amend::Change,
    secret::{Secret, bounds::MAX_SECRET_LEN},
};

use super::change::{self, ChangeArgs};
use crate::exit::{Exit, Failure};

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
    let unusable = |error: anyhow::Error| {
        Failure::new(Exit::Configuration, error).context(format!("reading {}", path.display()))
    };
    let standard = path == Path::new("-");
    if standard && io::stdin().is_terminal() {
        let seen = Failure::new(Exit::Usage, anyhow!("- is for a pipe: a terminal shows what you type"));
        return Err(seen.hint("pipe it in, and give --yes"));
    }
    let source: Box<dyn Read> = if standard {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).context("opening it").map_err(unusable)?)
    };
    // Room for all of it from the start: growing would leave a copy behind. One byte more than the longest is
    // enough to refuse by.
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(MAX_SECRET_LEN + 1));
    let limit = u64::try_from(MAX_SECRET_LEN).unwrap_or_default() + 1;
    source.take(limit).read_to_end(&mut bytes).context("its contents").map_err(unusable)?;
    if !(1..=MAX_SECRET_LEN).contains(&bytes.len()) {
        return Err(unusable(anyhow!("a secret must have 1 to {MAX_SECRET_LEN} bytes")));
    }
    Ok(Secret::new(std::mem::take(&mut *bytes)))
}
