//! The roles in the functions' template: each can do exactly what its function calls.

use std::collections::{BTreeMap, BTreeSet};

use keybroker_common::{keyring::Purpose, secret::EncryptionContext};
use keybroker_tests::permissions::permissions;
use serde_json::{Value, json};

use crate::{
    templates::{FUNCTIONS, LOGS, chosen},
    yaml::{one_or_many, read, resources},
};

/// The tables that the functions of 0.1 import: they stay until no deployed stack imports them.
const RETIRED: [&str; 2] = ["challenges", "sessions"];

/// Traces need a right that no resource limits: the roles have it only if somebody asked for traces. A
/// function waits for its role, and the role for a policy that it names. If the policy named the roles,
/// Lambda could be told to trace before the role may, and it refuses that.
#[test]
fn the_roles_may_send_traces_where_they_are_asked_for() {
    let template = read("template.yaml");
    assert_eq!(template["Parameters"]["Tracing"]["Default"], "off");
    assert_eq!(template["Conditions"]["Traced"], json!({"Fn::Equals": [{"Ref": "Tracing"}, "on"]}));
    let policy = &template["Resources"]["TracesPolicy"];
    assert_eq!(policy["Condition"], "Traced");
    let actions = json!(["xray:PutTelemetryRecords", "xray:PutTraceSegments"]);
    let statement = json!([{"Effect": "Allow", "Action": actions, "Resource": "*"}]);
    assert_eq!(policy["Properties"]["PolicyDocument"]["Statement"], statement);
    assert!(policy["Properties"].get("Roles").is_none());
}

#[test]
fn each_role_may_do_exactly_what_its_function_calls() {
    let template = read("template.yaml");
    // Only the roles, the builders' policy and those for a VPC and for traces grant permissions.
    assert_eq!(resources(&template, "AWS::IAM::Role").count(), FUNCTIONS.len());
    let kinds = template["Resources"]
        .as_object()
        .unwrap()
        .values()
        .map(|resource| resource["Type"].as_str().unwrap());
    assert_eq!(kinds.filter(|kind| kind.starts_with("AWS::IAM::")).count(), FUNCTIONS.len() + 3);
    let managed = json!([chosen("InVpc", "NetworkPolicy"), chosen("Traced", "TracesPolicy")]);
    let lambda = json!({"Service": "lambda.amazonaws.com"});
    let trust = json!({"Effect": "Allow", "Principal": lambda, "Action": "sts:AssumeRole"});
    for (name, function) in FUNCTIONS {
        let role = &template["Resources"][format!("{name}Role")]["Properties"];
        assert_eq!(role["AssumeRolePolicyDocument"]["Statement"], json!([trust]));
        assert_eq!(role["ManagedPolicyArns"], managed);
        let [policy] = role["Policies"].as_array().unwrap().as_slice() else { panic!("{name}: one policy") };

        let mut logs = Vec::new();
        let mut granted = BTreeSet::new();
        let mut conditions = BTreeMap::new();
        let mut denied = Vec::new();
        for statement in policy["PolicyDocument"]["Statement"].as_array().unwrap() {
            if statement["Effect"] == "Deny" {
                denied.push(statement.clone());
                continue;
            }
            // No key that could change the meaning of the list, such as NotAction. A condition takes away.
            let mut keys: BTreeSet<_> = statement.as_object().unwrap().keys().map(String::as_str).collect();
            if keys.remove("Condition") {
                let on = &of_storage(&statement["Resource"])["Fn::ImportValue"]["Fn::Sub"];
                let actions = one_or_many(&statement["Action"]).into_iter().cloned().collect::<Value>();
                conditions.insert((on.to_string(), actions.to_string()), statement["Condition"].clone());
            }
            assert_eq!(keys, BTreeSet::from(["Action", "Effect", "Resource"]), "{name}");
            assert_eq!(statement["Effect"], "Allow");
            for action in one_or_many(&statement["Action"]).into_iter().map(|action| action.as_str().unwrap())
            {
                for resource in one_or_many(&statement["Resource"]) {
                    let on = of_storage(resource)["Fn::ImportValue"]["Fn::Sub"]
                        .as_str()
                        .and_then(|name| name.strip_prefix("${Prefix}-"));
                    let on = on.unwrap_or_else(|| panic!("{name}: {action} on {resource}"));
                    if on == format!("{function}-log") {
                        logs.push(action);
                        continue;
                    }
                    assert!(granted.insert((action, on)), "{name}: {action} on {on} twice");
                }
            }
        }
        assert_eq!(logs, ["logs:CreateLogStream", "logs:PutLogEvents"], "{name}");
        let called = permissions().filter(|row| row.function == function).map(|row| (row.action, row.on));
        assert_eq!(granted, called.collect(), "{name}");
        let expected = conditions_of(function).into_iter().map(|(on, actions, condition)| {
            ((json!(format!("${{Prefix}}-{on}")).to_string(), json!(actions).to_string()), condition)
        });
        assert_eq!(conditions, expected.collect(), "{name}");
        assert_eq!(denied, [no_other_key(&granted)], "{name}");
    }
}

