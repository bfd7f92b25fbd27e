//! `keybroker report`: the page, as a person sees it in a browser, beside what `keybroker audit` says about
//! the same store.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

mod browser;
mod month;
mod picture;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use jiff::SignedDuration;
use keybroker_common::{
    audit::{AuditRecord, Decision, FailedCheck, Operation},
    ids::WorkloadId,
};
use keybroker_simulator::pki::SHARED_KEYS;
use keybroker_tests::{
    operator::{Contents, Operator, record, workload},
    program,
};
use serde_json::Value;
use tempfile::TempDir;

use self::browser::Seen;

/// A report of this store, in the file `name` of `directory`.
fn report(operator: &Operator, directory: &TempDir, name: &str, arguments: &[&str]) -> String {
    let path = directory.path().join(name).to_str().unwrap().to_owned();
    let made = operator.run(&[&["report", "--html", &path], arguments].concat());
    assert_eq!(made.code, Some(0), "{made:?}");
    assert_eq!(made.out, "", "the page is in its file");
    path
}

/// All that a page must be, whatever the store holds.
fn assert_sound(page: &Seen) {
    let none: [&str; 0] = [];
    for (what, found) in [
        ("requests", &page.requests),
        ("complaints of the console", &page.complaints),
        ("links to nothing", &page.broken),
        ("elements wider than the window", &page.wide),
        ("dim text", &page.dim),
        ("elements that a report has no use for", &page.elements),
        ("findings of the validator", &page.invalid),
    ] {
        assert_eq!(found, &none, "{what}");
    }
    for panel in &page.bars {
        assert!(panel.inside, "{:?}", page.bars);
    }
    let anchors: BTreeSet<_> = page.rows.iter().map(|row| &row.anchor).collect();
    assert_eq!(anchors.len(), page.rows.len(), "two figures have one anchor");
    // Dark ink on light paper, and the other way about.
    let [light, dark] = [&page.colours.light, &page.colours.dark]
        .map(|[paper, ink]| [paper, ink].map(|colour| lightness(colour)));
    assert!(light[0] > 700 && light[1] < 150, "{:?}", page.colours);
    assert!(dark[0] < 100 && dark[1] > 650, "{:?}", page.colours);
    assert!(page.paper.pages > 0 && page.paper.links > 0 && page.paper.bytes > 10_000, "{:?}", page.paper);
    assert_eq!(page.paper.hidden, 0, "what is closed on the screen is open on paper");
    assert_ne!(page.followed, Some(false), "a bar leads to its numbers");
}

/// The sum of red, green and blue.
fn lightness(colour: &str) -> u32 {
    let numbers = colour.trim_start_matches("rgb(").trim_end_matches(')').split(", ");
    numbers.map(|number| number.parse::<u32>().unwrap()).sum()
}

/// Runs a command as the page prints it, in a shell, with `--json`, and returns how many rows it lists.
fn listed(command: &str) -> usize {
    let program = program::path().parent().unwrap().display();
    let script = format!("PATH={program}:$PATH; {command} --json");
    let mut shell = Command::new("/bin/sh");
    // The program refuses a variable that it does not know.
    shell.args(["-c", &script]).env_remove(SHARED_KEYS);
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    ["records", "workloads"].iter().find_map(|list| document.get(list)).unwrap().as_array().unwrap().len()
}

fn number(text: &str) -> u64 {
    text.replace(',', "").parse().unwrap_or_else(|_| panic!("{text:?}"))
}

