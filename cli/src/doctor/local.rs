//! The files of a broker on one machine.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use keybroker_common::{
    clock::SystemClock,
    secret::local::{KeyFileError, LocalKey},
    store::embedded::{EmbeddedStore, OpenError},
};

use super::{DoctorArgs, Finding};
use crate::{broker, operator::Backend, serve, suggest::quoted};

/// Data directory, key file, and whether they belong together.
pub(super) fn examine(args: &DoctorArgs) -> Vec<Finding> {
    let data_dir = match args.store.data_dir() {
        Ok(data_dir) => data_dir,
        Err(failure) => return vec![Finding::failed("store", &failure)],
    };
    let key_file = match serve::key_file(args.key_file.as_deref()) {
        Ok(key_file) => key_file,
        Err(failure) => return vec![directory(&data_dir), Finding::failed("key", &failure)],
    };
    let key = match broker::check_apart(&data_dir, &key_file) {
        Ok(()) => key(&key_file, &data_dir),
        Err(failure) => Finding::failed("key", &failure),
    };
    vec![directory(&data_dir), key]
}

fn directory(data_dir: &Path) -> Finding {
    let at = data_dir.display();
    match fs::metadata(data_dir).map(|metadata| metadata.permissions().mode() & 0o7777) {
        Err(error) => Finding::fail(
            "data-directory",
            format!("{at} cannot be looked at: {error}"),
            "name the broker's with --data-dir, or start `keybroker serve`, which makes it",
        ),
        Ok(mode) if mode & 0o022 != 0 => Finding::warn(
            "data-directory",
            format!("others may write to {at} (mode {mode:04o})"),
            format!("chmod 0700 {}", quoted(&at.to_string())),
        ),
        Ok(mode) => Finding::ok("data-directory", format!("{at}, mode {mode:04o}")),
    }
}

fn key(key_file: &Path, data_dir: &Path) -> Finding {
    let at = key_file.display();
    let bound = match EmbeddedStore::open_existing(data_dir, Arc::new(SystemClock)) {
        Ok(store) => store.bound_key(),
        // Whoever has it open has compared them.
        Err(error) => Err(error),
    };
    match (LocalKey::load(key_file), bound) {
        (Err(KeyFileError::Missing), Ok(None) | Err(OpenError::Missing)) => Finding::warn(
            "key",
            format!("there is no {at} yet, and no store that needs it"),
            "`keybroker serve` makes both on its first start",
        ),
        (Err(KeyFileError::Missing), _) => Finding::fail(
            "key",
            format!("there is no {at}, and a store that needs its key"),
            "restore it from its backup, or name it with --key-file: no other opens the store's secrets",
        ),
        (Err(error @ KeyFileError::Exposed { .. }), _) => Finding::fail(
            "key",
            format!("{at}: {error}"),
            format!("chmod 0600 {}, and ask who may have read it", quoted(&at.to_string())),
        ),
        (Err(error), _) => Finding::fail("key", format!("{at}: {error}"), "restore it from its backup"),
        (Ok(key), Ok(Some(bound))) if bound != key.key_id() => Finding::fail(
            "key",
            format!("the store belongs to the key {bound}, {at} is {}", key.key_id()),
            "name the store's own with --key-file: no other opens its secrets",
        ),
        (Ok(key), Ok(Some(_))) => Finding::ok("key", format!("{at}, {}, is the store's", key.key_id())),
        (Ok(key), Ok(None)) => Finding::ok("key", format!("{at}, {}; the store has none yet", key.key_id())),
        (Ok(key), Err(OpenError::Locked)) => {
            Finding::ok("key", format!("{at}, {}; the running broker has the store", key.key_id()))
        }
        (Ok(key), Err(_)) => Finding::ok("key", format!("{at}, {}", key.key_id())),
    }
}

/// How the store was reached.
pub(super) fn backend(backend: Backend) -> Finding {
    match backend {
        Backend::File => Finding::ok("store", "it opens, and no broker has it open"),
        Backend::Socket => Finding::ok("store", "the running broker answers on its socket"),
        Backend::Aws => Finding::ok("store", "DynamoDB answers, and what it holds can be read"),
    }
}
