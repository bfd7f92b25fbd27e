//! The move on one machine: all at once, in a store that no broker has open.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
};

use anyhow::anyhow;
use keybroker_common::{audit::Decision, rewrap::KeyMove};
use keybroker_embedded::{
    files::{self, NotAFile},
    key::{KeyFileError, LocalKey, LocalMove},
    store::{EmbeddedStore, Moved},
};

use super::{
    RewrapArgs,
    plan::{Plan, Stuck},
    record,
};
use crate::{
    broker::check_apart,
    exit::{Exit, Failure},
    operator::{Backend, Embedded, OperatorHandle, embedded, local_key, principal},
    paths,
    suggest::quoted,
};

pub(super) async fn run(args: &RewrapArgs, new: &Path) -> Result<Exit, Failure> {
    check_apart(&args.store.data_dir()?, new)?;
    let old_file = paths::key_file(args.wrapping.key_file())?;
    let question = {
        // The command does not hold the file open while a person thinks: nobody else could open it. To look,
        // it can go by way of a broker that runs.
        let operator = if args.confirm.dry_run { args.store.open().await? } else { open(args).await?.0 };
        let Some(store) = &operator.local else {
            return Err(anyhow!("the store is not on this machine").into());
        };
        let next = loaded(&old_file, new)?;
        let bound = store.bound_key().await.map_err(|error| operator.failure(error))?;
        let old = local_key(&operator, store.as_ref(), args.wrapping.key_file()).await;
        if let (Some(next), Some(bound)) = (&next, &bound)
            && next.key_id() == bound
        {
            return already(bound, old.is_ok());
        }
        let old = old?;
        let to = next.map_or_else(|| "a new key".to_owned(), |next| next.key_id().to_owned());
        let keys = between(&old, to);
        let plan = Plan::read(&operator, &keys).await?;
        plan.check_stuck(&operator, "so nothing was moved")?;
        if args.confirm.dry_run {
            plan.print(args, &keys)?;
            return Ok(Exit::Ok);
        }
        format!("Move {} from {} to {}?", plan.counted(), old.key_id(), new.display())
    };
    if !args.confirm.agreed(&question)? {
        say!("nothing was moved");
        return Ok(Exit::Failure);
    }
    let (operator, store) = open(args).await?;
    let old = local_key(&operator, store.as_ref(), args.wrapping.key_file()).await?;
    let next = Arc::new(match loaded(&old_file, new)? {
        Some(next) => next,
        None => LocalKey::create_like(&old_file, new).map_err(|error| unusable(new, error))?,
    });
    let keys = between(&old, next.key_id().to_owned());
    let plan = moved(&operator, store.as_ref(), &keys, &LocalMove { from: old, to: next }).await?;
    plan.print(args, &keys)?;
    say!("the store belongs to {} now: start the broker with --key-file {}", keys.to, new.display());
    say!(
        "a backup of the store from before opens with the old key alone: keep the old file as long as the \
         backup, and apart from it"
    );
    Ok(Exit::Ok)
}

/// The store, which no broker may have open: it would go on with the old key.
async fn open(args: &RewrapArgs) -> Result<(OperatorHandle, Arc<EmbeddedStore>), Failure> {
    let (data_dir, place) = (args.store.data_dir()?, args.store.place());
    match embedded(&data_dir).await? {
        Embedded::File(store) => {
            let store = Arc::new(store);
            let (principal, backend) = (principal(), Backend::File);
            let local = Some(store.clone() as _);
            Ok((OperatorHandle { store: store.clone(), local, principal, backend, place }, store))
        }
        Embedded::Socket(_) => {
            let error = anyhow!("a broker has the store in {} open, with the old key", data_dir.display());
            Err(Failure::new(Exit::StoreLocked, error)
                .hint("end the broker, repeat the command, and start the broker with the new key file"))
        }
    }
}