/// How many records have each value of this member.
fn counted(records: &[Value], member: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for value in records.iter().filter_map(|record| record.pointer(member)?.as_str()) {
        *counts.entry(value.replace('_', "-")).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn a_page_says_what_the_records_say() {
    let month = month::stored().await;
    let directory = TempDir::new().unwrap();
    let anchors = month.anchors();
    let made = report(&month.operator, &directory, "month.html", &["--trust-anchor", &anchors]);
    let hostile = hostile().await;
    let hostile_page = report(&hostile, &directory, "hostile.html", &[]);
    let empty = Operator::file(&Contents::default()).await;
    let empty_page = report(&empty, &directory, "empty.html", &["--since", "24h"]);
    let Some(pages) = browser::look(&[&made, &hostile_page, &empty_page]) else { return };
    pages.iter().for_each(assert_sound);
    let [month_seen, hostile_seen, empty_seen] = pages.try_into().unwrap();
    assert_month(&month_seen, &month.operator);
    assert_hostile(&hostile_seen);
    assert_empty(&empty_seen);
}

/// The figures are those of `keybroker audit` and `keybroker workload list`, and each leads to its records.
fn assert_month(page: &Seen, operator: &Operator) {
    let document = operator.json(&["audit", "--since", "30d"]);
    let records = document["records"].as_array().unwrap();
    let decisions = counted(records, "/decision");
    let count = |decision: &str| decisions.get(decision).copied().unwrap_or_default();
    let tiles: BTreeMap<_, _> =
        page.tiles.iter().map(|[count, name]| (name.as_str(), number(count))).collect();
    let stopped = ["attested", "released", "refused", "withheld", "unavailable"];
    let changes: u64 =
        decisions.iter().filter(|(name, _)| !stopped.contains(&name.as_str())).map(|(_, n)| n).sum();
    let expected = [
        ("attested", count("attested")),
        ("released", count("released")),
        ("refused", count("refused")),
        ("changes", changes),
    ];
    assert_eq!([count("withheld"), count("unavailable")], [0, 0], "they have figures of their own");
    assert_eq!(tiles, BTreeMap::from(expected));
    let headline = format!(
        "{} releases to attested guests. {} requests were refused",
        count("released"),
        count("refused")
    );
    assert!(page.text.contains(&headline), "{headline}: {}", page.text);

    let known: BTreeMap<_, _> =
        records.iter().map(|record| (record["id"].as_str().unwrap(), record)).collect();
    let (mut seen, mut lengths) = (BTreeMap::new(), BTreeMap::new());
    for row in &page.rows {
        let figure = number(&row.count);
        if row.anchor.starts_with("decision-") {
            seen.insert(row.anchor.trim_start_matches("decision-").to_owned(), figure);
        }
        if let Some(id) = row.ids.iter().find(|id| !known.contains_key(id.as_str())) {
            panic!("{}: there is no record {id}", row.anchor);
        }
        let command = row.commands.iter().rfind(|command| !command.contains("delete")).unwrap();
        let rows = *lengths.entry(command).or_insert_with(|| listed(command) as u64);
        let kind = row.anchor.split('-').next().unwrap();
        let all = ["--decision", "--check", "--principal", "--owner", "--revoked", "--never-released"];
        if all.iter().any(|filter| command.contains(filter)) {
            assert_eq!(rows, figure, "{}: {command}", row.anchor);
        } else {
            assert!(rows >= figure, "{}: {command}", row.anchor);
        }
        // A bounded number is shown of each, and all where they are few.
        if ["decision", "refusal", "level", "principal"].contains(&kind) {
            assert_eq!(row.ids.len() as u64, figure.min(10), "{}", row.anchor);
        }
    }
    assert_eq!(seen, decisions);
    assert_refusals(page, records);

    // The numbers behind the chart add up to the same.
    let refused: u64 = page.steps.iter().map(|step| in_words(step, " refused or withheld")).sum();
    assert_eq!(refused, count("refused") + count("withheld"));
    let attested: u64 = page.steps.iter().map(|step| in_words(step, " attested")).sum();
    assert_eq!(attested, count("attested"));
    assert_eq!(page.bars.len(), 2);
    let with = |word: &str| page.steps.iter().filter(|step| in_words(step, word) > 0).count();
    assert!(page.bars[1].links >= with(" refused or withheld") && page.bars[0].links >= with(" attested"));

    let workloads = operator.json(&["workload", "list"])["workloads"].as_array().unwrap().clone();
    let waiting = workloads.iter().filter(|workload| workload["released_at"].is_null()).count();
    for words in [
        format!("No guest ever attested as {waiting} of {} registrations", workloads.len()),
        "Every revocation list counts; the oldest is 1d ".to_owned(),
        "Nothing proves that this hardware is genuine".to_owned(),
        format!("Nobody owns 4 of {} registrations", workloads.len()),
    ] {
        assert!(page.text.contains(&words), "{words}: {}", page.text);
    }
}

/// Each check is there with its number, what it means and what helps.
fn assert_refusals(page: &Seen, records: &[Value]) {
    let mut checks = BTreeMap::<_, u64>::new();
    for row in page.rows.iter().filter(|row| row.anchor.starts_with("refusal-")) {
        let name = row.label.lines().next().unwrap().split_whitespace().next().unwrap().to_owned();
        *checks.entry(name).or_default() += number(&row.count);
    }
    assert_eq!(checks, counted(records, "/failed/check"));
    assert!(checks.len() >= 4, "{checks:?}");
    for words in
        ["The host can read the guest's memory, so nothing is released.", "Helps: Launch the guest with"]
    {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
}

/// The number before `word`, in the words about a step.
fn in_words(step: &str, word: &str) -> u64 {
    let before = step.split(word).next().filter(|before| before.len() < step.len());
    before.and_then(|before| before.rsplit(' ').next()).map_or(0, number)
}

const HOSTILE: &str =
    "</style><script>document.title='owned'</script><img src=x onerror=alert(1)>\"'`\u{202e}";
const HOSTILE_ID: &str = "javascript:alert('x')&lt;b&gt;";

/// A store in which every text that a stranger can choose is markup, or far too long.
async fn hostile() -> Operator {
    let id = WorkloadId::new(HOSTILE_ID).unwrap();
    let long = WorkloadId::new("w".repeat(256)).unwrap();
    let hours = SignedDuration::from_hours;
    let failed = |check: &str| Some(FailedCheck { check: check.to_owned(), cause: HOSTILE.repeat(20) });
    let records = vec![
        AuditRecord { failed: failed("measurement"), ..record(&id, Decision::Refused, hours(1)) },
        AuditRecord { failed: failed(HOSTILE), ..record(&long, Decision::Refused, hours(2)) },
        AuditRecord { failed: failed("-v"), ..record(&id, Decision::Unavailable, hours(2)) },
        AuditRecord { secret: Some(HOSTILE.to_owned()), ..record(&id, Decision::Released, hours(3)) },
        AuditRecord {
            operation: Operation::Operate,
            principal: Some(HOSTILE.to_owned()),
            secret: Some(HOSTILE.to_owned()),
            ..record(&id, Decision::ResourceSet, hours(4))
        },
    ];
    let workloads = vec![
        workload(HOSTILE_ID, Some(HOSTILE), hours(5)),
        workload(long.as_str(), Some(&"o".repeat(900)), hours(6)),
    ];
    Operator::file(&Contents { workloads, records, ..Contents::default() }).await
}

fn assert_hostile(page: &Seen) {
    assert!(page.title.starts_with("keybroker, "), "{}", page.title);
    // All that strangers wrote is text, with the character spelt out that turns the direction of others.
    let shown = HOSTILE.replace('\u{202e}', "\\u{202e}");
    for text in [&shown, HOSTILE_ID, &"w".repeat(256), &"o".repeat(900)] {
        assert!(page.opened.contains(text), "{text}: {}", page.opened);
    }
    assert!(!page.opened.contains('\u{202e}'));
    for row in page.rows.iter().filter(|row| row.anchor.starts_with("refusal-")) {
        // A filter that a reader could not see is left out.
        let command = row.commands.last().unwrap();
        let (listed, shown) = (listed(command) as u64, number(&row.count));
        assert!(listed == shown || listed > shown && !command.contains("--check"), "{command}");
    }
    assert!(page.rows.iter().any(|row| row.commands.iter().any(|command| command.contains(" --check=-v "))));
}

fn assert_empty(page: &Seen) {
    for words in [
        "Nothing was decided in this time.",
        "No guest asked, nobody registered a workload, and no operator changed anything.",
        "No request was refused",
        "Nothing is registered",
        "No guest attested",
        "Nothing waits for its first guest",
        "The store has no revocation list",
        "Nobody owns a registration",
        "Every row of the store could be read",
    ] {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
}

#[tokio::test]
async fn a_page_of_each_kind_of_store_is_the_same() {
    let hours = SignedDuration::from_hours;
    let w = WorkloadId::new("w").unwrap();
    let failed =
        Some(FailedCheck { check: "measurement".to_owned(), cause: "the measurement is 00".to_owned() });
    let contents = Contents {
        workloads: vec![workload("w", Some("uid/7"), hours(30))],
        records: vec![
            AuditRecord { failed, ..record(&w, Decision::Refused, hours(2)) },
            record(&w, Decision::Attested, hours(1)),
        ],
        ..Contents::default()
    };
    for operator in Operator::everywhere(&contents).await {
        let page = operator.out(&["report", "--since", "48h", "--html", "-"]);
        for part in [
            "One request was refused, by measurement",
            "The measurement is 00.",
            "<b>w</b>",
            &contents.records[0].id.to_string(),
            "uid/7",
        ] {
            assert!(page.contains(part), "{}: {part}: {page}", operator.kind);
        }
    }
}

#[tokio::test]
async fn a_report_takes_the_place_of_a_report_and_of_no_other_file() {
    let operator = Operator::file(&Contents::default()).await;
    let directory = TempDir::new().unwrap();
    let path = report(&operator, &directory, "report.html", &[]);
    report(&operator, &directory, "report.html", &["--since", "24h"]);
    assert!(fs::read_to_string(&path).unwrap().ends_with("</html>"));
    let notes = directory.path().join("notes.html");
    fs::write(&notes, "notes").unwrap();
    let refused = operator.run(&["report", "--html", notes.to_str().unwrap()]);
    assert_eq!(refused.code, Some(5), "{refused:?}");
    assert!(refused.log.contains("another file has this name, and it is no report"), "{refused:?}");
    assert_eq!(fs::read_to_string(&notes).unwrap(), "notes");
    let backwards = operator.run(&["report", "--since", "1h", "--until", "2h", "--html", "-"]);
    assert_eq!((backwards.code, backwards.out.as_str()), (Some(2), ""), "{backwards:?}");
    assert!(Path::new(&path).is_file());
}
