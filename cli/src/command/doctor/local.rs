//! The files of a broker on one machine.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use axum::body::Body;
use hyper::{Request, StatusCode, Uri, header, header::HeaderValue};
use keybroker_common::{clock::SystemClock, store::Health as _};
use keybroker_embedded::{
    key::{KeyFileError, LocalKey},
    store::{
        EmbeddedStore, OpenError,
        room::{self, HEADROOM, RESERVE},
    },
};

use super::{DoctorArgs, finding::Finding};
use crate::{
    broker,
    operator::{self, Backend, Embedded, socket::SocketStore},
    paths,
    suggest::quoted,
};

/// Examines data directory and key file, and whether they belong together.
pub(super) fn examine(args: &DoctorArgs) -> Vec<Finding> {
    let data_dir = match args.store.data_dir() {
        Ok(data_dir) => data_dir,
        Err(failure) => return vec![Finding::failed("store", &failure)],
    };
    let key_file = match paths::key_file(args.key_file.as_deref()) {
        Ok(key_file) => key_file,
        Err(failure) => {
            return vec![directory(&data_dir), space(&data_dir), Finding::failed("key", &failure)];
        }
    };
    let key = match broker::check_apart(&data_dir, &key_file) {
        Ok(()) => key(&key_file, &data_dir),
        Err(failure) => Finding::failed("key", &failure),
    };
    vec![directory(&data_dir), space(&data_dir), key]
}

/// Free bytes that are few for a store that grows with every record.
const LITTLE: u64 = 256 << 20;

fn space(data_dir: &Path) -> Finding {
    let at = data_dir.display();
    let free = match room::free(data_dir) {
        Err(error) => {
            let finding = format!("the free space at {at} is not known: {error}");
            let advice = seen_by(error.kind(), "name the broker's data directory with --data-dir");
            return Finding::warn("disk", finding, advice);
        }
        Ok(None) => return Finding::ok("disk", format!("the file system of {at} has no limit")),
        Ok(Some(free)) => free,
    };
    let (missing, mib) = (RESERVE - room::reserved(data_dir), free >> 20);
    let advice = format!("make room on the file system of {at}; the broker goes on by itself");
    match free {
        free if free < HEADROOM => Finding::fail(
            "disk",
            format!("{mib} MiB are free at {at}: the broker registers nothing and opens no session"),
            advice,
        ),
        free if free < HEADROOM + missing => Finding::fail(
            "disk",
            format!(
                "{mib} MiB are free at {at}, and the reserve is used up: the broker registers nothing and \
                 releases nothing"
            ),
            advice,
        ),
        ..LITTLE => Finding::warn("disk", format!("{mib} MiB are free at {at}"), advice),
        _ => Finding::ok("disk", format!("{mib} MiB are free at {at}")),
    }
}

