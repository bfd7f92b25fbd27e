//! The store's data about itself: its format, and the wrapping key that it belongs to.

use redb::{Database, ReadableDatabase as _, ReadableTable, TableDefinition, TableError, WriteTransaction};

use super::{OpenError, tables};

/// Names and values.
pub(super) const META: TableDefinition<'static, &'static str, &'static str> = TableDefinition::new("meta");
/// Holds the format.
const FORMAT_NAME: &str = "format";
/// Holds the wrapping key's fingerprint.
const KEY_NAME: &str = "wrapping_key";

/// The format that this release reads and writes: tables, keys and rows.
const FORMAT: &str = "2";

/// Makes an empty database a store, and adds the tables that a store of this format lacks because an earlier
/// release made it; refuses any other database.
pub(super) fn adopt(database: &Database) -> Result<(), OpenError> {
    let transaction = database.begin_write()?;
    let empty = transaction.list_tables()?.next().is_none();
    let whole = tables::complete(&transaction)?;
    let mut meta = transaction.open_table(META)?;
    match entry(&meta, FORMAT_NAME)? {
        Some(format) if format == FORMAT && whole => return Ok(()),
        Some(format) if format == FORMAT => {}
        Some(found) => return Err(OpenError::Format { found }),
        None if empty => drop(meta.insert(FORMAT_NAME, FORMAT)?),
        None => return Err(OpenError::Foreign),
    }
    drop(meta);
    tables::create_tables(&transaction)?;
    Ok(transaction.commit()?)
}

/// Refuses a database that is not a store of this format, and makes none of it.
pub(super) fn check(database: &Database) -> Result<(), OpenError> {
    if format(database)?.as_deref() == Some(FORMAT) { Ok(()) } else { Err(OpenError::Foreign) }
}

/// The format that the database says it has, if it is a store.
pub(super) fn format(database: &Database) -> Result<Option<String>, OpenError> {
    match database.begin_read()?.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        meta => entry(&meta?, FORMAT_NAME),
    }
}

/// Says that the store has this release's format.
pub(super) fn set_format(transaction: &WriteTransaction) -> Result<(), OpenError> {
    transaction.open_table(META)?.insert(FORMAT_NAME, FORMAT)?;
    Ok(())
}

/// The wrapping key's fingerprint, once the store has one.
pub(super) fn bound_key(database: &Database) -> Result<Option<String>, OpenError> {
    entry(&database.begin_read()?.open_table(META)?, KEY_NAME)
}

/// Records the wrapping key's fingerprint, or compares it with the one recorded.
pub(super) fn bind_key(database: &Database, key_id: &str) -> Result<(), OpenError> {
    let transaction = database.begin_write()?;
    let mut meta = transaction.open_table(META)?;
    match entry(&meta, KEY_NAME)? {
        Some(bound) if bound == key_id => return Ok(()),
        Some(expected) => return Err(OpenError::OtherKey { expected, found: key_id.to_owned() }),
        None => meta.insert(KEY_NAME, key_id)?,
    };
    drop(meta);
    Ok(transaction.commit()?)
}

/// Records that the store belongs to the wrapping key `to`. `false`, and nothing is recorded, unless it
/// belongs to `from`.
pub(super) fn rebind_key(transaction: &WriteTransaction, from: &str, to: &str) -> Result<bool, OpenError> {
    let mut meta = transaction.open_table(META)?;
    let is_from = entry(&meta, KEY_NAME)?.as_deref() == Some(from);
    if is_from {
        meta.insert(KEY_NAME, to)?;
    }
    Ok(is_from)
}

pub(super) fn entry(
    meta: &impl ReadableTable<&'static str, &'static str>,
    name: &str,
) -> Result<Option<String>, OpenError> {
    Ok(meta.get(name)?.map(|value| value.value().to_owned()))
}
