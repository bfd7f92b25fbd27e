//! `keybroker token` as a person would use it, on each kind of store.

use std::{fs::File, process::Stdio};

use keybroker_tests::operator::{Contents, Operator};
use serde_json::Value;

async fn everywhere() -> [Operator; 3] {
    Operator::everywhere(&Contents::default()).await
}

#[tokio::test]
async fn a_token_is_printed_once_and_its_url_with_it() {
    for operator in everywhere().await {
        let create = ["token", "create", "--url", "https://k.example.org/prod", "--note", "nightly"];
        let ended = operator.run(&create);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let lines: Vec<_> = ended.out.lines().collect();
        let [token, url] = lines.as_slice() else { panic!("{ended:?}") };
        assert_eq!(token.len(), 14);
        assert_eq!(*url, format!("https://x:{token}@k.example.org/prod"));
        // 99 - 12 - 43: the length that is left for the id when the URL holds the token.
        assert!(ended.log.contains("has room for a workload id of 44 characters"), "{}", ended.log);
        assert!(!ended.log.contains(token), "the token is shown where a log may be");

        let list = operator.out(&["token", "list"]);
        assert!(list.contains("nightly") && list.contains("unused"), "{list}");
        assert!(!list.contains(token), "{list}");
        // The header and one row.
        assert_eq!(list.lines().count(), 2, "{list}");
    }
}

/// It counts, so its id is told.
#[tokio::test]
async fn a_token_that_cannot_be_printed_can_be_revoked() {
    let operator = Operator::file(&Contents::default()).await;
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ended = operator.command(&["token", "create"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(1) && log.contains("No space left on device"), "{log}");
    let id = operator.json(&["token", "list"])["tokens"][0]["id"].as_str().unwrap().to_owned();
    assert!(log.contains(&format!("keybroker token revoke {id}")), "{log}");
}

#[tokio::test]
async fn a_revoked_token_is_listed_only_on_request() {
    for operator in everywhere().await {
        let created = operator.json(&["token", "create", "--workload-id", "billing"]);
        assert_eq!(created["workload_id"], "billing");
        assert_eq!(created["url"], serde_json::Value::Null);
        let id = created["id"].as_str().unwrap();
        let ended = operator.run(&["token", "revoke", id]);
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{ended:?}");
        assert_eq!(operator.json(&["token", "list"])["tokens"], serde_json::json!([]));
        let all = operator.json(&["token", "list", "--all"]);
        let row = &all["tokens"][0];
        assert_eq!(
            (&row["id"], &row["state"], &row["made_for"]),
            (&id.into(), &"revoked".into(), &"billing".into())
        );
    }
}

/// A file, standard input or the id name it. No output has the token.
#[tokio::test]
async fn a_token_is_shown_and_revoked_by_itself() {
    for operator in everywhere().await {
        let kind = operator.kind;
        let by = if kind == "aws" { "aws-access-key/test" } else { "uid/" };
        let created = operator.json(&["token", "create", "--note", "nightly"]);
        let (id, token) = (created["id"].as_str().unwrap(), created["token"].as_str().unwrap());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, format!("{token}\nhttps://x:{token}@k.example.org\n")).unwrap();
        let file = file.path().to_str().unwrap();

        if kind == "file" {
            let begun = || {
                let mut terminal = operator.at_terminal(&["token", "show", "--token-file", "-"]);
                terminal.wait_for("the terminal does not show it");
                terminal
            };
            // Enter ends it: no Ctrl-D is needed.
            let (code, screen) = begun().typed(&format!("{token}\n"));
            assert!(code == Some(0) && screen.contains(id) && !screen.contains(token), "{screen}");
            assert!(!screen.contains("does not echo any more"), "{screen}");
            // Ctrl-Z leads to a shell and back.
            let mut terminal = begun();
            terminal.types("\x1a");
            terminal.wait_for("stopped: the terminal echoes");
            let (code, screen) = terminal.typed(&format!("{token}\n"));
            assert!(code == Some(0) && screen.contains(id) && !screen.contains(token), "{screen}");
            assert!(!screen.contains("does not echo any more"), "{screen}");
            let (code, screen) = begun().typed(&format!("{token}\x03"));
            assert!(code == Some(130) && !screen.contains(token), "{screen}");
            assert!(!screen.contains("does not echo any more"), "{screen}");
        }
        let in_place_of_its_id: [&[&str]; 4] =
            [&["token", "show"], &["token", "revoke"], &["audit", "--since", "1h", "--token"], &["audit"]];
        for arguments in in_place_of_its_id {
            let ended = operator.run(&[arguments, &[token]].concat());
            let hidden = !ended.log.contains(token) && ended.log.contains("it looks like a token");
            assert!(ended.code == Some(2) && hidden && ended.out.is_empty(), "{kind}: {ended:?}");
        }
        let shown = operator.json(&["token", "show", "--token-file", file]);
        assert_eq!((&shown["id"], &shown["state"]), (&created["id"], &"unused".into()), "{kind}");
        assert!(shown["created_by"].as_str().unwrap().starts_with(by), "{kind}: {shown}");
        assert_eq!((&shown["bound_to"], &shown["registered"]), (&Value::Null, &Value::Null), "{kind}");
        let ended = operator.run_with(&["token", "revoke", "--token-file", "-", "--reason", "a leak"], token);
        assert_eq!(ended.code, Some(0), "{kind}: {ended:?}");
        assert!(
            ended.log.contains(&format!("{id} is revoked")) && !ended.log.contains(token),
            "{kind}: {ended:?}"
        );
        assert!(!ended.log.contains("has been revoked"), "{kind}: {ended:?}");
        let again = operator.run(&["token", "revoke", id, "--reason", "again"]);
        let told = ["has been revoked since ", by, "(a leak), and its row keeps that"];
        assert!(
            again.code == Some(0) && told.iter().all(|told| again.log.contains(told)),
            "{kind}: {again:?}"
        );
        let text = operator.out(&["token", "show", id]);
        assert!(!text.contains(token) && text.contains("state       revoked\n"), "{kind}: {text}");
        assert!(
            text.contains("reason      a leak\n") && text.contains("note        nightly\n"),
            "{kind}: {text}"
        );
        assert!(text.contains(&format!(" by {by}")), "{kind}: {text}");
        let list = operator.out(&["token", "list", "--all"]);
        let header: Vec<_> = list.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(header, ["ID", "STATE", "CREATED", "EXPIRES", "WORKLOAD", "BY", "NOTE"], "{kind}");
        let row: Vec<_> = list.lines().find(|row| row.starts_with(id)).unwrap().split_whitespace().collect();
        let [_, "revoked", _, _, "-", maker, "nightly"] = row.as_slice() else { panic!("{kind}: {list}") };
        assert_eq!(*maker, shown["created_by"].as_str().unwrap(), "{kind}: {list}");
        let record =
            operator.json(&["audit", "--token", id, "--decision", "token-revoked"])["records"].clone();
        let record = record.as_array().unwrap().iter().find(|record| record["reason"] == "a leak").unwrap();
        assert_eq!(record["reason"], "a leak", "{kind}: {record}");

        // On the command line it is refused, and no message repeats it.
        let token = "AAECAwQFBgcICQ";
        let leaked = operator.run(&["token", "revoke", token]);
        assert!(leaked.code == Some(2) && leaked.log.contains("--token-file"), "{kind}: {leaked:?}");
        assert!(!leaked.log.contains(token), "{kind}: {leaked:?}");
        std::fs::write(file, format!("x{token}")).unwrap();
        let wrong = operator.run(&["token", "show", "--token-file", file]);
        assert!(wrong.code == Some(5) && wrong.log.contains("14 characters"), "{kind}: {wrong:?}");
        assert!(!wrong.log.contains(token), "{kind}: {wrong:?}");
    }
}

