//! Puts the broker on one machine together: store, key, and the three services over them.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::anyhow;
use keybroker_common::{
    admission::Admission,
    advisories::Advisories,
    appraisal::Fleet,
    broker::{self, AttestKeys, Broker, Origin, Register},
    challenge::Deployment,
    clock::{Clock, SystemClock},
    config::KdsSettings,
    keyring::Purpose,
    keys::SigningKeys,
};
use keybroker_embedded::{
    key::{KeyFileError, LocalKey},
    store::{EmbeddedStore, OpenError},
};
use keybroker_kds::EndorsementSource;
use keybroker_rego::RegoEngine;
use keybroker_snp::anchors::TrustAnchors;

use crate::{
    exit::{Exit, Failure},
    operator::socket::patience,
};

/// The settings that a broker on one machine is made from.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// The directory of the store.
    pub(crate) data_dir: PathBuf,
    /// The file of the wrapping key.
    pub(crate) key_file: PathBuf,
    /// The roots that are trusted.
    pub(crate) anchors: TrustAnchors,
    /// Where AMD's certificates come from.
    pub(crate) endorsements: KdsSettings,
    /// The operator's demands on every guest.
    pub(crate) fleet: Arc<Fleet>,
    /// AMD's bulletins, by which records say how platforms stand.
    pub(crate) advisories: Arc<Advisories>,
    /// The callers that may register.
    pub(crate) admission: Admission,
    /// How long a guest may answer a challenge, and then how long its session may fetch secrets.
    pub(crate) ttl: Duration,
}

/// The parts that a broker on one machine stands on.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The store, which is all of the services' stores.
    pub(crate) store: Arc<EmbeddedStore>,
    /// The deployment's name, as the store has it.
    pub(crate) deployment: Deployment,
    /// The wrapping key.
    pub(crate) key: Arc<LocalKey>,
    /// The time.
    pub(crate) clock: Arc<dyn Clock>,
    /// The roots that are trusted.
    pub(crate) anchors: TrustAnchors,
    /// Where AMD's certificates come from.
    pub(crate) endorsements: KdsSettings,
    /// The operator's demands on every guest.
    pub(crate) fleet: Arc<Fleet>,
    /// AMD's bulletins, by which records say how platforms stand.
    pub(crate) advisories: Arc<Advisories>,
    /// The callers that may register.
    pub(crate) admission: Admission,
    /// How long a guest may answer a challenge, and then how long its session may fetch secrets.
    pub(crate) ttl: Duration,
}

/// The service that registers, for the callers that `admission` lets in.
pub(crate) fn register(
    store: Arc<EmbeddedStore>,
    key: Arc<LocalKey>,
    clock: Arc<dyn Clock>,
    admission: Admission,
) -> Register {
    Register::new(store, key, trials(), admission, clock)
}

/// Tries what registrations demand, one after the other.
fn trials() -> Arc<RegoEngine> {
    Arc::new(RegoEngine::new(1))
}

/// The service that registers for the operator, and for nobody else.
pub(crate) fn operators_register(parts: &Parts) -> Register {
    register(parts.store.clone(), parts.key.clone(), Arc::clone(&parts.clock), Admission::NONE)
}

/// The source of the broker's certificates.
pub(crate) fn endorsements(parts: &Parts) -> Arc<EndorsementSource> {
    let (store, clock) = (parts.store.clone(), Arc::clone(&parts.clock));
    Arc::new(EndorsementSource::new(parts.anchors.clone(), store, clock, &parts.endorsements))
}

/// The three services over the same parts.
pub(crate) fn services(parts: &Parts, endorsements: Arc<EndorsementSource>) -> Broker {
    let broker = Broker::new(broker::Parts {
        store: parts.store.clone(),
        wrap: parts.key.clone(),
        keys: AttestKeys {
            sessions: Arc::new(parts.key.keyring(Purpose::Session)),
            results: Arc::new(parts.key.keyring(Purpose::Result)),
            unwrap: parts.key.clone(),
            signers: Arc::new(signing_keys(parts)),
        },
        endorsements,
        trials: trials(),
        policies: Arc::new(RegoEngine::default()),
        fleet: Arc::clone(&parts.fleet),
        admission: parts.admission,
        clock: Arc::clone(&parts.clock),
        origin: Origin {
            deployment: parts.deployment.clone(),
            keys: Arc::new(parts.key.keyring(Purpose::Challenge)),
            ttl: parts.ttl,
        },
    });
    Broker { attest: broker.attest.judging_by(Arc::clone(&parts.advisories)), ..broker }
}

