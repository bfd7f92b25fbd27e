//! The audit records of registrations and operators as items: `record` is the record's JSON, `time`,
//! `workload_id` and `expires` stand beside it. By the second and the first the index [`WORKLOAD_INDEX`]
//! finds what was decided about a workload. The records of guests from 0.1 are among them.

use async_trait::async_trait;
use jiff::SignedDuration;
use keybroker_common::{
    audit::AuditRecord,
    store::{AuditStore, StoreError},
};

use super::{
    DynamoStore,
    item::{Attributes, EXPIRES, Item, Map, instant, text, ttl},
    tables::{AuditTable, Tables},
};

const RECORD: &str = "record";
pub(super) const TIME: &str = "time";
pub(super) const WORKLOAD: &str = "workload_id";
/// The index of the records that name a workload, by that and then by time.
pub(super) const WORKLOAD_INDEX: &str = "workload";

/// A record, and for how long it is kept: for good unless that says otherwise.
#[derive(Debug, Clone)]
pub(super) struct AuditItem {
    record: AuditRecord,
    kept_for: Option<SignedDuration>,
}

impl Item for AuditItem {
    const TABLE: &'static str = "audit";
    const KEY: &'static str = "id";

    fn key(&self) -> String {
        self.record.id.to_string()
    }

    fn encode(&self, item: &mut Map) -> Result<(), StoreError> {
        item.insert(RECORD.to_owned(), Self::json(&self.record)?);
        item.insert(TIME.to_owned(), instant(self.record.time));
        let workload = self.record.workload_id.as_ref();
        item.extend(workload.map(|id| (WORKLOAD.to_owned(), text(id.as_str()))));
        let expires = self.kept_for.and_then(|time| self.record.time.checked_add(time).ok());
        item.extend(expires.map(|at| (EXPIRES.to_owned(), ttl(at))));
        Ok(())
    }

    fn decode(item: &Attributes<'_, Self>) -> Result<Self, StoreError> {
        Ok(Self { record: item.json(RECORD)?, kept_for: None })
    }
}

impl AuditItem {
    /// The record.
    pub(super) fn into_record(self) -> AuditRecord {
        self.record
    }
}

impl<T: Tables> DynamoStore<T> {
    /// `record` as it is written.
    pub(super) fn audit_item(&self, record: &AuditRecord) -> AuditItem {
        AuditItem { record: record.clone(), kept_for: self.audit_kept_for }
    }
}

#[async_trait]
impl<T: AuditTable> AuditStore for DynamoStore<T> {
    async fn append(&self, record: &AuditRecord) -> Result<(), StoreError> {
        self.put_new(self.tables.audit(), &self.audit_item(record)).await
    }
}
