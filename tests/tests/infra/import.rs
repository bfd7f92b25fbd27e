//! The script that brings surviving tables into a new stack: what it writes is the storage's template, as
//! CloudFormation takes it.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::yaml::{parse, read};

/// The most bytes of a template that CloudFormation takes as text.
const MOST: usize = 51_200;

const KEY: &str = "0a9f5c1e-2b7d-4c3f-8e6a-1b2c3d4e5f60";

/// Runs a copy of the script, which writes beside itself.
fn run(arguments: &[&str]) -> (Output, TempDir) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("infra")).unwrap();
    for file in ["import", "account.py", "storage.yaml"] {
        fs::copy(root.join("infra").join(file), copy.path().join("infra").join(file)).unwrap();
    }
    (Command::new(copy.path().join("infra/import")).args(arguments).output().unwrap(), copy)
}

/// The options that every script here has go into each command.
#[test]
fn the_commands_name_region_and_profile() {
    let chosen = ["--key", KEY, "--region", "eu-central-1", "--profile", "of a team"];
    let (_, _, commands) = import(&chosen);
    let commands: Vec<_> = commands.replace("\\\n", "").lines().map(str::to_owned).collect();
    assert_eq!(commands.len(), 5, "{commands:?}");
    for command in commands {
        assert!(command.contains(" --region eu-central-1 --profile 'of a team'"), "{command}");
    }
}

fn import(arguments: &[&str]) -> (Value, Value, String) {
    let (output, copy) = run(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = copy.path().join("target/infra");
    let template = fs::read_to_string(written.join("import.yaml")).unwrap();
    assert!(template.len() < MOST);
    let listed = serde_json::from_str(&fs::read_to_string(written.join("import.json")).unwrap()).unwrap();
    (parse(&template), listed, String::from_utf8(output.stdout).unwrap())
}

#[test]
fn cloudformation_takes_no_alias_and_no_arn_for_a_key() {
    for key in ["alias/keybroker", &format!("arn:aws:kms:eu-central-1:123456789012:key/{KEY}"), "1234"] {
        let (output, _) = run(&["--key", key]);
        assert_eq!(output.status.code(), Some(2), "{key}");
        assert!(output.stdout.is_empty(), "{key}");
    }
}

#[test]
fn every_resource_of_the_storage_is_imported_as_it_is() {
    let (template, listed, commands) = import(&["--key", KEY, "--prefix", "other"]);
    let mut whole = read("storage.yaml");
    whole.as_object_mut().unwrap().remove("Outputs");
    assert_eq!(template, whole);
    let resources = whole["Resources"].as_object().unwrap();
    let known = |resource: &Value| {
        let properties = &resource["Properties"];
        let named = |name: &str| {
            let text = properties[name]["Fn::Sub"].as_str().or(properties[name].as_str()).unwrap();
            json!({name: text.replace("${Prefix}", "other")})
        };
        match resource["Type"].as_str().unwrap() {
            "AWS::KMS::Key" => json!({"KeyId": KEY}),
            "AWS::KMS::Alias" => named("AliasName"),
            "AWS::DynamoDB::Table" => named("TableName"),
            "AWS::Logs::LogGroup" => named("LogGroupName"),
            kind => panic!("how does CloudFormation know a {kind} again?"),
        }
    };
    for (name, resource) in resources {
        let expected = json!({
            "ResourceType": resource["Type"],
            "LogicalResourceId": name,
            "ResourceIdentifier": known(resource),
        });
        assert!(listed.as_array().unwrap().contains(&expected), "{expected}");
        assert_eq!(resource["DeletionPolicy"], "Retain", "{name}: CloudFormation imports nothing without");
    }
    assert_eq!(listed.as_array().unwrap().len(), resources.len());
    assert!(commands.contains("--stack-name other-storage") && commands.contains("ParameterValue=other"));
}

#[test]
fn what_is_gone_can_be_left_out() {
    let gone = ["Challenges", "Sessions"];
    let (template, listed, _) = import(&["--key", KEY, "--without", gone[0], gone[1]]);
    let mut whole = read("storage.yaml");
    whole.as_object_mut().unwrap().remove("Outputs");
    for name in gone {
        whole["Resources"].as_object_mut().unwrap().remove(name).unwrap();
    }
    assert_eq!(template, whole);
    assert_eq!(listed.as_array().unwrap().len(), whole["Resources"].as_object().unwrap().len());
}
