//! The key that wraps the broker's own keys, as an operator's command uses it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::anyhow;
use keybroker_aws::kms::{KmsKeyring, KmsRewrap};
use keybroker_common::{
    keyring::{KeyringWrap, Purpose},
    secret::{KeyError, Rewrap},
};
use keybroker_embedded::key::LocalKey;

use super::{LocalStore, ON_AWS, OperatorHandle, StoreArgs};
use crate::{
    aws::{Account, Trouble},
    broker,
    exit::{Exit, Failure},
    paths,
};

/// The arguments that name the wrapping key.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Wrapping key")]
pub(crate) struct WrappingArgs {
    /// The file of the key that wraps the secrets of a broker on this machine
    ///
    /// The default is $XDG_CONFIG_HOME/keybroker/key, or ~/.config/keybroker/key.
    #[arg(long, env = "KEYBROKER_KEY_FILE", value_name = "FILE")]
    #[arg(conflicts_with_all = ON_AWS, conflicts_with = "kms_key")]
    key_file: Option<PathBuf>,
    /// The KMS key of a deployment on AWS: an alias, a key id, or an ARN. The default is alias/PREFIX
    #[arg(long, requires = "aws", conflicts_with = "data_dir", value_name = "KEY")]
    kms_key: Option<String>,
}

impl WrappingArgs {
    /// The wrapping key of the broker that `store` leads to, for the ring of `purpose`.
    pub(crate) async fn open(
        &self,
        store: &StoreArgs,
        operator: &OperatorHandle,
        purpose: Purpose,
    ) -> Result<Arc<dyn KeyringWrap>, Failure> {
        let Some(local) = &operator.local else {
            return Ok(Arc::new(KmsKeyring::new(kms(store).await?, self.kms_key(store), purpose)));
        };
        Ok(Arc::new(local_key(operator, local.as_ref(), self.key_file()).await?.keyring(purpose)))
    }

    /// The same key for the secrets of workloads: to wrap a new one, and to bind others to another
    /// registration.
    pub(crate) async fn of_secrets(
        &self,
        store: &StoreArgs,
        operator: &OperatorHandle,
    ) -> Result<Arc<dyn Rewrap>, Failure> {
        let Some(local) = &operator.local else {
            return Ok(Arc::new(KmsRewrap::new(kms(store).await?, self.kms_key(store))));
        };
        Ok(local_key(operator, local.as_ref(), self.key_file()).await?)
    }

    /// The KMS key that new secrets are wrapped with: an alias, unless another is given.
    pub(crate) fn kms_key(&self, store: &StoreArgs) -> String {
        self.kms_key.clone().unwrap_or_else(|| format!("alias/{}", store.prefix))
    }

    /// The file of the wrapping key, if it is given.
    pub(crate) fn key_file(&self) -> Option<&Path> {
        self.key_file.as_deref()
    }
}

pub(crate) async fn kms(store: &StoreArgs) -> Result<aws_sdk_kms::Client, Failure> {
    Ok(aws_sdk_kms::Client::new(&Account::open(&store.login()).await?.config))
}

/// The wrapping key of a store on this machine, which must be the store's own.
pub(crate) async fn local_key(
    operator: &OperatorHandle,
    store: &dyn LocalStore,
    key_file: Option<&Path>,
) -> Result<Arc<LocalKey>, Failure> {
    let path = paths::key_file(key_file)?;
    let key = LocalKey::load(&path).map_err(|error| {
        let advice = broker::withheld_key(&error)
            .unwrap_or("name the file of the broker's wrapping key with --key-file");
        Failure::new(Exit::Configuration, error)
            .context(format!("reading the key {}", path.display()))
            .hint(advice)
    })?;
    let bound = store.bound_key().await.map_err(|error| operator.failure(error))?;
    if bound.as_deref() == Some(key.key_id()) {
        return Ok(Arc::new(key));
    }
    let (bound, found) = (bound.unwrap_or_else(|| "no key yet".to_owned()), key.key_id());
    let error = anyhow!("the store belongs to {bound}, and {} is {found}", path.display());
    Err(Failure::new(Exit::Configuration, error)
        .hint("name the store's own key with --key-file; a broker that starts binds its store to its key"))
}

/// The failure to use the wrapping key.
pub(crate) fn wrapping_failure(error: KeyError) -> Failure {
    key_failure(error).context("wrapping the key").hint_if_denied(
        "the operator needs kms:Encrypt on the deployment's key, under the context of signing keys: docs/aws.md has \
         the permission",
    )
}

/// The failure that an error of the wrapping key is to the command's user.
pub(crate) fn key_failure(error: KeyError) -> Failure {
    match error {
        KeyError::Unavailable(cause) => Trouble::unavailable(&cause).into(),
        error => Failure::new(Exit::Failure, error),
    }
}