/// The alias leads to the key, and an administrator who may move it has a key of their own. Calls without a
/// purpose are not the function's: in its role's name Lambda opens its variables at each start, and DynamoDB
/// uses the tables' own key.
fn no_other_key(granted: &BTreeSet<(&str, &str)>) -> Value {
    let uses: Vec<_> = granted.iter().filter(|(_, on)| *on == "key").map(|(action, _)| *action).collect();
    let key = json!({"Fn::ImportValue": {"Fn::Sub": "${Prefix}-key"}});
    json!({
        "Sid": "NoOtherKey",
        "Effect": "Deny",
        "Action": if let [one] = uses.as_slice() { json!(one) } else { json!(uses) },
        "NotResource": {"Fn::If": ["KeysAreNamed", {"Fn::Split": [",", {"Ref": "KeyArns"}]}, key]},
        "Condition": {"Null": {"kms:EncryptionContext:purpose": "false"}},
    })
}

/// Lambda needs a role's right to make network interfaces. The code that runs under the role never has it.
#[test]
fn only_lambda_itself_makes_network_interfaces() {
    let template = read("template.yaml");
    let network = &template["Resources"]["NetworkPolicy"];
    assert_eq!(network["Condition"], "InVpc");
    let not_empty = json!({"Fn::Not": [{"Fn::Equals": [{"Ref": "SubnetIds"}, ""]}]});
    assert_eq!(template["Conditions"]["InVpc"], not_empty);
    let interfaces = ["AssignPrivateIpAddresses", "CreateNetworkInterface", "DeleteNetworkInterface"];
    let others = ["DescribeNetworkInterfaces", "DescribeSubnets", "UnassignPrivateIpAddresses"];
    let actions = interfaces.into_iter().chain(others).map(|action| format!("ec2:{action}"));
    let statement = json!([{
        "Effect": "Allow",
        "Action": actions.collect::<Value>(),
        "Resource": "*",
        "Condition": {"Null": {"lambda:SourceFunctionArn": "true"}},
    }]);
    assert_eq!(network["Properties"]["PolicyDocument"]["Statement"], statement);
}

/// The limits of a role beyond the table: the contexts under which it uses the key, the rows of the broker's
/// own keys, and what selects workloads.
fn conditions_of(function: &str) -> Vec<(&'static str, Vec<&'static str>, Value)> {
    let purposes = |purposes: Value| json!({"StringEquals": {"kms:EncryptionContext:purpose": purposes}});
    let secrets = EncryptionContext::PURPOSE;
    let [challenge, session, result, signature] = Purpose::ALL.map(Purpose::context);
    let selections = |condition: &str| {
        json!({
            (format!("ForAllValues:{condition}")): {"dynamodb:LeadingKeys": ["host-data#*"]},
            "Null": {"dynamodb:LeadingKeys": "false"},
        })
    };
    match function {
        "register" => vec![("workloads", vec!["dynamodb:DeleteItem"], selections("StringLike"))],
        "auth" => vec![
            (
                "keys",
                vec!["dynamodb:GetItem", "dynamodb:PutItem"],
                json!({
                    "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [Purpose::Challenge.name()]},
                    "Null": {"dynamodb:LeadingKeys": "false"},
                }),
            ),
            ("key", vec!["kms:Decrypt", "kms:Encrypt"], purposes(json!(challenge))),
        ],
        "attest" => vec![
            ("workloads", vec!["dynamodb:UpdateItem"], selections("StringNotLike")),
            ("key", vec!["kms:Decrypt"], purposes(json!([secrets, challenge, session, result, signature]))),
            ("key", vec!["kms:Encrypt"], purposes(json!([challenge, session, result, signature]))),
        ],
        _ => vec![],
    }
}

#[test]
fn the_roles_name_what_the_storage_exports() {
    let storage = read("storage.yaml");
    let mut exports = BTreeSet::new();
    for output in storage["Outputs"].as_object().unwrap().values() {
        let export =
            output["Export"]["Name"]["Fn::Sub"].as_str().unwrap().strip_prefix("${Prefix}-").unwrap();
        // In place of its own key the stack can export the one that took over.
        let own = match output["Value"]["Fn::If"].as_array().map(Vec::as_slice) {
            Some([condition, own, other]) if condition == "KeyIsOwn" => {
                assert_eq!(*other, json!({"Ref": "KeyArn"}));
                own
            }
            _ => &output["Value"],
        };
        let resource = own["Fn::GetAtt"].as_str().unwrap().strip_suffix(".Arn").unwrap();
        assert_eq!(export.replace('-', ""), resource.to_lowercase());
        exports.insert(export);
    }
    let tables_and_key = permissions().map(|row| row.on);
    let expected = tables_and_key.chain(LOGS.map(|(name, _)| name)).chain(RETIRED);
    assert_eq!(exports, expected.collect());
}

/// The resource as the storage exports it. In place of its key an operator can name others.
fn of_storage(resource: &Value) -> &Value {
    match resource["Fn::If"].as_array().map(Vec::as_slice) {
        Some([condition, named, exported]) if condition == "KeysAreNamed" => {
            assert_eq!(*named, json!({"Fn::Split": [",", {"Ref": "KeyArns"}]}));
            exported
        }
        _ => resource,
    }
}
