//! The operator's view: scans, which no function of the broker makes.
//!
//! A scan reads the whole table, a page at a time, and costs as much.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{Delete, Update, builders::UpdateBuilder};
use keybroker_common::{
    audit::AuditRecord,
    ids::{AuditId, RegistrationDigest, WorkloadId},
    keyring::{Keyring, Purpose},
    secret::WrappedSecret,
    store::{AuditQuery, Cursor, OperatorStore, Page, RewrapStore, StoreError, StoredEndorsement},
    workload::Workload,
};

use super::{
    DynamoStore,
    audit::AuditItem,
    decisions::GuestItem,
    endorsements::{LEASES, Named},
    errors::unavailable,
    item::{Attributes, Item, Map, instant, text},
    keyrings::KeyringItem,
    selections,
    tables::{AuditTable, DecisionsTable, EndorsementsTable, KeysTable, TokensTable, WorkloadsTable},
    workloads::{self, DIGEST, RELEASED_AT, RESTORED_BY, REVOCATION, REVOKED_AT},
    write::Transaction,
};

/// How often a restoration is tried at most, by turns for a row that is revoked and for one that is not.
const RESTORATIONS: usize = 6;

#[async_trait]
impl<T> OperatorStore for DynamoStore<T>
where
    T: WorkloadsTable + TokensTable + DecisionsTable + KeysTable + EndorsementsTable + AuditTable,
{
    async fn workloads(&self, after: Option<&Cursor>) -> Result<Page<Workload>, StoreError> {
        let scan = self
            .client
            .scan()
            .table_name(self.tables.workloads())
            .set_exclusive_start_key(after.map(|Cursor(key)| key_of::<Workload>(key)))
            .filter_expression("NOT begins_with(#key, :selections)")
            .expression_attribute_names("#key", workloads::KEY)
            .expression_attribute_values(":selections", text(selections::PREFIX));
        let answer = scan.consistent_read(true).send().await.map_err(unavailable)?;
        page::<Workload>(answer.items.unwrap_or_default(), answer.last_evaluated_key)
    }

    async fn restore(
        &self,
        id: &WorkloadId,
        registration: RegistrationDigest,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        let update = || {
            Update::builder()
                .table_name(self.tables.workloads())
                .key(workloads::KEY, text(id.as_str()))
                .expression_attribute_names("#revoked", REVOKED_AT)
                .expression_attribute_names("#digest", DIGEST)
                .expression_attribute_values(":registration", text(registration.to_string()))
        };
        let revoked = update()
            .update_expression("SET #restored = :audit REMOVE #revoked, #revocation")
            .condition_expression("#digest = :registration AND attribute_exists(#revoked)")
            .expression_attribute_names("#restored", RESTORED_BY)
            .expression_attribute_names("#revocation", REVOCATION)
            .expression_attribute_values(":audit", text(audit.id.to_string()));
        // Changes nothing: the record is all that is new.
        let unrevoked = update()
            .update_expression("REMOVE #revoked")
            .condition_expression("#digest = :registration AND attribute_not_exists(#revoked)");
        let commit = async |update: UpdateBuilder| {
            let transaction = Transaction::new().update(update.build())?;
            self.commit(transaction.put_new(self.tables.audit(), &self.audit_item(audit))?).await
        };
        // Another operator may revoke or restore it between the two.
        for update in [&revoked, &unrevoked].into_iter().cycle().take(RESTORATIONS) {
            match commit(update.clone()).await {
                Err(StoreError::Conflict) => {}
                other => return other,
            }
        }
        Err(StoreError::Conflict)
    }

    async fn amend(
        &self,
        seen: &Workload,
        amended: &Workload,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        if seen.selected_by() != amended.selected_by() {
            return Err(StoreError::Conflict);
        }
        let update = workloads::amendment(self.tables.workloads(), seen, amended)?;
        let transaction =
            Transaction::new().update(update)?.put_new(self.tables.audit(), &self.audit_item(audit))?;
        self.commit(transaction).await
    }

    async fn delete(&self, seen: &Workload, audit: &AuditRecord) -> Result<(), StoreError> {
        let mut condition = "#digest = :digest".to_owned();
        let mut delete = Delete::builder()
            .table_name(self.tables.workloads())
            .key(workloads::KEY, text(seen.id.as_str()))
            .expression_attribute_names("#digest", DIGEST)
            .expression_attribute_values(":digest", text(seen.digest().to_string()));
        for (name, attribute, at) in
            [("revoked", REVOKED_AT, seen.revoked_at), ("released", RELEASED_AT, seen.released_at)]
        {
            delete = delete.expression_attribute_names(format!("#{name}"), attribute);
            condition += &match at {
                Some(_) => format!(" AND #{name} = :{name}"),
                None => format!(" AND attribute_not_exists(#{name})"),
            };
            if let Some(at) = at {
                delete = delete.expression_attribute_values(format!(":{name}"), instant(at));
            }
        }
        let delete = delete.condition_expression(condition);
        let transaction = || {
            let transaction = Transaction::new().delete(delete.clone().build())?;
            transaction.put_new(self.tables.audit(), &self.audit_item(audit))
        };
        self.commit_selecting(Some(seen), None, transaction).await
    }

    async fn endorsements(
        &self,
        after: Option<&Cursor>,
    ) -> Result<Page<(String, StoredEndorsement)>, StoreError> {
        let scan = self
            .client
            .scan()
            .table_name(self.tables.endorsements())
            .set_exclusive_start_key(after.map(|Cursor(key)| key_of::<Named>(key)))
            .filter_expression("NOT begins_with(#name, :leases)")
            .expression_attribute_names("#name", Named::KEY)
            .expression_attribute_values(":leases", text(LEASES));
        let answer = scan.consistent_read(true).send().await.map_err(unavailable)?;
        let Page { rows, unreadable, next } =
            page::<Named>(answer.items.unwrap_or_default(), answer.last_evaluated_key)?;
        Ok(Page { rows: rows.into_iter().map(|Named(name, row)| (name, row)).collect(), unreadable, next })
    }

    async fn delete_endorsement(&self, key: &str) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(self.tables.endorsements());
        delete.key(Named::KEY, text(key)).send().await.map_err(unavailable)?;
        Ok(())
    }

    async fn turn_keyring(
        &self,
        purpose: Purpose,
        replaced: Option<u64>,
        ring: &Keyring,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        let (place, item) = KeyringItem::replacing(purpose, replaced, ring);
        let transaction = Transaction::new()
            .put_in(self.tables.keys(), place, &item)?
            .put_new(self.tables.audit(), &self.audit_item(audit))?;
        self.commit(transaction).await
    }

    async fn audit_record(&self, id: AuditId) -> Result<Option<AuditRecord>, StoreError> {
        let id = id.to_string();
        let guest: Option<GuestItem> = self.get(self.tables.decisions(), &id).await?;
        if let Some(guest) = guest {
            return Ok(Some(guest.into_record()));
        }
        let other: Option<AuditItem> = self.get(self.tables.audit(), &id).await?;
        Ok(other.map(AuditItem::into_record))
    }

    async fn audit_records(
        &self,
        query: &AuditQuery,
        after: Option<&Cursor>,
    ) -> Result<Page<AuditRecord>, StoreError> {
        self.listed(query, after).await
    }
}

