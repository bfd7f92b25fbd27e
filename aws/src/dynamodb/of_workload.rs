//! The audit records of one workload, out of the indexes of both tables: merged into the order of time,
//! forwards or backwards.
//!
//! The index of the decisions holds keys alone, so that a decision costs one write unit less than it would;
//! the records are read by their keys. A page is as many entries of that index as one request for items
//! takes, and the records of the other table up to the last of them.

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use keybroker_common::{
    audit::AuditRecord,
    ids::WorkloadId,
    store::{Cursor, Page, StoreError},
};

use super::{
    DynamoStore,
    audit::{AuditItem, TIME, WORKLOAD, WORKLOAD_INDEX},
    decisions::GuestItem,
    errors::unavailable,
    item::{Item as _, Map, number, text},
    listing::{Instants, nowhere},
    operator::{key_of, page, part},
    tables::{AuditTable, DecisionsTable},
};

/// The most keys that DynamoDB takes in one request for many items.
const KEYS: i32 = 100;
/// Requests for the items of one page, of which DynamoDB may leave some for the next.
const REQUESTS: usize = 10;

/// Where in an index a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Beginning,
    /// Behind the entry with this time, as DynamoDB spells the number, and this id.
    After(String, String),
    /// There is nothing more.
    End,
}

impl Place {
    /// Behind the entry, which has the index's key.
    fn after(entry: &Map) -> Self {
        Self::After(part(entry, TIME), part(entry, AuditItem::KEY))
    }

    fn read(text: &str) -> Result<Self, StoreError> {
        match text {
            "" => Ok(Self::Beginning),
            "end" => Ok(Self::End),
            text => {
                let (time, id) = text.split_once('/').ok_or_else(nowhere)?;
                Ok(Self::After(time.to_owned(), id.to_owned()))
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Beginning => String::new(),
            Self::After(time, id) => format!("{time}/{id}"),
            Self::End => "end".to_owned(),
        }
    }
}

/// Where in both indexes a page begins: in that of the decisions, and in that of all others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Places {
    guests: Place,
    others: Place,
}

impl Places {
    fn read(after: Option<&Cursor>) -> Result<Self, StoreError> {
        let Some(Cursor(text)) = after else {
            return Ok(Self { guests: Place::Beginning, others: Place::Beginning });
        };
        let (guests, others) = text.split_once(';').ok_or_else(nowhere)?;
        Ok(Self { guests: Place::read(guests)?, others: Place::read(others)? })
    }

    fn cursor(&self) -> Option<Cursor> {
        let over = [&self.guests, &self.others].iter().all(|place| **place == Place::End);
        (!over).then(|| Cursor(format!("{};{}", self.guests.text(), self.others.text())))
    }
}

/// Entries of an index, and where they go on.
struct Found {
    entries: Vec<Map>,
    next: Place,
}

impl<T: DecisionsTable + AuditTable> DynamoStore<T> {
    pub(super) async fn of_workload(
        &self,
        workload: &WorkloadId,
        span: Instants,
        newest_first: bool,
        after: Option<&Cursor>,
    ) -> Result<Page<AuditRecord>, StoreError> {
        let begin = Places::read(after)?;
        let mut guests =
            self.found(self.tables.decisions(), workload, span.clone(), newest_first, &begin.guests).await?;
        // Nothing that comes after the last of them, unless they are the last.
        let (since, until) = span;
        let span = match guests.entries.last().filter(|_| guests.next != Place::End) {
            Some(last) if newest_first => (number(part(last, TIME)), until),
            Some(last) => (since, number(part(last, TIME))),
            None => (since, until),
        };
        let others = self.found(self.tables.audit(), workload, span, newest_first, &begin.others).await?;
        let more_guests = guests.next != Place::End;
        if let Some(last) = others.entries.last().filter(|_| others.next != Place::End) {
            guests.keep_until(last, newest_first, &begin.guests);
        }
        // The others ended at the last of the guests, not at their own.
        let others_next = match (&others.next, others.entries.last()) {
            (Place::End, Some(last)) if more_guests => Place::after(last),
            (Place::End, None) if more_guests => begin.others,
            (next, _) => next.clone(),
        };
        let mut merged = self.guests(&guests.entries).await?;
        let others = page::<AuditItem>(others.entries, None)?;
        merged.rows.extend(others.rows.into_iter().map(AuditItem::into_record));
        merged.unreadable.extend(others.unreadable);
        merged.rows.sort_by_key(|record| (record.time, record.id));
        if newest_first {
            merged.rows.reverse();
        }
        merged.next = Places { guests: guests.next, others: others_next }.cursor();
        Ok(merged)
    }

    /// The records of guests with these keys.
    async fn guests(&self, entries: &[Map]) -> Result<Page<AuditRecord>, StoreError> {
        let table = self.tables.decisions();
        let mut keys: Vec<_> =
            entries.iter().map(|item| key_of::<GuestItem>(&part(item, GuestItem::KEY))).collect();
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
        if !keys.is_empty() {
            let left = "DynamoDB leaves records unread, again and again";
            return Err(StoreError::Unavailable(left.to_owned()));
        }
        let Page { rows, unreadable, .. } = page::<GuestItem>(items, None)?;
        Ok(Page { rows: rows.into_iter().map(GuestItem::into_record).collect(), unreadable, next: None })
    }

    /// The entries of this workload and time in the index of `table`.
    async fn found(
        &self,
        table: &str,
        workload: &WorkloadId,
        (since, until): Instants,
        newest_first: bool,
        begin: &Place,
    ) -> Result<Found, StoreError> {
        let start = match begin {
            Place::Beginning => None,
            Place::After(time, id) => Some(index_key(workload, time, id)),
            Place::End => return Ok(Found { entries: Vec::new(), next: Place::End }),
        };
        let answer = self
            .client
            .query()
            .table_name(table)
            .index_name(WORKLOAD_INDEX)
            .scan_index_forward(!newest_first)
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
        let next = answer.last_evaluated_key.as_ref().map_or(Place::End, Place::after);
        Ok(Found { entries: answer.items.unwrap_or_default(), next })
    }
}

impl Found {
    /// Leaves the entries that come after `last` for a later page of those that began at `begin`.
    fn keep_until(&mut self, last: &Map, newest_first: bool, begin: &Place) {
        let found = self.entries.len();
        let end = nanoseconds(last);
        self.entries.retain(|entry| {
            let time = nanoseconds(entry);
            if newest_first { time >= end } else { time <= end }
        });
        if self.entries.len() < found {
            self.next = self.entries.last().map_or_else(|| begin.clone(), Place::after);
        }
    }
}

/// The time of an entry; 0 if it is none, which DynamoDB does not give: it is the index's key, and a number.
fn nanoseconds(entry: &Map) -> i128 {
    part(entry, TIME).parse().unwrap_or_default()
}

fn index_key(workload: &WorkloadId, time: &str, id: &str) -> Map {
    let mut key = key_of::<AuditItem>(id);
    key.insert(WORKLOAD.to_owned(), text(workload.as_str()));
    key.insert(TIME.to_owned(), AttributeValue::N(time.to_owned()));
    key
}
