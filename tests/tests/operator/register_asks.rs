//! The question that `keybroker register` asks before it writes, and the answers that it takes.

use keybroker_tests::{operator::Operator, unique, world::World};
use serde_json::json;
use tempfile::TempDir;

use crate::register::{Files, as_buildah, measurement};

#[tokio::test]
async fn a_dry_run_or_a_missing_terminal_writes_nothing() {
    let world = World::serve(&[]);
    let operator = Operator::of(&world);
    let (files, id, measurement) = (Files::new(), unique("w"), measurement());
    let file = files.write("passphrase", "open sesame");
    let command = as_buildah(&id, &measurement, &file);
    let ended = operator.run(&[&command[..], &["--dry-run"]].concat());
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{ended:?}");
    assert!(ended.log.contains(&measurement), "{}", ended.log);
    let ended = operator.run(&command);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.log.contains("--yes"), "{}", ended.log);
    assert_eq!(operator.run(&["workload", "show", &id]).code, Some(1));
}

#[tokio::test]
async fn standard_input_serves_one_file_and_no_terminal() {
    let nowhere = TempDir::new().unwrap();
    let operator = Operator::of_directory(nowhere.path(), "none");
    let measurement = measurement();
    let twice = ["--resource", "a=-", "--resource", "b=-"];
    let ended = operator.run(&[&["register", "--measurement", &measurement][..], &twice].concat());
    assert!(ended.code == Some(2) && ended.log.contains("only one of the files"), "{ended:?}");
    let (code, screen) = operator.at_terminal(&as_buildah("w", &measurement, "-")).typed("");
    assert!(code == Some(2) && screen.contains("a terminal shows what you type"), "{screen}");
}

/// At a terminal, the answer "no" registers nothing and "yes" registers.
#[tokio::test]
async fn register_at_a_terminal_waits_for_an_answer() {
    let world = World::serve(&[]);
    let operator = Operator::of(&world);
    let (files, id, measurement) = (Files::new(), unique("w"), measurement());
    let file = files.write("passphrase", "open sesame");
    let command = as_buildah(&id, &measurement, &file);
    for (keys, code) in [("n\n", 1), ("y\n", 0)] {
        assert_eq!(operator.run(&["workload", "show", &id]).code, Some(1));
        let mut terminal = operator.at_terminal(&command);
        terminal.wait_for("[y/N] ");
        let (ended, screen) = terminal.typed(keys);
        assert!(ended == Some(code) && !screen.contains("open sesame"), "{screen}");
    }
    assert_eq!(operator.run(&["workload", "show", &id]).code, Some(0));
}

/// A person agrees to what was shown. Another's passphrase would be deleted with the other's registration.
#[tokio::test]
async fn what_is_registered_while_a_person_reads_is_not_replaced() {
    let world = World::serve(&[]);
    let operator = Operator::of(&world);
    let (files, id, measurement) = (Files::new(), unique("w"), measurement());
    let [file, others] = ["open sesame", "another"].map(|text| files.write(text, text));
    let begun = |question: &str| {
        let mut terminal = operator.at_terminal(&as_buildah(&id, &measurement, &file));
        terminal.wait_for(question);
        terminal
    };
    let register = |file: &str| {
        let registered = operator.run(&[&as_buildah(&id, &measurement, file)[..], &["--yes"]].concat());
        assert_eq!(registered.code, Some(0), "{registered:?}");
        (operator.json(&["workload", "show", &id]), registered)
    };
    for question in ["Register it? [y/N] ", "Replace the registration? [y/N] "] {
        let terminal = begun(question);
        let (written, _) = register(&others);
        let (code, screen) = terminal.typed("y\n");
        assert!(code == Some(1) && screen.contains("changed a moment ago"), "{screen}");
        assert_eq!(operator.json(&["workload", "show", &id]), written);
    }
    let terminal = begun("Replace the registration? [y/N] ");
    assert_eq!(operator.run(&["workload", "delete", &id, "--yes"]).code, Some(0));
    let (code, screen) = terminal.typed("y\n");
    assert!(code == Some(1) && screen.contains("changed a moment ago"), "{screen}");
    assert_eq!(operator.run(&["workload", "show", &id]).code, Some(1));
    assert!(!register(&others).1.out.contains("replaced"));
    let (code, screen) = begun("Replace the registration? [y/N] ").typed("y\n");
    assert!(code == Some(0) && screen.contains("replaced  the registration since 2"), "{screen}");
}

#[test]
fn a_dry_run_with_json_prints_a_document() {
    let nowhere = TempDir::new().unwrap();
    let operator = Operator::of_directory(nowhere.path(), "none");
    let (files, measurement) = (Files::new(), measurement());
    let file = files.write("passphrase", "open sesame");
    let document = operator.json(&[&as_buildah("w", &measurement, &file)[..], &["--dry-run"]].concat());
    assert_eq!(document, json!({"schema": 1, "dry_run": true, "workload_id": "w"}));
    let document = operator.json(&["register", "--measurement", &measurement, "--dry-run"]);
    assert_eq!(document, json!({"schema": 1, "dry_run": true, "workload_id": null}));
}