/// The advice if the data directory cannot be looked at: another user, if this one may not, or `advice`.
fn seen_by(error: io::ErrorKind, advice: &'static str) -> &'static str {
    if error == io::ErrorKind::PermissionDenied { broker::AS_OWNER } else { advice }
}

fn directory(data_dir: &Path) -> Finding {
    let at = data_dir.display();
    match fs::metadata(data_dir).map(|metadata| metadata.permissions().mode() & 0o7777) {
        Err(error) => Finding::fail(
            "data-directory",
            format!("{at} cannot be read: {error}"),
            seen_by(
                error.kind(),
                "name the broker's data directory with --data-dir, or start `keybroker serve`, which makes it",
            ),
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
        // The broker that has it open compared them when it started.
        Err(error) => Err(error),
    };
    match (LocalKey::load(key_file), bound) {
        (Err(KeyFileError::Missing), Ok(None) | Err(OpenError::Missing)) => Finding::warn(
            "key",
            format!("there is no {at} yet, and no store needs it"),
            "`keybroker serve` makes both on its first start",
        ),
        (Err(KeyFileError::Missing), Err(OpenError::Io(_))) => Finding::fail(
            "key",
            format!("there is no {at}, and it is not known whether a store needs it"),
            "run this as the broker's user, or name the key's file with --key-file",
        ),
        (Err(KeyFileError::Missing), _) => Finding::fail(
            "key",
            format!("there is no {at}, and the store needs its key"),
            "restore the file from its backup, or name it with --key-file: no other key opens the store's \
             secrets",
        ),
        (Err(error @ KeyFileError::Exposed { .. }), _) => Finding::fail(
            "key",
            format!("{at}: {error}"),
            format!("run `chmod 0600 {}`, and find out who may have read it", quoted(&at.to_string())),
        ),
        (Err(error), _) => {
            let advice = broker::withheld_key(&error).unwrap_or("restore the file from its backup");
            Finding::fail("key", format!("{at}: {error}"), advice)
        }
        (Ok(key), Ok(Some(bound))) if bound != key.key_id() => Finding::fail(
            "key",
            format!("the store belongs to the key {bound}, and {at} is {}", key.key_id()),
            "name the store's own key with --key-file: no other key opens its secrets",
        ),
        (Ok(key), Ok(Some(_))) => Finding::ok("key", format!("{at}, {}, is the store's", key.key_id())),
        (Ok(key), Ok(None)) => Finding::ok("key", format!("{at}, {}; the store has none yet", key.key_id())),
        (Ok(key), Err(OpenError::Locked)) => {
            Finding::ok("key", format!("{at}, {}; the running broker has the store", key.key_id()))
        }
        (Ok(key), Err(_)) => Finding::ok("key", format!("{at}, {}", key.key_id())),
    }
}

/// Whether all of the store can be read.
pub(super) fn deeply(args: &DoctorArgs) -> Finding {
    const CHECK: &str = "store-file";
    let data_dir = match args.store.data_dir() {
        Ok(data_dir) => data_dir,
        Err(failure) => return Finding::failed(CHECK, &failure),
    };
    match EmbeddedStore::check_deeply(&data_dir) {
        Ok(()) => Finding::ok(CHECK, "every byte has its checksum, and every row can be read"),
        Err(OpenError::Locked) => Finding::warn(
            CHECK,
            "the running broker has the store open, so the file was not read",
            "end the broker, and run this command again",
        ),
        Err(error @ OpenError::Corrupt(_)) => Finding::fail(
            CHECK,
            error.to_string(),
            "keep a copy of the data directory as it is, and restore it from its backup. \
             `keybroker audit export` and `keybroker workload list` show what can still be read",
        ),
        Err(error) => Finding::failed(CHECK, &broker::store_failure(error)),
    }
}

/// The store's own check, where the store can be reached.
pub(super) async fn health(args: &DoctorArgs) -> Option<Finding> {
    let asked = match operator::embedded(&args.store.data_dir().ok()?).await.ok()? {
        Embedded::File(store) => store.check().await.map_err(|cause| cause.to_string()),
        Embedded::Socket(broker) => ask(&broker).await,
    };
    let advice = "look at `disk` above and at the broker's log; the broker goes on by itself once the disk \
                  takes its writes";
    Some(match asked {
        Ok(()) => Finding::ok("health", "the store can be used and has room"),
        Err(cause) => Finding::fail("health", cause, advice),
    })
}

/// Whether a broker runs, and is well.
pub(super) async fn running(args: &DoctorArgs) -> Finding {
    const CHECK: &str = "health";
    let data_dir = match args.store.data_dir() {
        Ok(data_dir) => data_dir,
        Err(failure) => return Finding::failed(CHECK, &failure),
    };
    let at = data_dir.display();
    let asked = match SocketStore::reach(&data_dir).await {
        Ok(broker) => ask(&broker).await,
        Err(cause) if is_closed(&cause) => {
            let finding = format!("whether a broker answers in {at} cannot be seen: {}", cause.root_cause());
            return Finding::fail(CHECK, finding, broker::AS_OWNER);
        }
        Err(cause) => Err(format!("no broker answers in {at}: {cause:#}")),
    };
    match asked {
        Ok(()) => Finding::ok(CHECK, "the running broker is well"),
        Err(cause) => Finding::fail(CHECK, cause, "look at the broker's log, and run `keybroker doctor`"),
    }
}

/// Whether the system keeps this user out. The client has reasons of its own, too, for which another user is
/// no help.
fn is_closed(cause: &anyhow::Error) -> bool {
    let denied =
        |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_some();
    cause.chain().filter_map(|cause| cause.downcast_ref()).any(denied)
}

async fn ask(broker: &SocketStore) -> Result<(), String> {
    match broker.pass(healthz()).await {
        Ok((StatusCode::OK, _)) => Ok(()),
        Ok((status, _)) => Err(format!("the running broker answers {status} to /healthz")),
        Err(cause) => Err(format!("{cause:#}")),
    }
}

fn healthz() -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = Uri::from_static("/healthz");
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("operator"));
    request
}

/// How the store was reached.
pub(super) fn backend(backend: Backend) -> Finding {
    match backend {
        Backend::File => Finding::ok("store", "it opens, and no broker has it open"),
        Backend::Socket => Finding::ok("store", "the running broker answers on its socket"),
        Backend::Aws => Finding::ok("store", "DynamoDB answers, and its rows can be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_who_is_kept_out_is_told_to_be_the_brokers() {
        let advice = "name the broker's data directory";
        assert_eq!(seen_by(io::ErrorKind::PermissionDenied, advice), broker::AS_OWNER);
        assert_eq!(seen_by(io::ErrorKind::NotFound, advice), advice);
        let closed = anyhow::Error::from(io::Error::from(rustix::io::Errno::ACCESS)).context("not served");
        assert!(is_closed(&closed));
        // The client refuses to trust what it finds there: the broker's user would get the same answer.
        let untrusted = io::Error::new(io::ErrorKind::PermissionDenied, "other users may write to it");
        assert!(!is_closed(&untrusted.into()));
        assert!(!is_closed(&io::Error::from(rustix::io::Errno::CONNREFUSED).into()));
    }

    /// The directory's own parent is a file, so nobody can see whether there is a store.
    #[test]
    fn a_store_that_cannot_be_looked_at_is_not_said_to_need_a_key() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let found = key(&directory.path().join("key"), &file.join("data")).finding;
        assert!(found.ends_with("it is not known whether a store needs it"), "{found}");
    }
}
