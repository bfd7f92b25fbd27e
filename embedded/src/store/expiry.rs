//! Rows that expire, and the index by which they are found when they have.
//!
//! redb removes nothing by itself, so every transaction that writes such a row first removes some that are
//! due.

use jiff::Timestamp;
use keybroker_common::{
    session::{Challenge, Session},
    store::StoreError,
};
use redb::{Table, TableDefinition, WriteTransaction};

use super::{
    errors::failed,
    rows::{Bytes, Row, Rows},
};

/// Most rows of one type that one transaction removes: bounds its work, and outruns the one row that it may
/// add.
pub(super) const SWEEP_LIMIT: usize = 64;

/// An index entry: when a row expires, in nanoseconds since 1970, and the row's key.
type Entry = (i128, Bytes);

/// A type whose rows expire.
pub(super) trait Expires: Row {
    /// Lists the rows by expiry.
    const INDEX: TableDefinition<'static, Entry, ()>;

    /// First instant at which the row no longer counts.
    fn expires_at(&self) -> Timestamp;
}

impl Expires for Challenge {
    const INDEX: TableDefinition<'static, Entry, ()> = TableDefinition::new("challenges_by_expiry");

    fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

impl Expires for Session {
    const INDEX: TableDefinition<'static, Entry, ()> = TableDefinition::new("sessions_by_expiry");

    fn expires_at(&self) -> Timestamp {
        Self::expires_at(self)
    }
}

/// A table and its index in a write transaction: neither is ever written without the other.
pub(super) struct ExpiringRows<'a, R> {
    rows: Rows<'a, R>,
    index: Table<'a, Entry, ()>,
}

impl<'a, R: Expires> ExpiringRows<'a, R> {
    /// The table of `R`, less some of the rows that have expired by `now`.
    pub(super) fn open_swept(transaction: &'a WriteTransaction, now: Timestamp) -> Result<Self, StoreError> {
        let index = transaction.open_table(R::INDEX).map_err(failed)?;
        let mut opened = Self { rows: Rows::open(transaction)?, index };
        opened.sweep(now)?;
        Ok(opened)
    }

    /// Writes a new row. [`StoreError::Conflict`] if there is one.
    pub(super) fn create(&mut self, key: &[u8], row: &R) -> Result<(), StoreError> {
        self.rows.create(key, row)?;
        self.index.insert((row.expires_at().as_nanosecond(), key), ()).map_err(failed)?;
        Ok(())
    }

    /// Deletes the row and hands it back, if it is there.
    pub(super) fn take(&mut self, key: &[u8]) -> Result<Option<R>, StoreError> {
        let row = self.rows.take(key)?;
        if let Some(row) = &row {
            self.index.remove((row.expires_at().as_nanosecond(), key)).map_err(failed)?;
        }
        Ok(row)
    }

    /// Deletes the rows that expired first, at most [`SWEEP_LIMIT`]. A row that cannot be read goes like any
    /// other.
    fn sweep(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let first_unexpired: (i128, &[u8]) = (now.as_nanosecond() + 1, &[]);
        let due = self.index.extract_from_if(..first_unexpired, |_, ()| true).map_err(failed)?;
        for entry in due.take(SWEEP_LIMIT) {
            self.rows.delete(entry.map_err(failed)?.0.value().1)?;
        }
        Ok(())
    }
}
