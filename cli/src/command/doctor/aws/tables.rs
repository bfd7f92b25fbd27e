//! The tables: whether they are there, with the index and the settings that infra/storage.yaml gives them.

use aws_sdk_dynamodb::{
    Client,
    types::{
        IndexStatus, KeyType, PointInTimeRecoveryStatus, TableDescription, TableStatus,
        TimeToLiveDescription, TimeToLiveStatus,
    },
};
use futures_util::future::join_all;
use keybroker_aws::dynamodb::AllTables;

use super::{decisions, unseen::unseen};
use crate::{
    aws::{Account, Kind, Trouble},
    command::doctor::finding::Finding,
};

const CHECK: &str = "table";
/// The advice for a table that is not there.
const LOST: &str = "check --prefix, --region and --profile. A new deployment begins with infra/storage.yaml; a \
                    table that was deleted is restored (runbook/table-restored.md)";
/// The attribute by which rows expire, in each table whose rows do.
const EXPIRES: &str = "expires";
/// The index of records by workload, and its keys.
const INDEX: (&str, [(&str, KeyType); 2]) =
    ("workload", [("workload_id", KeyType::Hash), ("time", KeyType::Range)]);

/// A table of a deployment.
struct Table {
    name: String,
    /// Whether its rows expire.
    expires: bool,
    /// Whether it has [`INDEX`].
    indexed: bool,
    /// Whether nobody but `attest` may write to it.
    guarded: bool,
}

fn tables(prefix: &str) -> [Table; 6] {
    let AllTables { workloads, tokens, decisions, keys, endorsements, audit } =
        AllTables::with_prefix(prefix);
    let plain = |name| Table { name, expires: false, indexed: false, guarded: false };
    [
        plain(workloads),
        Table { expires: true, ..plain(tokens) },
        Table { expires: true, indexed: true, guarded: true, ..plain(decisions) },
        plain(keys),
        plain(endorsements),
        Table { expires: true, indexed: true, ..plain(audit) },
    ]
}

/// The advice for a table whose settings are off, with the command that turns them on.
fn settings(name: &str, prefix: &str) -> String {
    let table = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')).unwrap_or(name);
    format!(
        "run `infra/restore settings {table} --prefix {prefix}` to turn them on: AWS restores a table without \
         them"
    )
}

/// The findings about each table.
pub(super) async fn examine(account: &Account, prefix: &str) -> Vec<Finding> {
    let (client, tables) = (Client::new(&account.config), tables(prefix));
    join_all(tables.iter().map(|table| one(&client, prefix, table))).await.concat()
}

async fn one(client: &Client, prefix: &str, table: &Table) -> Vec<Finding> {
    let name = &table.name;
    let (described, backups, expiry) = tokio::join!(
        client.describe_table().table_name(name).send(),
        client.describe_continuous_backups().table_name(name).send(),
        client.describe_time_to_live().table_name(name).send(),
    );
    let described = match described {
        Ok(answer) => answer.table,
        Err(error) => {
            let trouble = Trouble::of("DynamoDB", &error);
            let mut findings = vec![match trouble.kind() {
                Kind::Missing => Finding::fail(CHECK, format!("there is no {name}"), LOST),
                _ => unseen(CHECK, name, "dynamodb:DescribeTable", &trouble),
            }];
            if table.guarded && trouble.kind() == Kind::Denied {
                findings.push(Finding::unseen(decisions::CHECK, "dynamodb:DescribeTable", name));
            }
            return findings;
        }
    };
    let described = described.as_ref();
    let status = described.and_then(|described| described.table_status.clone());
    if !matches!(status, Some(TableStatus::Active | TableStatus::Updating)) {
        let status = status.map_or("unknown".to_owned(), |status| status.as_str().to_owned());
        return vec![Finding::fail(
            CHECK,
            format!("{name} is not active: {status}"),
            "wait, or restore the table (operations.md)",
        )];
    }
    let mut off = Vec::new();
    if !described.and_then(|described| described.deletion_protection_enabled).unwrap_or_default() {
        off.push("deletion protection");
    }
    let mut findings = Vec::new();
    match backups {
        Ok(answer) => {
            let described = answer.continuous_backups_description;
            let recovery = described.and_then(|described| described.point_in_time_recovery_description);
            let status = recovery.and_then(|recovery| recovery.point_in_time_recovery_status);
            off.extend(
                (status != Some(PointInTimeRecoveryStatus::Enabled)).then_some("point-in-time recovery"),
            );
        }
        Err(error) => {
            let trouble = Trouble::of("DynamoDB", &error);
            let what = format!("the backups of {name}");
            findings.push(unseen(CHECK, &what, "dynamodb:DescribeContinuousBackups", &trouble));
        }
    }
    match expiry {
        Ok(answer) => match ttl(table, answer.time_to_live_description.as_ref()) {
            Ttl::Right => {}
            Ttl::Off => off.push("TTL"),
            Ttl::Wrong(attribute) => findings.push(wrong(table, &attribute)),
        },
        Err(error) => {
            let trouble = Trouble::of("DynamoDB", &error);
            findings.push(unseen(
                CHECK,
                &format!("the TTL of {name}"),
                "dynamodb:DescribeTimeToLive",
                &trouble,
            ));
        }
    }
    findings.extend(table.indexed.then(|| index(name, described)).flatten());
    if !off.is_empty() {
        let off = format!("{name} is active; off: {}", off.join(", "));
        findings.insert(0, Finding::warn(CHECK, off, settings(name, prefix)));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("{name} is active and protected")));
    }
    if table.guarded {
        let arn = described.and_then(|described| described.table_arn.as_deref());
        findings.push(decisions::examine(client, prefix, name, arn.unwrap_or_default()).await);
    }
    findings
}

