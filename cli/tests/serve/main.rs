//! `keybroker serve` as a user sees it: a process with options, files, signals and exit codes.

#![allow(clippy::unwrap_used, reason = "a test may panic, and so may what it is made of")]

mod running;

use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use self::running::{refused, serve, start};

const REGISTRATION: &str = concat!(
    r#"{"workload_id":"web","launch_measurement":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"#,
    r#"202122232425262728292a2b2c2d2e2f","passphrase":"open sesame","#,
    r#""tee_config":"{\"flags\":{\"bits\":15},\"minfw\":{\"major\":0,\"minor\":0}}"}"#
);

#[test]
fn it_listens_answers_and_ends_with_0_on_sigterm_and_sigint() {
    for signal in ["TERM", "INT"] {
        let home = TempDir::new().unwrap();
        let running = start(serve(home.path()));
        let answer = running.exchange("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with(r#"{"status":"ok"}"#), "{answer}");
        assert_eq!(running.end(signal).0, Some(0), "{signal}");
    }
}

#[test]
fn a_registration_goes_to_stdout_as_a_record_and_to_the_log() {
    let home = TempDir::new().unwrap();
    let running = start(serve(home.path()));
    let answer = running.post("/kbs/v0/register_workload", REGISTRATION);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let (_, out, log) = running.end("TERM");
    assert_eq!(out.lines().count(), 1, "{out}");
    let record: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&record["decision"], &record["workload_id"]), (&"registered".into(), &"web".into()));
    assert!(log.contains("workload registered"), "{log}");
    assert!(!log.contains("keybroker::audit"), "audit records are not for the log: {log}");
    assert!(!out.contains("open sesame") && !log.contains("open sesame"));
}

#[test]
fn at_trace_level_no_secret_or_session_is_logged() {
    let home = TempDir::new().unwrap();
    let mut command = serve(home.path());
    command.args(["--log", "trace", "--log-format", "json"]);
    let running = start(command);
    running.post("/kbs/v0/register_workload", REGISTRATION);
    let auth = r#"{"extra-params":"{\"workload_id\":\"web\"}","tee":"snp","version":"0.0.0"}"#;
    let answer = running.post("/kbs/v0/auth", auth);
    let session = answer.split_once("session_id=").unwrap().1.get(..32).unwrap().to_owned();
    let nonce = answer.split_once(r#""nonce":""#).unwrap().1.get(..44).unwrap().to_owned();
    let key = format!(
        "GET /kbs/v0/key/web HTTP/1.1\r\nHost: x\r\nCookie: session_id={session}\r\nConnection: close\r\n\r\n"
    );
    assert!(running.exchange(&key).starts_with("HTTP/1.1 401 "));
    let (_, out, log) = running.end("TERM");
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
    for never in ["open sesame", &session, &nonce] {
        assert!(!log.contains(never) && !out.contains(never), "{never}");
    }
}

#[test]
fn store_and_key_are_made_apart_and_used_again() {
    let home = TempDir::new().unwrap();
    assert_eq!(start(serve(home.path())).end("TERM").0, Some(0));
    let key = home.path().join(".config/keybroker/key");
    let made = fs::read(&key).unwrap();
    assert!(home.path().join(".local/share/keybroker").is_dir());
    assert_eq!(start(serve(home.path())).end("TERM").0, Some(0));
    assert_eq!(fs::read(&key).unwrap(), made);
}

#[test]
fn a_store_without_its_key_is_5_and_gets_no_other() {
    let home = TempDir::new().unwrap();
    assert_eq!(start(serve(home.path())).end("TERM").0, Some(0));
    let key = home.path().join(".config/keybroker/key");
    fs::remove_file(&key).unwrap();
    let (code, text) = refused(&mut serve(home.path()));
    assert_eq!(code, Some(5), "{text}");
    assert!(text.contains("is not there") && text.contains("hint: restore the key file"), "{text}");
    assert!(!key.exists());
}

#[test]
fn a_store_with_anothers_key_is_5() {
    let (home, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for home in [&home, &other] {
        assert_eq!(start(serve(home.path())).end("TERM").0, Some(0));
    }
    let mut command = serve(home.path());
    let (code, text) = refused(command.arg("--key-file").arg(other.path().join(".config/keybroker/key")));
    assert_eq!(code, Some(5), "{text}");
    assert!(text.contains("the store belongs to the wrapping key"), "{text}");
}

#[test]
fn a_key_in_the_data_directory_is_5_and_nothing_is_made() {
    let home = TempDir::new().unwrap();
    let (data, link) = (home.path().join("data"), home.path().join("link"));
    std::os::unix::fs::symlink(home.path(), &link).unwrap();
    for key in ["data/key", "data/deeper/key", "link/data/key", "other/../data/key"] {
        fs::create_dir_all(home.path().join("other")).unwrap();
        let mut command = serve(home.path());
        command.arg("--data-dir").arg(&data).arg("--key-file").arg(home.path().join(key));
        let (code, text) = refused(&mut command);
        assert_eq!(code, Some(5), "{key}: {text}");
        assert!(
            text.contains("is in the data directory") && text.contains("hint: name a path elsewhere"),
            "{text}"
        );
        assert!(!data.exists());
    }
    // Beside it, by a name that begins like it.
    let mut command = serve(home.path());
    command.arg("--data-dir").arg(&data).arg("--key-file").arg(home.path().join("data-key"));
    assert_eq!(start(command).end("TERM").0, Some(0));
}

#[test]
fn a_store_that_others_could_read_is_closed_to_them() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for (directory, warned) in [(0o755, false), (0o777, true)] {
        let home = TempDir::new().unwrap();
        let data = home.path().join(".local/share/keybroker");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("keybroker.redb"), "").unwrap();
        fs::set_permissions(data.join("keybroker.redb"), Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(&data, Permissions::from_mode(directory)).unwrap();
        let mut child = serve(home.path()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let log: Vec<_> = lines.take_while(|line| !line.contains("listening on")).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(mode(&data.join("keybroker.redb")), 0o600);
        let loud =
            |line: &String| line.contains("WARN") && line.contains("OTHER USERS MAY WRITE TO THE DATA");
        assert_eq!(log.iter().any(loud), warned, "{log:?}");
    }
}

#[test]
fn a_store_in_use_is_6() {
    let home = TempDir::new().unwrap();
    let running = start(serve(home.path()));
    let (code, text) = refused(&mut serve(home.path()));
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("hint: end the other broker"), "{text}");
    running.end("TERM");
}

#[test]
fn a_busy_port_is_1_and_a_hint() {
    let home = TempDir::new().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = serve(home.path());
    command.args(["--listen", &holder.local_addr().unwrap().to_string()]);
    let (code, text) = refused(&mut command);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("hint: another process has this port"), "{text}");
}

