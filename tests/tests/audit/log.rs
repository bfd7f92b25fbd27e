//! The length of the audit log: export, pruning, compaction, and listings that do not hold it.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    audit::{AuditRecord, Decision, Operation},
    clock::SystemClock,
    ids::WorkloadId,
    store::{AuditStore as _, DecisionStore as _},
};
use keybroker_embedded::store::EmbeddedStore;
use keybroker_tests::{
    operator::{Contents, Operator, record},
    program::workspace,
    unique,
    world::World,
};
use serde_json::Value;
use tokio::task::JoinSet;

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

/// Records of guests and of operators, of 500, 300 and 10 days ago.
fn six() -> Contents {
    let w = WorkloadId::new("w").unwrap();
    let both = |ago| {
        let guests = record(&w, Decision::Released, days(ago));
        let operators = record(&w, Decision::Revoked, days(ago));
        [guests, AuditRecord { operation: Operation::Operate, ..operators }]
    };
    Contents { records: [500, 300, 10].map(both).concat(), ..Contents::default() }
}

fn exported(operator: &Operator, arguments: &[&str]) -> Vec<Value> {
    let lines = operator.out(&[&["audit", "export"], arguments].concat());
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids<'a>(records: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    records.into_iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn export_prints_each_record_on_a_line() {
    let contents = six();
    for operator in Operator::everywhere(&contents).await {
        let kind = operator.kind;
        let all = exported(&operator, &[]);
        let expected: Vec<_> =
            contents.records.iter().map(|record| serde_json::to_value(record).unwrap()).collect();
        assert_eq!((all.len(), ids(&all)), (6, ids(&expected)), "{kind}");
        assert!(expected.iter().all(|record| all.contains(record)), "{kind}: {all:?}");
        for (arguments, expected) in
            [(["--until", "400d"], 2), (["--since", "400d"], 4), (["--since", "1d"], 0)]
        {
            assert_eq!(exported(&operator, &arguments).len(), expected, "{kind} {arguments:?}");
        }
        let ended = operator.run(&["audit", "export", "--since", "1h", "--until", "2h"]);
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{kind}: {ended:?}");
    }
}

#[tokio::test]
async fn prune_asks_deletes_and_leaves_a_record() {
    for operator in [Operator::file(&six()).await, Operator::served(&six()).await] {
        let kind = operator.kind;
        let prune = ["audit", "prune", "--older-than", "400d"];
        let refused = operator.run(&prune);
        assert!(refused.code == Some(2) && refused.log.contains("--yes"), "{kind}: {refused:?}");
        let dry = operator.run(&[&prune[..], &["--dry-run"]].concat());
        assert!(dry.code == Some(0) && dry.log.starts_with("2 audit records "), "{kind}: {dry:?}");
        assert_eq!(exported(&operator, &[]).len(), 6, "{kind}: nothing was deleted yet");

        let mut terminal = operator.at_terminal(&prune);
        terminal.wait_for("Delete 2 audit records from before ");
        let (code, screen) = terminal.typed("n\n");
        assert_eq!((code, exported(&operator, &[]).len()), (Some(1), 6), "{kind}: {screen}");

        let ended = operator.run(&[&prune[..], &["--yes"]].concat());
        assert!(ended.code == Some(0) && ended.log.starts_with("deleted 2; "), "{kind}: {ended:?}");
        let left = exported(&operator, &[]);
        assert_eq!(left.len(), 5, "{kind}: four, and the record of the act: {left:?}");
        let act = left.iter().find(|record| record["decision"] == "pruned").unwrap();
        assert_eq!(act["act"]["pruned"]["records"], 2, "{kind}: {act}");
        assert!(act["principal"].as_str().unwrap().starts_with("uid/"), "{kind}: {act}");
        let words = operator.out(&["audit", act["id"].as_str().unwrap()]);
        assert!(
            words.contains("2 audit records from before ") && words.contains("were deleted by uid/"),
            "{words}"
        );

        let before = (Timestamp::now() - days(200)).to_string();
        operator.out(&["audit", "prune", "--before", &before, "--yes"]);
        assert_eq!(exported(&operator, &["--until", "1d"]).len(), 2, "{kind}");
        let none = operator.run(&["audit", "prune", "--before", &before, "--yes"]);
        assert!(none.code == Some(0) && none.log.starts_with("0 audit records "), "{kind}: {none:?}");
        let ahead = (Timestamp::now() + days(1)).to_string();
        for wrong in [
            &["audit", "prune"][..],
            &["audit", "prune", "--older-than", "1d", "--before", &before],
            &["audit", "prune", "--before", &ahead, "--yes"],
            &["audit", "--workload", "w", "prune", "--older-than", "1d"],
        ] {
            assert_eq!(operator.run(wrong).code, Some(2), "{kind} {wrong:?}");
        }
    }
}

