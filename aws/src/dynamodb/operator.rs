//! The operator's view: scans, which no function of the broker makes, and the index `workload` of the audit
//! table.
//!
//! A scan reads the whole table, a page at a time, and costs as much.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Update, builders::UpdateBuilder};
use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    audit::AuditRecord,
    ids::{AuditId, RegistrationDigest, WorkloadId},
    store::{AuditQuery, Cursor, OperatorStore, Page, StoreError, StoredEndorsement},
    workload::Workload,
};

use super::{
    DynamoStore,
    audit::{AuditItem, TIME, WORKLOAD, WORKLOAD_INDEX},
    endorsements::{LEASES, Named},
    errors::unavailable,
    item::{Attributes, Item, Map, instant, number, text},
    tables::{AuditTable, EndorsementsTable, TokensTable, WorkloadsTable},
    workloads::{self, DIGEST, RELEASED_AT, RESTORED_BY, REVOKED_AT},
    write::Transaction,
};

/// How often a restoration is tried at most, by turns for a row that is revoked and for one that is not.
const RESTORATIONS: usize = 6;

#[async_trait]
impl<T: WorkloadsTable + TokensTable + EndorsementsTable + AuditTable> OperatorStore for DynamoStore<T> {
    async fn workloads(&self, after: Option<&Cursor>) -> Result<Page<Workload>, StoreError> {
        let scan = self
            .client
            .scan()
            .table_name(self.tables.workloads())
            .set_exclusive_start_key(after.map(|Cursor(key)| key_of::<Workload>(key)));
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
            .update_expression("SET #restored = :audit REMOVE #revoked")
            .condition_expression("#digest = :registration AND attribute_exists(#revoked)")
            .expression_attribute_names("#restored", RESTORED_BY)
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
        let delete = delete.condition_expression(condition).build();
        let transaction =
            Transaction::new().delete(delete)?.put_new(self.tables.audit(), &self.audit_item(audit))?;
        self.commit(transaction).await
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

    async fn audit_record(&self, id: AuditId) -> Result<Option<AuditRecord>, StoreError> {
        Self::audit_record(self, id).await
    }

    async fn audit_records(
        &self,
        query: &AuditQuery,
        after: Option<&Cursor>,
    ) -> Result<Page<AuditRecord>, StoreError> {
        let since = query.since.unwrap_or(Timestamp::MIN);
        let last = |until: Timestamp| until.checked_sub(SignedDuration::from_nanos(1)).ok();
        let until = query.until.and_then(last).unwrap_or(Timestamp::MAX);
        if since > until {
            return Ok(Page::default());
        }
        let span = (instant(since), instant(until));
        let page = match &query.workload {
            Some(workload) => self.audit_of(workload, span, after).await?,
            None => self.audit_of_all(span, after).await?,
        };
        let mut rows: Vec<_> = page.rows.into_iter().map(AuditItem::into_record).collect();
        rows.sort_by_key(|record| (record.time, record.id));
        Ok(Page { rows, unreadable: page.unreadable, next: page.next })
    }
}

/// The first and the last instant of a span of time.
type Instants = (AttributeValue, AttributeValue);

impl<T: AuditTable> DynamoStore<T> {
    async fn audit_of(
        &self,
        workload: &WorkloadId,
        (since, until): Instants,
        after: Option<&Cursor>,
    ) -> Result<Page<AuditItem>, StoreError> {
        let start = after.map(|cursor| index_key(workload, cursor)).transpose()?;
        let answer = self
            .client
            .query()
            .table_name(self.tables.audit())
            .index_name(WORKLOAD_INDEX)
            .set_exclusive_start_key(start)
            .key_condition_expression("#workload = :workload AND #time BETWEEN :since AND :until")
            .expression_attribute_names("#workload", WORKLOAD)
            .expression_attribute_names("#time", TIME)
            .expression_attribute_values(":workload", text(workload.as_str()))
            .expression_attribute_values(":since", since)
            .expression_attribute_values(":until", until)
            .send()
            .await
            .map_err(unavailable)?;
        let next = answer.last_evaluated_key.as_ref().map(index_cursor);
        Ok(Page { next, ..page(answer.items.unwrap_or_default(), None)? })
    }

    async fn audit_of_all(
        &self,
        (since, until): Instants,
        after: Option<&Cursor>,
    ) -> Result<Page<AuditItem>, StoreError> {
        let scan = self
            .client
            .scan()
            .table_name(self.tables.audit())
            .set_exclusive_start_key(after.map(|Cursor(key)| key_of::<AuditItem>(key)))
            .filter_expression("#time BETWEEN :since AND :until")
            .expression_attribute_names("#time", TIME)
            .expression_attribute_values(":since", since)
            .expression_attribute_values(":until", until);
        let answer = scan.consistent_read(true).send().await.map_err(unavailable)?;
        page(answer.items.unwrap_or_default(), answer.last_evaluated_key)
    }
}

/// The key of a table that has no other, as an item's attributes.
pub(super) fn key_of<I: Item>(key: &str) -> Map {
    Map::from([(I::KEY.to_owned(), text(key))])
}

/// An attribute of an item's key.
fn part(key: &Map, name: &str) -> String {
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

/// Where in the index a page ended: the time, which is a number, and the record's id.
fn index_cursor(last: &Map) -> Cursor {
    Cursor(format!("{}/{}", part(last, TIME), part(last, AuditItem::KEY)))
}

fn index_key(workload: &WorkloadId, Cursor(cursor): &Cursor) -> Result<Map, StoreError> {
    let (time, id) = cursor
        .split_once('/')
        .ok_or_else(|| StoreError::Refused("a listing does not go on there".to_owned()))?;
    let mut key = key_of::<AuditItem>(id);
    key.insert(WORKLOAD.to_owned(), text(workload.as_str()));
    key.insert(TIME.to_owned(), number(time));
    Ok(key)
}
