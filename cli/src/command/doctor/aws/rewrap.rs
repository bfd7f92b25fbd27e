//! Until when the key's policy lets the role of a move to another key act (`RewrapUntil`). It can have every
//! secret as long.

use aws_sdk_kms::Client;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    decisions::{field, one_or_many},
    unseen::unseen,
};
use crate::{aws::Trouble, command::doctor::finding::Finding};

const CHECK: &str = "key-rewrap";
/// A move takes hours. A role that may act for longer than this was given too much time, or forgotten.
const LONG: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Whether the policy of the key of this ARN gives that role much time.
pub(super) async fn examine(client: &Client, prefix: &str, alias: &str, arn: &str) -> Finding {
    // The one name that there is. KMS takes it where none is given, and moto does not.
    match client.get_key_policy().key_id(arn).policy_name("default").send().await {
        Ok(answer) => judge(prefix, alias, &answer.policy.unwrap_or_default(), Timestamp::now()),
        Err(error) => {
            let what = format!("the policy of {alias}");
            unseen(CHECK, &what, "kms:GetKeyPolicy", &Trouble::of("KMS", &error))
        }
    }
}

fn judge(prefix: &str, alias: &str, policy: &str, now: Timestamp) -> Finding {
    let Some(end) = end(policy, prefix).filter(|end| *end > now) else {
        return Finding::ok(CHECK, format!("nobody may move what {alias} wraps to another key"));
    };
    let until = if end == Timestamp::MAX { "for good".to_owned() } else { format!("until {end:.0}") };
    let said =
        format!("the role {prefix}-rewrap may move what {alias} wraps, and so have every secret, {until}");
    if end.duration_since(now) <= LONG {
        return Finding::ok(CHECK, said);
    }
    Finding::warn(
        CHECK,
        said,
        "deploy RewrapUntil=\"\" on the stacks of both keys if all is moved, and otherwise an earlier time",
    )
}

/// The end of the latest statement that lets the role act. One that names no end that counts has none.
fn end(policy: &str, prefix: &str) -> Option<Timestamp> {
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    let role = format!(":role/{prefix}-rewrap");
    let under =
        |statement, operator, name| one_or_many(field(field(field(statement, "Condition"), operator), name));
    let statements = one_or_many(field(&policy, "Statement")).iter().filter(|statement| {
        let named = under(statement, "ArnEquals", "aws:PrincipalArn");
        field(statement, "Effect") == "Allow"
            && named.iter().any(|arn| arn.as_str().is_some_and(|arn| arn.ends_with(&role)))
    });
    let ends = statements.map(|statement| match under(statement, "DateLessThan", "aws:CurrentTime") {
        [Value::String(text)] => text.parse().unwrap_or(Timestamp::MAX),
        _ => Timestamp::MAX,
    });
    ends.max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::command::doctor::finding::Severity;

    fn statement(until: &Value) -> Value {
        json!({
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
            "Action": ["kms:ReEncryptFrom", "kms:ReEncryptTo"],
            "Condition": {
                "ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::123456789012:role/kb-rewrap"},
                "Bool": {"kms:ReEncryptOnSameKey": "false"},
                "DateLessThan": {"aws:CurrentTime": until},
            },
        })
    }

    #[test]
    fn a_role_that_may_act_for_long_is_warned_of() {
        let now: Timestamp = "2026-12-01T12:00:00Z".parse().unwrap();
        let found = |statements: Value, prefix: &str| {
            let finding = judge(prefix, "alias/kb", &json!({"Statement": statements}).to_string(), now);
            (finding.verdict, finding.finding)
        };
        let [over, soon, late] =
            ["2026-12-01T12:00:00Z", "2026-12-08T12:00:00Z", "2036-12-01T18:00:00Z"].map(|at| json!(at));
        let nobody = (Severity::Ok, "nobody may move what alias/kb wraps to another key".to_owned());
        let told = |until: &str| {
            format!("the role kb-rewrap may move what alias/kb wraps, and so have every secret, {until}")
        };
        let (until_late, for_good) = (told("until 2036-12-01T18:00:00Z"), told("for good"));
        for statements in [json!([]), json!([statement(&over)]), json!({"Effect": "Deny"}), Value::Null] {
            assert_eq!(found(statements, "kb"), nobody);
        }
        assert_eq!(found(json!(statement(&soon)), "kb"), (Severity::Ok, told("until 2026-12-08T12:00:00Z")));
        // The latest counts. AWS may write one item for a list.
        for statements in [
            json!([statement(&over), statement(&late), statement(&soon)]),
            json!([statement(&json!([late]))]),
        ] {
            assert_eq!(found(statements, "kb"), (Severity::Warn, until_late.clone()));
        }
        let mut endless = statement(&late);
        endless["Condition"].as_object_mut().unwrap().remove("DateLessThan");
        for statement in [endless, statement(&json!("never")), statement(&json!([soon, late]))] {
            assert_eq!(found(statement, "kb"), (Severity::Warn, for_good.clone()));
        }
        let mut denied = statement(&late);
        denied["Effect"] = json!("Deny");
        assert_eq!(found(denied, "kb"), nobody);
        assert_eq!(found(json!(statement(&late)), "other").0, Severity::Ok, "of another deployment");
    }
}
