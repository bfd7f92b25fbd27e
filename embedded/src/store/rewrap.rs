//! The move to another wrapping key, in one transaction: a process that is killed leaves a store that belongs
//! to the one key or to the other, with everything in it wrapped by that key.

use std::collections::BTreeMap;

use keybroker_common::{
    audit::AuditRecord,
    ids::WorkloadId,
    keyring::{Keyring, Purpose},
    secret::WrappedSecret,
    store::StoreError,
    workload::Workload,
};
use redb::Database;

use super::{
    EmbeddedStore,
    disk::{Edit, View},
    errors::failed,
    meta,
    rows::KeyringRow,
    stores::recorded,
};

/// All that another key wraps from then on, as it becomes, each with the record of it.
#[derive(Debug, Default)]
pub struct Moved {
    /// The secrets of the workloads.
    pub workloads: Vec<(WorkloadId, BTreeMap<String, WrappedSecret>, AuditRecord)>,
    /// The rings of the broker's own keys.
    pub rings: Vec<(Purpose, Keyring, AuditRecord)>,
}

impl EmbeddedStore {
    /// Writes what is `moved`, and has the store belong to the wrapping key `to`, together.
    /// [`StoreError::Conflict`] unless the store belongs to `from`, has a row for each, and would afterwards
    /// hold nothing that another key than `to` wraps. Blocks.
    ///
    /// For a process that has the store for itself: it must not use the key `from` any more.
    pub fn move_to_key(&self, from: &str, to: &str, moved: &Moved) -> Result<(), StoreError> {
        let done = self.disk.with(|database| Ok(self::moved(database, from, to, moved)));
        done.map_err(|error| StoreError::Unavailable(error.to_string()))?
    }
}

fn moved(database: &Database, from: &str, to: &str, moved: &Moved) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(failed)?;
    let rebound = meta::rebind_key(&transaction, from, to);
    if !rebound.map_err(|error| StoreError::Unavailable(error.to_string()))? {
        return Err(StoreError::Conflict);
    }
    let mut view = View::of(&transaction);
    for (id, secrets, record) in &moved.workloads {
        let row: Workload = view.get(id.as_str().as_bytes())?.ok_or(StoreError::Conflict)?;
        let row = Workload { secrets: secrets.clone(), ..row };
        write(&mut view, Edit::put(id.as_str().as_bytes(), &row)?, record)?;
    }
    for (purpose, ring, record) in &moved.rings {
        let key = purpose.name().as_bytes();
        let row: KeyringRow = view.get(key)?.ok_or(StoreError::Conflict)?;
        let row = KeyringRow { edition: row.edition.wrapping_add(1), ring: ring.clone() };
        write(&mut view, Edit::put(key, &row)?, record)?;
    }
    let others = |wrapped: &WrappedSecret| wrapped.key_id != to;
    let left = view.keys_where(|row: &Workload| row.secrets.values().any(others))?.len()
        + view.keys_where(|row: &KeyringRow| row.ring.keys.iter().any(|key| others(&key.wrapped)))?.len();
    drop(view);
    if left > 0 {
        return Err(StoreError::Conflict);
    }
    transaction.commit().map_err(failed)
}

/// Writes a row and the record of it.
fn write(view: &mut View<'_>, row: Edit, record: &AuditRecord) -> Result<(), StoreError> {
    let edits = [row, recorded(record)?];
    view.admit(&edits)?;
    view.make(&edits)
}
