//! Runs commands of the manual that are more than one call of AWS. A program `aws` notes the calls.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use keybroker_tests::program::{Ended, workspace};
use serde_json::Value;
use tempfile::TempDir;

use crate::yaml::read;

/// The commands of the block of code that has `words`, without prompts.
fn block(page: &str, words: &str) -> String {
    let page = fs::read_to_string(workspace().join("docs").join(page)).unwrap();
    let blocks: Vec<_> = page.split("```").skip(1).step_by(2).filter(|block| block.contains(words)).collect();
    let [block] = blocks.as_slice() else { panic!("{words}: {blocks:?}") };
    let lines = block.strip_prefix("console\n").unwrap().lines();
    lines
        .map(|line| line.trim_start().strip_prefix("$ ").unwrap_or(line))
        .fold(String::new(), |all, line| all + line + "\n")
}

/// Runs them in a directory. `aws` answers with what `answers` does with its arguments in a shell, and `sam`
/// with nothing.
fn run(commands: &str, directory: &Path, answers: &str) -> Ended {
    let programs = directory.join("bin");
    fs::create_dir_all(&programs).unwrap();
    for (name, answers) in [("aws", answers), ("sam", "")] {
        let program = programs.join(name);
        fs::write(&program, format!("#!/bin/sh\necho \"$*\" >>\"$CALLS\"\n{answers}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-c", commands]).current_dir(directory);
    bash.env("PATH", path).env("CALLS", directory.join("calls")).output().unwrap().into()
}

/// Runs the block of a page that has `words`, each command of which must succeed, and gives the calls.
fn calls(page: &str, words: &str, answers: &str) -> Vec<String> {
    let directory = TempDir::new().unwrap();
    let ended = run(&format!("set -e\n{}", block(page, words)), directory.path(), answers);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let calls = fs::read_to_string(directory.path().join("calls")).unwrap();
    calls.lines().map(str::to_owned).collect()
}

/// Where the one call is that begins so.
fn at(calls: &[String], begin: &str) -> usize {
    let places: Vec<_> = (0..calls.len()).filter(|at| calls[*at].starts_with(begin)).collect();
    let [place] = places.as_slice() else { panic!("{begin}: {calls:#?}") };
    *place
}

/// The roles' watch has a topic in its own region, which knows nothing of the broker's.
#[test]
fn somebody_hears_of_the_roles_in_another_region() {
    let answers = "case \"$*\" in
        *describe-stacks*us-east-1*) echo arn:aws:sns:us-east-1:123456789012:keybroker-watch;;
        *describe-stacks*) echo arn:aws:sns:eu-central-1:123456789012:keybroker-watch;;
    esac";
    let calls = calls("watching.md", "Scope=iam", answers);
    let topic = "--region us-east-1 --topic-arn arn:aws:sns:us-east-1:123456789012:keybroker-watch";
    assert_eq!(at(&calls, &format!("sns subscribe {topic}")), calls.len() - 1);
}

/// An alias that stays keeps a new deployment from making its own, as long as its key waits to be deleted.
/// Without the alias nobody finds the key.
#[test]
fn a_removed_deployment_leaves_no_alias() {
    let answers = "case $2 in
        describe-key) [ ! -e gone ] && echo the-key;;
        delete-alias) touch gone;;
    esac";
    let calls = calls("aws.md", "put-log-group-deletion-protection", answers);
    let deleted = at(&calls, "kms delete-alias --alias-name alias/keybroker");
    let scheduled = at(&calls, "kms schedule-key-deletion --pending-window-in-days 30 --key-id the-key");
    assert!(scheduled < deleted, "{calls:#?}");
    // The watch of the roles is in a region of its own.
    let roles = at(&calls, "cloudformation delete-stack --region us-east-1 --stack-name keybroker-watch");
    assert!(roles < at(&calls, "cloudformation delete-stack --stack-name keybroker-storage"), "{calls:#?}");
}

/// By its name a stack that is deleted shows no events, and they alone know its key.
#[test]
fn after_a_first_deployment_that_failed_the_key_is_known_before_the_stack_is_deleted() {
    let answers = "case $2 in
        describe-stack-events) [ ! -e gone ];;
        delete-stack) touch gone;;
    esac";
    let calls = calls("aws.md", "CREATE_FAILED", answers);
    let asked = calls.iter().filter(|call| call.contains("describe-stack-events")).count();
    assert_eq!((asked, calls.len()), (2, 4), "{calls:#?}");
    assert!(calls[1].contains("LogicalResourceId=='Key'"), "{calls:#?}");
    assert!(calls[3].starts_with("cloudformation wait stack-delete-complete"), "{calls:#?}");
}

