//! The guest relay in front of a broker that misbehaves: how it handles bad answers, and which parts of a
//! request it forwards.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use keybroker_simulator::{
    Product,
    guest::{Error, KrunGuest, Machine},
    http::Response,
};
use keybroker_tests::{
    relay::Relay,
    upstream::{Upstream, field, response},
    world::amd,
};

const AUTH: &str =
    "POST /kbs/v0/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
const ATTEST: &str = "POST /kbs/v0/attest HTTP/1.1\r\nHost: x\r\nCookie: session_id=c\r\n\
                      Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
const KEY: &str = "GET /kbs/v0/key/web HTTP/1.1\r\nHost: x\r\nCookie: session_id=c\r\n\r\n";
const RESOURCE: &str = "GET /kbs/v0/resource/name HTTP/1.1\r\nHost: x\r\nCookie: session_id=c\r\n\r\n";
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
const EVERY: [&str; 4] = [AUTH, ATTEST, KEY, RESOURCE];

/// Asserts that libkrun's guest survives this refusal, and that it has this status and text.
fn assert_refusal(response: &Response, (status, error): (u16, &str)) {
    let expected = format!(r#"{{"error":"{error}"}}"#);
    assert_eq!((response.status, response.text()), (status, expected.clone()));
    assert!((3..=199).contains(&response.body.len()));
    assert_eq!(response.header("content-length"), [expected.len().to_string()]);
    assert_eq!(response.header("content-type"), ["application/json"]);
}

const UNREACHABLE: (u16, &str) = (502, "the broker cannot be reached");

fn guest(relay: &Relay, id: &str) -> KrunGuest {
    let chip = keybroker_simulator::pki::Chip::new(Product::Milan, 1);
    relay.krun(id, Machine::new(amd(Product::Milan), &chip))
}

#[test]
fn a_missing_broker_is_502_and_the_relay_stays_healthy() {
    // Nothing listens there, and the system gives the port to no program that asks for a free one.
    let relay = Relay::to("http://127.0.0.1:9", &[]);
    for request in EVERY {
        assert_refusal(&relay.ask(request), UNREACHABLE);
    }
    let health = relay.ask(HEALTH);
    assert_eq!((health.status, health.text()), (200, r#"{"status":"ok"}"#.to_owned()));
}

#[test]
fn a_broker_that_does_not_answer_in_time_is_504() {
    let (held, release) = mpsc::channel::<()>();
    let release = Mutex::new(release);
    let upstream = Upstream::start(move |_, _| {
        let _ = release.lock().unwrap().recv();
    });
    let relay = Relay::to(&upstream.url, &["--timeout", "1"]);
    assert_refusal(&relay.ask(AUTH), (504, "the broker did not answer in time"));
    // On a busy machine the broker reads what it was sent only now.
    while upstream.seen().is_empty() {
        thread::yield_now();
    }
    assert_eq!(upstream.seen().len(), 1, "asked once");
    drop(held);
}

#[test]
fn a_body_that_does_not_come_in_time_is_504() {
    let upstream = Upstream::start(|_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{").unwrap();
    });
    let relay = Relay::to(&upstream.url, &["--timeout", "1"]);
    assert_refusal(&relay.ask(ATTEST), (504, "the broker did not answer in time"));
}

#[test]
fn a_broker_that_breaks_off_is_502_and_is_asked_once() {
    let rows: [&[u8]; 8] = [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x16",
    ];
    for bytes in rows {
        let upstream = Upstream::start(|_, stream| {
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Both);
        });
        let relay = Relay::to(&upstream.url, &[]);
        assert_refusal(&relay.ask(ATTEST), UNREACHABLE);
        assert_eq!(upstream.seen().len(), 1, "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_connection_that_is_reset_is_502() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = Relay::to(&format!("http://{}", listener.local_addr().unwrap()), &[]);
    let broker = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Unread bytes turn the end of the connection into a reset.
        stream.read_exact(&mut [0]).unwrap();
    });
    let head = "POST /kbs/v0/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 60000\r\n\r\n";
    assert_refusal(&relay.ask(head.to_owned() + &"x".repeat(60_000)), UNREACHABLE);
    broker.join().unwrap();
}

#[test]
fn a_redirect_is_502_and_followed_nowhere() {
    let elsewhere = Upstream::saying(response(200, "", ""));
    for status in [301, 302, 303, 307, 308, 300, 304] {
        let location = format!("Location: {}/kbs/v0/attest\r\n", elsewhere.url);
        let upstream = Upstream::saying(response(status, &location, ""));
        let relay = Relay::to(&upstream.url, &[]);
        for request in EVERY {
            let answer = relay.ask(request);
            assert_refusal(&answer, (502, "the broker answered with a redirect"));
            assert!(answer.header("location").is_empty());
        }
        assert_eq!(upstream.seen().len(), EVERY.len(), "{status}");
    }
    assert_eq!(elsewhere.seen(), Vec::<String>::new());
}

/// Sends heads or chunks for as long as the client reads them.
fn endless(first: &'static [u8], then: Vec<u8>) -> Upstream {
    Upstream::start(move |_, stream| {
        let mut sent = stream.write_all(first);
        while sent.is_ok() {
            sent = stream.write_all(&then);
        }
    })
}

#[test]
fn an_answer_that_is_too_long_is_502() {
    let too_long = (502, "the broker's answer is too long");
    let chunk = [&b"1000\r\n"[..], &[b'x'; 4096], b"\r\n"].concat();
    let rows = [
        (endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk.clone()), too_long),
        (endless(b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n", chunk), too_long),
        (endless(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", vec![b'x'; 4096]), too_long),
        (endless(b"HTTP/1.1 200 OK\r\n\r\n", vec![b'x'; 4096]), too_long),
        (endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n".to_vec()), UNREACHABLE),
        (endless(b"HTTP/1.1 200 OK\r\nX: ", vec![b'y'; 4096]), UNREACHABLE),
        (Upstream::saying(response(200, "", [b'x'; 65_537])), too_long),
    ];
    for (upstream, expected) in rows {
        let relay = Relay::to(&upstream.url, &[]);
        assert_refusal(&relay.ask(ATTEST), expected);
    }
    let longest = Upstream::saying(response(200, "", [b'x'; 65_536]));
    assert_eq!(Relay::to(&longest.url, &[]).ask(AUTH).body.len(), 65_536);
}

#[test]
fn a_gateways_own_refusals_reach_the_guest_as_refusals() {
    let html = format!("<html>{}</html>", "x".repeat(500));
    for (status, said, heard) in [
        (403, r#"{"message":"Forbidden"}"#, r#"{"message":"Forbidden"}"#),
        (429, r#"{"message":"Too Many Requests"}"#, r#"{"message":"Too Many Requests"}"#),
        (403, "", r#"{"error":"the broker answered 403"}"#),
        (502, &html, r#"{"error":"the broker answered 502"}"#),
        (503, "{}", r#"{"error":"the broker answered 503"}"#),
        (500, "\0\0\0\0", r#"{"error":"the broker answered 500"}"#),
    ] {
        let upstream = Upstream::saying(response(status, "Retry-After: 7\r\nContent-Type: text/x\r\n", said));
        let relay = Relay::to(&upstream.url, &[]);
        for request in EVERY {
            let answer = relay.ask(request);
            assert_eq!((answer.status, answer.text().as_str()), (status, heard));
            assert_eq!(answer.header("content-length"), [heard.len().to_string()]);
            assert_eq!(answer.header("retry-after"), ["7"]);
            let content_type = if said == heard { "text/x" } else { "application/json" };
            assert_eq!(answer.header("content-type"), [content_type]);
        }
    }
}

/// The guest treats an empty body as success, even with an error status.
#[tokio::test]
async fn no_refusal_of_attest_is_success_to_libkruns_guest() {
    let auth = r#"{"nonce":"bm9uY2Vub25jZW5vbmNlbg","extra-params":""}"#;
    for status in [400, 401, 403, 404, 413, 429, 500, 502, 503] {
        for body in [&b""[..], b"\0", b"\0no", b"x"] {
            let upstream = Upstream::start(move |request, stream| {
                let answer = match request.starts_with("POST /kbs/v0/auth ") {
                    true => response(200, "Set-Cookie: session_id=c00kie; Secure; HttpOnly\r\n", auth),
                    false => response(status, "", body),
                };
                stream.write_all(&answer).unwrap();
            });
            let relay = Relay::to(&upstream.url, &[]);
            let mut guest = guest(&relay, "web");
            guest.auth().await.expect("a cookie without Secure");
            let refused = guest.attest().await;
            assert!(matches!(&refused, Err(Error::Refused(said)) if said.status == status), "{refused:?}");
            assert!(matches!(guest.key().await, Err(Error::BadKey(_))));
        }
    }
}

#[test]
fn an_attest_answer_keeps_its_body_or_stays_empty() {
    for body in ["", r#"{"token":"x"}"#] {
        let upstream = Upstream::saying(response(200, "", body));
        let answer = Relay::to(&upstream.url, &[]).ask(ATTEST);
        assert_eq!((answer.status, answer.text().as_str()), (200, body));
        assert_eq!(answer.header("content-length"), [body.len().to_string()]);
    }
}

#[test]
fn a_key_ends_with_nul_only_for_clients_without_user_agent() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n\"0\r\n2\r\n0\"\r\n0\r\n\r\n";
    let agent = KEY.replace("\r\n\r\n", "\r\nUser-Agent: x\r\n\r\n");
    for (said, request, heard) in [
        (response(200, "", "\"00\""), KEY, "\"00\"\0"),
        (response(200, "", "\"00\"\0"), KEY, "\"00\"\0"),
        (chunked.to_vec(), KEY, "\"00\"\0"),
        (response(200, "", "\"00\""), &agent, "\"00\""),
        (response(200, "", "\"00\""), RESOURCE, "\"00\""),
    ] {
        let upstream = Upstream::saying(said);
        let answer = Relay::to(&upstream.url, &[]).ask(request);
        assert_eq!((answer.status, answer.text().as_str()), (200, heard), "{request}");
        assert_eq!(answer.header("content-length"), [heard.len().to_string()]);
        assert!(!answer.chunked);
    }
}

#[test]
fn the_broker_sees_what_its_protocol_needs_and_nothing_else() {
    let upstream = Upstream::saying(response(200, "", ""));
    let relay = Relay::to(&format!("{}/prod/", upstream.url), &[]);
    let rest = "Authorization: Basic YnVpbGQ6c2VjcmV0\r\nProxy-Authorization: Basic eA==\r\n\
                X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Amz-Security-Token: x\r\n\
                Accept-Encoding: gzip\r\nExpect: 100-continue\r\nConnection: close, cookie\r\n\
                TE: trailers\r\nReferer: http://x/\r\n\r\n";
    let as_libkrun = "Cookie: session_id=c\r\nAccept: application/json\r\n\
                      Content-Type: application/json; charset=utf-8\r\nCookie: session_id=c\r\n";
    relay.ask(format!("GET /kbs/v0/key/a%20b?x=y HTTP/1.1\r\nHost: x\r\n{as_libkrun}{rest}"));
    relay.ask("POST /kbs/v0/auth?x HTTP/1.1\r\nHost: x\r\nUser-Agent: u\r\nContent-Length: 2\r\n\r\n{}");
    let mut seen = upstream.seen();
    seen.sort();
    let [key, auth] = seen.as_slice() else { panic!("{seen:?}") };
    let host = upstream.url.strip_prefix("http://").unwrap();
    let names = |request: &str| {
        let head = request.split_once("\r\n\r\n").unwrap().0.to_owned();
        let mut names: Vec<_> =
            head.lines().skip(1).map(|line| line.split(':').next().unwrap().to_lowercase()).collect();
        names.sort();
        names
    };
    assert!(key.starts_with("GET /prod/kbs/v0/key/a%20b HTTP/1.1\r\n"), "{key}");
    assert_eq!(names(key), ["accept", "content-type", "cookie", "cookie", "host"]);
    assert_eq!(field(key, "cookie"), ["session_id=c", "session_id=c"]);
    assert_eq!(field(key, "host"), [host]);
    assert_eq!(field(key, "content-type"), ["application/json; charset=utf-8"]);
    assert!(
        auth.starts_with("POST /prod/kbs/v0/auth HTTP/1.1\r\n") && auth.ends_with("\r\n\r\n{}"),
        "{auth}"
    );
    assert_eq!(names(auth), ["accept", "content-length", "host", "user-agent"]);
    assert_eq!((field(auth, "user-agent"), field(auth, "accept")), (vec!["u"], vec!["*/*"]));
}

#[test]
fn a_route_not_for_guests_is_404_without_asking_the_broker() {
    let upstream = Upstream::saying(response(200, "", ""));
    let relay = Relay::to(&upstream.url, &[]);
    for line in [
        "POST /kbs/v0/register_workload",
        "POST /rvp/register",
        "POST /iam/kbs/v0/register_workload",
        "POST /iam/rvp/register",
        "GET /kbs/v0/key/",
        "GET /kbs/v0/key/..",
        "GET /kbs/v0/key/.",
        "GET /kbs/v0/key/%2e%2E",
        "GET /kbs/v0/key/..\\register_workload",
        "GET /kbs/v0/key/a/b",
        "GET /kbs/v0/resource/..",
        "POST //kbs/v0/register_workload",
        "POST /kbs//v0/auth",
        "POST /kbs/v0/auth/",
        "POST /kbs/v0/../v0/auth",
        "GET /",
    ] {
        let answer = relay.ask(format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(answer.status, 404, "{line}");
        assert!((3..=199).contains(&answer.body.len()), "{line}");
    }
    let by_absolute_form = relay.ask("GET http://elsewhere/nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(by_absolute_form.status, 404);
    assert_eq!(upstream.seen(), Vec::<String>::new());
}

#[test]
fn a_body_that_is_too_long_for_the_broker_is_not_sent_to_it() {
    let upstream = Upstream::saying(response(200, "", ""));
    let relay = Relay::to(&upstream.url, &[]);
    let head = "POST /kbs/v0/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let declared = relay.ask(format!("{head}Content-Length: 65537\r\n\r\n"));
    let chunks = format!("400\r\n{}\r\n", "x".repeat(1024)).repeat(65);
    let chunked = relay.ask(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}"));
    for answer in [declared, chunked] {
        assert_refusal(&answer, (413, "the body is longer than 64 KiB"));
    }
    assert_eq!(upstream.seen(), Vec::<String>::new());
    let longest = format!("{head}Content-Length: 65536\r\n\r\n{}", "x".repeat(65_536));
    assert_eq!(relay.ask(longest).status, 200);
    assert!(upstream.seen()[0].ends_with(&"x".repeat(65_536)));
}

#[test]
fn a_request_under_way_is_answered_after_sigterm() {
    let (reached, at_the_broker) = mpsc::channel();
    let (go_on, told) = mpsc::channel();
    let (reached, told) = (Mutex::new(reached), Mutex::new(told));
    let upstream = Upstream::start(move |_, stream| {
        reached.lock().unwrap().send(()).unwrap();
        told.lock().unwrap().recv().unwrap();
        stream.write_all(&response(200, "", "{}")).unwrap();
    });
    let relay = Relay::to(&upstream.url, &[]);
    let mut connection = relay.connect();
    connection.send(AUTH);
    at_the_broker.recv().unwrap();
    relay.server.signal("TERM");
    relay.server.log(|line| line.contains("stopping").then_some(())).expect("it heard the signal");
    let refused = || match TcpStream::connect(relay.url().strip_prefix("http://").unwrap()) {
        // The system queued the connection before the listener closed, and the relay does not read it. Or
        // another test's listener has the port by then, and its test answers nobody else.
        Ok(mut stream) => {
            stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            let asked = stream.write_all(HEALTH.as_bytes());
            asked.is_err() || !matches!(stream.read(&mut [0]), Ok(1..))
        }
        Err(error) => error.kind() == ErrorKind::ConnectionRefused,
    };
    while !refused() {
        thread::yield_now();
    }
    go_on.send(()).unwrap();
    assert_eq!(connection.response().unwrap().text(), "{}");
    assert_eq!(relay.end().code, Some(0));
}
