//! `keybroker audit` as a list: filters, the newest first, forms for other programs, releases, new records.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use jiff::{SignedDuration, Timestamp};
use keybroker_common::{
    audit::{AuditRecord, Decision, EvidenceSummary, FailedCheck, Operation},
    ids::{RegistrationDigest, TokenId, WorkloadId},
};
use keybroker_tests::{
    DEADLINE,
    operator::{Contents, Operator, id_at, record, workload},
    server::{Home, Server},
    world::anchors,
};
use serde_json::{Value, json};

const TOKEN: &str = "0a9f5c1e2b7d4c3f8e6a1b2c3d4e5f60";

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

fn w(id: &str) -> WorkloadId {
    WorkloadId::new(id).unwrap()
}

fn evidence(chip: &str, measurement: &str) -> Option<EvidenceSummary> {
    let evidence = json!({
        "verified": true, "report_version": 3, "measurement": measurement, "chip_id": chip,
        "product": "milan", "policy": "0x30000", "vmpl": 0,
    });
    Some(serde_json::from_value(evidence).unwrap())
}

fn failed(check: &str, cause: &str) -> Option<FailedCheck> {
    Some(FailedCheck { check: check.to_owned(), cause: cause.to_owned() })
}

/// A registration, two attestations on two chips with a release each, two refusals and an operator's act,
/// from the oldest to the newest.
fn seven() -> Contents {
    let (a, b, x, y) =
        ("aa".repeat(64), "bb".repeat(64), "4d".repeat(48), format!("4d4d{}", "77".repeat(46)));
    let registration = Some(RegistrationDigest::of(b"bytes"));
    let attested = |ago, chip: &str, measurement: &str| AuditRecord {
        registration,
        evidence: evidence(chip, measurement),
        ..record(&w("w"), Decision::Attested, minutes(ago))
    };
    let (first, second) = (attested(60, &a, &x), attested(40, &b, &y));
    let released = |ago, attestation: &AuditRecord, decision| AuditRecord {
        operation: Operation::Key,
        attestation: Some(attestation.id),
        secret: Some("passphrase".to_owned()),
        ..record(&w("w"), decision, minutes(ago))
    };
    let records = vec![
        AuditRecord {
            operation: Operation::Register,
            principal: Some(format!("token/{TOKEN}")),
            ..record(&w("w"), Decision::Registered, minutes(70))
        },
        first.clone(),
        released(59, &first, Decision::Released),
        second.clone(),
        released(39, &second, Decision::Withheld),
        AuditRecord {
            evidence: evidence(&a, &y),
            failed: failed("measurement", "=cmd|' /C calc'!A0, \"quoted\"\nand more"),
            ..record(&w("w"), Decision::Refused, minutes(30))
        },
        AuditRecord {
            failed: failed("session", "there is none"),
            ..record(&w("v"), Decision::Refused, minutes(20))
        },
        AuditRecord {
            operation: Operation::Operate,
            principal: Some("uid/7".to_owned()),
            token: TokenId::parse(TOKEN),
            workload_id: None,
            ..record(&w("w"), Decision::TokenRevoked, minutes(10))
        },
    ];
    Contents { records, ..Contents::default() }
}

