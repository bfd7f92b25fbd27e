//! The audit log as operators read it: the records of guests and all others, in the order of their ids.

use std::iter;

use jiff::Timestamp;
use keybroker_common::{
    audit::AuditRecord,
    ids::AuditId,
    store::{AuditQuery, Cursor, Page, StoreError},
};
use redb::ReadTransaction;

use super::{
    EmbeddedStore,
    rows::{self, GuestRow, Met, Span, Way},
};

impl EmbeddedStore {
    /// The audit record with this id.
    pub fn audit_record(&self, id: AuditId) -> Result<Option<AuditRecord>, StoreError> {
        let key = id.0.as_bytes();
        self.reading(|transaction| match rows::get::<GuestRow>(transaction, key)? {
            Some(row) => Ok(Some(row.into())),
            None => rows::get(transaction, key),
        })
    }

    /// All audit records, in the order of their ids, as they are now: what is written meanwhile is not among
    /// them.
    pub fn audit_records(
        &self,
    ) -> Result<impl Iterator<Item = Result<AuditRecord, StoreError>> + use<>, StoreError> {
        self.reading(
            |transaction| Ok(merged(transaction, &Span::ALL, Way::Up, None)?.map(|entry| entry?.row)),
        )
    }

    /// A page of the records that are asked for.
    pub(super) fn audit_page(
        &self,
        query: &AuditQuery,
        after: Option<&Cursor>,
    ) -> Result<Page<AuditRecord>, StoreError> {
        if query.since.zip(query.until).is_some_and(|(since, until)| since >= until) {
            return Ok(Page::default());
        }
        let lead = query.lead.unwrap_or(AuditQuery::LEAD);
        let from = query.since.and_then(|since| since.checked_sub(lead).ok());
        let way = if query.newest_first { Way::Down } else { Way::Up };
        let span = Span { from: from.map(first_id), to: query.until.and_then(first_id_after) };
        self.reading(|transaction| {
            rows::page(merged(transaction, &span, way, after)?, |_, record: AuditRecord| {
                query.matches(&record).then_some(record)
            })
        })
    }
}

/// The records of both tables, in the order of their ids that `way` says.
fn merged(
    transaction: &ReadTransaction,
    span: &Span,
    way: Way,
    after: Option<&Cursor>,
) -> Result<impl Iterator<Item = Result<Met<AuditRecord>, StoreError>> + use<>, StoreError> {
    let of_guests = rows::listed::<GuestRow>(transaction, span, way, after)?;
    let mut of_guests = of_guests.map(|entry| entry.map(|met| met.map(AuditRecord::from))).peekable();
    let mut others = rows::listed::<AuditRecord>(transaction, span, way, after)?.peekable();
    Ok(iter::from_fn(move || match (of_guests.peek(), others.peek()) {
        (Some(Ok(guests)), Some(Ok(other))) if way.is_after(&guests.key, &other.key) => others.next(),
        (None, _) | (_, Some(Err(_))) => others.next(),
        _ => of_guests.next(),
    }))
}

/// An upper bound for the ids of the records before `time`.
pub(super) fn first_id_after(time: Timestamp) -> Option<Vec<u8>> {
    time.checked_add(AuditQuery::SKEW).ok().map(first_id)
}

/// A lower bound for the ids of `time`'s millisecond and of every later one.
fn first_id(time: Timestamp) -> Vec<u8> {
    let milliseconds = u64::try_from(time.as_millisecond()).unwrap_or(0).to_be_bytes();
    // 48 bits of them lead a UUID of version 7: until the year 10889.
    milliseconds.into_iter().skip(2).collect()
}
