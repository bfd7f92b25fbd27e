//! The lines of requests, as the layer prints them.

mod boot;
mod traced;

use std::{
    collections::BTreeSet,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};

use jiff::SignedDuration;
use keybroker_common::{
    advisories::{TcbVerdict, Verdict},
    audit::{Check, Decision, FailedCheck, Operation},
    broker::announce,
    metrics::{Count, LIST_AGE, Stage, count, list_age, timed},
};
use keybroker_testing::{announced, sample};
use serde_json::{Value, json};
use tracing::subscriber::DefaultGuard;

use super::*;

/// The log, to be read again.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Everything that this thread prints from here on, as the functions would.
    fn begin() -> (Self, DefaultGuard) {
        Self::beside(Daemon::at(""))
    }

    /// Likewise, with a daemon that hears of sampled requests.
    fn beside(daemon: Daemon) -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::registry().with(metrics("other", log.clone(), daemon));
        (log, announced::hear(subscriber))
    }

    /// The lines since the last time.
    fn texts(&self) -> Vec<String> {
        let written = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(written).unwrap().lines().map(str::to_owned).collect()
    }

    fn lines(&self) -> Vec<Value> {
        self.texts().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The one line since the last time.
    fn line(&self) -> Value {
        let lines = self.lines();
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        line.clone()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

/// The metrics that CloudWatch makes of a line: by name, with the dimension if it has one, and the value.
fn measured(line: &Value) -> Vec<(String, Option<String>, Value)> {
    let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
    let of = |directive: &Value| {
        assert_eq!(directive["Namespace"], "other");
        let [dimensions] = directive["Dimensions"].as_array().unwrap().as_slice() else { panic!("{line}") };
        let names = dimensions.as_array().unwrap().iter();
        let dimension = names.map(|name| format!("{name}={}", line[name.as_str().unwrap()])).next();
        let metrics = directive["Metrics"].as_array().unwrap().iter();
        metrics
            .map(|metric| metric["Name"].as_str().unwrap().to_owned())
            .map(|name| (name.clone(), dimension.clone(), line[&name].clone()))
            .collect::<Vec<_>>()
    };
    directives.iter().flat_map(of).collect()
}

fn counted(name: &str, value: u64) -> (String, Option<String>, Value) {
    (name.to_owned(), None, json!(value))
}

fn by_cause(name: &str, cause: &str) -> (String, Option<String>, Value) {
    (name.to_owned(), Some(format!(r#""Cause"="{cause}""#)), json!(1))
}

fn record(decision: Decision, check: Option<&str>) -> AuditRecord {
    let mut record = AuditRecord::new(Timestamp::UNIX_EPOCH, Operation::Attest, decision);
    record.failed = check.map(|check| FailedCheck { check: check.to_owned(), cause: "because".to_owned() });
    record
}

/// The line of a request that decides so.
async fn decided(decision: Decision, check: Option<&str>) -> Value {
    let (log, _logging) = Log::begin();
    request(Names::default(), async { announce(&record(decision, check)) }).await;
    log.line()
}

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

#[tokio::test]
async fn a_decision_is_counted_in_the_line_of_its_record() {
    let line = decided(Decision::Attested, None).await;
    assert_eq!(measured(&line), [counted("Attested", 1)]);
    assert_eq!((&line["_aws"]["Timestamp"], &line["record"]["decision"]), (&json!(0), &json!("attested")));
}

/// Once for each guest that attested: the record of a later release has no verdict, and that of a refusal is
/// of no guest.
#[tokio::test]
async fn a_guest_on_a_platform_that_is_behind_is_counted_beside_its_decision() {
    let (log, _logging) = Log::begin();
    for (decision, name) in [(Decision::Attested, "Attested"), (Decision::Released, "Released")] {
        for (verdict, behind) in [
            (Verdict::Behind, true),
            (Verdict::BehindNothing, false),
            (Verdict::UpToDate, false),
            (Verdict::NoSilicon, false),
        ] {
            let tcb = Some(TcbVerdict { verdict, ..sample::verdict() });
            request(Names::default(), async { announce(&AuditRecord { tcb, ..record(decision, None) }) })
                .await;
            let found: BTreeSet<_> = measured(&log.line()).into_iter().map(|(name, ..)| name).collect();
            let expected = [name].into_iter().chain(behind.then_some("GuestsBehind"));
            assert_eq!(found, expected.map(str::to_owned).collect(), "{verdict:?}");
        }
    }
    let tcb = Some(sample::verdict());
    request(Names::default(), async {
        announce(&AuditRecord { tcb, ..record(Decision::Refused, Some("policy")) })
    })
    .await;
    assert_eq!(measured(&log.line()), [counted("Refused", 1), by_cause("Refused", "policy")]);
}

#[tokio::test]
async fn a_refusal_is_counted_by_its_cause_and_in_all() {
    for (decision, check) in [(Decision::Refused, "guest-policy-debug"), (Decision::Withheld, "workload")] {
        let line = decided(decision, Some(check)).await;
        assert_eq!(measured(&line), [counted("Refused", 1), by_cause("Refused", check)]);
    }
}

#[tokio::test]
async fn a_key_that_is_out_of_reach_is_counted_apart() {
    for check in [Check::WrappingKey, Check::BrokerKeys].map(|check| check.name()) {
        let line = decided(Decision::Unavailable, Some(check)).await;
        let expected =
            [counted("KeyUnavailable", 1), counted("Unavailable", 1), by_cause("Unavailable", check)];
        assert_eq!(measured(&line), expected);
    }
    let line = decided(Decision::Unavailable, Some("store")).await;
    assert_eq!(measured(&line), [counted("Unavailable", 1), by_cause("Unavailable", "store")]);
}

/// A certificate that was at hand is the rule, and costs no byte.
#[tokio::test]
async fn an_event_that_is_counted_is_a_metric_of_that_name() {
    let (log, _logging) = Log::begin();
    for event in Count::ALL {
        request(Names::default(), async { count(event) }).await;
        if event == Count::KdsHit {
            assert_eq!(log.texts(), Vec::<String>::new());
        } else {
            assert_eq!(measured(&log.line()), [counted(event.name(), 1)]);
        }
        // Nothing is lost that happens outside of requests.
        count(event);
        assert_eq!(log.texts().len(), usize::from(event != Count::KdsHit));
    }
}

#[tokio::test]
async fn what_a_request_counts_and_measures_is_in_the_line_of_its_record() {
    let (log, _logging) = Log::begin();
    request(Names::default(), async {
        count(Count::KdsMiss);
        timed(Stage::Kds, async {}).await;
        count(Count::KdsMiss);
        timed(Stage::Verify, async {}).await;
        announce(&record(Decision::Attested, None));
    })
    .await;
    let line = log.line();
    let names = ["Attested", "KdsLatency", "KdsMiss", "VerifyLatency"];
    assert_eq!(measured(&line).iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), names);
    assert_eq!(line["KdsMiss"], 2);
    let units = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
    let units: Vec<_> = units.iter().map(|metric| metric["Unit"].as_str()).collect();
    assert_eq!(units, [None, Some("Milliseconds"), None, Some("Milliseconds")]);
}

#[tokio::test]
async fn each_stage_has_a_metric_of_its_own_in_milliseconds() {
    for (stage, name) in [
        (Stage::Kds, "KdsLatency"),
        (Stage::Verify, "VerifyLatency"),
        (Stage::Transaction, "TransactionLatency"),
        (Stage::Wrap, "WrapLatency"),
        (Stage::Unwrap, "UnwrapLatency"),
    ] {
        let (log, _logging) = Log::begin();
        let begun = std::time::Instant::now();
        request(
            Names::default(),
            timed(stage, async { std::thread::sleep(std::time::Duration::from_millis(2)) }),
        )
        .await;
        let (line, most) = (log.line(), begun.elapsed().as_secs_f64() * 1e3);
        assert!((2.0..=most).contains(&line[name].as_f64().unwrap()), "{line}, {most}");
        // Soon after, the next is left out, and the line with it.
        request(Names::default(), timed(stage, async {})).await;
        assert_eq!(log.texts(), Vec::<String>::new());
    }
}

/// Nothing is lost that comes after a record, and no line has two.
/// In days, which CloudWatch has no unit for; and rarely, like the time of a stage.
#[tokio::test]
async fn the_age_of_a_list_is_a_metric_without_a_unit_and_is_printed_once_in_a_while() {
    let (log, _logging) = Log::begin();
    request(Names::default(), async { list_age(SignedDuration::from_hours(36)) }).await;
    let line = log.line();
    let directive = json!({"Namespace": "other", "Dimensions": [[]], "Metrics": [{"Name": LIST_AGE}]});
    assert_eq!(line["_aws"]["CloudWatchMetrics"], json!([directive]));
    assert_eq!(line[LIST_AGE], json!(1.5));
    request(Names::default(), async { list_age(SignedDuration::from_hours(36)) }).await;
    assert_eq!(log.texts(), [""; 0]);
}

#[tokio::test]
async fn a_second_record_has_a_line_of_its_own() {
    let (log, _logging) = Log::begin();
    request(Names::default(), async {
        announce(&record(Decision::Released, None));
        announce(&record(Decision::Withheld, Some("workload")));
        count(Count::NoSession);
    })
    .await;
    let lines = log.lines();
    let decisions: Vec<_> = lines.iter().map(|line| line["record"]["decision"].as_str()).collect();
    assert_eq!(decisions, [Some("released"), Some("withheld"), None]);
    assert_eq!(measured(&lines[2]), [counted("NoSession", 1)]);
}

/// Each poll of one is between two of the other.
#[tokio::test]
async fn two_requests_at_once_have_a_line_each() {
    let (log, _logging) = Log::begin();
    let one = async |count_of: Count, decision| {
        for _ in 0..5 {
            count(count_of);
            tokio::task::yield_now().await;
        }
        announce(&record(decision, None));
    };
    tokio::join!(
        request(Names::default(), one(Count::KdsMiss, Decision::Attested)),
        request(Names::default(), one(Count::KdsThrottled, Decision::Released))
    );
    let mut lines: Vec<_> = log.lines().iter().map(measured).collect();
    lines.sort_by_key(|line| line[0].0.clone());
    let expected = [
        [counted("Attested", 1), counted("KdsMiss", 5)],
        [counted("KdsThrottled", 5), counted("Released", 1)],
    ];
    assert_eq!(lines, expected);
}

/// As the broker carries a decision to its end.
#[tokio::test]
async fn what_a_spawned_task_does_is_its_requests() {
    let (log, _logging) = Log::begin();
    request(Names::default(), async {
        let task = async {
            count(Count::KdsMiss);
            announce(&record(Decision::Attested, None));
        };
        tokio::spawn(task.in_current_span()).await.unwrap();
    })
    .await;
    assert_eq!(measured(&log.line()), [counted("Attested", 1), counted("KdsMiss", 1)]);
}

#[tokio::test]
async fn a_panic_loses_no_line_and_the_next_request_gets_none_of_it() {
    let (log, _logging) = Log::begin();
    let panics = async {
        count(Count::KdsMiss);
        panic!("made to");
    };
    let mut panics = Box::pin(request(Names::default(), panics));
    let waker = std::task::Waker::noop();
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let _: std::task::Poll<()> = panics.as_mut().poll(&mut std::task::Context::from_waker(waker));
    }));
    assert!(polled.is_err());
    drop(panics);
    assert_eq!(measured(&log.line()), [counted("KdsMiss", 1)]);
    request(Names::default(), async { announce(&record(Decision::Attested, None)) }).await;
    assert_eq!(measured(&log.line()), [counted("Attested", 1)]);
}

#[tokio::test]
async fn a_request_that_is_given_up_loses_no_line() {
    let (log, _logging) = Log::begin();
    let mut given_up = Box::pin(request(Names::default(), async {
        count(Count::KdsMiss);
        std::future::pending::<()>().await;
    }));
    let waker = std::task::Waker::noop();
    assert!(given_up.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
    assert_eq!(log.texts(), Vec::<String>::new());
    drop(given_up);
    assert_eq!(measured(&log.line()), [counted("KdsMiss", 1)]);
}

/// A release says which attestation it rests on. That has a line with the registration.
#[tokio::test]
async fn a_line_does_not_repeat_what_others_say() {
    let (log, _logging) = Log::begin();
    let registration = keybroker_common::ids::RegistrationDigest::of(b"registration");
    let mut attested = record(Decision::Attested, None);
    attested.registration = Some(registration);
    let mut released = record(Decision::Released, None);
    (released.registration, released.attestation) = (Some(registration), Some(attested.id));
    let mut refused = record(Decision::Refused, Some("workload"));
    (refused.registration, refused.attestation) = (Some(registration), Some(attested.id));
    for (record, registration) in [(attested, true), (released, false), (refused, true)] {
        request(Names::default(), async { announce(&record) }).await;
        let mut expected = serde_json::to_value(&record).unwrap();
        let fields = expected.as_object_mut().unwrap();
        fields.remove("time");
        if !registration {
            fields.remove("registration");
        }
        assert_eq!(log.line()["record"], expected);
    }
}
