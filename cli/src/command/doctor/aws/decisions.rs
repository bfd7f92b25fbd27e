//! The policy of the decisions' table, which denies writing to everybody but `attest`, whatever else IAM
//! allows them. `infra/storage.yaml` sets it. AWS restores a table without it.

use aws_sdk_dynamodb::{Client, error::ProvideErrorMetadata};
use serde_json::{Value, json};

use super::unseen::unseen;
use crate::{aws::Trouble, command::doctor::finding::Finding};

pub(super) const CHECK: &str = "decisions-policy";

/// The actions that write. AWS authorises a transaction as its parts.
const WRITES: [&str; 7] = [
    "BatchWriteItem",
    "DeleteItem",
    "PartiQLDelete",
    "PartiQLInsert",
    "PartiQLUpdate",
    "PutItem",
    "UpdateItem",
];

/// Whether the policy of `table`, whose ARN this is, denies writing to all but `attest` of the deployment
/// `prefix`.
pub(super) async fn examine(client: &Client, prefix: &str, table: &str, arn: &str) -> Finding {
    let policy = match client.get_resource_policy().resource_arn(arn).send().await {
        Ok(answer) => answer.policy.unwrap_or_default(),
        Err(error) if error.code() == Some("PolicyNotFoundException") => String::new(),
        Err(error) => {
            let trouble = Trouble::of("DynamoDB", &error);
            let what = format!("the policy of {table}");
            return unseen(CHECK, &what, "dynamodb:GetResourcePolicy", &trouble);
        }
    };
    if denies_all_but_attest(&policy, arn, prefix) {
        Finding::ok(CHECK, format!("only {prefix}-attest may write to {table}"))
    } else {
        Finding::fail(
            CHECK,
            format!(
                "{table} has {}: anybody whom IAM lets write to it can forge records, and with a stolen key \
                 of sessions have secrets sealed to a key of their own",
                if policy.is_empty() { "no policy" } else { "another policy than infra/storage.yaml" }
            ),
            format!(
                "run `infra/restore settings decisions --prefix {prefix}` to put the policy back: AWS restores \
                 a table without it"
            ),
        )
    }
}

/// Whether a statement of `policy` denies every write to the table of this ARN, with no exception but
/// `attest`'s role and AWS's own services, which delete expired rows. A denial overrides whatever other
/// statements allow.
fn denies_all_but_attest(policy: &str, table: &str, prefix: &str) -> bool {
    let Some(attest) = attest(table, prefix) else { return false };
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    one_or_many(field(&policy, "Statement")).iter().any(|statement| {
        let all = |element: &str, wanted: &[String]| {
            let given = one_or_many(field(statement, element));
            wanted.iter().all(|wanted| given.iter().any(|given| *given == wanted.as_str()))
        };
        let everybody = [json!("*"), json!({"AWS": "*"}), json!({"AWS": ["*"]})];
        let condition = field(statement, "Condition");
        field(statement, "Effect") == "Deny"
            && everybody.contains(field(statement, "Principal"))
            && all("Action", &WRITES.map(|action| format!("dynamodb:{action}")))
            && all("Resource", &[table.to_owned()])
            && is_only(condition, &["ArnNotEquals", "BoolIfExists"])
            && is_one(field(condition, "ArnNotEquals"), "aws:PrincipalArn", &attest)
            && is_one(field(condition, "BoolIfExists"), "aws:PrincipalIsAWSService", "false")
    })
}

/// The ARN of `attest`'s role, in the account of the table.
fn attest(table: &str, prefix: &str) -> Option<String> {
    let mut parts = table.split(':').skip(1);
    let (partition, account) = (parts.next()?, parts.nth(2)?);
    Some(format!("arn:{partition}:iam::{account}:role/{prefix}-attest"))
}

/// A field of an object; null if it is not there.
pub(super) fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

