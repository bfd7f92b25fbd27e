//! A write transaction as writes see it: they read in it, and say what is to change.

use redb::{ReadableTable as _, Table, WriteTransaction};

use keybroker_common::store::StoreError;

use crate::store::{
    errors::failed,
    rows::{Bytes, Row, decode, encode},
};

/// A change of one row. It is encoded when it is made, so that the writer has less to do.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    table: &'static str,
    key: Vec<u8>,
    change: Change,
}

#[derive(Debug, Clone)]
enum Change {
    New(Vec<u8>),
    Put(Vec<u8>),
    Delete,
}

impl Edit {
    /// Writes a new row. [`StoreError::Conflict`] if there is one, readable or not.
    pub(crate) fn create<R: Row>(key: &[u8], row: &R) -> Result<Self, StoreError> {
        Ok(Self::of::<R>(key, Change::New(encode(row)?)))
    }

    /// Writes a row, in the place of the one that may be there.
    pub(crate) fn put<R: Row>(key: &[u8], row: &R) -> Result<Self, StoreError> {
        Ok(Self::of::<R>(key, Change::Put(encode(row)?)))
    }

    /// Deletes the row, readable or not, if it is there.
    pub(crate) fn delete<R: Row>(key: &[u8]) -> Self {
        Self::of::<R>(key, Change::Delete)
    }

    fn of<R: Row>(key: &[u8], change: Change) -> Self {
        Self { table: R::NAME, key: key.to_vec(), change }
    }
}

/// The tables of a write transaction. A write reads here and cannot change anything: its edits are made once
/// it is known that all of them can be.
pub(crate) struct View<'a> {
    transaction: &'a WriteTransaction,
    /// Each table that was asked for: opening one has its price.
    tables: Vec<(&'static str, Table<'a, Bytes, Bytes>)>,
}

impl<'a> View<'a> {
    pub(crate) fn of(transaction: &'a WriteTransaction) -> Self {
        Self { transaction, tables: Vec::new() }
    }

    /// The row under `key`.
    pub(crate) fn get<R: Row>(&mut self, key: &[u8]) -> Result<Option<R>, StoreError> {
        self.table(R::NAME)?.get(key).map_err(failed)?.map(|row| decode(row.value())).transpose()
    }

    /// The keys of the rows that `matches`; one that cannot be read does not.
    pub(crate) fn keys_where<R: Row>(
        &mut self,
        matches: impl Fn(&R) -> bool,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut keys = Vec::new();
        for entry in self.table(R::NAME)?.iter().map_err(failed)? {
            let (key, row) = entry.map_err(failed)?;
            if decode(row.value()).is_ok_and(|row| matches(&row)) {
                keys.push(key.value().to_vec());
            }
        }
        Ok(keys)
    }

    /// [`StoreError::Conflict`] if a row that must be new is there.
    pub(crate) fn admit(&mut self, edits: &[Edit]) -> Result<(), StoreError> {
        for Edit { table, key, change } in edits {
            if matches!(change, Change::New(_))
                && self.table(table)?.get(key.as_slice()).map_err(failed)?.is_some()
            {
                return Err(StoreError::Conflict);
            }
        }
        Ok(())
    }

    /// Makes the edits. An error leaves the transaction fit for nothing but to be undone.
    pub(crate) fn make(&mut self, edits: &[Edit]) -> Result<(), StoreError> {
        for Edit { table, key, change } in edits {
            let table = self.table(table)?;
            match change {
                Change::New(row) | Change::Put(row) => table.insert(key.as_slice(), row.as_slice()),
                Change::Delete => table.remove(key.as_slice()),
            }
            .map_err(failed)?;
        }
        Ok(())
    }

    fn table(&mut self, name: &'static str) -> Result<&mut Table<'a, Bytes, Bytes>, StoreError> {
        let index = match self.tables.iter().position(|(opened, _)| *opened == name) {
            Some(index) => index,
            None => {
                let table = self.transaction.open_table(redb::TableDefinition::new(name)).map_err(failed)?;
                self.tables.push((name, table));
                self.tables.len() - 1
            }
        };
        let missing = || StoreError::Unavailable("a table that was opened is missing".to_owned());
        self.tables.get_mut(index).map(|(_, table)| table).ok_or_else(missing)
    }
}
