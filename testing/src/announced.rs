//! The records that a process announces, whether or not a store has them: as its log has them.

use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use keybroker_common::{
    audit::{AuditRecord, Decision},
    broker::AUDIT_TARGET,
    ids::AuditId,
};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    layer::{Context, SubscriberExt},
};

static RECORDS: Mutex<Vec<AuditRecord>> = Mutex::new(Vec::new());

/// Keeps every record that this process announces from here on, unless it has a log already.
pub fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let ours = Targets::new().with_target(AUDIT_TARGET, tracing::Level::INFO);
        let log = tracing_subscriber::registry().with(Announced.with_filter(ours));
        drop(tracing::subscriber::set_global_default(log));
    });
}

/// Has `subscriber` hear this thread until the guard is dropped, and somebody hear each other one. A single
/// subscriber may hear nothing of an event that a thread without one meets first, because it is taken for an
/// event that nobody wants.
pub fn hear(subscriber: impl Subscriber + Send + Sync + 'static) -> DefaultGuard {
    listen();
    tracing::subscriber::set_default(subscriber)
}

/// The record that was announced under this id.
pub fn record(id: AuditId) -> Option<AuditRecord> {
    records().iter().find(|record| record.id == id).cloned()
}

/// How many were announced before it.
pub fn nth(id: AuditId) -> Option<usize> {
    records().iter().position(|record| record.id == id)
}

/// Those that could not be decided, of this check.
pub fn undecided(check: &str) -> Vec<AuditRecord> {
    let failed = |record: &AuditRecord| record.failed.as_ref().is_some_and(|failed| failed.check == check);
    let undecided = |record: &&AuditRecord| record.decision == Decision::Unavailable && failed(record);
    records().iter().filter(undecided).cloned().collect()
}

fn records() -> MutexGuard<'static, Vec<AuditRecord>> {
    RECORDS.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Announced;

impl<S: Subscriber> Layer<S> for Announced {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Record);
    }
}

struct Record;

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "record" {
            records().push(serde_json::from_str(value).unwrap());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}