/// By the commands of the manual, while records become old enough from moment to moment.
#[tokio::test]
async fn the_manual_prunes_nothing_that_it_did_not_export() {
    let manual = fs::read_to_string(workspace().join("docs/operations.md")).unwrap();
    let block = manual.split("```").find(|block| block.contains("$ keybroker audit prune")).unwrap();
    let commands: String =
        block.lines().skip(1).map(|line| line.trim_start_matches("$ ").to_owned() + "\n").collect();
    let w = WorkloadId::new("w").unwrap();
    let near = |number| days(400) - SignedDuration::from_millis(250) * number;
    let records = (-2..240).map(|number| record(&w, Decision::Released, near(number))).collect();
    let operator = Operator::file(&Contents { records, ..Contents::default() }).await;
    let program = operator.command(&[]);
    let arguments: Vec<_> = program.get_args().map(|argument| argument.to_str().unwrap()).collect();
    let (path, arguments) = (program.get_program().to_str().unwrap(), arguments.join(" "));
    let script = format!("keybroker() {{ sleep 1; {path} \"$@\" {arguments}; }}\n{commands}");
    let directory = tempfile::tempdir().unwrap();
    let all = exported(&operator, &[]);
    let run = || {
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).current_dir(&directory);
        shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        shell.stdin(Stdio::null()).output().unwrap()
    };
    // An export that fails is followed by nothing.
    let file = directory.path().join("old.jsonl");
    fs::create_dir(&file).unwrap();
    run();
    assert_eq!(exported(&operator, &[]), all);
    fs::remove_dir(&file).unwrap();

    let ended = run();
    let (old, left) = (fs::read_to_string(&file).unwrap(), exported(&operator, &[]));
    let old: Vec<Value> = old.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(left.iter().any(|record| record["decision"] == "pruned"), "{ended:?}");
    let left = left.iter().filter(|record| record["decision"] != "pruned");
    let kept: BTreeSet<_> = ids(left).union(&ids(&old)).cloned().collect();
    assert_eq!(kept.len(), all.len(), "{ended:?}");
}

/// Evidence that was decided about is decided about, whatever an operator deletes.
#[tokio::test]
async fn no_prune_makes_a_spent_challenge_count() {
    let world = World::serve(&[]);
    let id = unique("w");
    world.register(&id).await;
    let mut guest = world.polite(&id, world.milan());
    guest.boot().await.unwrap();
    let operator = Operator::of(&world);
    let ended = operator.run(&["audit", "prune", "--older-than", "0s", "--yes"]);
    assert!(ended.code == Some(0) && ended.log.contains("kept 1: "), "{ended:?}");
    let left = exported(&operator, &[]);
    let decisions: Vec<_> = left.iter().map(|record| record["decision"].as_str().unwrap()).collect();
    assert_eq!(decisions, ["attested", "pruned"]);
    world.assert_refused(guest.attest().await, (401, "session"));
    guest.key().await.unwrap();
}