#[test]
fn an_option_that_cannot_be_understood_is_2() {
    for options in
        [["--listen", "nowhere"], ["--session-ttl", "0"], ["--kds-url", "ftp://x"], ["--kds", "never"]]
    {
        let home = TempDir::new().unwrap();
        let (code, text) = refused(serve(home.path()).args(options));
        assert_eq!(code, Some(2), "{options:?}: {text}");
    }
}

#[test]
fn a_trust_anchor_that_is_none_is_5_and_touches_nothing() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("root.pem");
    for contents in [None, Some("nonsense")] {
        if let Some(contents) = contents {
            fs::write(&file, contents).unwrap();
        }
        let (code, text) = refused(serve(home.path()).arg("--trust-anchor").arg(&file));
        assert_eq!(code, Some(5), "{text}");
        assert!(text.contains("root.pem"), "{text}");
        assert!(!home.path().join(".local").exists());
    }
}

#[test]
fn a_kds_ca_without_an_authority_is_5_and_touches_nothing() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("ca.pem");
    for contents in [None, Some("nonsense")] {
        if let Some(contents) = contents {
            fs::write(&file, contents).unwrap();
        }
        let (code, text) = refused(serve(home.path()).arg("--kds-ca").arg(&file));
        assert_eq!(code, Some(5), "{text}");
        assert!(text.contains("ca.pem"), "{text}");
        assert!(!home.path().join(".local").exists());
    }
}

#[test]
fn a_pace_of_new_chips_that_is_none_is_2() {
    let home = TempDir::new().unwrap();
    for (name, value) in [
        ("KEYBROKER_NEW_CHIPS_PER_MINUTE", "6001"),
        ("KEYBROKER_NEW_CHIPS_PER_MINUTE", "fast"),
        ("KEYBROKER_NEW_CHIPS_BURST", "0"),
        ("KEYBROKER_NEW_CHIPS_BURST", "1001"),
    ] {
        let (code, text) = refused(serve(home.path()).env(name, value));
        assert_eq!(code, Some(2), "{text}");
        assert!(
            text.contains(
                name.trim_start_matches("KEYBROKER_NEW_CHIPS_").to_lowercase().replace('_', "-").as_str()
            ),
            "{text}"
        );
    }
}

