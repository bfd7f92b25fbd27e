//! Upkeep of a store: reading all of it, deleting old records, and giving room back to the disk.

use std::path::Path;

use jiff::Timestamp;
use keybroker_common::{
    audit::AuditRecord,
    store::{AuditStore as _, StoreError, StoredEndorsement},
    token::Token,
    workload::Workload,
};
use redb::{Database, ReadTransaction, ReadableDatabase as _};
use tokio::task::yield_now;

use super::{
    EmbeddedStore, OpenError, audit,
    disk::Edit,
    file::{self, Check},
    opening::{caught_opening, open},
    rows::{self, GuestRow, KeyringRow, Row, SelectionRow, Span, Way},
};

impl EmbeddedStore {
    /// Reads all of the store in `data_dir`, which nobody may have open: every byte against its checksum, and
    /// every row. [`OpenError::Corrupt`] says what is wrong.
    ///
    /// The checksums are no signatures: a person who alters the file and computes them anew is not found out.
    pub fn check_deeply(data_dir: &Path) -> Result<(), OpenError> {
        at_rest(data_dir, Check::Always, |database| {
            let transaction = database.begin_read()?;
            readable::<Workload>(&transaction)?;
            readable::<SelectionRow>(&transaction)?;
            readable::<Token>(&transaction)?;
            readable::<GuestRow>(&transaction)?;
            readable::<KeyringRow>(&transaction)?;
            readable::<StoredEndorsement>(&transaction)?;
            readable::<AuditRecord>(&transaction)
        })
    }

    /// Gives the disk what deleted rows took up in the store in `data_dir`, which nobody may have open.
    /// Returns how many bytes shorter the file is.
    pub fn compact(data_dir: &Path) -> Result<u64, OpenError> {
        let len = || Ok::<_, OpenError>(data_dir.join(file::NAME).symlink_metadata()?.len());
        let before = if file::exists(data_dir)? { len()? } else { return Err(OpenError::Missing) };
        at_rest(data_dir, Check::AfterUncleanStop, |database| Ok(database.compact().map(drop)?))?;
        Ok(before.saturating_sub(len()?))
    }

    /// Deletes the audit records of before `before`, except the decisions that must be kept still, by the
    /// store's clock: an answer to a challenge that could count yet is never forgotten. A record that cannot
    /// be read stays.
    ///
    /// `record` makes the record of it, of the number of those that go. It is written first, and not if none
    /// goes. Returns the number.
    pub async fn prune(
        &self,
        before: Timestamp,
        record: impl FnOnce(u64) -> AuditRecord + Send,
    ) -> Result<u64, StoreError> {
        let now = self.clock.now();
        if before > now {
            return Err(StoreError::Refused("records of a time that is yet to come".to_owned()));
        }
        let guests = |row: &GuestRow| match row {
            GuestRow::Attest(decision) => decision.record.time < before && decision.keep_until <= now,
            GuestRow::Record(record) => record.time < before,
        };
        let others = |record: &AuditRecord| record.time < before;
        let span = Span { from: None, to: audit::first_id_after(before) };
        let number = self.old(&span, guests, false).await? + self.old(&span, others, false).await?;
        if number > 0 {
            self.append(&record(number)).await?;
            self.old(&span, guests, true).await?;
            self.old(&span, others, true).await?;
        }
        Ok(number)
    }

    /// Counts the rows in `span` that are `old`, and deletes them if it is told to, a page at a time.
    async fn old<R: Row>(
        &self,
        span: &Span,
        old: impl Fn(&R) -> bool,
        delete: bool,
    ) -> Result<u64, StoreError> {
        let (mut number, mut after) = (0, None);
        loop {
            let keys = self.reading(|transaction| {
                rows::page(rows::listed(transaction, span, Way::Up, after.as_ref())?, |key, row| {
                    old(&row).then(|| key.to_vec())
                })
            })?;
            number += keys.rows.len() as u64;
            if delete && !keys.rows.is_empty() {
                let edits: Vec<_> = keys.rows.iter().map(|key| Edit::delete::<R>(key)).collect();
                self.write(move |_| Ok(edits.clone())).await?;
            }
            if keys.next.is_none() {
                return Ok(number);
            }
            after = keys.next;
            // Others have work for this thread, too.
            yield_now().await;
        }
    }
}

/// Runs `work` on the store in `data_dir`, which nobody may have open.
fn at_rest<T>(
    data_dir: &Path,
    check: Check,
    work: impl FnOnce(&mut Database) -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    caught_opening(|| {
        if !file::exists(data_dir)? {
            return Err(OpenError::Missing);
        }
        let (_file, mut database) = open(data_dir, check)?;
        let done = work(&mut database)?;
        database.close()?;
        Ok(done)
    })
}

/// Reads every row of a table.
fn readable<R: Row>(transaction: &ReadTransaction) -> Result<(), OpenError> {
    let damaged = |error: StoreError| OpenError::Corrupt(error.to_string());
    for met in rows::listed::<R>(transaction, &Span::ALL, Way::Up, None).map_err(damaged)? {
        met.and_then(|met| met.row).map_err(damaged)?;
    }
    Ok(())
}
