//! The storage's template: what must outlive a release, who may write to it, and who may use the key.

use keybroker_common::{
    ids::{RegistrationDigest, WorkloadId},
    keyring::Purpose,
    secret::EncryptionContext,
};
use serde_json::{Value, json};

use crate::{
    templates::{FUNCTIONS, chosen, sub},
    yaml::{one_or_many, parse, read, resources},
};

#[test]
fn tables_outlive_releases_mistakes_and_the_stack() {
    let storage = read("storage.yaml");
    let rows = [
        ("Workloads", "workload_id", false),
        ("Tokens", "token", true),
        ("Keys", "name", false),
        ("Decisions", "id", true),
        ("Endorsements", "name", false),
        ("Challenges", "session_id", true),
        ("Sessions", "session_id", true),
        ("Audit", "id", true),
    ];
    assert_eq!(resources(&storage, "AWS::DynamoDB::Table").count(), rows.len());
    for (name, key, expires) in rows {
        let mut properties = json!({
            "TableName": sub(&format!("${{Prefix}}-{}", name.to_lowercase())),
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
            "SSESpecification": {
                "SSEEnabled": true,
                "SSEType": "KMS",
                "KMSMasterKeyId": chosen("OwnTableKey", "TableKeyArn"),
            },
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": true},
            "DeletionProtectionEnabled": true,
        });
        if expires {
            properties["TimeToLiveSpecification"] = json!({"AttributeName": "expires", "Enabled": true});
        }
        let projected = match name {
            "Audit" => Some("ALL"),
            "Decisions" => Some("KEYS_ONLY"),
            _ => None,
        };
        if let Some(projected) = projected {
            let indexed = [("workload_id", "S", "HASH"), ("time", "N", "RANGE")];
            let of = |attribute, value| json!({"AttributeName": attribute, "AttributeType": value});
            let attributes = indexed.map(|(attribute, value, _)| of(attribute, value));
            properties["AttributeDefinitions"].as_array_mut().unwrap().extend(attributes);
            let key =
                indexed.map(|(attribute, _, kind)| json!({"AttributeName": attribute, "KeyType": kind}));
            properties["GlobalSecondaryIndexes"] = json!([
                {"IndexName": "workload", "KeySchema": key, "Projection": {"ProjectionType": projected}},
            ]);
        }
        if matches!(name, "Audit" | "Decisions") {
            properties["TableClass"] = json!({"Ref": "AuditTableClass"});
        }
        if matches!(name, "Decisions" | "Sessions") {
            properties["ResourcePolicy"] = json!({"PolicyDocument": attest_alone_writes(name)});
        }
        let table = json!({
            "Type": "AWS::DynamoDB::Table",
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": properties,
        });
        assert_eq!(storage["Resources"][name], table, "{name}");
    }
}

/// If CloudFormation cannot change a resource in place, it makes another without an item, and leaves the old
/// one behind. The functions of 0.1 import every export, so none can be given up before they are replaced.
#[test]
fn nothing_that_0_1_made_is_made_anew() {
    let (before, now) = (parse(RELEASED), read("storage.yaml"));
    for (name, old) in before["Resources"].as_object().unwrap() {
        let (mut old, mut new) = (old.clone(), now["Resources"][name].clone());
        for resource in [&mut old, &mut new] {
            let properties = resource["Properties"].as_object_mut().unwrap();
            // These change in place.
            for property in ["Description", "KeyPolicy", "ResourcePolicy", "TableClass", "TargetKeyId"] {
                properties.remove(property);
            }
            by_default(resource);
            // By default the stack has its own key.
            resource.as_object_mut().unwrap().remove("Condition");
        }
        assert_eq!(old, new, "{name}");
    }
    for (name, output) in before["Outputs"].as_object().unwrap() {
        let now = &now["Outputs"][name];
        // By default the stack has its own key.
        let value = now["Value"]["Fn::If"].get(1).unwrap_or(&now["Value"]);
        assert_eq!((value, &now["Export"]), (&output["Value"], &output["Export"]), "{name}");
    }
    for (name, parameter) in before["Parameters"].as_object().unwrap() {
        assert_eq!(now["Parameters"][name]["Default"], parameter["Default"], "{name}");
    }
}

/// Takes out of `value` what is there only if an operator sets a parameter. `infra/parameters.py` shows that
/// by default no such condition holds.
fn by_default(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, member| member["Fn::If"][2] != json!({"Ref": "AWS::NoValue"}));
        members.values_mut().for_each(by_default);
    }
}

/// The template that 0.1 was deployed with. `aws/tests/dynamodb/upgrade.rs` updates its stack.
const RELEASED: &str = include_str!("../../../aws/tests/dynamodb/storage-0.1.yaml");

