//! The key behind the alias.

use aws_sdk_kms::{Client, primitives::DateTimeFormat, types::KeyState};

use super::{rewrap, unseen::unseen};
use crate::{
    aws::{Account, Trouble},
    command::doctor::finding::Finding,
};

const CHECK: &str = "key";

/// Whether the key can be used, whether it is rotated, and who may move what it wraps.
pub(super) async fn examine(account: &Account, prefix: &str) -> Vec<Finding> {
    let (client, alias) = (Client::new(&account.config), format!("alias/{prefix}"));
    let described = match client.describe_key().key_id(&alias).send().await {
        Ok(answer) => answer.key_metadata,
        Err(error) => return vec![unseen(CHECK, &alias, "kms:DescribeKey", &Trouble::of("KMS", &error))],
    };
    let Some(described) = described else {
        return vec![Finding::fail(
            CHECK,
            format!("{alias}: KMS gave no usable answer"),
            "repeat the command",
        )];
    };
    let arn = described.arn.unwrap_or_default();
    match described.key_state {
        Some(KeyState::Enabled) => {
            vec![
                Finding::ok(CHECK, format!("{alias} is enabled: {arn}")),
                rotation(&client, &alias, &arn).await,
                rewrap::examine(&client, prefix, &alias, &arn).await,
            ]
        }
        Some(KeyState::PendingDeletion) => {
            let date = described
                .deletion_date
                .map(|date| format!(" on {}", date.fmt(DateTimeFormat::DateTime).unwrap_or_default()));
            vec![Finding::fail(
                CHECK,
                format!("{alias} will be deleted{}: {arn}", date.unwrap_or_default()),
                format!(
                    "run `aws kms cancel-key-deletion --key-id {arn}`, then `aws kms enable-key --key-id {arn}`: every \
                     secret is lost with the key"
                ),
            )]
        }
        other => vec![Finding::fail(
            CHECK,
            format!("{alias} is {}: {arn}", other.as_ref().map_or("in no known state", KeyState::as_str)),
            format!("find out in CloudTrail who disabled it, then run `aws kms enable-key --key-id {arn}`"),
        )],
    }
}

/// Whether KMS makes new key material each year. The old stays, so what it wrapped can be opened.
async fn rotation(client: &Client, alias: &str, arn: &str) -> Finding {
    const CHECK: &str = "key-rotation";
    match client.get_key_rotation_status().key_id(arn).send().await {
        Ok(answer) if answer.key_rotation_enabled => Finding::ok(
            CHECK,
            answer.rotation_period_in_days.map_or_else(
                || format!("{alias} is rotated"),
                |days| format!("{alias} is rotated every {days} days"),
            ),
        ),
        Ok(_) => Finding::warn(
            CHECK,
            format!("{alias} is not rotated"),
            format!("run `aws kms enable-key-rotation --key-id {arn}`, as infra/storage.yaml does"),
        ),
        Err(error) => unseen(CHECK, alias, "kms:GetKeyRotationStatus", &Trouble::of("KMS", &error)),
    }
}
