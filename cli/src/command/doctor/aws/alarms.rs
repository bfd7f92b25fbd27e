//! The alarms of a deployment, and whether anybody hears them.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::unseen::unseen;
use crate::{
    aws::{Asker, Kind, Service, Trouble, between},
    command::doctor::finding::Finding,
    counted::counted,
};

const CHECK: &str = "alarms";
const CLOUDWATCH: Service = Service {
    name: "CloudWatch",
    host: "monitoring",
    signed: "monitoring",
    variable: "AWS_ENDPOINT_URL_CLOUDWATCH",
};
const SNS: Service = Service { name: "SNS", host: "sns", signed: "sns", variable: "AWS_ENDPOINT_URL_SNS" };
/// The alarms of infra/template.yaml, without the deployment's prefix.
const ALL: [&str; 14] = [
    "server-errors",
    "refusals",
    "strangers",
    "key-unavailable",
    "kds-throttled",
    "no-tcb-floor",
    "guests-behind",
    "old-list",
    "gateway-throttled",
    "turned-away",
    "function-errors",
    "functions-throttled",
    "reads-throttled",
    "writes-throttled",
];
/// Pages of alarms that are read, of 100 each.
const PAGES: usize = 10;
const TELL: &str =
    "deploy infra/template.yaml with AlarmTopicArn, a topic of SNS that people are subscribed to";

/// The findings about the alarms whose names begin as the deployment's do.
pub(super) async fn examine(asker: &Asker<'_>, prefix: &str) -> Vec<Finding> {
    let alarms = match read(asker, prefix).await {
        Ok(alarms) => alarms,
        Err(trouble) => return vec![unseen(CHECK, "the alarms", "cloudwatch:DescribeAlarms", &trouble)],
    };
    let topics: BTreeSet<&str> =
        alarms.iter().filter(|alarm| alarm.enabled).flat_map(Alarm::topics).collect();
    let heard = join_all(topics.iter().map(|topic| Subscribed::to(asker, topic))).await;
    let topics: Vec<_> = topics.into_iter().zip(heard).collect();
    judge(prefix, &alarms, &topics)
}

/// An alarm.
#[derive(Debug, Clone, Default)]
struct Alarm {
    name: String,
    /// Whether it does anything when it rings.
    enabled: bool,
    actions: Vec<String>,
    rings: bool,
}

impl Alarm {
    fn read(alarm: &Value) -> Option<Self> {
        let actions = alarm.get("AlarmActions").and_then(Value::as_array);
        Some(Self {
            name: alarm.get("AlarmName")?.as_str()?.to_owned(),
            enabled: alarm.get("ActionsEnabled").and_then(Value::as_bool).unwrap_or(true),
            actions: actions.into_iter().flatten().filter_map(|one| Some(one.as_str()?.to_owned())).collect(),
            rings: alarm.get("StateValue").and_then(Value::as_str) == Some("ALARM"),
        })
    }

    fn topics(&self) -> impl Iterator<Item = &str> {
        self.actions.iter().map(String::as_str).filter(|action| action.split(':').nth(2) == Some("sns"))
    }
}

async fn read(asker: &Asker<'_>, prefix: &str) -> Result<Vec<Alarm>, Trouble> {
    let (mut alarms, mut token) = (Vec::new(), None);
    for _ in 0..PAGES {
        let question = question(prefix, token);
        let answer =
            asker.json(CLOUDWATCH, "GraniteServiceVersion20100801.DescribeAlarms", &question).await?;
        for kind in ["MetricAlarms", "CompositeAlarms"] {
            let page = answer.get(kind).and_then(Value::as_array);
            alarms.extend(page.into_iter().flatten().filter_map(Alarm::read));
        }
        token = answer.get("NextToken").and_then(Value::as_str).map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    Ok(alarms)
}

fn question(prefix: &str, token: Option<String>) -> Value {
    let mut question = json!({
        "AlarmNamePrefix": format!("{prefix}-"),
        "AlarmTypes": ["MetricAlarm", "CompositeAlarm"],
        "MaxRecords": 100,
    });
    if let (Some(fields), Some(token)) = (question.as_object_mut(), token) {
        fields.insert("NextToken".to_owned(), token.into());
    }
    question
}

/// Whether anybody hears a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subscribed {
    /// So many have confirmed their subscription.
    By(u64),
    Missing,
    /// These credentials may not see it.
    Unseen(String),
}

impl Subscribed {
    async fn to(asker: &Asker<'_>, topic: &str) -> Self {
        let region = topic.split(':').nth(3).unwrap_or_default();
        let fields = [("Action", "GetTopicAttributes"), ("Version", "2010-03-31"), ("TopicArn", topic)];
        match asker.form(SNS, region, &fields).await {
            Ok(answer) => {
                confirmed(&answer).map_or_else(|| Self::Unseen("no usable answer".to_owned()), Self::By)
            }
            Err(trouble) if trouble.kind() == Kind::Missing => Self::Missing,
            Err(trouble) => Self::Unseen(trouble.words().to_owned()),
        }
    }
}

/// The number of confirmed subscriptions, in the answer to GetTopicAttributes.
fn confirmed(answer: &str) -> Option<u64> {
    let (_, rest) = answer.split_once("<key>SubscriptionsConfirmed</key>")?;
    between(rest, "<value>", "</value>")?.trim().parse().ok()
}

