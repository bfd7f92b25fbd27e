//! Rows: one table for each type, each row the JSON of a value.
//!
//! A row is bytes to redb, so one that cannot be read is an error of that row alone.

use std::{iter, ops::Bound};

use data_encoding::HEXLOWER;

use keybroker_common::{
    audit::AuditRecord,
    decision::AttestDecision,
    ids::WorkloadId,
    keyring::Keyring,
    store::{Cursor, Page, StoreError, StoredEndorsement},
    token::Token,
    workload::Workload,
};
use redb::{ReadTransaction, TableDefinition};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::errors::failed;

/// Bytes, as redb spells keys and values of any length.
pub(super) type Bytes = &'static [u8];

/// A type that has a table.
pub(super) trait Row: Serialize + DeserializeOwned {
    /// The table's name, in the file and in errors.
    const NAME: &'static str;
    /// The table.
    const TABLE: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new(Self::NAME);

    /// A key as text.
    fn name(key: &[u8]) -> String {
        String::from_utf8_lossy(key).into_owned()
    }
}

/// Under the workload id.
impl Row for Workload {
    const NAME: &'static str = "workloads";
}

/// The workload that a value of HOST_DATA selects, under its 32 bytes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SelectionRow {
    pub(super) workload_id: WorkloadId,
}

impl Row for SelectionRow {
    const NAME: &'static str = "selections";

    fn name(key: &[u8]) -> String {
        HEXLOWER.encode(key)
    }
}

/// Under the 16 bytes of the id.
impl Row for Token {
    const NAME: &'static str = "tokens";

    fn name(key: &[u8]) -> String {
        HEXLOWER.encode(key)
    }
}

/// A ring of keys, under the name of its purpose.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeyringRow {
    pub(super) edition: u64,
    pub(super) ring: Keyring,
}

impl Row for KeyringRow {
    const NAME: &'static str = "keys";
}

/// A record about a guest, under the 16 bytes of its id.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum GuestRow {
    /// The one decision about its answer to a challenge.
    Attest(Box<AttestDecision>),
    /// Anything else, a release above all.
    Record(Box<AuditRecord>),
}

impl Row for GuestRow {
    const NAME: &'static str = "decisions";

    fn name(key: &[u8]) -> String {
        AuditRecord::name(key)
    }
}

impl From<GuestRow> for AuditRecord {
    fn from(row: GuestRow) -> Self {
        match row {
            GuestRow::Attest(decision) => decision.record,
            GuestRow::Record(record) => *record,
        }
    }
}

/// Under the key that it is put by.
impl Row for StoredEndorsement {
    const NAME: &'static str = "endorsements";
}

/// Under the 16 bytes of the id, so in the order of time.
impl Row for AuditRecord {
    const NAME: &'static str = "audit";

    fn name(key: &[u8]) -> String {
        Uuid::from_slice(key).map_or_else(|_| HEXLOWER.encode(key), |id| id.to_string())
    }
}

/// The row under `key`.
pub(super) fn get<R: Row>(transaction: &ReadTransaction, key: &[u8]) -> Result<Option<R>, StoreError> {
    let table = transaction.open_table(R::TABLE).map_err(failed)?;
    table.get(key).map_err(failed)?.map(|row| decode(row.value())).transpose()
}

/// The keys of a listing.
#[derive(Debug)]
pub(super) struct Span {
    /// The first; without it all from the beginning.
    pub(super) from: Option<Vec<u8>>,
    /// The first beyond it; without it all to the end.
    pub(super) to: Option<Vec<u8>>,
}

impl Span {
    /// Every key.
    pub(super) const ALL: Self = Self { from: None, to: None };
}

/// The order of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The least key first.
    Up,
    /// The greatest key first.
    Down,
}

impl Way {
    /// Whether `key` comes after `other`.
    pub(super) fn is_after(self, key: &[u8], other: &[u8]) -> bool {
        match self {
            Self::Up => key > other,
            Self::Down => key < other,
        }
    }
}

