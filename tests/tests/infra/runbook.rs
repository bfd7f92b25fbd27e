//! Holds the pages in docs/runbook to the tree: scripts, alarms, rules, parameters, files and headings exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use keybroker_tests::{metrics::METRICS, program::workspace};
use serde_json::Value;

use crate::yaml::{read, resources};

/// Words of AWS's that pages quote and that look like parameters.
const OF_AWS: [&str; 12] = [
    "AccessDeniedException",
    "AccountLimit",
    "AllAtOnce",
    "Complete",
    "DeletionDate",
    "Disabled",
    "DisabledException",
    "Enabled",
    "PendingDeletion",
    "PendingImport",
    "ThrottlingException",
    "UnreservedConcurrentExecutions",
];

fn pages() -> BTreeMap<PathBuf, String> {
    let pages = fs::read_dir(workspace().join("docs/runbook")).unwrap().map(|entry| entry.unwrap().path());
    pages.map(|page| (page.clone(), fs::read_to_string(page).unwrap())).collect()
}

/// The words of a text that are made of letters, digits and the characters of `others`.
fn words<'a>(text: &'a str, others: &str) -> impl Iterator<Item = &'a str> {
    text.split(move |c: char| !c.is_ascii_alphanumeric() && !others.contains(c))
        .filter(|word| !word.is_empty())
}

/// The texts between backticks, and the blocks of code.
fn code(page: &str) -> impl Iterator<Item = &str> {
    let prose = page.split("```").step_by(2).flat_map(|text| text.split('`').skip(1).step_by(2));
    prose.chain(page.split("```").skip(1).step_by(2))
}

fn parameters() -> BTreeSet<String> {
    let names = ["storage.yaml", "template.yaml", "watch.yaml"];
    let of = |name| read(name)["Parameters"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    names.into_iter().flat_map(of).collect()
}

#[test]
fn every_script_is_there() {
    for (path, page) in pages() {
        for script in words(&page, "/-_.").filter(|word| word.starts_with("infra/")) {
            let file = workspace().join(script.trim_end_matches('.'));
            assert!(script == "infra/" || file.is_file(), "{}: {script}", path.display());
        }
    }
}

#[test]
fn every_parameter_metric_and_alarm_is_there() {
    let parameters = parameters();
    let template = read("template.yaml");
    let organisation = fs::read_to_string(workspace().join("infra/organisation.json")).unwrap();
    let names = |template: &Value, kind: &str, property: &str| {
        let name = |(_, one): (_, &Value)| one["Properties"][property]["Fn::Sub"].as_str().map(str::to_owned);
        resources(template, kind).filter_map(name).collect::<Vec<_>>()
    };
    let watch = read("watch.yaml");
    let rings: BTreeSet<_> = names(&template, "AWS::CloudWatch::Alarm", "AlarmName")
        .into_iter()
        .chain(names(&watch, "AWS::Events::Rule", "Name"))
        .map(|name| name.replace("${Prefix}", "keybroker"))
        .collect();
    assert!(rings.len() > 20, "{rings:?}");
    // Roles, tables, functions, buckets and programs are not rung.
    let others = ["attest", "audit", "decisions", "deploy", "endorsements", "guest", "storage"];
    let mut seen = BTreeSet::new();
    for (path, page) in pages() {
        let path = path.display();
        for part in code(&page) {
            for word in words(part, "-").filter(|word| word.starts_with("keybroker-")) {
                let own = others.iter().any(|name| word == format!("keybroker-{name}"));
                // Before a variable, or a word to put in.
                let open = word.ends_with('-') || word == "keybroker-TABLE";
                assert!(own || open || rings.contains(word), "{path}: {word}");
                seen.extend(rings.get(word).cloned());
            }
            let camel = |word: &&str| {
                word.starts_with(|c: char| c.is_ascii_uppercase())
                    && word.contains(|c: char| c.is_ascii_lowercase())
            };
            // A name alone, a name with a value, or a row of these for a deployment.
            let deployed = part.split("--parameter-overrides").nth(1).unwrap_or(part);
            if part.contains('\n') && deployed == part {
                continue;
            }
            for word in deployed.split_whitespace().map(|word| word.split('=').next().unwrap()).filter(camel)
            {
                if !part.contains('"') && word.chars().all(|c| c.is_ascii_alphanumeric()) {
                    let statement = organisation.contains(&format!(r#""Sid": "{word}""#));
                    let known = parameters.contains(word)
                        || METRICS.contains(&word)
                        || OF_AWS.contains(&word)
                        || statement;
                    assert!(known, "{path}: {word}");
                }
            }
        }
    }
    assert!(seen.len() >= 8, "{seen:?}");
}

/// A message of CloudWatch has the alarm's description, and nothing else to go by.
#[test]
fn every_alarm_names_a_page_that_names_it() {
    let template = read("template.yaml");
    for (name, alarm) in resources(&template, "AWS::CloudWatch::Alarm") {
        let text = alarm["Properties"]["AlarmDescription"].as_str().unwrap();
        let page = text.strip_suffix(')').and_then(|text| text.rsplit_once('(')).unwrap().1;
        let page = fs::read_to_string(workspace().join(page)).unwrap();
        let alarm = alarm["Properties"]["AlarmName"]["Fn::Sub"].as_str().unwrap();
        let alarm = format!("`{}`", alarm.replace("${Prefix}", "keybroker"));
        assert!(page.contains(&alarm), "{name}: {text}");
    }
}

/// The anchor of a heading, as a renderer of Markdown makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn links(page: &str) -> impl Iterator<Item = &str> {
    page.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|link| !link.contains("://"))
}

/// From these pages, and to them from the manuals and from README.
#[test]
fn every_link_leads_somewhere() {
    let docs = fs::read_dir(workspace().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    let mut checked = 0;
    for path in docs.chain(pages().into_keys()).chain([workspace().join("README.md")]) {
        let page = fs::read_to_string(&path).unwrap();
        for link in links(&page).filter(|link| path.parent() == Some(&runbook()) || link.contains("runbook/"))
        {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link}", path.display());
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let found = text.lines().filter_map(|line| line.strip_prefix('#'));
                let mut found = found.map(|line| anchor(line.trim_start_matches('#')));
                assert!(found.any(|one| one == heading), "{}: {link}", path.display());
            }
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked}");
}

fn runbook() -> PathBuf {
    workspace().join(Path::new("docs/runbook"))
}

/// Somebody who is woken by it reads it on one screen.
#[test]
fn a_page_is_short() {
    for (path, page) in pages() {
        assert!(page.lines().count() <= 60, "{}", path.display());
    }
}
