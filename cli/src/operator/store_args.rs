//! The store of an operator's command, as arguments.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use keybroker_aws::dynamodb::{DynamoStore, OperatorTables};
use keybroker_common::clock::SystemClock;
use keybroker_embedded::store::{EmbeddedStore, OpenError};
use tokio::time::{Instant, sleep};

use super::{
    Backend, LocalStore, OperatorHandle,
    socket::{SocketStore, patience},
    telling,
};
use crate::{
    aws::{Account, Login},
    broker,
    exit::{Exit, Failure},
    paths,
    suggest::StorePlace,
};

/// The arguments that say where a deployment on AWS is. An argument about this machine conflicts with all of
/// them: beside one that conflicts with `--aws` alone, clap forgets that the others require `--aws`.
pub(crate) const ON_AWS: [&str; 4] = ["aws", "prefix", "region", "profile"];

/// The arguments that name a store.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Store")]
pub(crate) struct StoreArgs {
    /// The data directory of a broker on this machine, whether it is running or not.
    ///
    /// The default is $XDG_DATA_HOME/keybroker, or ~/.local/share/keybroker.
    #[arg(long, env = "KEYBROKER_DATA_DIR", value_name = "DIR", conflicts_with_all = ON_AWS)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Use the tables of a deployment on AWS in place of a data directory.
    ///
    /// Region and credentials come from where AWS's tools take them: variables, profiles and roles.
    #[arg(long)]
    pub(crate) aws: bool,
    /// The prefix of the names of the deployment's tables.
    #[arg(
        long,
        env = "KEYBROKER_PREFIX",
        requires = "aws",
        default_value = "keybroker",
        value_name = "NAME"
    )]
    pub(crate) prefix: String,
    /// The region of the deployment, if it is not the one that AWS's tools would take.
    #[arg(long, requires = "aws", value_name = "REGION")]
    region: Option<String>,
    /// The profile of AWS's configuration, if it is not the one that AWS's tools would take.
    ///
    /// It may log in by IAM Identity Center (`aws sso login --profile NAME`).
    #[arg(long, requires = "aws", value_name = "NAME")]
    profile: Option<String>,
}

/// How long to wait for a store whose broker does not answer. It may be starting, or busy.
const WAIT_FOR_STORE: Duration = Duration::from_secs(5);
/// The pause between two attempts meanwhile.
const AGAIN: Duration = Duration::from_millis(50);

impl StoreArgs {
    /// The data directory, given or by default.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, Failure> {
        paths::data_dir(self.data_dir.as_deref())
    }

    /// The arguments that lead another command to the same store.
    pub(crate) fn place(&self) -> StorePlace {
        if self.aws {
            return StorePlace::aws(&self.prefix, &self.login(), |name| env::var(name).ok());
        }
        self.data_dir().map_or_else(|_| StorePlace::none(), |data_dir| StorePlace::local(&data_dir))
    }

    /// Where the command line says that AWS is.
    pub(crate) fn login(&self) -> Login {
        Login { region: self.region.clone(), profile: self.profile.clone() }
    }

    /// Opens the store, which must exist: nothing is made.
    pub(crate) async fn open(&self) -> Result<OperatorHandle, Failure> {
        if self.aws {
            return Ok(self.deployed(&Account::open(&self.login()).await?));
        }
        let place = self.place();
        let principal = principal();
        let (local, backend): (Arc<dyn LocalStore>, _) = match embedded(&self.data_dir()?).await? {
            Embedded::File(store) => (Arc::new(store), Backend::File),
            Embedded::Socket(store) => (Arc::new(store), Backend::Socket),
        };
        Ok(OperatorHandle { store: local.clone(), local: Some(local), principal, backend, place })
    }

    /// The tables of the deployment in `account`.
    pub(crate) fn deployed(&self, account: &Account) -> OperatorHandle {
        let tables = OperatorTables::with_prefix(&self.prefix);
        let store = DynamoStore::new(aws_sdk_dynamodb::Client::new(&account.config), tables);
        let principal = format!("aws-access-key/{}", account.access_key);
        OperatorHandle {
            store: Arc::new(store),
            local: None,
            principal,
            backend: Backend::Aws,
            place: self.place(),
        }
    }
}

/// The operator of a store on this machine: the user of this process.
pub(crate) fn principal() -> String {
    format!("uid/{}", rustix::process::geteuid().as_raw())
}

/// A store on this machine.
#[derive(Debug)]
pub(crate) enum Embedded {
    /// The file, opened by this process.
    File(EmbeddedStore),
    /// The file, through the process that has it open.
    Socket(SocketStore),
}

/// Opens the file, which must exist, or reaches the process that has it open. If that takes long, a person is
/// told.
pub(crate) async fn embedded(data_dir: &Path) -> Result<Embedded, Failure> {
    let what = format!("waiting: another process has the store in {} open", data_dir.display());
    telling(&what, opened(data_dir)).await
}

async fn opened(data_dir: &Path) -> Result<Embedded, Failure> {
    let begin = Instant::now();
    loop {
        match EmbeddedStore::open_existing(data_dir, Arc::new(SystemClock)) {
            Ok(store) => return Ok(Embedded::File(store)),
            Err(OpenError::Locked) => {}
            Err(error) => {
                let opening = format!("opening the store in {}", data_dir.display());
                return Err(unusable(data_dir, error).context(opening));
            }
        }
        match SocketStore::reach(data_dir).await {
            Ok(store) => return Ok(Embedded::Socket(store)),
            Err(_) if begin.elapsed() < patience(data_dir, WAIT_FOR_STORE) => sleep(AGAIN).await,
            Err(cause) => {
                return Err(Failure::new(Exit::StoreLocked, cause)
                    .context(format!(
                        "another process has the store in {} open, and does not answer",
                        data_dir.display()
                    ))
                    .hint("run the command as the broker's user, or wait until the other process ends"));
            }
        }
    }
}

/// The failure to use the store in `data_dir`, which must exist.
pub(crate) fn unusable(data_dir: &Path, error: OpenError) -> Failure {
    if error != OpenError::Missing {
        return broker::store_failure(error);
    }
    Failure::new(Exit::Configuration, error).hint(StorePlace::local(data_dir).advice(
        "give the broker's own --data-dir, or --aws for a deployment; `keybroker serve` makes a store",
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::server::FAREWELL;

    /// A broker that ends takes its socket away at once, and lets go of its store last.
    #[tokio::test(start_paused = true)]
    async fn a_command_outwaits_a_broker_that_ends_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let held = EmbeddedStore::open(path, Arc::new(SystemClock)).unwrap();
        fs::write(path.join("operator.sock"), "").unwrap();
        let begin = Instant::now();
        let failure = embedded(path).await.unwrap_err();
        assert_eq!((failure.exit(), begin.elapsed().as_secs()), (Exit::StoreLocked, 5), "{failure:?}");

        fs::remove_file(path.join("operator.sock")).unwrap();
        let ending = async {
            sleep(FAREWELL + Duration::from_secs(1)).await;
            drop(held);
        };
        let (opened, ()) = tokio::join!(embedded(path), ending);
        assert!(matches!(opened.unwrap(), Embedded::File(_)));
    }
}
