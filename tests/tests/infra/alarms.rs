//! The alarms in the functions' template, and the metrics that they watch.

use std::{collections::BTreeSet, fs};

use keybroker_tests::{metrics::METRICS, permissions::permissions, program::workspace};
use serde_json::{Value, json};

use crate::{
    templates::{FUNCTIONS, sub},
    yaml::{read, resources},
};

/// Made of the gateway's log, by the functions' template.
pub(crate) const OF_THE_LOG: [&str; 2] = ["GatewayThrottled", "TurnedAway"];

/// The metrics that an alarm watches: namespace, name, and each dimension with its value.
fn watched(alarm: &Value) -> Vec<(String, String, Value)> {
    let of = |metric: &Value| {
        let named = |name: &str| metric[name].as_str().map(str::to_owned);
        let namespace = named("Namespace").unwrap_or_else(|| "own".to_owned());
        assert!(namespace != "own" || metric["Namespace"] == own_namespace(), "{metric}");
        (namespace, named("MetricName").unwrap(), metric.get("Dimensions").cloned().unwrap_or_default())
    };
    let Some(metrics) = alarm["Metrics"].as_array() else { return vec![of(alarm)] };
    let [all, metrics @ ..] = metrics.as_slice() else { panic!("{alarm}") };
    // Where nothing was throttled a metric has no data: it must not take away the others'.
    assert_eq!(*all, json!({"Id": "all", "Expression": "SUM(FILL(METRICS(), 0))", "Period": 300}));
    // CloudWatch takes no more metrics in an alarm.
    assert!(metrics.len() <= 10, "{alarm}");
    let parts = metrics.iter().inspect(|part| {
        let part = (&part["ReturnData"], &part["MetricStat"]["Stat"], &part["MetricStat"]["Period"]);
        assert_eq!(part, (&json!(false), &json!("Sum"), &json!(300)));
    });
    parts.map(|part| of(&part["MetricStat"]["Metric"])).collect()
}

#[test]
fn alarms_watch_what_operators_are_told_to_expect() {
    let template = read("template.yaml");
    let alarms = resources(&template, "AWS::CloudWatch::Alarm");
    let alarms = alarms.inspect(|(name, alarm)| assert!(alarm.get("Condition").is_none(), "{name}"));
    let alarms = alarms.map(|(_, alarm)| &alarm["Properties"]);
    let found: BTreeSet<_> = alarms
        .inspect(|alarm| {
            // Only an age says nothing by its absence, and only an age is no count.
            let (missing, statistic, period) = match alarm["MetricName"].as_str() {
                Some("ListAge") => ("ignore", "Maximum", 3600),
                Some("GuestsBehind") => ("notBreaching", "Sum", 86_400),
                _ => ("notBreaching", "Sum", 300),
            };
            assert_eq!(alarm["TreatMissingData"], missing);
            if alarm["Metrics"].is_null() {
                assert_eq!((&alarm["Statistic"], &alarm["Period"]), (&json!(statistic), &json!(period)));
            }
            assert_eq!(alarm["EvaluationPeriods"], 1, "{alarm}");
            assert_eq!(alarm["ComparisonOperator"], "GreaterThanOrEqualToThreshold", "{alarm}");
            assert_eq!(alarm["AlarmActions"], alarm["OKActions"], "{alarm}");
        })
        .flat_map(watched)
        .map(|(namespace, metric, dimensions)| (namespace, metric, dimensions.to_string()))
        .collect();
    let row = |namespace: &str, metric: &str, dimensions: Value| {
        (namespace.to_owned(), metric.to_owned(), dimensions.to_string())
    };
    let named = |name: &str, value: Value| json!({"Name": name, "Value": value});
    let own = ["KdsThrottled", "Unauthenticated", "KeyUnavailable", "NoTcbFloor", "Refused", "GuestsBehind"];
    let own = own.into_iter().chain(["ListAge"]).chain(OF_THE_LOG);
    let own = own.map(|metric| row("own", metric, Value::Null));
    let gateway = row("AWS/ApiGateway", "5xx", json!([named("ApiId", json!({"Ref": "Api"}))]));
    let lambda = FUNCTIONS.into_iter().flat_map(|(function, _)| {
        let of = json!([named("FunctionName", json!({"Ref": function}))]);
        ["Errors", "Throttles"].map(|metric| row("AWS/Lambda", metric, of.clone()))
    });
    // Every table that a function uses, and the indexes, which hold up the writes to their tables.
    let used: BTreeSet<_> =
        permissions().map(|row| row.on).filter(|on| *on != "key").chain(["audit"]).collect();
    let table = |name: &str| named("TableName", sub(&format!("${{Prefix}}-{name}")));
    let tables = used.into_iter().flat_map(|name| {
        ["ReadThrottleEvents", "WriteThrottleEvents"]
            .map(|metric| row("AWS/DynamoDB", metric, json!([table(name)])))
    });
    let index = named("GlobalSecondaryIndexName", json!("workload"));
    let indexes = ["decisions", "audit"]
        .map(|name| row("AWS/DynamoDB", "WriteThrottleEvents", json!([table(name), index.clone()])));
    let expected = own.chain([gateway]).chain(lambda).chain(tables).chain(indexes);
    assert_eq!(found, expected.collect());
}