/// Whether rows expire as they should.
#[derive(Debug, PartialEq, Eq)]
enum Ttl {
    Right,
    Off,
    /// By an attribute that is none of ours, or from a table whose rows stay.
    Wrong(String),
}

fn ttl(table: &Table, described: Option<&TimeToLiveDescription>) -> Ttl {
    let on = described.filter(|described| {
        matches!(described.time_to_live_status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling))
    });
    match (on.map(|on| on.attribute_name.as_deref().unwrap_or_default()), table.expires) {
        (None, false) | (Some(EXPIRES), true) => Ttl::Right,
        (None, true) => Ttl::Off,
        (Some(attribute), _) => Ttl::Wrong(attribute.to_owned()),
    }
}

fn wrong(Table { name, expires, .. }: &Table, attribute: &str) -> Finding {
    let should = if *expires { format!("{EXPIRES:?}") } else { "none".to_owned() };
    Finding::fail(
        CHECK,
        format!("DynamoDB deletes rows of {name} by the attribute {attribute:?}; it should be {should}"),
        format!(
            "turn it off: `aws dynamodb update-time-to-live --table-name {name} --time-to-live-specification \
             AttributeName={attribute},Enabled=false`. Where rows should expire, turn it on by {EXPIRES:?} after an \
             hour. Find out in CloudTrail who changed it"
        ),
    )
}

/// The fault of a table's index, if it has one.
fn index(name: &str, described: Option<&TableDescription>) -> Option<Finding> {
    let (index, keys) = INDEX;
    let indexes = described.and_then(|described| described.global_secondary_indexes.as_deref());
    let found = indexes.unwrap_or_default().iter().find(|found| found.index_name.as_deref() == Some(index));
    let put_back = "`audit --workload` needs it, and guests do not: make it with `aws dynamodb update-table`, as \
                    infra/storage.yaml has it";
    let Some(found) = found else {
        return Some(Finding::warn(CHECK, format!("{name} has no index {index:?}"), put_back));
    };
    let schema = found.key_schema.as_deref().unwrap_or_default();
    let found_keys: Vec<_> =
        schema.iter().map(|key| (key.attribute_name.as_str(), key.key_type.clone())).collect();
    if found_keys != keys {
        return Some(Finding::warn(CHECK, format!("the index {index:?} of {name} has other keys"), put_back));
    }
    match &found.index_status {
        Some(IndexStatus::Active | IndexStatus::Updating) | None => None,
        Some(status) => Some(Finding::warn(
            CHECK,
            format!("the index {index:?} of {name} is not active: {}", status.as_str()),
            "wait until DynamoDB has made it",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(attribute: &str, status: TimeToLiveStatus) -> TimeToLiveDescription {
        TimeToLiveDescription::builder().attribute_name(attribute).time_to_live_status(status).build()
    }

    #[test]
    fn rows_expire_by_one_attribute_and_only_where_they_should() {
        let [workloads, tokens, ..] = tables("p");
        let enabled = |attribute| described(attribute, TimeToLiveStatus::Enabled);
        let wrong = |attribute: &str| Ttl::Wrong(attribute.to_owned());
        for (table, found, expected) in [
            (&tokens, Some(enabled(EXPIRES)), Ttl::Right),
            (&tokens, Some(described(EXPIRES, TimeToLiveStatus::Enabling)), Ttl::Right),
            (&tokens, Some(described(EXPIRES, TimeToLiveStatus::Disabling)), Ttl::Off),
            (&tokens, None, Ttl::Off),
            (&tokens, Some(enabled("time")), wrong("time")),
            (&workloads, None, Ttl::Right),
            (&workloads, Some(enabled(EXPIRES)), wrong(EXPIRES)),
            (&workloads, Some(enabled("x")), wrong("x")),
        ] {
            assert_eq!(ttl(table, found.as_ref()), expected, "{} {found:?}", table.name);
        }
    }
}