/// Both acts have a record whose text names the token and the operator.
#[tokio::test]
async fn making_and_revoking_a_token_are_on_record() {
    for operator in everywhere().await {
        let created = operator.json(&["token", "create", "--workload-id", "billing"]);
        let id = created["id"].as_str().unwrap();
        operator.out(&["token", "revoke", id]);
        let records = operator.json(&["audit", "--since", "1h"]);
        let records = records["records"].as_array().unwrap();
        let acts: Vec<_> =
            records.iter().filter(|record| record["token"] == id).map(|record| &record["decision"]).collect();
        assert_eq!(acts, ["token_created", "token_revoked"], "{records:?}");
        assert!(!format!("{records:?}").contains(created["token"].as_str().unwrap()));
        let made = records.iter().find(|record| record["decision"] == "token_created").unwrap();
        let words = operator.out(&["audit", made["id"].as_str().unwrap()]);
        assert!(words.contains(&format!("The token {id} was made by ")), "{words}");
        assert!(words.contains("for billing."), "{words}");
    }
}

#[tokio::test]
async fn arguments_that_make_no_sense_are_refused() {
    let operator = Operator::file(&Contents::default()).await;
    let rows: [(&[&str], i32, &str); 10] = [
        (&["token", "create", "--ttl", "0s"], 2, "the token would expire at once"),
        (&["token", "create", "--ttl", "8d"], 2, "7d at most"),
        (&["token", "create", "--workload-id", "a/b"], 2, "a guest's URL cannot carry"),
        (&["token", "create", "--note", &"n".repeat(201)], 2, "200 characters at most"),
        (&["token", "create", "--url", "k.example.org"], 2, "http"),
        (&["token", "revoke", "no-id"], 2, "not the id of a token"),
        (&["token", "show"], 2, "required"),
        (&["token", "show", "00000000000000000000000000000000"], 1, "there is no token"),
        (&["token", "show", "--token-file", "/nowhere"], 5, "cannot be read"),
        (&["token", "revoke", "00000000000000000000000000000000"], 1, "there is no token"),
    ];
    for (arguments, code, said) in rows {
        let ended = operator.run(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        assert!(ended.log.contains(said), "{arguments:?}: {ended:?}");
        assert_eq!(ended.out, "");
    }
}

#[tokio::test]
async fn a_url_that_leaves_no_room_for_an_id_gets_a_warning() {
    let operator = Operator::file(&Contents::default()).await;
    let url = format!("https://{}.example.org", "h".repeat(60));
    let ended = operator.run(&["token", "create", "--url", &url]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.log.contains("has no room for a workload id"), "{}", ended.log);
}
