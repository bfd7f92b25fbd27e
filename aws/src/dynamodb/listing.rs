//! Listing audit records.
//!
//! Where no workload is named, a scan reads the table of decisions and then the other, whole, in no order.
//! Where one is named, [`of_workload`](super::of_workload) reads the indexes.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    audit::AuditRecord,
    store::{AuditQuery, Cursor, Page, StoreError},
};

use super::{
    DynamoStore,
    audit::{AuditItem, TIME},
    decisions::GuestItem,
    errors::unavailable,
    item::{Item, instant},
    operator::{key_of, page},
    tables::{AuditTable, DecisionsTable},
};

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

/// The failure that a cursor is of no listing.
pub(super) fn nowhere() -> StoreError {
    StoreError::Refused("a listing does not go on there".to_owned())
}

/// The first and the last instant of a span of time.
pub(super) type Instants = (AttributeValue, AttributeValue);

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
        if let Some(workload) = &query.workload {
            return self.of_workload(workload, span, query.newest_first, after).await;
        }
        let (part, after) = Part::of(after)?;
        let mut page = match part {
            Part::Guests => {
                self.scanned(self.tables.decisions(), span, after, GuestItem::into_record).await?
            }
            Part::Others => self.scanned(self.tables.audit(), span, after, AuditItem::into_record).await?,
        };
        page.rows.sort_by_key(|record| (record.time, record.id));
        page.next = part.cursor(page.next);
        Ok(page)
    }

    async fn scanned<I: Item>(
        &self,
        table: &str,
        (since, until): Instants,
        after: Option<&str>,
        record: fn(I) -> AuditRecord,
    ) -> Result<Page<AuditRecord>, StoreError> {
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
        let Page { rows, unreadable, next } =
            page::<I>(answer.items.unwrap_or_default(), answer.last_evaluated_key)?;
        Ok(Page { rows: rows.into_iter().map(record).collect(), unreadable, next })
    }
}
