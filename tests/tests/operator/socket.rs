//! The socket through which an operator's commands reach a broker that has the store open: its owner, its
//! life, and several operators at once.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read, Write},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use jiff::SignedDuration;
use keybroker_common::clock::SystemClock;
use keybroker_embedded::store::EmbeddedStore;
use keybroker_tests::{
    DEADLINE,
    operator::{Contents, Operator, workload},
    program::{self, Ended},
    server::{Home, Server},
    skip,
    world::anchors,
};
use serde_json::json;

const NOWHERE: &str = "http://127.0.0.1:9";

pub(crate) fn serve(home: &Home) -> Server {
    home.serve(NOWHERE, &[])
}

pub(crate) fn socket(home: &Home) -> PathBuf {
    home.data_dir().join("operator.sock")
}

pub(crate) fn list(home: &Home) -> Ended {
    Operator::of_directory(&home.data_dir(), "home").run(&["workload", "list"])
}

/// The socket's answer to these bytes.
fn say(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // The broker may answer before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(path: &str, length: usize, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[test]
fn the_socket_is_its_owners_alone_and_ends_with_the_broker() {
    let home = Home::new(&anchors());
    let server = serve(&home);
    let metadata = fs::metadata(socket(&home)).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    let entries = fs::read_dir(home.data_dir()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["keybroker.redb", "keybroker.start", "operator.sock"]);
    assert_eq!(list(&home).code, Some(0));
    assert_eq!(server.terminate().code, Some(0));
    assert!(!socket(&home).exists());
    assert_eq!(list(&home).code, Some(0), "and without it, the file");
    assert!(!socket(&home).exists());
}

#[test]
fn a_socket_that_a_killed_broker_left_is_replaced() {
    let home = Home::new(&anchors());
    serve(&home).kill();
    let left = fs::metadata(socket(&home)).unwrap().ino();
    assert_eq!(list(&home).code, Some(0), "no process answers there, and the file is free");
    // As if the broker was killed while it made a socket.
    drop(UnixListener::bind(home.data_dir().join("operator.sock.new")).unwrap());
    let server = serve(&home);
    assert_ne!(fs::metadata(socket(&home)).unwrap().ino(), left);
    assert!(!home.data_dir().join("operator.sock.new").exists());
    assert_eq!(list(&home).code, Some(0));
    server.terminate();
}

/// The path is longer than a socket's address may be.
#[tokio::test]
async fn a_data_directory_may_have_a_long_path() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("d".repeat(200)).join("e".repeat(100));
    let mut command = program::keybroker();
    command.args(["serve", "--listen", "127.0.0.1:0", "--kds-url", NOWHERE, "--data-dir"]).arg(&data_dir);
    command.arg("--key-file").arg(directory.path().join("key"));
    let server = Server::start(command);
    let ended = Operator::of_directory(&data_dir, "long").run(&["workload", "list"]);
    assert_eq!((ended.code, ended.log.as_str()), (Some(0), "no workloads\n"));
    assert_eq!(server.terminate().code, Some(0));
    assert!(!data_dir.join("operator.sock").exists());
}

/// A program that runs as the user nobody, if this test may start one.
fn as_nobody(command: &mut Command) -> Option<Ended> {
    command.uid(65534).gid(65534).stdin(Stdio::null());
    command.output().ok().map(Ended::from)
}

#[tokio::test]
async fn another_user_is_refused_in_spite_of_open_modes() {
    let home = Home::new(&anchors());
    let server = serve(&home);
    // An operator may have opened the directories to everyone by mistake.
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(home.data_dir().parent().unwrap(), 0o755);
    open(&home.data_dir(), 0o755);
    open(&socket(&home), 0o666);
    let script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
        s.sendall(sys.argv[2].encode()); print(s.recv(1000).decode())";
    let request = r#"{"workloads":{"after":null}}"#;
    let request = String::from_utf8(post("/operate", request.len(), request)).unwrap();
    let python = |command: &mut Command| {
        command.args(["-c", script]).arg(socket(&home)).arg(&request);
    };
    let mut own = Command::new("python3");
    python(&mut own);
    let own: Ended = own.output().unwrap().into();
    assert!(own.out.starts_with("HTTP/1.1 200 "), "{own:?}");
    let mut other = Command::new("python3");
    python(&mut other);
    let Some(other) = as_nobody(&mut other) else {
        skip("another user at the operator's socket: only root can become one");
        return;
    };
    assert!(other.out.starts_with("HTTP/1.1 403 "), "{other:?}");
    assert!(server.log_until_now().contains("another user at the operator's socket"));
}

