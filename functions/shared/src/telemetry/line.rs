//! A line in the embedded metric format: what one request decided, counted and measured.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use keybroker_common::{
    advisories::TcbVerdict,
    audit::{AuditRecord, Check, Decision},
    metrics::{LATENCY, LIST_AGE},
};
use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeMap as _},
};
use serde_json::Value;

use super::Happened;

/// The least time between two values of one metric that an instance prints, where it is no count: of rare
/// requests all are printed, and of many each still has as good a chance as any other.
pub(super) const PAUSE: Duration = Duration::from_secs(10);

/// When a value of each metric was printed last.
#[derive(Debug, Default)]
pub(super) struct Pauses(Mutex<BTreeMap<String, Instant>>);

impl Pauses {
    /// Whether a value of `metric` may be printed. If so, the next may not for a while.
    pub(super) fn is_over(&self, metric: &str) -> bool {
        let mut printed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = printed.get(metric).is_none_or(|at| at.elapsed() >= PAUSE);
        if over {
            printed.insert(metric.to_owned(), Instant::now());
        }
        over
    }
}

/// The events of a request that are not printed yet.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// The request, as API Gateway names it.
    request: Option<String>,
    /// Its trace, if it is sampled.
    trace: Option<String>,
    record: Option<AuditRecord>,
    counts: BTreeMap<String, u64>,
    measured: BTreeMap<String, Vec<f64>>,
}

impl Gathered {
    /// A request that begins, and its trace.
    pub(super) fn of(request: Option<String>, trace: Option<String>) -> Self {
        Self { request, trace, ..Self::default() }
    }

    pub(super) fn request(&self) -> Option<&str> {
        self.request.as_deref()
    }

    /// Forgets everything that is printed: the next line of the request begins anew.
    pub(super) fn forget(&mut self) {
        *self = Self::of(self.request.take(), self.trace.take());
    }

    pub(super) fn add(&mut self, happened: Happened) {
        match happened {
            Happened::Decided(record) => self.record = Some(*record),
            Happened::Counted(name) => *self.counts.entry(name).or_default() += 1,
            Happened::Took(stage, time) => self.measure(latency(&stage), time),
            Happened::Aged(days) => self.measure(LIST_AGE.to_owned(), days),
        }
    }

    fn measure(&mut self, name: String, value: f64) {
        self.measured.entry(name).or_default().push((value * 100.0).round() / 100.0);
    }

    pub(super) fn has_record(&self) -> bool {
        self.record.is_some()
    }

    /// The line, if there is anything to print; of `now`, unless it has a record.
    pub(super) fn line(&self, namespace: &str, now: Timestamp) -> Option<String> {
        let mut values: BTreeMap<&str, Number<'_>> = BTreeMap::new();
        values.extend(self.counts.iter().map(|(name, count)| (name.as_str(), Number::Count(*count))));
        values.extend(self.measured.iter().map(|(name, measured)| match measured.as_slice() {
            [value] => (name.as_str(), Number::Value(*value)),
            values => (name.as_str(), Number::Values(values)),
        }));
        let (decided, cause) = self.record.as_ref().map(decided).unwrap_or_default();
        values.extend(decided.iter().map(|name| (*name, Number::Count(1))));
        let definition = |name: &&'_ str| {
            let unit = name.ends_with(LATENCY).then_some("Milliseconds");
            Definition { name: (*name).to_owned(), unit }
        };
        let all = values.keys().map(definition).collect::<Vec<_>>();
        if all.is_empty() && self.record.is_none() {
            return None;
        }
        let mut directives = vec![Directive { namespace, dimensions: [vec![]], metrics: all }];
        directives.extend(cause.map(|_| {
            let metrics =
                decided.iter().take(1).map(|name| Definition { name: (*name).to_owned(), unit: None });
            Directive { namespace, dimensions: [vec!["Cause"]], metrics: metrics.collect() }
        }));
        let time = self.record.as_ref().map_or(now, |record| record.time);
        let record = self.record.as_ref().map(Logged);
        let aws = Metadata { timestamp: time.as_millisecond(), cloud_watch_metrics: directives };
        let (request, trace) = (self.request.as_deref(), self.trace.as_deref());
        serde_json::to_string(&Line { aws, values, cause, request, trace, record }).ok()
    }
}