/// One wait of the command line gives up after eight minutes.
#[test]
fn a_restored_table_is_waited_for_as_long_as_it_takes() {
    let answers = "[ $2 != wait ] || [ $(grep -c wait \"$CALLS\") = 4 ] || exit 255";
    let calls = calls("runbook/table-restored.md", "restore-table-from-backup", answers);
    let waits = calls.iter().filter(|call| call.starts_with("dynamodb wait table-exists")).count();
    assert_eq!(waits, 4, "{calls:#?}");
}

/// Credentials may expire meanwhile.
#[test]
fn the_wait_for_a_restored_table_ends_with_the_table_or_the_credentials() {
    let answers = "case $2 in wait | describe-table) exit 255;; esac";
    let calls = calls("runbook/table-restored.md", "restore-table-from-backup", answers);
    assert!(calls.last().unwrap().starts_with("dynamodb describe-table"), "{calls:#?}");
}

/// CloudFormation does not compare properties that the template leaves out.
#[test]
fn every_function_and_role_is_looked_at_when_a_deployment_is_put_back() {
    let calls = calls("watching.md", "get-function-code-signing-config", "");
    for function in ["register", "auth", "attest"] {
        for call in
            ["get-function-configuration", "get-function-code-signing-config", "get-function-concurrency"]
        {
            at(&calls, &format!("lambda {call} --function-name keybroker-{function}"));
        }
        at(&calls, &format!("iam get-role --role-name keybroker-{function}"));
    }
    for layers in calls.iter().filter(|call| call.contains("get-function-configuration")) {
        assert!(layers.contains("Layers"), "{layers}");
    }
}

/// API Gateway keeps the throttle of a route that a template no longer has, and then refuses the stage.
#[test]
fn a_step_back_deletes_the_throttles_of_the_routes_that_the_earlier_release_lacks() {
    let template = fs::read_to_string(workspace().join("infra/template.yaml")).unwrap();
    let settings = read("template.yaml")["Resources"]["Api"]["Properties"]["RouteSettings"].clone();
    let routes: Vec<_> = settings.as_object().unwrap().keys().cloned().collect();
    let newer = |route: &str| route.contains(" /v1/") || route.contains(" /w/") || route.ends_with("/jwks");
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("infra")).unwrap();
    let throttle = |line: &str| line.contains("{ThrottlingRateLimit:");
    let kept = template.lines().filter(|line| !(throttle(line) && newer(line.split(": {").next().unwrap())));
    let earlier = kept.fold(String::new(), |all, line| all + line + "\n");
    fs::write(directory.path().join("infra/template.yaml"), earlier).unwrap();
    let answers =
        format!("case $2 in get-apis) echo api1;; get-stage) printf '%s\\n' '{}';; esac", routes.join("\t"));
    let ended = run(&block("upgrading.md", "delete-route-settings"), directory.path(), &answers);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let calls = fs::read_to_string(directory.path().join("calls")).unwrap();
    let deleted: Vec<_> = calls.lines().filter(|call| call.contains("delete-route-settings")).collect();
    let expected: Vec<_> = routes
        .iter()
        .filter(|route| newer(route))
        .map(|route| {
            format!(
                "apigatewayv2 delete-route-settings --api-id api1 --stage-name $default --route-key {route}"
            )
        })
        .collect();
    assert!(expected.len() >= 6 && expected.len() < routes.len(), "{expected:?}");
    assert_eq!(deleted, expected);
}

/// Without the statement that keeps even the role that deploys from restoring the table of decisions.
#[test]
fn the_organisations_policy_without_the_statement_that_denies_a_restore() {
    let directory = TempDir::new().unwrap();
    let whole = fs::read_to_string(workspace().join("infra/organisation.json")).unwrap();
    fs::write(directory.path().join("organisation.json"), &whole).unwrap();
    let ended = run(&block("aws.md", "without.json"), directory.path(), "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let without = fs::read_to_string(directory.path().join("without.json")).unwrap();
    let sids = |policy: &str| {
        let policy: Value = serde_json::from_str(policy).unwrap();
        let statements = policy["Statement"].as_array().unwrap().iter();
        statements.map(|one| one["Sid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut expected = sids(&whole);
    let before = expected.len();
    expected.retain(|sid| sid != "NobodyButAttestWritesDecisions");
    assert_eq!(expected.len(), before - 1);
    assert_eq!(sids(&without), expected);
    // The page that says to do so names the statement.
    let page = fs::read_to_string(workspace().join("docs/runbook/table-restored.md")).unwrap();
    assert!(page.contains("`NobodyButAttestWritesDecisions`"));
    let calls = fs::read_to_string(directory.path().join("calls")).unwrap();
    let given: Vec<_> = calls.lines().map(|call| call.rsplit("file://").next().unwrap()).collect();
    assert_eq!(given, ["without.json", "organisation.json"], "it is put back");
}