pub(crate) fn signing_keys(parts: &Parts) -> SigningKeys {
    let wrap = Arc::new(parts.key.keyring(Purpose::Signature));
    SigningKeys::new(parts.store.clone(), wrap, Arc::clone(&parts.clock))
}

/// Opens or makes the store and the wrapping key that `configuration` names.
pub(crate) fn open(configuration: Configuration) -> Result<Parts, Failure> {
    let Configuration { data_dir, key_file, anchors, endorsements, fleet, advisories, admission, ttl } =
        configuration;
    check_apart(&data_dir, &key_file)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Arc::new(open_store(&data_dir, Arc::clone(&clock))?);
    let key = Arc::new(open_key(&key_file, &store)?);
    let deployment = store.deployment().map_err(store_failure)?;
    Ok(Parts { store, deployment, key, clock, anchors, endorsements, fleet, advisories, admission, ttl })
}

/// Refuses a key inside the data directory: a copy or backup of the store must not contain the key.
pub(crate) fn check_apart(data_dir: &Path, key_file: &Path) -> Result<(), Failure> {
    if real(key_file).starts_with(real(data_dir)) {
        let error = anyhow!("the key {} is in the data directory", key_file.display());
        return Err(Failure::new(Exit::Configuration, error)
            .hint("name a path elsewhere: anybody who has both store and key has the secrets"));
    }
    Ok(())
}

/// `path` with symbolic links resolved, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let resolved = path.ancestors().find_map(|base| {
        let rest = path.strip_prefix(base).ok()?;
        Some(base.canonicalize().ok()?.components().chain(rest.components()).collect())
    });
    resolved.unwrap_or(path)
}

/// How long a broker waits for a store that another broker serves. A command may have the store, too, when a
/// broker left its socket behind: for a moment, or with `audit --follow` again and again.
const WAIT_FOR_STORE: Duration = Duration::from_secs(2);
/// The pause between two attempts meanwhile.
const AGAIN: Duration = Duration::from_millis(20);

/// Opens the store. The file is closed to everybody but its owner, whatever its mode was. The directory is
/// the operator's, and is left as it is.
fn open_store(data_dir: &Path, clock: Arc<dyn Clock>) -> Result<EmbeddedStore, Failure> {
    let store = open_once_free(data_dir, &clock, thread::sleep).map_err(|error| {
        store_failure(error).context(format!("opening the store in {}", data_dir.display()))
    })?;
    if let Ok(mode) = fs::metadata(data_dir).map(|metadata| metadata.permissions().mode())
        && mode & 0o022 != 0
    {
        tracing::warn!(
            path = %data_dir.display(),
            mode = format_args!("{:04o}", mode & 0o7777),
            "OTHER USERS MAY WRITE TO THE DATA DIRECTORY: they can replace the store; make it 0700"
        );
    }
    Ok(store)
}

/// Opens the store, after as many pauses as it takes until no other process has it open, up to a limit.
fn open_once_free(
    data_dir: &Path,
    clock: &Arc<dyn Clock>,
    mut pause: impl FnMut(Duration),
) -> Result<EmbeddedStore, OpenError> {
    let mut waited = Duration::ZERO;
    loop {
        match EmbeddedStore::open(data_dir, Arc::clone(clock)) {
            Err(OpenError::Locked) if waited < patience(data_dir, WAIT_FOR_STORE) => {}
            opened => return opened,
        }
        if waited == WAIT_FOR_STORE {
            tracing::info!("waiting: another process has the store in {} open", data_dir.display());
        }
        pause(AGAIN);
        waited += AGAIN;
    }
}

/// The advice about a key file that this user may not read: no backup of it is any help.
pub(crate) fn withheld_key(error: &KeyFileError) -> Option<&'static str> {
    let withheld = *error == KeyFileError::Io(ErrorKind::PermissionDenied);
    withheld.then_some("run the command as the user of the broker, to whom the key file must belong")
}

/// The advice to a user who may not look into the data directory.
pub(crate) const AS_OWNER: &str = "run the command as the user of the broker, who owns the data directory";