/// The metrics that a decision counts for, and the cause by which the first is counted, too.
fn decided(record: &AuditRecord) -> (&'static [&'static str], Option<&str>) {
    let check = record.failed.as_ref().map(|failed| failed.check.as_str());
    let is_behind = record.tcb.as_ref().is_some_and(TcbVerdict::is_behind);
    match record.decision {
        Decision::Registered | Decision::Replaced => (&["Registered"], None),
        // A guest attests once: the record of a release that rests on another has no verdict of its own.
        Decision::Attested if is_behind => (&["Attested", "GuestsBehind"], None),
        Decision::Released if is_behind => (&["Released", "GuestsBehind"], None),
        Decision::Attested => (&["Attested"], None),
        Decision::Released => (&["Released"], None),
        // A withheld secret is counted as released, too: its release is on record.
        Decision::Refused | Decision::Withheld => (&["Refused"], check),
        Decision::Unavailable if check.is_some_and(is_of_kms) => (&["Unavailable", "KeyUnavailable"], check),
        Decision::Unavailable => (&["Unavailable"], check),
        // An operator's, and by no function.
        Decision::Revoked
        | Decision::Restored
        | Decision::Deleted
        | Decision::ResourceSet
        | Decision::ResourceDeleted
        | Decision::TokenCreated
        | Decision::TokenRevoked
        | Decision::KeysTurned
        | Decision::KeyPrepared
        | Decision::KeyImported
        | Decision::KeyRetired
        | Decision::Rewrapped
        | Decision::Pruned => (&[], None),
    }
}

/// Whether KMS was out of reach, or may have been: the broker's own keys are wrapped there, and kept in a
/// table.
fn is_of_kms(check: &str) -> bool {
    [Check::WrappingKey, Check::BrokerKeys].iter().any(|of_kms| of_kms.name() == check)
}

/// A record without what stands elsewhere in the log: its time is the line's, and a release was decided under
/// the registration of its attestation, which has a line of its own.
struct Logged<'a>(&'a AuditRecord);

impl Serialize for Logged<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(record) = self;
        let elsewhere = record.decision == Decision::Released && record.attestation.is_some();
        let Ok(Value::Object(fields)) = serde_json::to_value(record) else {
            return Err(S::Error::custom("a record is an object"));
        };
        let mut line = serializer.serialize_map(None)?;
        // First, so that a record is found by its id without reading the whole line.
        line.serialize_entry("id", &record.id)?;
        for (name, value) in &fields {
            match name.as_str() {
                "id" | "time" => {}
                "registration" if elsewhere => {}
                _ => line.serialize_entry(name, value)?,
            }
        }
        line.end()
    }
}

/// The metric of a stage's times.
fn latency(stage: &str) -> String {
    let mut letters = stage.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(LATENCY.chars()).collect()
}

#[derive(Serialize)]
#[serde(untagged)]
enum Number<'a> {
    Count(u64),
    Value(f64),
    Values(&'a [f64]),
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "_aws")]
    aws: Metadata<'a>,
    #[serde(flatten)]
    values: BTreeMap<&'a str, Number<'a>>,
    #[serde(rename = "Cause", skip_serializing_if = "Option::is_none")]
    cause: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Logged<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata<'a> {
    timestamp: i64,
    cloud_watch_metrics: Vec<Directive<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive<'a> {
    namespace: &'a str,
    dimensions: [Vec<&'static str>; 1],
    metrics: Vec<Definition>,
}

/// A metric; one without a unit is a count, or days.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Definition {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'static str>,
}