/// The key in the new file, if there is one: an earlier run may have made it. It must belong to the owner of
/// the old one, so that the broker that reads that one can read it. The file itself is looked at: in a
/// directory of the broker's a link could lead to a key of root's.
fn loaded(old: &Path, new: &Path) -> Result<Option<LocalKey>, Failure> {
    let failed = |error: io::Error| unusable(new, error.into());
    let file = match files::open(new, File::options().read(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.get_ref().is_some_and(|inner| inner.is::<NotAFile>()) => {
            let error = anyhow!("the new key {} is a link, or no regular file", new.display());
            return Err(Failure::new(Exit::Configuration, error).hint("name the file itself"));
        }
        Err(error) => return Err(failed(error)),
    };
    let own = file.metadata().map_err(failed)?.uid();
    if let Some(theirs) = fs::metadata(old).map(|old| old.uid()).ok().filter(|theirs| *theirs != own) {
        let error =
            anyhow!("the new key {} belongs to user {own}, and the old one to {theirs}", new.display());
        let [old, new] = [old, new].map(|path| quoted(&path.display().to_string()));
        let hint = format!("chown --no-dereference --reference={old} {new}");
        return Err(Failure::new(Exit::Configuration, error).hint(hint));
    }
    match LocalKey::read(file) {
        Ok(key) => Ok(Some(key)),
        Err(KeyFileError::Missing) => Ok(None),
        Err(error) => Err(unusable(new, error)),
    }
}

fn unusable(new: &Path, error: KeyFileError) -> Failure {
    let failure = Failure::new(Exit::Configuration, error).context(format!("the new key {}", new.display()));
    if error != KeyFileError::NoDirectory {
        return failure;
    }
    failure.hint("make the directory first, for the user of the broker alone")
}

/// The end of a command whose new key is the store's already: an earlier run moved everything, unless the
/// file of the old key holds the `same`.
fn already(key_id: &str, same: bool) -> Result<Exit, Failure> {
    if same {
        let error = anyhow!("both files hold the same key, {key_id}");
        return Err(
            Failure::new(Exit::Usage, error).hint("name a file that is not there: the command makes it")
        );
    }
    say!("the store belongs to {key_id} already: nothing is left to move");
    Ok(Exit::Ok)
}

/// The move from the store's key.
fn between(old: &LocalKey, to: String) -> KeyMove {
    KeyMove { from: [old.key_id().to_owned()].into(), to }
}

/// Moves everything, and returns what that was.
async fn moved(
    operator: &OperatorHandle,
    store: &EmbeddedStore,
    keys: &KeyMove,
    wrap: &LocalMove,
) -> Result<Plan, Failure> {
    let mut plan = Plan::read(operator, keys).await?;
    let mut moved = Moved::default();
    for row in &mut plan.workloads {
        let workload = operator.workload(&row.workload_id).await?;
        match keys.moved_secrets(&workload, wrap).await {
            Ok(secrets) => {
                let audit = record(operator.record(Decision::Rewrapped, &workload), None, &row.from, keys);
                row.audit = Some(audit.id);
                moved.workloads.push((workload.id, secrets, audit));
            }
            Err(error) => plan.stuck.push(Stuck::workload(&workload.id, error.to_string())),
        }
    }
    for row in &mut plan.rings {
        let stored = operator.store.keyring(row.ring).await.map_err(|error| operator.failure(error))?;
        let ring = stored.map(|stored| stored.ring).unwrap_or_default();
        match keys.moved_ring(row.ring, &ring, wrap).await {
            Ok(ring) => {
                let audit = record(operator.act(Decision::Rewrapped), Some(row.ring), &row.from, keys);
                row.audit = Some(audit.id);
                moved.rings.push((row.ring, ring, audit));
            }
            Err(error) => plan.stuck.push(Stuck::ring(row.ring, error.to_string())),
        }
    }
    plan.check_stuck(operator, "so nothing was moved")?;
    let (from, to) = (wrap.from.key_id(), wrap.to.key_id());
    store.move_to_key(from, to, &moved).map_err(|error| operator.failure(error))?;
    Ok(plan)
}
