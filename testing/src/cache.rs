//! The shared table of endorsements, as an attacker who can write it sees it.

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;
use keybroker_common::store::{EndorsementStore, Lease, StoreError, StoredEndorsement};
use uuid::Uuid;

/// A table in memory. It can be written past the contract, and fail.
#[derive(Debug, Default)]
pub struct Cache(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    rows: BTreeMap<String, StoredEndorsement>,
    reading: Option<StoreError>,
    writing: Option<StoreError>,
}

impl Cache {
    /// Writes a row as the broker never would.
    pub fn plant(&self, key: &str, row: StoredEndorsement) {
        self.0.lock().unwrap().rows.insert(key.to_owned(), row);
    }

    /// Deletes a row, as an operator does.
    pub fn remove(&self, key: &str) {
        self.0.lock().unwrap().rows.remove(key);
    }

    pub fn row(&self, key: &str) -> Option<StoredEndorsement> {
        self.0.lock().unwrap().rows.get(key).cloned()
    }

    pub fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().rows.keys().cloned().collect()
    }

    /// How every read ends from now on.
    pub fn fail_reading(&self, error: Option<StoreError>) {
        self.0.lock().unwrap().reading = error;
    }

    /// How every write ends from now on.
    pub fn fail_writing(&self, error: Option<StoreError>) {
        self.0.lock().unwrap().writing = error;
    }
}

#[async_trait]
impl EndorsementStore for Cache {
    async fn endorsement(&self, key: &str) -> Result<Option<StoredEndorsement>, StoreError> {
        let table = self.0.lock().unwrap();
        table.reading.clone().map_or_else(|| Ok(table.rows.get(key).cloned()), Err)
    }

    async fn put_endorsement(&self, key: &str, row: &StoredEndorsement) -> Result<(), StoreError> {
        let mut table = self.0.lock().unwrap();
        if let Some(error) = table.writing.clone() {
            return Err(error);
        }
        if table.rows.get(key).is_none_or(|held| held.edition <= row.edition) {
            table.rows.insert(key.to_owned(), row.clone());
        }
        Ok(())
    }

    /// As if every process came long after the one before it.
    async fn lease(&self, _: &str, _: &Lease) -> Result<Option<Lease>, StoreError> {
        Ok(None)
    }

    async fn end_lease(&self, _: &str, _: Uuid) -> Result<(), StoreError> {
        Ok(())
    }
}