/// The policy of a table that attest alone writes to. `infra/policies` evaluates it.
fn attest_alone_writes(table: &str) -> Value {
    let writes = [
        "BatchWriteItem",
        "DeleteItem",
        "PartiQLDelete",
        "PartiQLInsert",
        "PartiQLUpdate",
        "PutItem",
        "UpdateItem",
    ];
    let attest = "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/${Prefix}-attest";
    let arn = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${Prefix}";
    let arn = format!("{arn}-{}", table.to_lowercase());
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": "AttestAloneWrites",
            "Effect": "Deny",
            "Principal": "*",
            "Action": writes.map(|action| format!("dynamodb:{action}")),
            "Resource": sub(&arn),
            "Condition": {
                "ArnNotEquals": {"aws:PrincipalArn": sub(attest)},
                "BoolIfExists": {"aws:PrincipalIsAWSService": "false"},
            },
        }],
    })
}

#[test]
fn the_key_rotates_and_outlives_the_stack() {
    let storage = read("storage.yaml");
    assert_eq!(resources(&storage, "AWS::KMS::Key").count(), 1);
    for name in ["Key", "Alias"] {
        assert_eq!(storage["Resources"][name]["DeletionPolicy"], "Retain");
        assert_eq!(storage["Resources"][name]["UpdateReplacePolicy"], "Retain");
    }
    let key = &storage["Resources"]["Key"]["Properties"];
    assert_eq!(key["EnableKeyRotation"], true);
    assert_eq!(key["PendingWindowInDays"], 30);
    assert_eq!(key["MultiRegion"], json!({"Fn::If": ["ManyRegions", true, {"Ref": "AWS::NoValue"}]}));
    let target = json!({"Fn::If": ["KeyIsAnother", {"Ref": "KeyArn"}, {"Ref": "Key"}]});
    let alias = json!({"AliasName": sub("alias/${Prefix}"), "TargetKeyId": target});
    assert_eq!(storage["Resources"]["Alias"]["Properties"], alias);
    let template = read("template.yaml");
    for (name, _) in FUNCTIONS {
        let variables = &template["Resources"][name]["Properties"]["Environment"]["Variables"];
        assert_eq!(variables["KEYBROKER_KMS_KEY"], alias["AliasName"], "{name}");
    }
}

/// Without the tables' key no table can be read, and without the logs' key no log.
#[test]
fn the_examples_keys_rotate_and_outlive_their_stack() {
    let keys = read("examples/keys.yaml");
    for (name, key) in resources(&keys, "AWS::KMS::Key") {
        assert_eq!(
            (&key["DeletionPolicy"], &key["UpdateReplacePolicy"]),
            (&json!("Retain"), &json!("Retain"))
        );
        let key = &key["Properties"];
        let kept = (&key["EnableKeyRotation"], &key["PendingWindowInDays"]);
        assert_eq!(kept, (&json!(true), &json!(30)), "{name}");
    }
}

/// A key that takes over is guarded as the one before it, and outlives its stack as well.
#[test]
fn a_further_key_is_the_same_kind_of_key() {
    let (storage, further) = (read("storage.yaml"), read("key.yaml"));
    let mut first = storage["Resources"]["Key"].clone();
    assert_eq!(first.as_object_mut().unwrap().remove("Condition"), Some(json!("KeyIsOwn")));
    assert_eq!(further["Resources"], json!({"Key": first}));
    for name in ["ManyRegions", "Rewraps"] {
        assert_eq!(further["Conditions"][name], storage["Conditions"][name], "{name}");
    }
    for name in ["Prefix", "MultiRegion", "RewrapUntil"] {
        for member in ["Type", "Default", "AllowedPattern", "AllowedValues"] {
            let (further, storage) = (&further["Parameters"][name], &storage["Parameters"][name]);
            assert_eq!(further[member], storage[member], "{name} {member}");
        }
    }
}