#[tokio::test]
async fn compact_makes_a_stopped_store_smaller() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), 4_000, days(500)).await;
    let operator = Operator::of_directory(directory.path(), "file");
    operator.out(&["audit", "prune", "--older-than", "400d", "--yes"]);
    let len = || fs::metadata(directory.path().join("keybroker.redb")).unwrap().len();
    let before = len();
    let ended = operator.run(&["audit", "compact"]);
    assert!(ended.code == Some(0) && ended.log.contains("KiB were given back"), "{ended:?}");
    assert!(len() < before / 2, "{} of {before}", len());
    assert_eq!(exported(&operator, &[]).len(), 1);

    let served = Operator::served(&Contents::default()).await;
    let ended = served.run(&["audit", "compact"]);
    assert!(ended.code == Some(6) && ended.log.contains("hint: end the "), "{ended:?}");

    let nowhere = tempfile::tempdir().unwrap();
    let ended = Operator::of_directory(nowhere.path(), "none").run(&["audit", "compact"]);
    assert!(
        ended.code == Some(5) && ended.log.contains("hint: give the broker's own --data-dir"),
        "{ended:?}"
    );
}

#[test]
fn on_aws_records_end_by_themselves() {
    for act in [&["audit", "prune", "--older-than", "400d"][..], &["audit", "compact"]] {
        let ended = keybroker_tests::program::run(&[act, &["--aws"]].concat());
        assert!(ended.code == Some(2) && ended.log.contains("AuditRetentionDays"), "{ended:?}");
    }
}

/// A record that release 0.1 wrote stands among those of registrations and operators.
#[tokio::test]
async fn records_of_guests_from_0_1_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let old = record(&WorkloadId::new("w").unwrap(), Decision::Attested, days(1));
    let store = EmbeddedStore::open(directory.path(), Arc::new(SystemClock)).unwrap();
    store.append(&old).await.unwrap();
    drop(store);
    let operator = Operator::of_directory(directory.path(), "file");
    let listed = operator.json(&["audit", "--workload", "w"]);
    assert_eq!(ids(listed["records"].as_array().unwrap()), [old.id.to_string()].into());
    assert!(operator.out(&["audit", &old.id.to_string()]).contains("A guest attested as w"));
}

/// A store with so many records of a guest, made `ago` before now.
async fn fill(data_dir: &Path, number: usize, ago: SignedDuration) {
    let store = Arc::new(EmbeddedStore::open(data_dir, Arc::new(SystemClock)).unwrap());
    let w = WorkloadId::new("w").unwrap();
    let mut writes = JoinSet::new();
    for _ in 0..number {
        let (store, principal) = (Arc::clone(&store), Some("p".repeat(2000)));
        let record = AuditRecord { principal, ..record(&w, Decision::Released, ago) };
        writes.spawn(async move { store.record(&record).await.unwrap() });
    }
    while let Some(written) = writes.join_next().await {
        written.unwrap();
    }
}

/// Runs a program, and prints how many KiB it had in memory at most.
const PEAK: &str = "import resource, subprocess, sys; \
    subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); \
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";

/// The number of records in a long log: a person can ask for more than a test has time for.
pub(crate) fn most_records() -> usize {
    std::env::var("KEYBROKER_TEST_RECORDS").map_or(20_000, |number| number.parse().unwrap())
}

pub(crate) fn peak_kib(program: &Command) -> i64 {
    let mut python = Command::new("python3");
    python.args(["-c", PEAK]).arg(program.get_program()).args(program.get_args()).stdin(Stdio::null());
    // The program's environment, and no other.
    python.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    python.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = python.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Records of more than two kilobytes each: a command that held 20,000 of them would need over 40 MiB.
#[tokio::test]
async fn a_listing_does_not_hold_all_records() {
    let world = World::serve(&[]);
    let (server, home, kds) = world.into_parts();
    server.terminate();
    fill(&home.data_dir(), most_records(), days(1)).await;
    let world = World::over(home, kds, &[]);
    let operator = Operator::of(&world);
    let least = peak_kib(&operator.command(&["audit", "--since", "1h"]));
    for arguments in [
        &["audit", "--since", "2d"][..],
        &["audit", "--since", "2d", "--json"],
        &["audit", "--limit", "10"],
        &["audit", "export"],
    ] {
        let began = Instant::now();
        let most = peak_kib(&operator.command(arguments));
        println!("{arguments:?}: {most} KiB of {least}, {:?}", began.elapsed());
        assert!(most - least < 30 << 10, "{arguments:?}: {most} KiB, and {least} KiB for no record");
    }
    let lines = operator.out(&["audit", "export"]).lines().count();
    assert_eq!(lines, most_records());
}
