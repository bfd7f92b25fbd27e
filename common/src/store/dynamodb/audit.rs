//! Audit records as items: `record` is the record's JSON, `time` and `expires` stand beside it.

use async_trait::async_trait;
use jiff::SignedDuration;

use super::{
    DynamoStore,
    item::{Attributes, EXPIRES, Item, Map, instant, ttl},
    tables::AuditTable,
};
use crate::{
    audit::{AuditId, AuditRecord},
    store::{AuditStore, StoreError},
};

const RECORD: &str = "record";
const TIME: &str = "time";

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
        let expires = self.kept_for.and_then(|time| self.record.time.checked_add(time).ok());
        item.extend(expires.map(|at| (EXPIRES.to_owned(), ttl(at))));
        Ok(())
    }

    fn decode(item: &Attributes<'_, Self>) -> Result<Self, StoreError> {
        Ok(Self { record: item.json(RECORD)?, kept_for: None })
    }
}

impl<T: AuditTable> DynamoStore<T> {
    /// The audit record with this id. No function of the broker asks for it: an operator may, and the tests do.
    pub async fn audit_record(&self, id: AuditId) -> Result<Option<AuditRecord>, StoreError> {
        let item: Option<AuditItem> = self.get(self.tables.audit(), &id.to_string()).await?;
        Ok(item.map(|item| item.record))
    }

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

#[cfg(any(test, feature = "contract"))]
#[async_trait]
impl crate::store::contract::Subject for DynamoStore<super::AllTables> {
    async fn audit_record(&self, id: AuditId) -> Result<Option<AuditRecord>, StoreError> {
        self.audit_record(id).await
    }
}