pub(crate) fn store_failure(error: OpenError) -> Failure {
    let exit = match error {
        OpenError::Locked => Exit::StoreLocked,
        OpenError::Foreign
        | OpenError::Format { .. }
        | OpenError::OtherKey { .. }
        | OpenError::NotAFile
        | OpenError::Io(
            ErrorKind::PermissionDenied | ErrorKind::NotADirectory | ErrorKind::ReadOnlyFilesystem,
        ) => Exit::Configuration,
        _ => Exit::Failure,
    };
    let hint = match error {
        OpenError::Locked => Some("end the other broker, or give this one a --data-dir of its own"),
        OpenError::Corrupt(_) => {
            Some("keep a copy of the data directory as it is, and restore it from its backup")
        }
        OpenError::NotAFile => Some(
            "no link in a data directory is followed: put the file itself there, or name its directory with \
             --data-dir. If nobody of yours made the link, find out who did",
        ),
        OpenError::Io(ErrorKind::PermissionDenied) => Some(AS_OWNER),
        OpenError::Io(ErrorKind::NotADirectory) => Some("name a directory with --data-dir"),
        OpenError::Io(ErrorKind::ReadOnlyFilesystem) => Some(
            "the broker's commands write to its store: mount the file system of the data directory so that they \
             can",
        ),
        OpenError::Foreign => Some("give --data-dir a directory that no other program uses"),
        OpenError::OtherKey { .. } => {
            Some("give the store's own key with --key-file, or an empty directory with --data-dir")
        }
        _ => None,
    };
    let failure = Failure::new(exit, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The wrapping key in `path`, tied to `store`. It is made if both are new. A store that belongs to a missing
/// key must not get another: nothing could open its secrets then, and nobody would notice until a guest asks.
pub(crate) fn open_key(path: &Path, store: &EmbeddedStore) -> Result<LocalKey, Failure> {
    let unusable = |error| {
        let advice = withheld_key(&error);
        let failure =
            Failure::new(Exit::Configuration, error).context(format!("reading the key {}", path.display()));
        match advice {
            Some(advice) => failure.hint(advice),
            None => failure,
        }
    };
    let key = match (LocalKey::load(path), store.bound_key().map_err(store_failure)?) {
        (Err(KeyFileError::Missing), None) => create_key(path)?,
        (Err(KeyFileError::Missing), Some(key_id)) => {
            let error = anyhow!("the store belongs to the key {key_id}, and {} is not there", path.display());
            return Err(Failure::new(Exit::Configuration, error).hint(
                "restore the key file from its backup, or name it with --key-file: no other key opens the \
                 store's secrets",
            ));
        }
        (key, _) => key.map_err(unusable)?,
    };
    store.bind_key(key.key_id()).map_err(store_failure)?;
    Ok(key)
}

fn create_key(path: &Path) -> Result<LocalKey, Failure> {
    let key = LocalKey::create(path).map_err(|error| {
        Failure::new(Exit::Configuration, error).context(format!("making the key {}", path.display()))
    })?;
    tracing::info!(
        path = %path.display(),
        key_id = key.key_id(),
        "made the wrapping key: back it up, apart from the store"
    );
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::FAREWELL;

    #[test]
    fn a_store_and_a_key_that_the_system_withholds_are_matters_of_the_configuration() {
        for (kind, advice) in [
            (ErrorKind::ReadOnlyFilesystem, "mount the file system"),
            (ErrorKind::PermissionDenied, AS_OWNER),
            (ErrorKind::NotADirectory, "name a directory"),
        ] {
            let failure = store_failure(OpenError::Io(kind));
            let hint = failure.told().1.unwrap_or_default().to_owned();
            assert!(failure.exit() == Exit::Configuration && hint.contains(advice), "{failure:?}");
        }
        let withheld = withheld_key(&KeyFileError::Io(ErrorKind::PermissionDenied));
        assert!(withheld.unwrap_or_default().contains("as the user of the broker"));
        assert_eq!(withheld_key(&KeyFileError::Malformed), None);
    }

    #[test]
    fn a_broker_outwaits_another_that_ends_and_none_that_serves() {
        let directory = tempfile::tempdir().unwrap();
        let (path, clock) = (directory.path(), Arc::new(SystemClock) as Arc<dyn Clock>);
        let held = EmbeddedStore::open(path, Arc::clone(&clock)).unwrap();
        let socket = path.join("operator.sock");
        fs::write(&socket, "").unwrap();
        let mut waited = Duration::ZERO;
        let opened = open_once_free(path, &clock, |pause| waited += pause);
        assert_eq!((opened.unwrap_err(), waited), (OpenError::Locked, WAIT_FOR_STORE));

        fs::remove_file(socket).unwrap();
        let (mut held, mut waited) = (Some(held), Duration::ZERO);
        let opened = open_once_free(path, &clock, |pause| {
            waited += pause;
            if waited > FAREWELL {
                held = None;
            }
        });
        assert!(opened.is_ok() && held.is_none(), "{waited:?}");
    }
}