#[test]
fn a_variable_that_is_not_known_is_5_and_the_nearest_is_named() {
    let home = TempDir::new().unwrap();
    let (code, text) = refused(serve(home.path()).env("KEYBROKER_KDSURL", "https://x"));
    assert_eq!(code, Some(5), "{text}");
    assert!(text.contains("KEYBROKER_KDSURL") && text.contains("did you mean KEYBROKER_KDS_URL?"), "{text}");
}

#[test]
fn variables_count_where_no_option_is_given() {
    let home = TempDir::new().unwrap();
    let mut command = serve(home.path());
    let data_dir = home.path().join("elsewhere");
    command.env("KEYBROKER_DATA_DIR", &data_dir);
    assert_eq!(start(command).end("TERM").0, Some(0));
    assert!(data_dir.is_dir() && !home.path().join(".local").exists());
}

#[test]
fn it_listens_on_localhost_and_on_a_bare_port() {
    for (address, host) in [("localhost:0", "127.0.0.1:"), (":0", "0.0.0.0:")] {
        let home = TempDir::new().unwrap();
        let mut command = serve(home.path());
        let running = start({
            command.args(["--listen", address, "--registration", "token", "--accept-any-tcb"]);
            command
        });
        assert!(running.address.starts_with(host), "{address}: {}", running.address);
        let answer = running.exchange("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    // A bare port means every address, so nobody may register there by accident.
    let home = TempDir::new().unwrap();
    let (code, text) = refused(serve(home.path()).args(["--listen", ":0"]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("0.0.0.0:0 could register"), "{text}");
    let (code, text) = refused(serve(home.path()).args(["--listen", "broker.example.org:8080"]));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("localhost:8080, or :8080"), "{text}");
}

#[test]
fn a_refusal_is_one_line_with_its_record_check_and_workload() {
    let home = TempDir::new().unwrap();
    let running = start(serve(home.path()));
    running.post("/kbs/v0/register_workload", REGISTRATION);
    let answer = running.post("/kbs/v0/register_workload", &REGISTRATION.replace("0001", "1111"));
    assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
    let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let id = body["id"].as_str().unwrap().to_owned();
    // A refusal without a record is logged with its status and cause.
    running.post("/kbs/v0/auth", "{");
    let (_, _, log) = running.end("TERM");
    let lines: Vec<_> = log.lines().filter(|line| line.contains("request refused")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    for part in [format!("id={id}"), "check=\"replacement\"".to_owned(), "workload_id=web".to_owned()] {
        assert!(lines[0].contains(&part), "{part}: {}", lines[0]);
    }
    assert!(lines[1].contains("status=400 cause=body: not JSON"), "{}", lines[1]);
    assert!(!log.contains("left_out"), "{log}");
}

/// Strangers can send as many as they like.
#[test]
fn lines_about_refusals_are_limited_and_the_rest_is_counted() {
    const REFUSED: usize = 400;
    let home = TempDir::new().unwrap();
    let running = start(serve(home.path()));
    let mut stream = TcpStream::connect(&running.address).unwrap();
    for _ in 0..REFUSED / 50 {
        stream.write_all("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".repeat(49).as_bytes()).unwrap();
        stream.write_all(b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 404").count(), 50);
        stream = TcpStream::connect(&running.address).unwrap();
    }
    // A second later there is a line again.
    thread::sleep(Duration::from_millis(1_100));
    running.exchange("GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let (_, _, log) = running.end("TERM");
    let lines = log.lines().filter(|line| line.contains("request refused")).count();
    assert!((51..100).contains(&lines), "{lines}: {log}");
    let counts = log.lines().filter_map(|line| line.split_once("left_out=")?.1.split(' ').next());
    let left_out: usize = counts.map(|count| count.parse::<usize>().unwrap()).sum();
    assert!(lines + left_out >= REFUSED, "{lines} and {left_out}: {log}");
}

#[test]
fn no_home_and_no_option_is_5() {
    let home = TempDir::new().unwrap();
    let mut command = serve(home.path());
    let (code, text) = refused(command.env_remove("HOME").current_dir(home.path()));
    assert_eq!(code, Some(5), "{text}");
    assert!(text.contains("--data-dir"), "{text}");
}

/// The log until it listens.
fn beyond_the_loopback(arguments: &[&str]) -> Vec<String> {
    let home = TempDir::new().unwrap();
    let mut command = serve(home.path());
    command.args(["--listen", "0.0.0.0:0", "--accept-any-tcb"]).args(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let log: Vec<_> = lines.take_while(|line| !line.contains("listening on")).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(log.iter().any(|line| line.contains("WARN") && line.contains("NOT ON THE LOOPBACK")), "{log:?}");
    log
}

#[test]
fn an_address_beyond_the_loopback_needs_tokens_or_the_flag() {
    let home = TempDir::new().unwrap();
    for modes in ["open", "open;token"] {
        let mut command = serve(home.path());
        command.args(["--listen", "0.0.0.0:0", "--registration", modes]);
        let (code, text) = refused(&mut command);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("could register") && text.contains("--registration token"), "{text}");
    }
    assert!(!home.path().join(".local").exists(), "nothing was made");
    let anybody = |log: &[String]| log.iter().any(|line| line.contains("WARN") && line.contains("ANYBODY"));
    assert!(!anybody(&beyond_the_loopback(&["--registration", "token"])));
    assert!(anybody(&beyond_the_loopback(&["--anyone-may-register"])));
}

/// The warning at the start.
const NO_FLOOR: &str = "no floor of the TCB is set";

#[test]
fn without_a_floor_it_serves_on_the_loopback_alone_and_warns() {
    let home = TempDir::new().unwrap();
    // Every platform has a level of zero.
    for no_floor in [&[][..], &["--minimum-tcb", "milan-b1:snp=0"]] {
        let mut command = serve(home.path());
        command.args(["--listen", "0.0.0.0:0", "--registration", "token"]);
        let (code, text) = refused(command.args(no_floor));
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(NO_FLOOR) && text.contains("--accept-any-tcb"), "{text}");
        assert!(!home.path().join(".local").exists(), "nothing was made");
    }
    // A list that names nothing is a mistake, and no list.
    for name in ["KEYBROKER_ACCEPT_PRODUCTS", "KEYBROKER_ACCEPT_CHIPS", "KEYBROKER_MINIMUM_TCB"] {
        let (code, text) = refused(serve(home.path()).env(name, ";"));
        assert_eq!(code, Some(2), "{name}: {text}");
    }
    let warned = |arguments: &[&str], variables: &[(&str, &str)]| {
        let home = TempDir::new().unwrap();
        let mut command = serve(home.path());
        command.args(arguments).envs(variables.iter().copied());
        let running = start(command);
        let warned = running.log.contains(NO_FLOOR);
        let (code, _, log) = running.end("TERM");
        assert_eq!(code, Some(0), "{log}");
        warned
    };
    assert!(warned(&[], &[]));
    for floor in ["--minimum-tcb", "--minimum-committed-tcb", "--minimum-current-tcb", "--minimum-launch-tcb"]
    {
        let beyond = ["--listen", "0.0.0.0:0", "--registration", "token", floor, "milan-b1:snp=27"];
        assert!(!warned(&beyond, &[]), "{floor}");
    }
    let beyond = ["--listen", "0.0.0.0:0", "--registration", "token"];
    assert!(!warned(&beyond, &[("KEYBROKER_ACCEPT_ANY_TCB", "yes")]));
    assert!(!warned(&beyond, &[("KEYBROKER_MINIMUM_TCB", "milan-b1:snp=27")]));
}

#[test]
fn registration_is_open_or_by_token() {
    let home = TempDir::new().unwrap();
    for modes in ["iam", "token;iam", "", "anybody"] {
        let mut command = serve(home.path());
        let (code, text) = refused(command.args(["--registration", modes]));
        assert_eq!(code, Some(2), "{modes}: {text}");
        assert!(text.contains("must be open, token, or both"), "{text}");
    }
}

#[test]
fn help_tells_the_exit_codes_and_shows_examples() {
    let help = |options: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_keybroker")).args(options).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    for options in [&["--help"][..], &["serve", "--help"], &["serve", "-h"]] {
        let text = help(options);
        for line in [
            "0  ok",
            "1  failure",
            "2  usage",
            "3  denied",
            "4  unreachable",
            "5  configuration",
            "6  store locked",
        ] {
            assert!(text.contains(line), "{options:?}: {line}");
        }
    }
    assert!(help(&["serve", "--help"]).contains("Examples:"));
}
