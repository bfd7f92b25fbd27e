//! Listing audit records: those of guests, out of the table of decisions, then all others.
//!
//! Where a workload is named, each table's index `workload` finds them. That of the decisions holds keys
//! alone, so that a decision costs one write unit less than it would; the records are read by their keys.

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    audit::AuditRecord,
    ids::WorkloadId,
    store::{AuditQuery, Cursor, Page, StoreError, Unreadable},
};

use super::{
    DynamoStore,
    audit::{AuditItem, TIME, WORKLOAD, WORKLOAD_INDEX},
    decisions::GuestItem,
    errors::unavailable,
    item::{Item, Map, instant, number, text},
    operator::{key_of, page, part},
    tables::{AuditTable, DecisionsTable},
};

/// The most keys that DynamoDB takes in one request for many items.
const KEYS: i32 = 100;
/// Requests for the items of one page, of which DynamoDB may leave some for the next.
const REQUESTS: usize = 10;

/// The table that a part of the listing comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Guests,
    Others,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Guests => "guests",
            Self::Others => "others",
        }
    }

    /// The part that a page belongs to, and where in it the page begins, if not at its beginning.
    fn of(after: Option<&Cursor>) -> Result<(Self, Option<&str>), StoreError> {
        let Some(Cursor(cursor)) = after else { return Ok((Self::Guests, None)) };
        let (name, after) = cursor.split_once('/').ok_or_else(nowhere)?;
        let part = [Self::Guests, Self::Others].into_iter().find(|part| part.name() == name);
        Ok((part.ok_or_else(nowhere)?, Some(after).filter(|after| !after.is_empty())))
    }

    /// Where the listing goes on after a page whose part goes on at `next`.
    fn cursor(self, next: Option<Cursor>) -> Option<Cursor> {
        match (self, next) {
            (part, Some(Cursor(next))) => Some(Cursor(format!("{}/{next}", part.name()))),
            (Self::Guests, None) => Some(Cursor(format!("{}/", Self::Others.name()))),
            (Self::Others, None) => None,
        }
    }
}

fn nowhere() -> StoreError {
    StoreError::Refused("a listing does not go on there".to_owned())
}

/// The first and the last instant of a span of time.
type Instants = (AttributeValue, AttributeValue);

impl<T: DecisionsTable + AuditTable> DynamoStore<T> {
    /// A page of the audit records, as
    /// [`OperatorStore::audit_records`](keybroker_common::store::OperatorStore::audit_records) says.
    pub(super) async fn listed(
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
        let (part, after) = Part::of(after)?;
        let (mut rows, unreadable, next) = match part {
            Part::Guests => records(self.of_guests(query, span, after).await?, GuestItem::into_record),
            Part::Others => records(self.of_others(query, span, after).await?, AuditItem::into_record),
        };
        rows.sort_by_key(|record| (record.time, record.id));
        Ok(Page { rows, unreadable, next: part.cursor(next) })
    }

    async fn of_guests(
        &self,
        query: &AuditQuery,
        span: Instants,
        after: Option<&str>,
    ) -> Result<Page<GuestItem>, StoreError> {
        let table = self.tables.decisions();
        let Some(workload) = &query.workload else { return self.scanned(table, span, after).await };
        let (found, next) = self.found(table, workload, span, after).await?;
        let mut keys: Vec<_> =
            found.iter().map(|item| key_of::<GuestItem>(&part(item, GuestItem::KEY))).collect();
        let mut items = Vec::new();
        for _ in 0..REQUESTS {
            if keys.is_empty() {
                break;
            }
            let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
            let wanted = wanted.map_err(|_| StoreError::Unavailable("no keys are asked for".to_owned()))?;
            let request = self.client.batch_get_item().request_items(table, wanted);
            let answer = request.send().await.map_err(unavailable)?;
            items.extend(answer.responses.into_iter().flatten().flat_map(|(_, items)| items));
            let left = answer.unprocessed_keys.and_then(|mut left| left.remove(table));
            keys = left.map(|left| left.keys).unwrap_or_default();
        }
        if keys.is_empty() {
            Ok(Page { next, ..page(items, None)? })
        } else {
            Err(StoreError::Unavailable("DynamoDB leaves records unread, again and again".to_owned()))
        }
    }

    async fn of_others(
        &self,
        query: &AuditQuery,
        span: Instants,
        after: Option<&str>,
    ) -> Result<Page<AuditItem>, StoreError> {
        let table = self.tables.audit();
        let Some(workload) = &query.workload else { return self.scanned(table, span, after).await };
        let (found, next) = self.found(table, workload, span, after).await?;
        Ok(Page { next, ..page(found, None)? })
    }

    /// The entries of this workload and time in the index of `table`, and where they go on.
    async fn found(
        &self,
        table: &str,
        workload: &WorkloadId,
        (since, until): Instants,
        after: Option<&str>,
    ) -> Result<(Vec<Map>, Option<Cursor>), StoreError> {
        let start = after.map(|after| index_key(workload, after)).transpose()?;
        let answer = self
            .client
            .query()
            .table_name(table)
            .index_name(WORKLOAD_INDEX)
            .limit(KEYS)
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
        Ok((answer.items.unwrap_or_default(), next))
    }

    async fn scanned<I: Item>(
        &self,
        table: &str,
        (since, until): Instants,
        after: Option<&str>,
    ) -> Result<Page<I>, StoreError> {
        let scan = self
            .client
            .scan()
            .table_name(table)
            .set_exclusive_start_key(after.map(key_of::<I>))
            .filter_expression("#time BETWEEN :since AND :until")
            .expression_attribute_names("#time", TIME)
            .expression_attribute_values(":since", since)
            .expression_attribute_values(":until", until);
        let answer = scan.consistent_read(true).send().await.map_err(unavailable)?;
        page(answer.items.unwrap_or_default(), answer.last_evaluated_key)
    }
}

/// A page's records, and what else is in it.
fn records<I>(
    page: Page<I>,
    record: fn(I) -> AuditRecord,
) -> (Vec<AuditRecord>, Vec<Unreadable>, Option<Cursor>) {
    (page.rows.into_iter().map(record).collect(), page.unreadable, page.next)
}

/// Where in the index a page ended: the time, which is a number, and the record's id.
fn index_cursor(last: &Map) -> Cursor {
    Cursor(format!("{}/{}", part(last, TIME), part(last, AuditItem::KEY)))
}

fn index_key(workload: &WorkloadId, after: &str) -> Result<Map, StoreError> {
    let (time, id) = after.split_once('/').ok_or_else(nowhere)?;
    let mut key = key_of::<AuditItem>(id);
    key.insert(WORKLOAD.to_owned(), text(workload.as_str()));
    key.insert(TIME.to_owned(), number(time));
    Ok(key)
}