/// Whether a line of JSON matches a filter of CloudWatch that joins comparisons of texts by `&&`.
fn matches(pattern: &str, line: &Value) -> bool {
    let inside = pattern.strip_prefix("{ ").and_then(|rest| rest.strip_suffix(" }")).unwrap();
    inside.split(" && ").all(|part| {
        let part = part.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap();
        let [field, operator, text] = part.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
        let text = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap();
        // A field that is not there matches nothing.
        let found = line[field.strip_prefix("$.").unwrap()].as_str();
        found.is_some_and(|found| match operator {
            "=" => found == text,
            "!=" => found != text,
            _ => panic!("{pattern}"),
        })
    })
}

/// An HTTP API has no metric for 429: they are counted in its log, where each value is a text.
#[test]
fn each_429_in_the_log_counts_as_the_gateways_or_as_the_brokers() {
    let template = read("template.yaml");
    let format = template["Resources"]["Api"]["Properties"]["AccessLogSettings"]["Format"].as_str().unwrap();
    // As API Gateway writes a line: a variable that has no value is a dash.
    let line = |status: &str, answer: &str| {
        let known = [("$context.status", status), ("$context.integration.status", answer)];
        let line = known.iter().fold(format.to_owned(), |line, (name, value)| line.replace(name, value));
        let mut line: Value = serde_json::from_str(&line).unwrap();
        for value in line.as_object_mut().unwrap().values_mut() {
            if value.as_str().unwrap().starts_with("$context.") {
                *value = json!("-");
            }
        }
        line
    };
    let filters: Vec<_> =
        resources(&template, "AWS::Logs::MetricFilter").map(|(_, one)| &one["Properties"]).collect();
    let counted = |line: &Value| {
        let of = filters.iter().filter(|filter| matches(filter["FilterPattern"].as_str().unwrap(), line));
        of.map(|filter| filter["MetricTransformations"][0]["MetricName"].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    for (status, answer, expected) in [
        ("429", "-", Some("GatewayThrottled")),
        ("429", "", Some("GatewayThrottled")),
        ("429", "429", Some("TurnedAway")),
        ("200", "200", None),
        ("401", "401", None),
        // The function did not run, or gave nothing that API Gateway understands.
        ("503", "-", None),
        ("500", "429", None),
    ] {
        assert_eq!(counted(&line(status, answer)), Vec::from_iter(expected), "{status} {answer}");
    }
    for (filter, name) in filters.iter().zip(OF_THE_LOG) {
        assert_eq!(filter["LogGroupName"], sub("/aws/vendedlogs/${Prefix}/access"));
        let one = json!({
            "MetricNamespace": own_namespace(), "MetricName": name, "MetricValue": "1", "Unit": "Count",
        });
        assert_eq!(filter["MetricTransformations"], json!([one]));
    }
    assert_eq!(filters.len(), OF_THE_LOG.len());
}

/// The functions read the prefix from their names: `each_function_has_a_package_a_role_and_a_log_of_its_own`.
fn own_namespace() -> Value {
    json!({"Ref": "Prefix"})
}

/// The suite `seen` looks for every metric in the functions' log that an alarm or the manual names.
#[test]
fn every_metric_in_alarms_and_manual_is_measured() {
    let template = read("template.yaml");
    let alarms = resources(&template, "AWS::CloudWatch::Alarm").map(|(_, alarm)| &alarm["Properties"]);
    let watched = alarms.flat_map(watched).filter(|(namespace, ..)| namespace == "own");
    let watched = watched.map(|(_, metric, _)| metric);
    let watched = watched.filter(|metric| !OF_THE_LOG.contains(&metric.as_str()));
    let manual = fs::read_to_string(workspace().join("docs/operations.md")).unwrap();
    let told = manual.split("metric `").skip(1).map(|rest| rest.split('`').next().unwrap().to_owned());
    let named: BTreeSet<_> = watched.chain(told).collect();
    assert!(named.len() > 3, "{named:?}");
    for name in named {
        assert!(METRICS.contains(&name.as_str()), "{name}");
    }
}
