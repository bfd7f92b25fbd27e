//! The embedded server's connections: one write per response, reuse, pipelining, HEAD and HTTP/1.0.

use keybroker_simulator::guest::KrunGuest;
use keybroker_tests::{connection::Connection, unique, world::World};

/// A guest that has attested, its Cookie header field, and the path of its key.
async fn attested(world: &World) -> (KrunGuest, String, String) {
    let id = unique("w");
    world.register(&id).await;
    let mut guest = world.krun(&id, world.milan());
    guest.auth().await.unwrap();
    guest.attest().await.unwrap();
    let cookie = format!("Cookie: session_id={}", guest.state.session_id.as_ref().unwrap());
    (guest, cookie, format!("/kbs/v0/key/{id}"))
}

/// Whether these bytes are exactly one complete response.
fn whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    body.len() == length.parse::<usize>().unwrap()
}

/// A read returns as soon as any byte is there. If the server wrote head and body separately, some of these
/// rounds would read only the head. The server's own tests count the writes.
#[tokio::test]
async fn every_response_arrives_in_one_read() {
    let world = World::serve(&[]);
    let (_guest, cookie, path) = attested(&world).await;
    let auth = r#"{"extra-params":"{\"workload_id\":\"w\"}","tee":"snp","version":"0.0.0"}"#;
    let requests = [
        world.request("GET", &path, &[&cookie], None),
        world.request("POST", "/kbs/v0/auth", &[], Some(auth)),
        world.request("POST", "/kbs/v0/attest", &[], Some("{}")),
        world.request("GET", "/nowhere", &[], None),
        world.request("GET", "/healthz", &[], None),
    ];
    for request in requests {
        let mut connection = world.connect();
        for _ in 0..20 {
            connection.send(&request);
            let bytes = connection.one_read();
            assert!(whole(&bytes), "{}", String::from_utf8_lossy(&bytes));
        }
    }
}

#[tokio::test]
async fn one_connection_serves_all_three_steps() {
    let world = World::serve(&[]);
    let id = unique("w");
    let passphrase = world.register(&id).await;
    let mut guest = world.krun(&id, world.milan());
    let mut connection = world.connect();

    connection.send(world.request("POST", "/kbs/v0/auth", &[], Some(&guest.state.auth_body())));
    let response = connection.response().unwrap();
    let cookie = response.header("set-cookie")[0].split(';').next().unwrap().to_owned();
    guest.state.nonce = Some(response.text().split('"').nth(3).unwrap().to_owned());
    let cookie = format!("Cookie: {cookie}");

    let evidence = guest.state.attest_body().unwrap();
    connection.send(world.request("POST", "/kbs/v0/attest", &[&cookie, &cookie], Some(&evidence)));
    let response = connection.response().unwrap();
    assert_eq!((response.status, response.text()), (200, String::new()));

    connection.send(world.request("GET", &format!("/kbs/v0/key/{id}"), &[&cookie, &cookie], None));
    let text = connection.response().unwrap().text();
    let hex = text.strip_prefix('"').unwrap().strip_suffix("\"\0").unwrap();
    let ciphertext = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
    assert_eq!(guest.state.key.decrypt(&ciphertext), Ok(passphrase.into_bytes()));

    // A refusal does not end the connection either.
    connection.send(world.request("GET", "/nowhere", &[], None));
    assert_eq!(connection.response().unwrap().status, 404);
    connection.send(world.request("GET", "/healthz", &[], None));
    assert_eq!(connection.response().unwrap().text(), r#"{"status":"ok"}"#);
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_their_order() {
    let world = World::serve(&[]);
    let (_guest, cookie, path) = attested(&world).await;
    let mut connection = world.connect();
    let requests = [
        world.request("GET", "/healthz", &[], None),
        world.request("GET", &path, &[&cookie], None),
        world.request("POST", "/kbs/v0/auth", &[], Some("{}")),
        world.request("GET", &path, &[], None),
        world.request("GET", "/healthz", &["Connection: close"], None),
    ];
    connection.send(requests.concat());
    let statuses: Vec<_> =
        std::iter::from_fn(|| connection.response()).map(|response| response.status).collect();
    assert_eq!(statuses, [200, 200, 400, 401, 200]);
}

#[tokio::test]
async fn a_head_request_never_releases_a_key() {
    let world = World::serve(&[]);
    let (mut guest, cookie, path) = attested(&world).await;
    let mut connection = world.connect();
    connection.send(world.request("HEAD", &path, &[&cookie, "Connection: close"], None));
    let bytes = String::from_utf8(connection.rest()).unwrap();
    assert!(bytes.starts_with("HTTP/1.1 405 ") && bytes.contains("\r\nallow: GET\r\n"), "{bytes}");
    assert!(bytes.ends_with("\r\n\r\n"), "HEAD has no body: {bytes}");
    guest.key().await.unwrap();
    let (server, _home, _kds) = world.into_parts();
    let ended = server.terminate();
    let released = ended.out.lines().filter(|line| line.contains(r#""decision":"released""#)).count();
    assert_eq!(released, 1, "only the guest's request: {}", ended.out);
}

#[tokio::test]
async fn a_client_of_http_1_0_is_served_and_the_connection_closed() {
    let world = World::serve(&[]);
    let (guest, cookie, path) = attested(&world).await;
    let mut connection = world.connect();
    connection.send(format!("GET {path} HTTP/1.0\r\n{cookie}\r\n\r\n"));
    let bytes = String::from_utf8(connection.rest()).unwrap();
    let (head, body) = bytes.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
    let hex = body.strip_prefix('"').unwrap().strip_suffix("\"\0").unwrap();
    assert!(guest.state.key.decrypt(&data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()).is_ok());
}

#[tokio::test]
async fn responses_do_not_name_the_server_software() {
    let world = World::serve(&[]);
    let response = world.ask("GET", "/healthz", &[], None);
    assert_eq!((response.status, response.text()), (200, r#"{"status":"ok"}"#.to_owned()));
    assert!(response.header("server").is_empty() && response.header("x-powered-by").is_empty());
}

#[tokio::test]
async fn no_path_redirects() {
    let world = World::serve(&[]);
    for path in ["/kbs/v0/auth/", "/kbs//v0/auth", "/kbs/v0/../v0/auth", "/kbs/v0/register_workload/", "/kbs"]
    {
        for method in ["GET", "POST"] {
            let response = world.ask(method, path, &[], Some("{}"));
            assert_eq!(response.status, 404, "{method} {path}");
            assert!(response.header("location").is_empty(), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_told_to_go_on() {
    let world = World::serve(&[]);
    let mut connection = Connection::open(&world.authority());
    let body = world.build(&unique("w"), "open sesame").body();
    let request = world.request("POST", "/kbs/v0/register_workload", &["Expect: 100-continue"], Some(&body));
    let (head, body) = request.split_at(request.len() - body.len());
    connection.send(head);
    assert_eq!(connection.one_read(), b"HTTP/1.1 100 Continue\r\n\r\n");
    connection.send(body);
    assert_eq!(connection.response().unwrap().status, 200);
}