#[test]
fn each_context_is_for_the_roles_that_need_it() {
    let storage = read("storage.yaml");
    let statements = &storage["Resources"]["Key"]["Properties"]["KeyPolicy"]["Statement"];
    let [
        administration,
        register,
        attest,
        sets,
        rewraps,
        challenges,
        sessions,
        results,
        signatures,
        operators,
        moves,
        moves_rings,
    ] = statements.as_array().unwrap().as_slice()
    else {
        panic!("twelve statements");
    };
    let account = json!({"AWS": sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:root")});

    let context = EncryptionContext {
        workload_id: WorkloadId::new("any").unwrap(),
        secret: "any".to_owned(),
        registration: RegistrationDigest::of(b"any"),
    };
    let names = context.pairs().map(|(name, _)| name);
    assert_eq!(names, ["purpose", "registration", "secret", "workload_id"]);
    let use_by = |sid: &str, action: &str, function: &str| {
        let role = format!("arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/${{Prefix}}-{function}");
        json!({
            "Sid": sid,
            "Effect": "Allow",
            "Principal": account,
            "Action": action,
            "Resource": "*",
            "Condition": {
                "ArnEquals": {"aws:PrincipalArn": sub(&role)},
                "StringEquals": {"kms:EncryptionContext:purpose": EncryptionContext::PURPOSE},
                "Null": {
                    "kms:EncryptionContext:registration": "false",
                    "kms:EncryptionContext:secret": "false",
                    "kms:EncryptionContext:workload_id": "false",
                },
                "ForAllValues:StringEquals": {"kms:EncryptionContextKeys": names},
            },
        })
    };
    assert_eq!(*register, use_by("RegisterEncrypts", "kms:Encrypt", "register"));
    assert_eq!(*attest, use_by("AttestDecrypts", "kms:Decrypt", "attest"));
    // The role of operators who change secrets: to the same key alone.
    assert_eq!(*sets, use_by("ResourcesEncrypts", "kms:Encrypt", "resources"));
    let mut expected = use_by("ResourcesRewraps", "", "resources");
    expected["Action"] = json!(["kms:ReEncryptFrom", "kms:ReEncryptTo"]);
    expected["Condition"]["Bool"] = json!({"kms:ReEncryptOnSameKey": "true"});
    assert_eq!(*rewraps, expected);

    let ring = |sid: &str, purpose: Purpose, functions: &[&str]| {
        let role = "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/${Prefix}";
        let roles: Vec<_> = functions.iter().map(|function| sub(&format!("{role}-{function}"))).collect();
        let roles = if let [role] = roles.as_slice() { role.clone() } else { json!(roles) };
        json!({
            "Sid": sid,
            "Effect": "Allow",
            "Principal": account,
            "Action": ["kms:Decrypt", "kms:Encrypt"],
            "Resource": "*",
            "Condition": {
                "ArnEquals": {"aws:PrincipalArn": roles},
                "StringEquals": {"kms:EncryptionContext:purpose": purpose.context()},
                "ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["purpose"]},
            },
        })
    };
    assert_eq!(*challenges, ring("ChallengeKeys", Purpose::Challenge, &["auth", "attest"]));
    assert_eq!(*sessions, ring("SessionKeys", Purpose::Session, &["attest"]));
    assert_eq!(*results, ring("ResultKeys", Purpose::Result, &["attest"]));
    assert_eq!(*signatures, ring("SigningKeys", Purpose::Signature, &["attest"]));
    // Operators can wrap a signing key, and open none, whatever their own policies allow. The other functions
    // can do neither.
    let mut expected = ring("OperatorsWrapSigningKeys", Purpose::Signature, &["register", "auth"]);
    expected["Action"] = json!("kms:Encrypt");
    let roles = expected["Condition"].as_object_mut().unwrap().remove("ArnEquals").unwrap();
    expected["Condition"]["ArnNotEquals"] = roles;
    assert_eq!(*operators, expected);

    // The role of the operator who moves everything to another key: for a time, and not within one key.
    let for_a_time = |mut statement: Value| {
        statement["Action"] = json!(["kms:ReEncryptFrom", "kms:ReEncryptTo"]);
        statement["Condition"]["Bool"] = json!({"kms:ReEncryptOnSameKey": "false"});
        statement["Condition"]["DateLessThan"] = json!({"aws:CurrentTime": {"Ref": "RewrapUntil"}});
        json!({"Fn::If": ["Rewraps", statement, {"Ref": "AWS::NoValue"}]})
    };
    assert_eq!(*moves, for_a_time(use_by("RewrapsSecrets", "", "rewrap")));
    let mut expected = ring("RewrapsBrokerKeys", Purpose::Challenge, &["rewrap"]);
    let every = Purpose::ALL.map(Purpose::context);
    expected["Condition"]["StringEquals"] = json!({"kms:EncryptionContext:purpose": every});
    assert_eq!(*moves_rings, for_a_time(expected));

    assert_eq!(administration["Principal"], account);
    for action in one_or_many(&administration["Action"]).into_iter().map(|action| action.as_str().unwrap()) {
        let uses = ["Encrypt", "Decrypt", "ReEncrypt", "Generate", "CreateGrant", "Derive", "Sign", "*"];
        assert!(!uses.iter().any(|word| action.contains(word)), "administration may {action}");
    }
}
