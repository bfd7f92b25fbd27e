//! Fills a store with many rows, made from those that one boot wrote.
//!
//! Each new row is the text of a real one, with another workload's id, another record's id and another time
//! in it. So the rows have the size and the form that the program gives them. Their secrets cannot be
//! unwrapped, which is all right: nobody boots these workloads.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest::{self, SHA256};
use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use redb::{Builder, Database, ReadableDatabase as _, TableDefinition, TableError, TableHandle as _};
use uuid::Uuid;

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

const WORKLOADS: Table = TableDefinition::new("workloads");
/// Tables of records, each under the 16 bytes of the record's id.
const RECORDS: [Table; 2] = [TableDefinition::new("audit"), TableDefinition::new("decisions")];
/// The time between two records. Two million of them take 231 days.
const PAUSE: SignedDuration = SignedDuration::from_secs(10);
/// The rows of one transaction.
const BATCH: usize = 100_000;
/// The bytes that redb may hold in memory meanwhile.
const CACHE: usize = 1 << 30;

/// A row that a boot wrote.
struct Sample {
    table: Table,
    row: String,
    /// The id of the workload or the record, as it stands in the row.
    id: String,
}

/// Adds `workloads` workloads and `records` records to the store in the file at `path`, which must hold
/// exactly one workload and the records of its boot.
pub(crate) fn fill(path: &Path, workloads: usize, records: usize) -> Result<()> {
    let database = Builder::new().set_cache_size(CACHE).open(path).context("opening the store")?;
    let (workload, samples) = samples(&database)?;
    ensure!(!samples.is_empty(), "the boot left no record");
    // In the order of the keys, so that each page is written once.
    let mut ids: Vec<String> = (0..workloads).map(made_up).collect();
    ids.sort_unstable();
    insert(&database, workloads, |index| {
        let id = ids.get(index).context("an id")?;
        let row = workload.row.replace(&workload.id, id);
        Ok((workload.table, id.clone().into_bytes(), row))
    })?;
    let begin = Timestamp::now() - PAUSE * i32::try_from(records)?;
    insert(&database, records, |index| {
        let sample = samples.get(index % samples.len()).context("a sample")?;
        let time = begin + PAUSE * i32::try_from(index)?;
        let id =
            Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, u64::try_from(time.as_second())?, 0));
        // The records of one boot are about one workload.
        let about = ids.get(index / samples.len() % workloads.max(1)).unwrap_or(&workload.id);
        let row = sample.row.replace(&sample.id, &id.to_string()).replace(&workload.id, about);
        Ok((sample.table, id.as_bytes().to_vec(), at(&row, time)?))
    })
}

/// The row of the one workload, and those of the records about it.
fn samples(database: &Database) -> Result<(Sample, Vec<Sample>)> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(WORKLOADS).context("the workloads")?;
    let mut rows = table.range::<&[u8]>(..)?;
    let (id, row) = rows.next().context("no workload")??;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).context("a row that is no text");
    let workload = Sample { table: WORKLOADS, row: text(row.value())?, id: text(id.value())? };
    ensure!(rows.next().is_none(), "more than one workload: fill an empty store");
    let mut samples = Vec::new();
    for table in RECORDS {
        let rows = match transaction.open_table(table) {
            // Releases differ in where a boot's records are.
            Err(TableError::TableDoesNotExist(_)) => continue,
            opened => opened?,
        };
        for entry in rows.range::<&[u8]>(..)? {
            let (key, row) = entry?;
            let id = Uuid::from_slice(key.value()).with_context(|| format!("a key in {}", table.name()))?;
            samples.push(Sample { table, row: text(row.value())?, id: id.to_string() });
        }
    }
    Ok((workload, samples))
}

/// Inserts `count` rows.
fn insert(
    database: &Database,
    count: usize,
    row: impl Fn(usize) -> Result<(Table, Vec<u8>, String)>,
) -> Result<()> {
    for begin in (0..count).step_by(BATCH) {
        eprintln!("{begin} of {count} rows");
        let transaction = database.begin_write()?;
        for index in begin..count.min(begin + BATCH) {
            let (table, key, row) = row(index)?;
            transaction.open_table(table)?.insert(key.as_slice(), row.as_bytes())?;
        }
        transaction.commit()?;
    }
    Ok(())
}

/// An id as buildah makes them.
fn made_up(number: usize) -> String {
    HEXLOWER.encode(digest::digest(&SHA256, format!("filled {number}").as_bytes()).as_ref())
}

/// The record with this time.
fn at(record: &str, time: Timestamp) -> Result<String> {
    const FIELD: &str = r#""time":""#;
    let (before, rest) = record.split_once(FIELD).context("a record without a time")?;
    let (_, after) = rest.split_once('"').context("a time without an end")?;
    Ok(format!("{before}{FIELD}{time}\"{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gets_another_time_and_keeps_the_rest() {
        let time = "2026-01-02T03:04:05Z".parse().unwrap();
        let record = at(r#"{"id":"a","time":"2025-01-01T00:00:00.123Z","decision":"attested"}"#, time);
        assert_eq!(record.unwrap(), r#"{"id":"a","time":"2026-01-02T03:04:05Z","decision":"attested"}"#);
    }

    #[test]
    fn a_filled_store_has_the_rows_asked_for_and_the_real_ones() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let [audit, _] = RECORDS;
        let record = format!(r#"{{"id":"{}","time":"","workload_id":"real"}}"#, Uuid::nil());
        transaction.open_table(WORKLOADS).unwrap().insert(&b"real"[..], &br#"{"id":"real"}"#[..]).unwrap();
        transaction.open_table(audit).unwrap().insert(&[0; 16][..], record.as_bytes()).unwrap();
        transaction.commit().unwrap();
        drop(database);

        fill(&path, 5, 7).unwrap();

        let database = Database::open(&path).unwrap();
        let transaction = database.begin_read().unwrap();
        let rows = |table: Table| -> Vec<(Vec<u8>, String)> {
            let rows = transaction.open_table(table).unwrap().range::<&[u8]>(..).unwrap();
            let pair = rows
                .map(|row| row.unwrap())
                .map(|(key, row)| (key.value().to_vec(), String::from_utf8(row.value().to_vec()).unwrap()));
            pair.collect()
        };
        let (workloads, records) = (rows(WORKLOADS), rows(audit));
        assert_eq!((workloads.len(), records.len()), (6, 8));
        for (key, row) in workloads {
            assert_eq!(row, format!(r#"{{"id":"{}"}}"#, String::from_utf8(key).unwrap()));
        }
        for (key, row) in records.iter().skip(1) {
            assert!(row.contains(&Uuid::from_slice(key).unwrap().to_string()), "{row}");
            assert!(!row.contains("real"), "{row}");
        }
    }
}
