//! The embedded server withstands floods, silent clients, garbage and many connections, over TCP and TLS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and so may its helpers"
)]

mod handshake;

use std::{
    io::Write,
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use keybroker_tests::{
    connection::{Connection, assert_short_refusal},
    unique,
    world::World,
};

/// Runs each of these over TCP, and through TLS.
macro_rules! over_both {
    ($($name:ident)*) => {
        mod tcp {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::World::serve(&[])).await;
            })*
        }
        mod tls {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::World::serve_tls(&[])).await;
            })*
        }
    };
}

over_both! {
    chunked_bodies_are_read_up_to_64_kib
    a_declared_length_above_64_kib_is_refused_before_the_body
    heads_that_are_too_long_are_431
    bytes_that_are_no_http_are_refused_or_closed
    a_request_of_two_lengths_is_one_request_at_most
    idle_connections_by_the_hundred_keep_nobody_out
    requests_that_break_off_register_nothing
    an_unfinished_request_is_given_up_after_ten_seconds
}

async fn chunked_bodies_are_read_up_to_64_kib(world: World) {
    let head = "POST /kbs/v0/register_workload HTTP/1.1\r\nHost: 127.0.0.1\r\n\
                Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    // In chunks of five bytes, as a proxy may forward it.
    let body = world.build(&unique("w"), "open sesame").body();
    let pieces = body.as_bytes().chunks(5).map(|piece| chunk(std::str::from_utf8(piece).unwrap()));
    let mut connection = world.connect();
    connection.send(head.to_owned() + &pieces.collect::<String>() + "0\r\n\r\n");
    assert_eq!(connection.response().unwrap().status, 200);
    // More than 64 KiB without a Content-Length: refused before the body ends.
    let mut connection = world.connect();
    connection.send(head.to_owned() + &chunk(&" ".repeat(1024)).repeat(65));
    let response = connection.response().unwrap();
    assert_short_refusal(&response);
    assert_eq!(response.status, 413);
    // Malformed chunks.
    for junk in ["zz\r\n", "-1\r\n", "ffffffffffffffffff\r\n", "5\r\nab\r\n0\r\n\r\n"] {
        let mut connection = world.connect();
        connection.send(head.to_owned() + junk);
        connection.finish();
        let bytes = String::from_utf8_lossy(&connection.rest()).into_owned();
        assert!(bytes.is_empty() || bytes.starts_with("HTTP/1.1 400 "), "{junk:?}: {bytes}");
    }
    world.boots_a_guest(&unique("w")).await;
}

async fn a_declared_length_above_64_kib_is_refused_before_the_body(world: World) {
    // The HTTP parser does not accept the last length.
    for (length, status) in [("65537", 413), ("1000000000000", 413), ("18446744073709551615", 431)] {
        let mut connection = world.connect();
        let head =
            "POST /kbs/v0/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ";
        connection.send(format!("{head}{length}\r\n\r\n"));
        assert_eq!(connection.response().unwrap().status, status, "{length}");
    }
    world.boots_a_guest(&unique("w")).await;
}

async fn heads_that_are_too_long_are_431(world: World) {
    let many = "X: y\r\n".repeat(100);
    let long = format!("X: {}\r\n", "y".repeat(100_000));
    let cookies = format!("Cookie: {}\r\n", "a=b; ".repeat(20_000));
    for fields in [many, long, cookies] {
        let mut connection = world.connect();
        connection.send(format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        let bytes = String::from_utf8_lossy(&connection.rest()).into_owned();
        assert!(bytes.starts_with("HTTP/1.1 431 "), "{bytes}");
    }
    world.boots_a_guest(&unique("w")).await;
}

async fn bytes_that_are_no_http_are_refused_or_closed(world: World) {
    let rows: [&[u8]; 9] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00\x00\x00\x00\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/3.7\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /kbs/v0/auth HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n",
    ];
    for bytes in rows {
        let mut connection = world.connect();
        connection.send(bytes);
        connection.finish();
        let answer = String::from_utf8_lossy(&connection.rest()).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{bytes:?}: {answer}");
    }
    world.boots_a_guest(&unique("w")).await;
}

/// Requests with a Content-Length and chunks are used to smuggle a second request past a proxy.
async fn a_request_of_two_lengths_is_one_request_at_most(world: World) {
    let smuggled = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut connection = world.connect();
    connection.send(format!(
        "POST /kbs/v0/auth HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}",
        5 + smuggled.len()
    ));
    connection.finish();
    let answer = String::from_utf8_lossy(&connection.rest()).into_owned();
    assert!(!answer.contains(r#"{"status":"ok"}"#), "{answer}");
}

async fn idle_connections_by_the_hundred_keep_nobody_out(world: World) {
    let idle: Vec<_> = (0..200).map(|_| TcpStream::connect(world.authority()).unwrap()).collect();
    let mut half: Vec<_> = (0..200).map(|_| TcpStream::connect(world.authority()).unwrap()).collect();
    for stream in &mut half {
        stream.write_all(b"POST /kbs/v0/attest HTTP/1.1\r\nHost: x\r\nContent-Le").unwrap();
    }
    world.boots_a_guest(&unique("w")).await;
    drop((idle, half));
}

async fn requests_that_break_off_register_nothing(world: World) {
    let request =
        world.request("POST", "/kbs/v0/register_workload", &[], Some(&world.build("gone", "p").body()));
    for end in (0..request.len()).step_by(7) {
        let mut connection = world.connect();
        connection.send(&request[..end]);
    }
    world.boots_a_guest(&unique("w")).await;
    // None of these requests was complete.
    world.register("gone").await;
}

/// Both requests wait for the server's limit of ten seconds, so they run at the same time.
async fn an_unfinished_request_is_given_up_after_ten_seconds(world: World) {
    let authority = world.authority();
    let timed = move |authority: String, bytes: &'static str| {
        thread::spawn(move || {
            // Before the server's own clock does.
            let started = Instant::now();
            let mut connection = Connection::open(&authority);
            connection.send(bytes);
            (String::from_utf8(connection.rest()).unwrap(), started.elapsed())
        })
    };
    let head = timed(authority.clone(), "GET /healthz HTTP/1.1\r\nHost: x\r\nX: ");
    let body = timed(
        authority.clone(),
        "POST /kbs/v0/auth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{",
    );
    let (answer, took) = head.join().unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!((Duration::from_secs(9)..Duration::from_secs(30)).contains(&took), "{took:?}");
    let (answer, took) = body.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("10 seconds"), "{answer}");
    assert!((Duration::from_secs(9)..Duration::from_secs(30)).contains(&took), "{took:?}");
}