#[test]
fn bytes_that_are_no_request_change_nothing() {
    let home = Home::new(&anchors());
    let server = serve(&home);
    let path = socket(&home);
    for (bytes, status) in [
        (post("/operate", 2, "{}"), "400"),
        (post("/operate", 9, r#""nothing""#), "400"),
        (post("/operate", 34, r#"{"workload":{"id":"w","more":true}}"#), "400"),
        (post("/operate", 5 << 20, ""), "413"),
        (post("/kbs/v0/auth", 2, "{}"), "404"),
        (b"GET /operate HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(), "405"),
        (b"nothing\r\n\r\n".to_vec(), "400"),
    ] {
        // The whole of a body that is too long: a broker that waited for more would not answer in time.
        let padding = if status == "413" { vec![b' '; 5 << 20] } else { Vec::new() };
        let answer = say(&path, &[bytes.clone(), padding].concat());
        let head = String::from_utf8_lossy(&bytes).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
    }
    assert_eq!(list(&home).code, Some(0));
    assert_eq!(server.terminate().code, Some(0));
}

/// A process that serves no socket holds the store: after a while the command ends with 6 and a hint.
#[test]
fn a_store_that_another_process_holds_is_locked() {
    let directory = tempfile::tempdir().unwrap();
    let _held = EmbeddedStore::open(directory.path(), Arc::new(SystemClock)).unwrap();
    let ended = Operator::of_directory(directory.path(), "held").run(&["workload", "list"]);
    assert_eq!(ended.code, Some(6), "{ended:?}");
    assert!(
        ended.log.contains("another process has the store") && ended.log.contains("\nhint: "),
        "{}",
        ended.log
    );
}

/// A broker that hangs, as on a disk that does not answer: the command says what it waits for.
#[test]
fn a_wait_for_a_broker_is_told() {
    let home = Home::new(&anchors());
    let server = serve(&home);
    server.signal("STOP");
    let operator = Operator::of_directory(&home.data_dir(), "home");
    let mut command = operator.command(&["workload", "list"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut told).unwrap();
    assert!(told.starts_with("waiting: another process has the store in "), "{told}");
    server.signal("CONT");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_store_of_another_user_is_told_from_one_that_is_broken() {
    let home = Home::new(&anchors());
    assert_eq!(serve(&home).terminate().code, Some(0));
    // A data directory that others may enter.
    fs::set_permissions(home.data_dir().parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Operator::of_directory(&home.data_dir(), "home").command(&["workload", "list"]);
    let Some(ended) = as_nobody(&mut command) else {
        skip("the store of another user: only root can become one");
        return;
    };
    assert!(ended.code == Some(5) && ended.log.contains("as the user of the broker"), "{ended:?}");
}

/// Both operators delete the same ten workloads at once. Each workload is deleted exactly once, and both
/// commands end.
#[tokio::test]
async fn two_operators_at_once_delete_each_workload_once() {
    let rows = || (0..10).map(|index| workload(&format!("w-{index}"), None, SignedDuration::from_hours(1)));
    for operator in
        Operator::everywhere(&Contents { workloads: rows().collect(), ..Contents::default() }).await
    {
        let act = |arguments: &[&str]| operator.run(arguments);
        let (acts, deletions) = thread::scope(|scope| {
            let acts: Vec<_> = ["revoke", "restore", "revoke", "restore"]
                .into_iter()
                .map(|verb| scope.spawn(move || act(&["workload", verb, "w-0"])))
                .collect();
            let acts: Vec<_> = acts.into_iter().map(|act| act.join().unwrap()).collect();
            // The last of these commands may have revoked w-0, and `delete` spares a revoked workload.
            operator.out(&["workload", "restore", "w-0"]);
            let delete = ["workload", "delete", "--never-released", "--yes", "--json"];
            let deletions: Vec<_> = (0..2).map(|_| scope.spawn(move || act(&delete))).collect();
            (acts, deletions.into_iter().map(|act| act.join().unwrap()).collect::<Vec<_>>())
        });
        for ended in acts {
            assert_eq!(ended.code, Some(0), "{}: {ended:?}", operator.kind);
        }
        let mut deleted = Vec::new();
        for ended in deletions {
            assert!(matches!(ended.code, Some(0 | 1)), "{}: {ended:?}", operator.kind);
            let document: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
            let rows = document["deleted"].as_array().unwrap().iter();
            deleted.extend(rows.map(|row| row["id"].as_str().unwrap().to_owned()));
        }
        deleted.sort();
        let expected: Vec<_> = rows().map(|row| row.id.to_string()).collect();
        assert_eq!(deleted, expected, "{}", operator.kind);
        let records = operator.json(&["audit", "--since", "1h"])["records"].clone();
        let count = |decision| {
            records.as_array().unwrap().iter().filter(|record| record["decision"] == decision).count()
        };
        assert_eq!((count("revoked"), count("restored"), count("deleted")), (2, 3, 10), "{}", operator.kind);
    }
}

/// The broker prints an operator's act like every other decision, with the user id from the kernel.
#[tokio::test]
async fn the_broker_prints_the_operators_acts() {
    let home = Home::new(&anchors());
    let server = serve(&home);
    let record = json!({
        "id": "019387a2-6f3c-7c41-9d2e-0b6a5f1c2d3e", "time": "2026-11-24T00:00:00Z",
        "operation": "operate", "decision": "revoked", "principal": "uid/4711",
    });
    let request = json!({"append": {"record": record}}).to_string();
    let answer = say(&socket(&home), &post("/operate", request.len(), &request));
    assert!(answer.ends_with(r#"{"Ok":null}"#), "{answer}");
    let uid = fs::metadata(home.data_dir()).unwrap().uid();
    let ended = server.terminate();
    assert!(ended.out.contains(&format!(r#""principal":"uid/{uid}""#)), "{}", ended.out);
    assert!(!ended.out.contains("4711"), "{}", ended.out);
}
