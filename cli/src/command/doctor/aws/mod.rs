//! Tables and key of a deployment on AWS, as infra/storage.yaml makes them.

mod decisions;
mod not_seen;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    types::{PointInTimeRecoveryStatus, TableStatus, TimeToLiveStatus},
};
use aws_sdk_kms::types::KeyState;
use keybroker_aws::dynamodb::AllTables;

use self::not_seen::not_seen;
use crate::{command::doctor::finding::Finding, operator};

/// A table of a deployment, and whether its rows expire.
struct Table {
    name: String,
    expires: bool,
}

fn tables(prefix: &str) -> [Table; 6] {
    let AllTables { workloads, tokens, decisions, keys, endorsements, audit } =
        AllTables::with_prefix(prefix);
    let table = |name, expires| Table { name, expires };
    [
        table(workloads, false),
        table(tokens, true),
        table(decisions, true),
        table(keys, false),
        table(endorsements, false),
        table(audit, true),
    ]
}

/// Examines every table, and the key behind the alias.
pub(super) async fn examine(prefix: &str) -> Vec<Finding> {
    let config = match operator::aws_config().await {
        Ok(config) => config,
        Err(failure) => return vec![Finding::failed("aws", &failure)],
    };
    let client = Client::new(&config);
    let mut findings = Vec::new();
    for table in tables(prefix) {
        findings.push(examine_table(&client, &table).await);
    }
    findings.extend(decisions::examine(&client, prefix, &AllTables::with_prefix(prefix).decisions).await);
    findings.push(key(&config, prefix).await);
    findings
}

const TABLE: &str = "table";

async fn examine_table(client: &Client, table: &Table) -> Finding {
    let name = &table.name;
    let described = match client.describe_table().table_name(name).send().await {
        Ok(answer) => answer.table,
        Err(error) => return not_seen(TABLE, name, &error),
    };
    let status = described.as_ref().and_then(|described| described.table_status.clone());
    if status != Some(TableStatus::Active) {
        let status = status.map_or("unknown".to_owned(), |status| status.as_str().to_owned());
        return Finding::fail(
            TABLE,
            format!("{name} is not active: {status}"),
            "wait, or restore the table (operations.md)",
        );
    }
    let mut off = Vec::new();
    if !described.and_then(|described| described.deletion_protection_enabled).unwrap_or_default() {
        off.push("deletion protection");
    }
    match recovers(client, name).await {
        Some(true) => {}
        Some(false) => off.push("point-in-time recovery"),
        None => off.push("point-in-time recovery (not seen)"),
    }
    if table.expires {
        match expires(client, name).await {
            Some(true) => {}
            Some(false) => off.push("TTL"),
            None => off.push("TTL (not seen)"),
        }
    }
    if off.is_empty() {
        return Finding::ok(TABLE, format!("{name} is active and protected"));
    }
    Finding::warn(
        TABLE,
        format!("{name} is active; off: {}", off.join(", ")),
        "run `infra/restore settings` to turn them on: AWS restores a table without them",
    )
}

/// Whether point-in-time recovery is on; `None` if AWS does not show it.
async fn recovers(client: &Client, name: &str) -> Option<bool> {
    let answer = client.describe_continuous_backups().table_name(name).send().await.ok()?;
    let recovery = answer.continuous_backups_description?.point_in_time_recovery_description;
    let status = recovery.and_then(|recovery| recovery.point_in_time_recovery_status);
    Some(status == Some(PointInTimeRecoveryStatus::Enabled))
}

/// Whether rows expire; `None` if AWS does not show it.
async fn expires(client: &Client, name: &str) -> Option<bool> {
    let answer = client.describe_time_to_live().table_name(name).send().await.ok()?;
    let status = answer.time_to_live_description.and_then(|described| described.time_to_live_status);
    Some(matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)))
}

async fn key(config: &SdkConfig, prefix: &str) -> Finding {
    let alias = format!("alias/{prefix}");
    let answer = aws_sdk_kms::Client::new(config).describe_key().key_id(&alias).send().await;
    let described = match answer {
        Ok(answer) => answer.key_metadata,
        Err(error) => return not_seen("key", &alias, &error),
    };
    let state = described.as_ref().and_then(|described| described.key_state.clone());
    let arn = described.and_then(|described| described.arn).unwrap_or_default();
    match state {
        Some(KeyState::Enabled) => Finding::ok("key", format!("{alias} is enabled: {arn}")),
        Some(KeyState::PendingDeletion) => Finding::fail(
            "key",
            format!("{alias} is about to be deleted: {arn}"),
            "run `aws kms cancel-key-deletion`, then `aws kms enable-key`: every secret is lost with the key",
        ),
        other => Finding::fail(
            "key",
            format!("{alias} is {}: {arn}", other.as_ref().map_or("in no known state", KeyState::as_str)),
            "find out in CloudTrail who disabled it, then run `aws kms enable-key`",
        ),
    }
}