#[async_trait]
impl<T> RewrapStore for DynamoStore<T>
where
    T: WorkloadsTable + TokensTable + DecisionsTable + KeysTable + EndorsementsTable + AuditTable,
{
    async fn rewrap(
        &self,
        seen: &Workload,
        secrets: &BTreeMap<String, WrappedSecret>,
        audit: &AuditRecord,
    ) -> Result<(), StoreError> {
        let update = workloads::rewrapping(self.tables.workloads(), seen, secrets)?;
        let transaction =
            Transaction::new().update(update)?.put_new(self.tables.audit(), &self.audit_item(audit))?;
        self.commit(transaction).await
    }
}

/// The key of a table that has no other, as an item's attributes.
pub(super) fn key_of<I: Item>(key: &str) -> Map {
    Map::from([(I::KEY.to_owned(), text(key))])
}

/// An attribute of an item's key.
pub(super) fn part(key: &Map, name: &str) -> String {
    let value = key.get(name);
    let part = value.and_then(|value| value.as_s().or(value.as_n()).ok());
    part.cloned().unwrap_or_default()
}

/// Reads DynamoDB's answer as far as it can be read.
pub(super) fn page<I: Item>(items: Vec<Map>, last: Option<Map>) -> Result<Page<I>, StoreError> {
    let mut page = Page { next: last.map(|key| Cursor(part(&key, I::KEY))), ..Page::default() };
    for item in &items {
        let row = Attributes::<I>::read(item).and_then(|attributes| I::decode(&attributes));
        page.push(part(item, I::KEY), row)?;
    }
    Ok(page)
}
