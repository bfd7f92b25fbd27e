//! `keybroker keys rewrap`.

mod aws;
mod file;
mod plan;

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::anyhow;
use keybroker_aws::kms::KeyArn;
use keybroker_common::{
    audit::{Act, AuditRecord},
    keyring::Purpose,
    rewrap::KeyMove,
};

use crate::{
    confirm::ConfirmArgs,
    exit::{Exit, Failure},
    operator::{ON_AWS, StoreArgs, WrappingArgs},
};

/// Have another wrapping key wrap every secret and every key of the broker's own
///
/// Secrets, registrations and the broker's keys stay what they are: guests notice nothing, and no session
/// ends. Each workload and each ring of keys leaves a record, `rewrapped`. The command moves revoked
/// workloads, too.
///
/// On AWS it has KMS move them from the keys that --from names to the one that --to names, row by row, and no
/// clear text leaves KMS. The functions go on meanwhile. You need the role PREFIX-rewrap, and the new key
/// must be in use already: docs/keys.md has the steps. If the command is stopped, everything can be read, and
/// the next run moves what is left.
///
/// On one machine it moves everything at once, to the key in --new-key-file, which it makes if there is none.
/// End the broker first, and start it with the new file. If the command is killed, the store belongs to the
/// one key or to the other, and with it everything in the store.
///
/// There is no way to take secrets out of a broker, for nobody.
#[derive(Debug, clap::Args)]
#[command(after_help = Exit::TABLE, after_long_help = format!("\
Examples:
  keybroker keys rewrap --new-key-file ~/.config/keybroker/key.2
  First to see and then to act, with the ARNs of the keys:
      keybroker keys rewrap --aws --dry-run \\
          --from arn:aws:kms:eu-west-1:123456789012:key/6a1f0c3e-0123-4567-89ab-cdef01234567 \\
          --to arn:aws:kms:eu-west-1:123456789012:key/7b2a1d4f-0123-4567-89ab-cdef01234567
      keybroker keys rewrap --aws --prefix keybroker --yes \\
          --from arn:aws:kms:eu-west-1:123456789012:key/6a1f0c3e-0123-4567-89ab-cdef01234567 \\
          --to arn:aws:kms:eu-west-1:123456789012:key/7b2a1d4f-0123-4567-89ab-cdef01234567

{}", Exit::TABLE))]
pub(super) struct RewrapArgs {
    /// The ARN of a KMS key that is given up, once or more. Only what such a key wrapped is moved
    #[arg(long, requires = "aws", value_name = "KEY-ARN", conflicts_with_all = LOCAL)]
    from: Vec<KeyArn>,
    /// The ARN of the KMS key that takes over: the one that the deployment's alias leads to
    #[arg(long, requires = "aws", value_name = "KEY-ARN", conflicts_with_all = LOCAL)]
    to: Option<KeyArn>,
    /// The file of the key that takes over on one machine; made if it is not there
    #[arg(long, value_name = "FILE", conflicts_with_all = ON_AWS, conflicts_with = "kms_key")]
    new_key_file: Option<PathBuf>,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print one JSON document in place of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wrapping: WrappingArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// The arguments that name a broker on this machine.
const LOCAL: [&str; 3] = ["data_dir", "key_file", "new_key_file"];

pub(super) async fn run(args: &RewrapArgs) -> Result<Exit, Failure> {
    args.confirm.check_shown(args.json)?;
    match (&args.to, &args.new_key_file) {
        (Some(to), None) => aws::run(args, to).await,
        (None, Some(new)) => file::run(args, new).await,
        _ => {
            let missing = if args.store.aws { "--from and --to" } else { "--new-key-file" };
            Err(Failure::new(Exit::Usage, anyhow!("the key that takes over is not named: give {missing}")))
        }
    }
}

/// `audit` as the record of a move.
fn record(audit: AuditRecord, ring: Option<Purpose>, from: &BTreeSet<String>, keys: &KeyMove) -> AuditRecord {
    let act = Act::Rewrapped { ring, from: from.clone(), to: keys.to.clone() };
    AuditRecord { act: Some(act), ..audit }
}
