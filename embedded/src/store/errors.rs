//! The meaning of redb's errors for the code that opens a store, and for the code that uses it.

use std::io;

use keybroker_common::store::StoreError;

use crate::files::NotAFile;

/// Why a data directory could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or this one, has the store open.
    #[error("the store is in use by another process")]
    Locked,
    /// There is no store, and none was to be made.
    #[error("there is no store")]
    Missing,
    /// The file is there, but is no store of a key broker.
    #[error("the file is not a key broker's store")]
    Foreign,
    /// The store was written in a form that this release does not read.
    #[error("the store has the format {found}, which this release does not read")]
    Format {
        /// The format that the store says it has.
        found: String,
    },
    /// The store is of an earlier format, and there is no room for the copy that is made before the step.
    #[error(
        "the store is of an earlier release, and has no room for the copy that is made before it is changed: \
         {needed} bytes must be free in the data directory"
    )]
    NoRoomForBackup {
        /// The bytes that must be free.
        needed: u64,
    },
    /// Something else than a file has the name of the store's file, or a link does. None is followed: another
    /// user may have put it there.
    #[error("the store's file is a link, or no file at all")]
    NotAFile,
    /// The file was damaged or altered.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// The operating system refused.
    #[error("the store cannot be used: {0}")]
    Io(io::ErrorKind),
    /// The store's secrets are wrapped under another key.
    #[error("the store belongs to the wrapping key {expected}, not to {found}")]
    OtherKey {
        /// Fingerprint of the key that the store was first used with.
        expected: String,
        /// Fingerprint of the key at hand.
        found: String,
    },
}

impl OpenError {
    /// Whether the disk has no room.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Io(kind) if full(*kind))
    }
}

/// Whether an error of this kind says that there is no room.
pub(super) fn full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            _ if error.get_ref().is_some_and(|inner| inner.is::<NotAFile>()) => Self::NotAFile,
            // redb says so of a file that does not begin like one of its own.
            io::ErrorKind::InvalidData => Self::Foreign,
            kind => Self::Io(kind),
        }
    }
}

impl From<redb::Error> for OpenError {
    fn from(error: redb::Error) -> Self {
        use redb::Error;
        match error {
            Error::DatabaseAlreadyOpen => Self::Locked,
            Error::Io(error) => error.into(),
            Error::TableTypeMismatch { .. } | Error::TableIsMultimap(_) => Self::Foreign,
            Error::UpgradeRequired(version) => Self::Format { found: format!("redb {version}") },
            other => Self::Corrupt(other.to_string()),
        }
    }
}

/// The meaning of an error for the code that uses the store.
pub(super) fn failed(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Corrupted(cause) => StoreError::Corrupt { table: "the database".into(), cause },
        redb::Error::Io(error) if full(error.kind()) => StoreError::Full(error.to_string()),
        other => StoreError::Unavailable(other.to_string()),
    }
}

/// redb has an error type for each kind of operation; all are part of [`redb::Error`].
macro_rules! by_way_of_redb_error {
    ($($error:ident)*) => {$(
        impl From<redb::$error> for OpenError {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}

by_way_of_redb_error!(DatabaseError TransactionError TableError StorageError CommitError CompactionError);
