//! The newest records of a listing, with no more of them in hand than are asked for.

use jiff::Timestamp;
use keybroker_common::{audit::AuditRecord, ids::AuditId, store::AuditQuery};

use crate::{listing::Window, operator::Backend};

/// The newest of the records that were read, of which a listing gives the newest first as well as its store
/// can.
#[derive(Debug)]
pub(super) struct Newest {
    window: Window<(Timestamp, AuditId), AuditRecord>,
    ids: Ids,
    /// No record that is not read yet is later; `None` if that is not known.
    others_until: Option<Timestamp>,
}

/// How the place of a record in the listing bounds the times of those that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ids {
    /// It stands by its id.
    Order,
    /// It stands by its time: in an index of DynamoDB.
    Follow,
    /// Nothing: in a table of DynamoDB.
    Say,
}

impl Newest {
    /// The greatest number of records that can be asked for.
    pub(super) const MOST: u16 = 8192;

    /// The newest `limit` records of a listing by `query`.
    pub(super) fn new(limit: u16, query: &AuditQuery, backend: Backend) -> Self {
        let ids = match backend {
            Backend::File | Backend::Socket => Ids::Order,
            Backend::Aws if query.workload.is_some() => Ids::Follow,
            Backend::Aws => Ids::Say,
        };
        Self { window: Window::new(limit.into()), ids, others_until: None }
    }

    /// Takes the records of a page, as far as they are wanted.
    pub(super) fn read(&mut self, rows: Vec<AuditRecord>, wanted: impl Fn(&AuditRecord) -> bool) {
        if let Some(last) = rows.last() {
            self.others_until = match self.ids {
                Ids::Order => made_at(last.id).and_then(|made| made.checked_add(AuditQuery::LEAD).ok()),
                Ids::Follow => Some(last.time),
                Ids::Say => None,
            };
        }
        for record in rows.into_iter().filter(wanted) {
            self.window.push((record.time, record.id), record);
        }
    }

    /// Whether no record that is not read yet can be among them.
    pub(super) fn is_whole(&self) -> bool {
        let first = self.window.full_from().map(|(time, _)| *time);
        first.zip(self.others_until).is_some_and(|(first, others)| first > others)
    }

    /// The records, the newest first.
    pub(super) fn rest(self) -> impl Iterator<Item = AuditRecord> {
        self.window.rest().rev()
    }
}

/// The time in an id.
fn made_at(id: AuditId) -> Option<Timestamp> {
    let (seconds, nanoseconds) = id.0.get_timestamp()?.to_unix();
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()
}
