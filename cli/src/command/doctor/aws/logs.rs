//! The groups of logs, in which the records have their second copy.

use serde_json::{Value, json};

use super::unseen::unseen;
use crate::{
    aws::{Asker, Service, Trouble},
    command::doctor::finding::Finding,
    counted::counted,
};

const CHECK: &str = "logs";
const LOGS: Service = Service {
    name: "CloudWatch Logs",
    host: "logs",
    signed: "logs",
    variable: "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS",
};

/// Whether the groups of infra/storage.yaml are there, and keep their lines for a limited time.
pub(super) async fn examine(asker: &Asker<'_>, prefix: &str) -> Vec<Finding> {
    let functions = format!("/aws/lambda/{prefix}/");
    let gateway = format!("/aws/vendedlogs/{prefix}/");
    let mut expected: Vec<_> = ["register", "auth", "attest"].map(|one| format!("{functions}{one}")).into();
    expected.push(format!("{gateway}access"));
    match tokio::try_join!(read(asker, &functions), read(asker, &gateway)) {
        Ok((functions, gateway)) => judge(&expected, &[functions, gateway].concat()),
        Err(trouble) => vec![unseen(CHECK, "the groups of logs", "logs:DescribeLogGroups", &trouble)],
    }
}

/// A group, and the days for which it keeps its lines.
type Group = (String, Option<u64>);

async fn read(asker: &Asker<'_>, prefix: &str) -> Result<Vec<Group>, Trouble> {
    let question = json!({"logGroupNamePrefix": prefix});
    let answer = asker.json(LOGS, "Logs_20140328.DescribeLogGroups", &question).await?;
    let groups = answer.get("logGroups").and_then(Value::as_array);
    let group = |group: &Value| {
        let days = group.get("retentionInDays").and_then(Value::as_u64);
        Some((group.get("logGroupName")?.as_str()?.to_owned(), days))
    };
    Ok(groups.into_iter().flatten().filter_map(group).collect())
}

fn judge(expected: &[String], found: &[Group]) -> Vec<Finding> {
    let group = |name: &String| found.iter().find(|(found, _)| found == name);
    let missing: Vec<_> = expected.iter().filter(|name| group(name).is_none()).map(String::as_str).collect();
    let kept: Vec<_> = expected.iter().filter_map(group).collect();
    let forever: Vec<_> =
        kept.iter().filter(|(_, days)| days.is_none()).map(|(name, _)| name.as_str()).collect();
    let mut findings = Vec::new();
    if !missing.is_empty() {
        findings.push(Finding::warn(
            CHECK,
            format!("these groups of logs are missing: {}", missing.join(", ")),
            "deploy infra/storage.yaml: the functions may not make them, so their lines are lost",
        ));
    }
    if !forever.is_empty() {
        findings.push(Finding::warn(
            CHECK,
            format!("these groups of logs keep their lines for good: {}", forever.join(", ")),
            "deploy infra/storage.yaml, whose LogRetentionDays limits that",
        ));
    }
    if findings.is_empty() {
        let days = kept.iter().filter_map(|(_, days)| *days).min().unwrap_or_default();
        findings.push(Finding::ok(
            CHECK,
            format!("the lines of {} are kept for {}", counted(kept.len(), "group"), counted(days, "day")),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_must_be_there_and_limited() {
        let expected = ["/a", "/b"].map(str::to_owned);
        let said = |found: &[(&str, Option<u64>)]| {
            let found: Vec<_> = found.iter().map(|(name, days)| ((*name).to_owned(), *days)).collect();
            judge(&expected, &found).into_iter().map(|one| one.finding).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(
            said(&[("/a", Some(400)), ("/b", Some(30)), ("/c", None)]),
            "the lines of 2 groups are kept for 30 days"
        );
        let bad = said(&[("/b", None)]);
        assert!(bad.contains("missing: /a") && bad.contains("for good: /b"), "{bad}");
    }
}
