//! Clients that do not go on with their handshake, or make none.

use std::{
    io::Write as _,
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use keybroker_tests::{DEADLINE, connection::Connection, unique, world::World};

/// The beginning of a ClientHello of 508 bytes.
const HELLO: &[u8] = b"\x16\x03\x01\x01\xfc\x01\x00\x01\xf8\x03\x03";
/// An alert of TLS, level fatal.
const ALERT: &[u8] = b"\x15\x03";

#[tokio::test]
async fn handshakes_by_the_hundred_that_do_not_go_on_keep_nobody_out() {
    let world = World::serve_tls(&[]);
    let connect = || TcpStream::connect(world.tls_authority()).unwrap();
    let silent: Vec<_> = (0..200).map(|_| connect()).collect();
    let mut half: Vec<_> = (0..200).map(|_| connect()).collect();
    for stream in &mut half {
        stream.write_all(HELLO).unwrap();
    }
    world.boots_a_guest(&unique("w")).await;
    drop((silent, half));
}

/// All of it counts as the time of a head: silence, half a hello, and one that arrives byte by byte.
#[test]
fn an_unfinished_handshake_is_given_up_after_ten_seconds() {
    let world = World::serve_tls(&[]);
    let authority = world.tls_authority();
    let timed = |trickle: bool, begin: &'static [u8]| {
        let authority = authority.clone();
        thread::spawn(move || {
            // Before the server's own clock does.
            let started = Instant::now();
            let mut connection = Connection::open(&authority);
            connection.send(begin);
            while trickle && connection.send([0]) && started.elapsed() < DEADLINE {
                thread::sleep(Duration::from_millis(200));
            }
            (connection.rest(), started.elapsed())
        })
    };
    for slow in [timed(false, b""), timed(false, HELLO), timed(true, HELLO)] {
        let (answer, took) = slow.join().unwrap();
        assert!(answer.is_empty(), "{answer:x?}");
        assert!((Duration::from_secs(9)..Duration::from_secs(30)).contains(&took), "{took:?}");
    }
}

/// Nothing of HTTP is answered outside of TLS.
#[tokio::test]
async fn bytes_that_are_no_handshake_get_an_alert_or_nothing() {
    let world = World::serve_tls(&[]);
    let rows: [&[u8]; 6] = [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        // A record that is too long, an alert, application data, and a hello of SSL 2.
        b"\x16\x03\x01\xff\xff\x01",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x17\x03\x03\x00\x05hello",
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
    ];
    for bytes in rows {
        let mut connection = Connection::open(&world.tls_authority());
        connection.send(bytes);
        connection.finish();
        let answer = connection.rest();
        assert!(
            answer.is_empty() || (answer.starts_with(ALERT) && answer.len() == 7),
            "{bytes:x?}: {answer:x?}"
        );
    }
    world.boots_a_guest(&unique("w")).await;
}