/// A row as a listing meets it.
pub(super) struct Met<R> {
    pub(super) key: Vec<u8>,
    /// Bytes of the row.
    len: usize,
    pub(super) row: Result<R, StoreError>,
}

impl<R> Met<R> {
    /// The same of what `make` makes of the row.
    pub(super) fn map<T>(self, make: impl FnOnce(R) -> T) -> Met<T> {
        Met { key: self.key, len: self.len, row: self.row.map(make) }
    }
}

/// The rows in `span`, in the order of the keys that `way` says, after the place that a page before gave.
pub(super) fn listed<R: Row>(
    transaction: &ReadTransaction,
    span: &Span,
    way: Way,
    after: Option<&Cursor>,
) -> Result<impl Iterator<Item = Result<Met<R>, StoreError>> + use<R>, StoreError> {
    let after = after.map(|Cursor(key)| HEXLOWER.decode(key.as_bytes())).transpose();
    let after = after.map_err(|_| StoreError::Refused("a listing does not go on there".to_owned()))?;
    let beyond = after.as_deref().map(Bound::Excluded);
    let mut from = span.from.as_deref().map_or(Bound::Unbounded, Bound::Included);
    let mut to = span.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    match way {
        Way::Up => from = beyond.unwrap_or(from),
        Way::Down => to = beyond.unwrap_or(to),
    }
    let table = transaction.open_table(R::TABLE).map_err(failed)?;
    let mut rows = table.range::<&[u8]>((from, to)).map_err(failed)?;
    let mut last = after;
    Ok(iter::from_fn(move || match way {
        Way::Up => rows.next(),
        Way::Down => rows.next_back(),
    })
    .map(move |entry| {
        let (key, row) = entry.map_err(failed)?;
        let key = key.value().to_vec();
        // In a file that was altered they may go round for ever.
        if last.as_ref().is_some_and(|last| !way.is_after(&key, last)) {
            return Err(StoreError::Corrupt { table: R::NAME.into(), cause: "keys out of order".to_owned() });
        }
        last = Some(key.clone());
        Ok(Met { key, len: row.value().len(), row: decode(row.value()) })
    }))
}

/// Rows that one page looks at, whether it keeps them or not.
const PAGE_ROWS: usize = 1000;
/// Bytes of the rows that one page looks at; the row that exceeds it is the last.
const PAGE_BYTES: usize = 1 << 20;

/// A page of what `keep` makes of the first rows. A row that has the key of the last one is on its page.
pub(super) fn page<R: Row, T>(
    rows: impl Iterator<Item = Result<Met<R>, StoreError>>,
    keep: impl Fn(&[u8], R) -> Option<T>,
) -> Result<Page<T>, StoreError> {
    let mut page = Page::default();
    let (mut met, mut bytes, mut last) = (0, 0, Vec::new());
    for entry in rows {
        let Met { key, len, row } = entry?;
        if (met >= PAGE_ROWS || bytes > PAGE_BYTES) && key != last {
            page.next = Some(Cursor(HEXLOWER.encode(&last)));
            break;
        }
        match row {
            Ok(row) => page.rows.extend(keep(&key, row)),
            Err(error) => page.push(R::name(&key), Err(error))?,
        }
        met += 1;
        bytes += len;
        last = key;
    }
    Ok(page)
}

/// The bytes of a row.
pub(super) fn encode<R: Row>(row: &R) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(row).map_err(|error| unreadable::<R>(&error))
}

/// The row of these bytes.
pub(super) fn decode<R: Row>(bytes: &[u8]) -> Result<R, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| unreadable::<R>(&error))
}

/// Says where the row broke and how, but not in serde's words: they quote what they found, and a row holds
/// more than a log should.
fn unreadable<R: Row>(error: &serde_json::Error) -> StoreError {
    let cause = format!("{:?} error at byte {}", error.classify(), error.column());
    StoreError::Corrupt { table: R::NAME.into(), cause }
}
