//! The log: one JSON object per line on stdout, which CloudWatch keeps. Decisions and measurements are among
//! them, in the embedded metric format, of which CloudWatch makes metrics.
//!
//! | metric | dimension | counts |
//! |---|---|---|
//! | `Registered` | | registrations, new or replaced |
//! | `Attested` | | guests that attested |
//! | `Released` | | secrets released |
//! | `Refused` | `Cause`: the check that failed | refusals, releases that were withheld among them |
//! | `Unavailable` | `Cause`: what was out of reach | 503s |
//! | `KeyUnavailable` | | 503s because KMS or its key was out of reach |
//! | `KdsHit`, `KdsMiss` | | chips whose certificate was at hand, or was asked for |
//! | `KdsThrottled` | | 429s of AMD's KDS |
//! | `Unauthenticated` | | registrations without a credential that counts, on record or not |
//! | `NoSession` | | guests' requests under no session that counts, on record or not |
//! | `Panicked` | | requests that met an error of the program, answered with 500 |
//! | `Latency` | `Stage`: `kds`, `verify`, `transaction`, `wrap`, `unwrap` | milliseconds |
//!
//! A metric with a dimension is also kept without it. All are in a namespace of the deployment's own: see
//! [`namespace`].

use std::{
    collections::BTreeMap,
    env,
    io::{self, Write},
};

use jiff::Timestamp;
use keybroker_common::{
    audit::{AuditRecord, Decision},
    broker::AUDIT_TARGET,
    function::Function,
    metrics,
};
use serde::Serialize;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    filter::{FilterExt, LevelFilter, Targets, filter_fn},
    fmt::MakeWriter,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

/// Starts the log of this function, for the whole process. Its level is the one that Lambda's own setting
/// names; INFO without it.
pub(crate) fn start(function: Function) {
    let level = env::var("AWS_LAMBDA_LOG_LEVEL").ok().and_then(|level| level.parse().ok());
    let level = LevelFilter::from_level(level.unwrap_or(Level::INFO));
    let log = tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false);
    let ours =
        filter_fn(|metadata| metadata.target() != AUDIT_TARGET && metadata.target() != metrics::TARGET);
    let measured =
        Targets::new().with_target(AUDIT_TARGET, Level::INFO).with_target(metrics::TARGET, Level::DEBUG);
    let name = env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
    let metrics = Metrics { namespace: namespace(&name, function).to_owned(), out: io::stdout };
    let registry = tracing_subscriber::registry().with(metrics.with_filter(measured));
    // Fails only where logging was started before, and then there is a log already.
    let _ = registry.with(log.with_filter(level.and(ours))).try_init();
}

/// The CloudWatch namespace for the metrics of a function that Lambda calls `name`: the part of the name
/// before `-register`, `-auth` or `-attest`. Two deployments in an account cannot have functions of the same
/// name, so they do not set off each other's alarms. `keybroker` for a function that is called otherwise.
fn namespace(name: &str, function: Function) -> &str {
    let suffix = match function {
        Function::Register => "-register",
        Function::Auth => "-auth",
        Function::Attest => "-attest",
        Function::Any => "",
    };
    name.strip_suffix(suffix).filter(|prefix| !prefix.is_empty()).unwrap_or("keybroker")
}

/// Prints decisions and measurements, whatever the log's level.
struct Metrics<W> {
    namespace: String,
    out: W,
}

impl<S: Subscriber, W: for<'w> MakeWriter<'w> + 'static> Layer<S> for Metrics<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let now = Timestamp::now();
        let line = match event.metadata().target() {
            AUDIT_TARGET => fields.decision(&self.namespace),
            _ => fields.measurement(&self.namespace, now),
        };
        if let Some(line) = line {
            // The record is in its table; that nobody reads along must not keep the broker from its work.
            let _ = self.out.make_writer().write_all(format!("{line}\n").as_bytes());
        }
    }
}

