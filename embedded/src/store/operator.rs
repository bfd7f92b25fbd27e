//! The operator's view, each method one transaction.

use async_trait::async_trait;
use jiff::Timestamp;
use keybroker_common::{
    audit::AuditRecord,
    ids::{AuditId, RegistrationDigest, WorkloadId},
    store::{AuditQuery, Cursor, OperatorStore, Page, StoreError, StoredEndorsement},
    workload::Workload,
};

use super::{
    Change, EmbeddedStore,
    rows::{self, Rows, Span},
    stores::{existing, record},
};

#[async_trait]
impl OperatorStore for EmbeddedStore {
    async fn workloads(&self, after: Option<&Cursor>) -> Result<Page<Workload>, StoreError> {
        self.page(Span::ALL, after, |_, workload| Some(workload))
    }

    async fn restore(
        &self,
        id: &WorkloadId,
        registration: RegistrationDigest,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        let (id, audit) = (id.clone(), audit.clone());
        self.write_if_room(move |transaction| {
            let mut rows = Rows::open(transaction)?;
            let row = existing(&rows, &id)?;
            if row.digest() != registration {
                return Err(StoreError::Conflict);
            }
            let restored_by = if row.revoked_at.is_some() { Some(audit.id) } else { row.restored_by };
            rows.put(id.as_str().as_bytes(), &Workload { revoked_at: None, restored_by, ..row })?;
            record(transaction, &audit)
        })
        .await
    }

    async fn delete(&self, seen: &Workload, audit: &AuditRecord) -> Result<(), StoreError> {
        let (seen, audit) = (seen.clone(), audit.clone());
        self.write(move |transaction| {
            let key = seen.id.as_str().as_bytes();
            let mut rows = Rows::<Workload>::open(transaction)?;
            let row = rows.take(key)?.ok_or(StoreError::Conflict)?;
            let state = |row: &Workload| (row.digest(), row.revoked_at, row.released_at);
            if state(&row) != state(&seen) {
                return Err(StoreError::Conflict);
            }
            record(transaction, &audit)
        })
        .await
    }

    async fn endorsements(
        &self,
        after: Option<&Cursor>,
    ) -> Result<Page<(String, StoredEndorsement)>, StoreError> {
        self.page(Span::ALL, after, |key, row| Some((key, row)))
    }

    async fn delete_endorsement(&self, key: &str) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.write(move |transaction| {
            Rows::<StoredEndorsement>::open(transaction)?.delete(key.as_bytes())?;
            Ok(Change::Made)
        })
        .await
    }

    async fn audit_record(&self, id: AuditId) -> Result<Option<AuditRecord>, StoreError> {
        Self::audit_record(self, id)
    }

    async fn audit_records(
        &self,
        query: &AuditQuery,
        after: Option<&Cursor>,
    ) -> Result<Page<AuditRecord>, StoreError> {
        let from = query.since.and_then(|since| since.checked_sub(AuditQuery::SKEW).ok());
        let to = query.until.and_then(|until| until.checked_add(AuditQuery::SKEW).ok());
        if query.since.zip(query.until).is_some_and(|(since, until)| since >= until) {
            return Ok(Page::default());
        }
        let span = Span { from: from.map(first_id), to: to.map(first_id) };
        self.page(span, after, |_, record| query.matches(&record).then_some(record))
    }
}

impl EmbeddedStore {
    /// A page of what `keep` makes of the rows in `span`.
    pub(super) fn page<R: rows::Row, T>(
        &self,
        span: Span,
        after: Option<&Cursor>,
        keep: impl Fn(String, R) -> Option<T>,
    ) -> Result<Page<T>, StoreError> {
        self.reading(|transaction| rows::page(transaction, span, after, keep))
    }
}

/// A lower bound for the ids of `time`'s millisecond and of every later one.
fn first_id(time: Timestamp) -> Vec<u8> {
    let milliseconds = u64::try_from(time.as_millisecond()).unwrap_or(0).to_be_bytes();
    // 48 bits of them lead a UUID of version 7: until the year 10889.
    milliseconds.into_iter().skip(2).collect()
}