fn judge(prefix: &str, alarms: &[Alarm], topics: &[(&str, Subscribed)]) -> Vec<Finding> {
    if alarms.is_empty() {
        let none = format!("there are no alarms whose names begin with {prefix}-");
        return vec![Finding::warn(CHECK, none, TELL)];
    }
    let named = |which: &dyn Fn(&Alarm) -> bool| {
        alarms.iter().filter(|alarm| which(alarm)).map(|alarm| alarm.name.as_str()).collect::<Vec<_>>()
    };
    let mut findings = Vec::new();
    let is_there = |name: &String| alarms.iter().any(|alarm| alarm.name == *name);
    let missing = ALL.iter().map(|name| format!("{prefix}-{name}")).filter(|name| !is_there(name));
    let missing: Vec<_> = missing.collect();
    if !missing.is_empty() {
        findings.push(Finding::warn(
            CHECK,
            format!("these alarms of infra/template.yaml are missing: {}", missing.join(", ")),
            "find out in CloudTrail who deleted them, and put the stack back (watching.md)",
        ));
    }
    let silent = named(&|alarm| !alarm.enabled || alarm.actions.is_empty());
    if !silent.is_empty() {
        let finding = format!("these alarms tell nobody: {}", silent.join(", "));
        findings.push(Finding::warn(CHECK, finding, TELL));
    }
    for (topic, heard) in topics {
        findings.extend(match heard {
            Subscribed::By(1..) => None,
            Subscribed::By(0) => Some(Finding::warn(
                CHECK,
                format!("the alarms tell {topic}, and nobody has confirmed a subscription to it"),
                "subscribe to the topic (`aws sns subscribe`), and confirm by the link that SNS sends",
            )),
            Subscribed::Missing => {
                Some(Finding::warn(CHECK, format!("the alarms tell {topic}, which does not exist"), TELL))
            }
            Subscribed::Unseen(why) => Some(Finding::unseen(
                CHECK,
                "sns:GetTopicAttributes",
                &format!("whether anybody hears {topic}: {why}"),
            )),
        });
    }
    let ringing = named(&|alarm| alarm.rings);
    if !ringing.is_empty() {
        findings.push(Finding::warn(
            CHECK,
            format!("these alarms ring: {}", ringing.join(", ")),
            "operations.md says under \"Alarms\" what each means",
        ));
    }
    if findings.is_empty() {
        let heard: u64 = topics
            .iter()
            .map(|(_, heard)| if let Subscribed::By(number) = heard { *number } else { 0 })
            .sum();
        let (alarms, subscribers) = (counted(alarms.len(), "alarm"), counted(heard, "subscriber"));
        findings.push(Finding::ok(CHECK, format!("{alarms}, heard by {subscribers}")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:on-call";

    fn alarm(alarm: Value) -> Alarm {
        Alarm::read(&alarm).unwrap()
    }

    /// The finding about these alarms, beside all that there should be.
    fn said(alarms: &[Alarm], heard: Subscribed) -> String {
        let well = |name: &&str| alarm(json!({"AlarmName": format!("kb-{name}"), "AlarmActions": [TOPIC]}));
        let all: Vec<_> = alarms.iter().cloned().chain(ALL.iter().map(well)).collect();
        told(&all, heard)
    }

    fn told(alarms: &[Alarm], heard: Subscribed) -> String {
        let findings = judge("kb", alarms, &[(TOPIC, heard)]);
        findings.iter().map(|one| one.finding.as_str()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn an_alarm_that_nobody_hears_is_found() {
        let well = alarm(json!({"AlarmName": "kb-a", "ActionsEnabled": true, "AlarmActions": [TOPIC]}));
        assert_eq!(well.topics().collect::<Vec<_>>(), [TOPIC]);
        let none = alarm(json!({"AlarmName": "kb-b", "ActionsEnabled": true, "AlarmActions": []}));
        let off = alarm(json!({"AlarmName": "kb-c", "ActionsEnabled": false, "AlarmActions": [TOPIC]}));
        let rings = alarm(json!({"AlarmName": "kb-d", "AlarmActions": [TOPIC], "StateValue": "ALARM"}));
        assert_eq!(said(std::slice::from_ref(&well), Subscribed::By(2)), "15 alarms, heard by 2 subscribers");
        assert_eq!(told(&[], Subscribed::By(1)), "there are no alarms whose names begin with kb-");
        for (alarms, heard, expected) in [
            (vec![well.clone(), none, off], Subscribed::By(1), "these alarms tell nobody: kb-b, kb-c"),
            (vec![well.clone()], Subscribed::By(0), "nobody has confirmed a subscription"),
            (vec![well.clone()], Subscribed::Missing, "which does not exist"),
            (vec![well], Subscribed::Unseen("no".to_owned()), "not seen: needs sns:GetTopicAttributes"),
            (vec![rings], Subscribed::By(1), "these alarms ring: kb-d"),
        ] {
            let said = said(&alarms, heard);
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn an_alarm_that_is_missing_is_found() {
        let template = include_str!("../../../../../infra/template.yaml");
        let named =
            template.lines().filter_map(|line| line.trim().strip_prefix("AlarmName: !Sub ${Prefix}-"));
        let named: Vec<_> = named.collect();
        assert_eq!(named, ALL);
        for missing in &named {
            let left = named.iter().filter(|name| *name != missing);
            let left: Vec<_> = left
                .map(|name| alarm(json!({"AlarmName": format!("kb-{name}"), "AlarmActions": [TOPIC]})))
                .collect();
            let expected = format!("these alarms of infra/template.yaml are missing: kb-{missing}");
            assert_eq!(told(&left, Subscribed::By(1)), expected);
        }
    }

    #[test]
    fn the_number_of_subscribers_is_read() {
        let answer = |number: &str| {
            format!(
                "<entry><key>SubscriptionsPending</key><value>7</value></entry><entry>\n \
                 <key>SubscriptionsConfirmed</key>\n <value>{number}</value></entry>"
            )
        };
        assert_eq!(confirmed(&answer("3")), Some(3));
        assert_eq!((confirmed(&answer("x")), confirmed("<a/>")), (None, None));
    }
}