/// The fields of an event that count here.
#[derive(Default)]
struct Fields {
    record: Option<String>,
    metric: Option<String>,
    stage: Option<String>,
    value: f64,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        let slot = match field.name() {
            "record" => &mut self.record,
            "metric" => &mut self.metric,
            "stage" => &mut self.stage,
            _ => return,
        };
        *slot = Some(value.to_owned());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "value" {
            self.value = value;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl Fields {
    fn decision(&self, namespace: &str) -> Option<String> {
        let record: AuditRecord = serde_json::from_str(self.record.as_deref()?).ok()?;
        let check = record.failed.as_ref().map(|failed| failed.check.as_str());
        let (metrics, cause): (&[&str], _) = match record.decision {
            Decision::Registered | Decision::Replaced => (&["Registered"], None),
            Decision::Attested => (&["Attested"], None),
            Decision::Released => (&["Released"], None),
            // A withheld secret is counted as released, too: its release is on record.
            Decision::Refused | Decision::Withheld => (&["Refused"], check),
            Decision::Unavailable if check == Some(KEY_CHECK) => (&["Unavailable", "KeyUnavailable"], check),
            Decision::Unavailable => (&["Unavailable"], check),
            // An operator's, and by no function.
            Decision::Revoked
            | Decision::Restored
            | Decision::Deleted
            | Decision::TokenCreated
            | Decision::TokenRevoked => (&[], None),
        };
        let dimension = cause.map(|cause| ("Cause", cause));
        line((namespace, record.time), Count, metrics, 1.0, dimension, Some(&record))
    }

    fn measurement(&self, namespace: &str, now: Timestamp) -> Option<String> {
        let metric = self.metric.as_deref()?;
        let at = (namespace, now);
        match self.stage.as_deref() {
            Some(stage) => line(at, Milliseconds, &[metric], self.value, Some(("Stage", stage)), None),
            None => line(at, Count, &[metric], self.value, None, None),
        }
    }
}

/// The check under which the broker records that the wrapping key was out of reach.
const KEY_CHECK: &str = "wrapping-key";

#[derive(Debug, Clone, Copy, Serialize)]
enum Unit {
    Count,
    Milliseconds,
}
use Unit::{Count, Milliseconds};

/// A line in the embedded metric format.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "_aws")]
    aws: Metadata<'a>,
    #[serde(flatten)]
    values: BTreeMap<&'a str, f64>,
    #[serde(flatten)]
    dimension: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a AuditRecord>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata<'a> {
    timestamp: i64,
    cloud_watch_metrics: [Directive<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive<'a> {
    namespace: &'a str,
    dimensions: Vec<Vec<&'a str>>,
    metrics: Vec<Definition<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Definition<'a> {
    name: &'a str,
    unit: Unit,
}

fn line(
    (namespace, time): (&str, Timestamp),
    unit: Unit,
    metrics: &[&str],
    value: f64,
    dimension: Option<(&str, &str)>,
    record: Option<&AuditRecord>,
) -> Option<String> {
    let mut dimensions = vec![vec![]];
    dimensions.extend(dimension.map(|(name, _)| vec![name]));
    let metric = Directive {
        namespace,
        dimensions,
        metrics: metrics.iter().map(|name| Definition { name, unit }).collect(),
    };
    let line = Line {
        aws: Metadata { timestamp: time.as_millisecond(), cloud_watch_metrics: [metric] },
        values: metrics.iter().map(|name| (*name, value)).collect(),
        dimension: dimension.into_iter().collect(),
        record,
    };
    serde_json::to_string(&line).ok()
}

#[cfg(test)]
mod tests {
    use keybroker_common::audit::{FailedCheck, Operation};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn two_deployments_have_a_namespace_each() {
        for (function, package) in
            [(Function::Register, "register"), (Function::Auth, "auth"), (Function::Attest, "attest")]
        {
            for prefix in ["keybroker", "other", "keybroker-attest"] {
                assert_eq!(namespace(&format!("{prefix}-{package}"), function), prefix);
            }
            for name in ["", package, &format!("-{package}"), "named-otherwise"] {
                assert_eq!(namespace(name, function), "keybroker", "{name}");
            }
        }
    }

    fn decision(decision: Decision, check: Option<&str>) -> Value {
        let mut record = AuditRecord::new(Timestamp::UNIX_EPOCH, Operation::Attest, decision);
        record.failed =
            check.map(|check| FailedCheck { check: check.to_owned(), cause: "because".to_owned() });
        let record = serde_json::to_string(&record).unwrap();
        let fields = Fields { record: Some(record), ..Fields::default() };
        serde_json::from_str(&fields.decision("other").unwrap()).unwrap()
    }

    #[test]
    fn a_decision_is_counted_in_the_line_of_its_record() {
        let line = decision(Decision::Attested, None);
        let directive = json!({
            "Namespace": "other", "Dimensions": [[]], "Metrics": [{"Name": "Attested", "Unit": "Count"}],
        });
        assert_eq!(line["_aws"], json!({"Timestamp": 0, "CloudWatchMetrics": [directive]}));
        assert_eq!((&line["Attested"], &line["record"]["decision"]), (&json!(1.0), &json!("attested")));
    }

    #[test]
    fn a_refusal_is_counted_by_its_cause_and_in_all() {
        let line = decision(Decision::Refused, Some("guest-policy-debug"));
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([[], ["Cause"]]));
        assert_eq!((&line["Refused"], &line["Cause"]), (&json!(1.0), &json!("guest-policy-debug")));
        let line = decision(Decision::Withheld, Some("workload"));
        assert_eq!((&line["Refused"], &line["Cause"]), (&json!(1.0), &json!("workload")));
    }

    #[test]
    fn a_key_that_is_out_of_reach_is_counted_apart() {
        let line = decision(Decision::Unavailable, Some(KEY_CHECK));
        assert_eq!((&line["Unavailable"], &line["KeyUnavailable"]), (&json!(1.0), &json!(1.0)));
        assert!(decision(Decision::Unavailable, Some("store")).get("KeyUnavailable").is_none());
    }

    #[test]
    fn an_event_that_is_counted_is_a_metric_of_that_name() {
        for name in metrics::Count::ALL.map(metrics::Count::name) {
            let fields = Fields { metric: Some(name.to_owned()), value: 1.0, ..Fields::default() };
            let line: Value =
                serde_json::from_str(&fields.measurement("other", Timestamp::UNIX_EPOCH).unwrap()).unwrap();
            let definition = json!([{"Name": name, "Unit": "Count"}]);
            assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Metrics"], definition);
            assert_eq!((&line[name], line.get("Stage")), (&json!(1.0), None));
        }
    }

    #[test]
    fn a_latency_is_in_milliseconds_by_stage() {
        let fields = Fields {
            metric: Some("Latency".to_owned()),
            stage: Some("verify".to_owned()),
            value: 1.5,
            ..Fields::default()
        };
        let line: Value =
            serde_json::from_str(&fields.measurement("other", Timestamp::UNIX_EPOCH).unwrap()).unwrap();
        let definition = json!([{"Name": "Latency", "Unit": "Milliseconds"}]);
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Metrics"], definition);
        assert_eq!((&line["Latency"], &line["Stage"]), (&json!(1.5), &json!("verify")));
    }
}
