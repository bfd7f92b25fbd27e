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
        .map(|line| line.strip_prefix("$ ").unwrap_or(line))
        .fold(String::new(), |all, line| all + line + "\n")
}

/// Runs them in a directory. `aws` answers with what `answers` does with its arguments in a shell.
fn run(commands: &str, directory: &Path, answers: &str) -> Ended {
    let aws = directory.join("bin/aws");
    fs::create_dir_all(aws.parent().unwrap()).unwrap();
    fs::write(&aws, format!("#!/bin/sh\necho \"$*\" >>\"$CALLS\"\n{answers}\n")).unwrap();
    fs::set_permissions(&aws, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", aws.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-c", commands]).current_dir(directory);
    bash.env("PATH", path).env("CALLS", directory.join("calls")).output().unwrap().into()
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