/// The places in `contents` of the records that are printed, in the order in which they are.
fn places(contents: &Contents, printed: &[Value]) -> Vec<usize> {
    let place = |record: &Value| {
        let place = contents.records.iter().position(|known| json!(known.id) == record["id"]);
        place.unwrap_or_else(|| panic!("{record}"))
    };
    printed.iter().map(place).collect()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn filters_let_through_what_matches_all_of_them() {
    let contents = seven();
    let (a, b) = ("aa".repeat(8), "bb".repeat(8));
    for operator in Operator::everywhere(&contents).await {
        for (arguments, expected) in [
            (vec!["--since", "1d"], vec![0, 1, 2, 3, 4, 5, 6, 7]),
            (vec!["--decision", "refused"], vec![5, 6]),
            (vec!["--decision", "refused", "--decision", "attested"], vec![1, 3, 5, 6]),
            (vec!["--decision", "refused", "--check", "session"], vec![6]),
            (vec!["--check", "session", "--check", "measurement"], vec![5, 6]),
            (vec!["--chip-id", &a], vec![1, 5]),
            (vec!["--chip-id", &a, "--chip-id", &b, "--decision", "attested"], vec![1, 3]),
            (vec!["--measurement", "4d4d77777777"], vec![3, 5]),
            (vec!["--measurement", &"4D".repeat(48)], vec![1]),
            (vec!["--token", TOKEN], vec![0, 7]),
            (vec!["--principal", "uid/7"], vec![7]),
            (vec!["--workload", "w", "--since", "45m"], vec![3, 4, 5]),
            // The newest come first.
            (vec!["--limit", "3"], vec![7, 6, 5]),
            (vec!["--limit", "2", "--decision", "attested"], vec![3, 1]),
            (vec!["--limit", "2", "--workload", "w"], vec![5, 4]),
            (vec!["--limit", "2", "--workload", "w", "--until", "35m"], vec![4, 3]),
            (vec!["--limit", "100", "--since", "25m"], vec![7, 6]),
        ] {
            let document = operator.json(&[&["audit"], &arguments[..]].concat());
            let printed = document["records"].as_array().unwrap();
            assert_eq!(places(&contents, printed), expected, "{} {arguments:?}", operator.kind);
        }
    }
}

#[tokio::test]
async fn arguments_that_make_no_sense_are_refused() {
    let operator = Operator::file(&seven()).await;
    for (arguments, said) in [
        (vec!["audit"], "required"),
        (vec!["audit", "--limit", "0"], "not in 1..=8192"),
        (vec!["audit", "--limit", "8193"], "not in 1..=8192"),
        (vec!["audit", "--measurement", "4d4d"], "not 8 to 96 hex digits"),
        (
            vec!["audit", "--decision", "granted"],
            "no decision has this name: `granted`, expected one of `registered`, ",
        ),
        (vec!["audit", "--token", "AAECAwQFBgcICQ"], "not the id of a token"),
        (vec!["audit", "--limit", "1", "--json", "--csv"], "cannot be used with"),
        (vec!["audit", "--follow", "--json"], "--json-lines"),
        (vec!["audit", "--follow", "--until", "1h"], "cannot be used with"),
        (vec!["audit", "--since", "1d", "--tcb", "--csv"], "are for lists"),
        (vec!["audit", "--released", "--decision", "refused"], "cannot be used with"),
        // Nobody attests by a refusal: the list would always be empty.
        (vec!["audit", "--since", "1d", "--tcb", "--decision", "refused"], "cannot be used with"),
        (vec!["audit", "--since", "1d", "--tcb", "--check", "measurement"], "cannot be used with"),
    ] {
        let ended = operator.run(&arguments);
        assert!(ended.code == Some(2) && ended.log.contains(said), "{arguments:?}: {ended:?}");
    }
    for list in [&[][..], &["--released"]] {
        let ended = operator.run(&[&["audit", "--check", "mesurement"], list].concat());
        assert!(ended.log.contains("no check of the name \"mesurement\""), "{list:?}: {ended:?}");
    }
    let ended = operator.run(&["audit", "--measurement", "4d4d4d4d", "--measurement", "4d4d7777"]);
    assert!(!ended.log.contains("several"), "{ended:?}");
    let aws = keybroker_tests::program::run(&["audit", "--follow", "--aws"]);
    assert!(aws.code == Some(2) && aws.log.contains("aws logs tail"), "{aws:?}");
}

#[tokio::test]
async fn a_beginning_of_several_measurements_is_told() {
    let (x, y) = (format!("4d4d4d4d{}", "00".repeat(44)), format!("4d4d4d4d{}", "11".repeat(44)));
    let of = |measurement: &str| AuditRecord {
        evidence: evidence(&"aa".repeat(64), measurement),
        ..record(&w("w"), Decision::Attested, minutes(1))
    };
    let operator = Operator::file(&Contents { records: vec![of(&x), of(&y)], ..Contents::default() }).await;
    let told = |digits: &str| operator.run(&["audit", "--measurement", digits]).log;
    assert!(told("4d4d4d4d").contains("warning: several measurements begin with 4d4d4d4d"));
    assert!(!told("4d4d4d4d0").contains("warning"));
}

#[tokio::test]
async fn other_programs_get_lines_of_json_and_values() {
    let contents = seven();
    for operator in Operator::everywhere(&contents).await {
        let kind = operator.kind;
        let json_lines = lines(&operator.out(&["audit", "--since", "1d", "--json-lines"]));
        let expected: Vec<_> = contents.records.iter().map(|record| json!(record)).collect();
        assert_eq!(json_lines, expected, "{kind}");

        let csv = operator.out(&["audit", "--check", "measurement", "--csv"]);
        let rows: Vec<_> = csv.split("\r\n").collect();
        let [header, row, ""] = rows.as_slice() else { panic!("{kind}: {csv:?}") };
        assert!(header.starts_with("time,decision,operation,workload,principal,token,"), "{kind}: {header}");
        assert!(header.ends_with(",reason,id,act"), "{kind}: {header}");
        let formula = "measurement,\"'=cmd|' /C calc'!A0, \"\"quoted\"\"\\u{a}and more\",true,Milan,";
        assert!(row.contains(formula), "{kind}: {row}");
        assert!(row.ends_with(&format!(",{},", contents.records[5].id)), "{kind}: {row}");
    }
}

#[tokio::test]
async fn releases_are_told_with_chip_and_registration() {
    let contents = seven();
    let digest = RegistrationDigest::of(b"bytes").to_string();
    let (a, b) = ("aa".repeat(64), "bb".repeat(64));
    for operator in Operator::everywhere(&contents).await {
        let kind = operator.kind;
        for (arguments, expected) in [
            (vec!["--since", "1d"], vec![2, 4]),
            (vec!["--limit", "5"], vec![4, 2]),
            (vec!["--limit", "1"], vec![4]),
            (vec!["--chip-id", &a], vec![2]),
            (vec!["--limit", "1", "--chip-id", &a], vec![2]),
            (vec!["--workload", "w", "--measurement", "4d4d7777"], vec![4]),
        ] {
            let document = operator.json(&[&["audit", "--released"], &arguments[..]].concat());
            let printed = document["releases"].as_array().unwrap();
            assert_eq!(places(&contents, printed), expected, "{kind} {arguments:?}");
        }
        let document = operator.json(&["audit", "--released"]);
        let release = &contents.records[2];
        let expected = json!({
            "time": release.time, "decision": "released", "workload_id": "w", "secrets": ["passphrase"],
            "chip_id": a, "measurement": "4d".repeat(48), "registration": digest,
            "attestation": contents.records[1].id, "id": release.id,
        });
        assert_eq!(document["releases"][0], expected, "{kind}");
        let withheld = &document["releases"][1];
        assert_eq!((&withheld["decision"], &withheld["chip_id"]), (&json!("withheld"), &json!(b)), "{kind}");
        let table = operator.out(&["audit", "--released"]);
        assert!(
            table.contains(&a[..16]) && !table.contains(&a[..17]) && table.contains(&digest[..16]),
            "{table}"
        );
        let csv = operator.out(&["audit", "--released", "--csv"]);
        assert_eq!(csv.split("\r\n").count(), 4, "{kind}: {csv}");
    }
}

/// A command that goes on, and its lines.
struct Follower {
    child: Child,
    lines: Receiver<String>,
}

impl Follower {
    fn start(operator: &Operator, arguments: &[&str]) -> Self {
        let mut command = operator.command(&[&["audit", "--follow", "--json-lines"], arguments].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let (out, lines) = (child.stdout.take().unwrap(), channel());
        thread::spawn(move || pass(out, |line| lines.0.send(line).is_ok()));
        Self { child, lines: lines.1 }
    }

    /// The next record.
    fn next(&self) -> Value {
        serde_json::from_str(&self.lines.recv_timeout(DEADLINE).unwrap()).unwrap()
    }

    /// Presses Ctrl-C, and returns the records that were left, and the exit code.
    fn end(mut self) -> (Vec<String>, Option<i32>) {
        let kill = format!("kill -s INT {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
        let code = self.child.wait().unwrap().code();
        (self.lines.iter().collect(), code)
    }
}

fn pass(out: ChildStdout, take: impl Fn(String) -> bool) {
    for line in BufReader::new(out).lines() {
        if !line.is_ok_and(&take) {
            return;
        }
    }
}

/// Acts of other commands are shown once each, on every kind of store, and Ctrl-C is no failure.
#[tokio::test]
async fn what_is_new_is_shown_once() {
    let workloads = vec![workload("w", None, minutes(60)), workload("v", None, minutes(60))];
    let operators = Operator::everywhere(&Contents { workloads, ..seven() }).await;
    let follow = |operator| Follower::start(operator, &["--workload", "w", "--since", "15m"]);
    let followers: Vec<_> = operators.iter().map(follow).collect();
    for (act, decision) in [("revoke", "revoked"), ("restore", "restored")] {
        for operator in &operators {
            operator.out(&["workload", act, "v"]);
            operator.out(&["workload", act, "w"]);
        }
        for (operator, follower) in operators.iter().zip(&followers) {
            let shown = follower.next();
            let expected = (&json!(decision), &json!("w"));
            assert_eq!((&shown["decision"], &shown["workload_id"]), expected, "{}", operator.kind);
        }
    }
    for (operator, follower) in operators.iter().zip(followers) {
        assert_eq!(follower.end(), (Vec::new(), Some(0)), "{}", operator.kind);
    }
}

/// The id of a decision has the time of its challenge: it stands among records that were shown before.
#[tokio::test]
async fn a_decision_about_an_old_challenge_is_new() {
    let operator = Operator::file(&seven()).await;
    let follower = Follower::start(&operator, &["--since", "25m"]);
    assert_eq!(
        [follower.next(), follower.next()].map(|record| record["decision"].clone()),
        ["refused", "token_revoked"]
    );
    let late = |minutes_ago| AuditRecord {
        id: id_at(Timestamp::now() - minutes(minutes_ago)),
        ..record(&w("w"), Decision::Attested, SignedDuration::ZERO)
    };
    let records = vec![late(9), late(5), late(0)];
    let expected: Vec<_> = records.iter().map(|record| json!(record.id)).collect();
    operator.add(&Contents { records, ..Contents::default() }).await;
    assert_eq!([(); 3].map(|()| follower.next()["id"].clone()).as_slice(), expected);
    assert_eq!(follower.end(), (Vec::new(), Some(0)));
}

/// A broker that ends and starts again is followed on, and so are records that came in between.
#[tokio::test]
async fn following_outlives_the_broker() {
    let home = Home::new(&anchors());
    let serve = || home.serve("http://127.0.0.1:9", &[]);
    let mut server = Some(serve());
    let operator = Operator::of_directory(&home.data_dir(), "home");
    let follower = Follower::start(&operator, &["--since", "1m"]);
    for runs in [true, false, true] {
        server = match (server, runs) {
            (Some(running), true) => Some(running),
            (running, _) => {
                drop(running.map(Server::terminate));
                runs.then(serve)
            }
        };
        let made = operator.json(&["token", "create"]);
        assert_eq!(follower.next()["token"], made["id"]);
    }
    assert_eq!(follower.end(), (Vec::new(), Some(0)));
}
