//! docs/aws.md tells operators which policy allows which command, as infra/operator-permissions.txt does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use keybroker_tests::{permissions::operator_permissions, program::workspace};

fn manual() -> String {
    fs::read_to_string(workspace().join("docs/aws.md")).unwrap()
}

/// The words between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_manual_lists_each_policy_with_its_commands() {
    let manual = manual();
    let mut told = BTreeMap::new();
    for row in manual.lines().filter(|line| line.contains("](../infra/operators/")) {
        let Some((policy, commands)) = row.trim_matches('|').split_once(" | ") else { continue };
        let name = quoted(policy).next().unwrap();
        assert!(policy.contains(&format!("infra/operators/{name}.json")), "{row}");
        told.insert(name.to_owned(), quoted(commands).map(str::to_owned).collect::<BTreeSet<_>>());
    }
    let mut expected: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for row in operator_permissions().filter(|row| row.policy != "builder") {
        expected.entry(row.policy.to_owned()).or_default().insert(row.command.to_owned());
    }
    assert_eq!(told, expected);
}

/// A policy in a page would be one that nobody evaluates: all are files, which `infra/policies` reads.
#[test]
fn no_page_holds_a_policy() {
    let pages = fs::read_dir(workspace().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for page in pages.filter(|page| page.extension().is_some_and(|kind| kind == "md")) {
        let text = fs::read_to_string(&page).unwrap();
        assert!(!text.contains("\"Statement\""), "{} holds a policy", page.display());
    }
}
