//! Rows: one table for each type, each row the JSON of a value.
//!
//! A row is bytes to redb, so one that cannot be read is an error of that row alone.

use std::{marker::PhantomData, ops::Bound};

use data_encoding::HEXLOWER;

use keybroker_common::{
    audit::AuditRecord,
    session::{Challenge, Session},
    store::{Cursor, Page, StoreError, StoredEndorsement},
    token::Token,
    workload::Workload,
};
use redb::{ReadTransaction, ReadableTable as _, Table, TableDefinition, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::errors::failed;

/// Bytes, as redb spells keys and values of any length.
pub(super) type Bytes = &'static [u8];

/// A type that has a table.
pub(super) trait Row: Serialize + DeserializeOwned {
    /// The table's name, in the file and in errors.
    const NAME: &'static str;
    /// The table.
    const TABLE: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new(Self::NAME);

    /// A key as text.
    fn name(key: &[u8]) -> String {
        String::from_utf8_lossy(key).into_owned()
    }
}

/// Under the workload id.
impl Row for Workload {
    const NAME: &'static str = "workloads";
}

/// Under the 16 bytes of the id.
impl Row for Token {
    const NAME: &'static str = "tokens";

    fn name(key: &[u8]) -> String {
        HEXLOWER.encode(key)
    }
}

/// Under the session id's text.
impl Row for Challenge {
    const NAME: &'static str = "challenges";
}

/// Under the session id's text.
impl Row for Session {
    const NAME: &'static str = "sessions";
}

/// Under the key that it is put by.
impl Row for StoredEndorsement {
    const NAME: &'static str = "endorsements";
}

/// Under the 16 bytes of the id, so in the order of time.
impl Row for AuditRecord {
    const NAME: &'static str = "audit";

    fn name(key: &[u8]) -> String {
        Uuid::from_slice(key).map_or_else(|_| HEXLOWER.encode(key), |id| id.to_string())
    }
}

/// The row under `key`.
pub(super) fn get<R: Row>(transaction: &ReadTransaction, key: &[u8]) -> Result<Option<R>, StoreError> {
    let table = transaction.open_table(R::TABLE).map_err(failed)?;
    table.get(key).map_err(failed)?.map(|row| decode(row.value())).transpose()
}

/// Every row, in the order of the keys.
pub(super) fn all<R: Row>(
    transaction: &ReadTransaction,
) -> Result<impl Iterator<Item = Result<R, StoreError>> + use<R>, StoreError> {
    let table = transaction.open_table(R::TABLE).map_err(failed)?;
    let rows = table.range::<Bytes>(..).map_err(failed)?;
    Ok(rows.map(|row| decode(row.map_err(failed)?.1.value())))
}

/// The keys of a listing.
#[derive(Debug)]
pub(super) struct Span {
    /// The first; without it all from the beginning.
    pub(super) from: Option<Vec<u8>>,
    /// The first beyond it; without it all to the end.
    pub(super) to: Option<Vec<u8>>,
}

impl Span {
    /// Every key.
    pub(super) const ALL: Self = Self { from: None, to: None };
}

/// Rows that one page looks at, whether it keeps them or not.
const PAGE_ROWS: usize = 1000;
/// Bytes of the rows that one page looks at; the row that exceeds it is the last.
const PAGE_BYTES: usize = 1 << 20;

/// A page of what `keep` makes of the rows in `span`, in the order of the keys.
pub(super) fn page<R: Row, T>(
    transaction: &ReadTransaction,
    span: Span,
    after: Option<&Cursor>,
    keep: impl Fn(String, R) -> Option<T>,
) -> Result<Page<T>, StoreError> {
    let after = after.map(|Cursor(key)| HEXLOWER.decode(key.as_bytes())).transpose();
    let after = after.map_err(|_| StoreError::Refused("a listing does not go on there".to_owned()))?;
    let from = match (&after, &span.from) {
        (Some(after), _) => Bound::Excluded(after.as_slice()),
        (None, Some(from)) => Bound::Included(from.as_slice()),
        (None, None) => Bound::Unbounded,
    };
    let to = span.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut page = Page::default();
    let (mut rows, mut bytes) = (0, 0);
    let table = transaction.open_table(R::TABLE).map_err(failed)?;
    for entry in table.range::<&[u8]>((from, to)).map_err(failed)? {
        let (key, row) = entry.map_err(failed)?;
        let (key, row) = (key.value(), row.value());
        match decode(row) {
            Ok(row) => page.rows.extend(keep(R::name(key), row)),
            Err(error) => page.push(R::name(key), Err(error))?,
        }
        rows += 1;
        bytes += row.len();
        if rows == PAGE_ROWS || bytes > PAGE_BYTES {
            page.next = Some(Cursor(HEXLOWER.encode(key)));
            break;
        }
    }
    Ok(page)
}

/// A table in a write transaction.
pub(super) struct Rows<'a, R> {
    table: Table<'a, Bytes, Bytes>,
    row: PhantomData<R>,
}

impl<'a, R: Row> Rows<'a, R> {
    /// The table of `R`.
    pub(super) fn open(transaction: &'a WriteTransaction) -> Result<Self, StoreError> {
        let table = transaction.open_table(R::TABLE).map_err(failed)?;
        Ok(Self { table, row: PhantomData })
    }

    /// The row under `key`.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<R>, StoreError> {
        self.table.get(key).map_err(failed)?.map(|row| decode(row.value())).transpose()
    }

    /// Writes a row, in the place of the one that may be there.
    pub(super) fn put(&mut self, key: &[u8], row: &R) -> Result<(), StoreError> {
        self.table.insert(key, encode(row)?.as_slice()).map_err(failed)?;
        Ok(())
    }

    /// Writes a new row. [`StoreError::Conflict`] if there is one, readable or not.
    pub(super) fn create(&mut self, key: &[u8], row: &R) -> Result<(), StoreError> {
        match self.table.insert(key, encode(row)?.as_slice()).map_err(failed)? {
            None => Ok(()),
            Some(_) => Err(StoreError::Conflict),
        }
    }

    /// Deletes the row and hands it back, if it is there.
    pub(super) fn take(&mut self, key: &[u8]) -> Result<Option<R>, StoreError> {
        self.table.remove(key).map_err(failed)?.map(|row| decode(row.value())).transpose()
    }

    /// Deletes every row that `matches`. One that cannot be read stays.
    pub(super) fn delete_where(&mut self, matches: impl Fn(&R) -> bool) -> Result<(), StoreError> {
        self.table.retain(|_, row| !decode(row).is_ok_and(|row| matches(&row))).map_err(failed)?;
        Ok(())
    }

    /// Deletes the row unread, if it is there.
    pub(super) fn delete(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.table.remove(key).map_err(failed)?;
        Ok(())
    }
}

fn encode<R: Row>(row: &R) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(row).map_err(|error| unreadable::<R>(&error))
}

fn decode<R: Row>(bytes: &[u8]) -> Result<R, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| unreadable::<R>(&error))
}

/// Says where the row broke and how, but not in serde's words: they quote what they found, and a row holds
/// nonces.
fn unreadable<R: Row>(error: &serde_json::Error) -> StoreError {
    let cause = format!("{:?} error at byte {}", error.classify(), error.column());
    StoreError::Corrupt { table: R::NAME.into(), cause }
}