/// `value` itself, or each of its items if it is a list.
pub(super) fn one_or_many(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

/// Whether `value` is an object of no other fields than these.
fn is_only(value: &Value, names: &[&str]) -> bool {
    value.as_object().is_some_and(|fields| fields.keys().all(|name| names.contains(&name.as_str())))
}

/// Whether `value` is an object of this field alone, with this text alone.
fn is_one(value: &Value, name: &str, text: &str) -> bool {
    is_only(value, &[name]) && matches!(one_or_many(field(value, name)), [one] if one == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "arn:aws-cn:dynamodb:cn-north-1:123456789012:table/kb-decisions";

    fn policy() -> Value {
        json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Sid": "AttestAloneWrites",
                "Effect": "Deny",
                "Principal": "*",
                "Action": WRITES.map(|action| format!("dynamodb:{action}")),
                "Resource": TABLE,
                "Condition": {
                    "ArnNotEquals": {"aws:PrincipalArn": "arn:aws-cn:iam::123456789012:role/kb-attest"},
                    "BoolIfExists": {"aws:PrincipalIsAWSService": "false"},
                },
            }],
        })
    }

    fn holds(policy: &Value) -> bool {
        denies_all_but_attest(&policy.to_string(), TABLE, "kb")
    }

    #[test]
    fn the_policy_of_the_template_denies_all_but_attest() {
        assert!(holds(&policy()));
        // AWS may write it otherwise: one item for a list, a list for one item, one statement among others.
        let mut other = policy();
        other["Statement"][0]["Principal"] = json!({"AWS": "*"});
        other["Statement"][0]["Resource"] = json!([TABLE]);
        other["Statement"][0]["Condition"]["BoolIfExists"]["aws:PrincipalIsAWSService"] = json!(["false"]);
        let allowed = json!({"Effect": "Allow", "Principal": "*", "Action": "dynamodb:*", "Resource": "*"});
        other["Statement"].as_array_mut().unwrap().insert(0, allowed);
        assert!(holds(&other));
        let mut single = policy();
        single["Statement"] = policy()["Statement"][0].clone();
        assert!(holds(&single));
    }

    /// Each row is one way in which somebody else could write.
    #[test]
    fn a_policy_with_a_way_in_is_found_out() {
        let role =
            |name: &str| json!({"aws:PrincipalArn": format!("arn:aws-cn:iam::123456789012:role/{name}")});
        let both = json!({"aws:PrincipalArn": [
            "arn:aws-cn:iam::123456789012:role/kb-attest",
            "arn:aws-cn:iam::123456789012:role/other",
        ]});
        let ways: Vec<(&str, Value)> = vec![
            ("/Statement/0/Effect", json!("Allow")),
            ("/Statement/0/Principal", json!({"AWS": "arn:aws-cn:iam::123456789012:root"})),
            ("/Statement/0/Action", json!(["dynamodb:PutItem"])),
            ("/Statement/0/Resource", json!("arn:aws-cn:dynamodb:cn-north-1:123456789012:table/kb-audit")),
            ("/Statement/0/Condition/ArnNotEquals", role("kb-register")),
            ("/Statement/0/Condition/ArnNotEquals", role("*")),
            ("/Statement/0/Condition/ArnNotEquals", both),
            ("/Statement/0/Condition/BoolIfExists", json!({"aws:PrincipalIsAWSService": "true"})),
            ("/Statement/0/Condition/BoolIfExists", json!({"aws:MultiFactorAuthPresent": "false"})),
            ("/Statement/0", Value::Null),
            ("/Statement", json!([])),
        ];
        for (at, value) in ways {
            let mut altered = policy();
            *altered.pointer_mut(at).unwrap() = value;
            assert!(!holds(&altered), "{at}: {altered}");
        }
        for (operator, condition) in
            [("StringEquals", json!({"aws:PrincipalTag/team": "other"})), ("ArnNotLike", role("kb-*"))]
        {
            let mut narrowed = policy();
            narrowed["Statement"][0]["Condition"][operator] = condition;
            assert!(!holds(&narrowed), "{narrowed}");
        }
        for action in 0..WRITES.len() {
            let mut without = policy();
            without["Statement"][0]["Action"].as_array_mut().unwrap().remove(action);
            assert!(!holds(&without), "{without}");
        }
        for text in ["", "{", "[]", "null"] {
            assert!(!denies_all_but_attest(text, TABLE, "kb"), "{text}");
        }
        assert!(!denies_all_but_attest(&policy().to_string(), TABLE, "another"), "another deployment's role");
        assert!(!denies_all_but_attest(&policy().to_string(), "no ARN", "kb"));
    }
}
