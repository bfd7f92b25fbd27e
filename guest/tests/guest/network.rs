//! The transport, over the loopback: HTTP, TLS and names.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use keybroker_guest::{
    console::Kept,
    root::Root,
    transport::{Http, Reply, ResolveError, RootsError, Transport as _, TransportError},
};
use keybroker_simulator::tls::{Authority, ServerName};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::{CertifiedKey, SingleCertAndKey},
};

const WITHIN: Duration = Duration::from_secs(60);

fn http(certificates: Option<&str>) -> Http {
    Http::new(&Root::at("/nowhere"), certificates, Arc::new(Kept::default())).unwrap()
}

/// A server for one connection, that reads one request and answers these bytes. Gives the URL, and the
/// request as it came.
fn server(answer: &'static [u8]) -> (String, Arc<Mutex<Vec<u8>>>) {
    serving(None, answer)
}

fn serving(tls: Option<Arc<ServerConfig>>, answer: &'static [u8]) -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}/broker/v1/challenge", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::clone(&seen);
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        match tls {
            None => exchange(stream, &requests, answer),
            Some(config) => {
                exchange(StreamOwned::new(ServerConnection::new(config).unwrap(), stream), &requests, answer)
            }
        }
    });
    (url, seen)
}

fn exchange(mut stream: impl Read + Write, requests: &Mutex<Vec<u8>>, answer: &[u8]) {
    let mut request = Vec::new();
    let mut part = [0; 4096];
    while !request.ends_with(b"{}") {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(length) => request.extend_from_slice(&part[..length]),
        }
    }
    *requests.lock().unwrap() = request;
    let _ = stream.write_all(answer);
    let _ = stream.flush();
    // An empty answer is a server that says nothing and stays.
    if answer.is_empty() {
        thread::sleep(Duration::from_secs(30));
    }
}

fn post(url: &str, within: Duration) -> Result<Reply, TransportError> {
    http(None).post(url, b"{}", within)
}

#[test]
fn a_request_and_its_answer() {
    let (url, seen) =
        server(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nwait");
    let reply = post(&url, WITHIN).unwrap();
    let retry_after = Some(Duration::from_secs(7));
    assert_eq!(reply, Reply { status: 503, retry_after, body: b"wait".to_vec() });
    let request = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
    assert!(request.starts_with("POST /broker/v1/challenge HTTP/1.1\r\n"), "{request}");
    let authority = url.split('/').nth(2).unwrap();
    assert!(request.contains(&format!("host: {authority}\r\n")), "{request}");
    assert!(request.contains("content-length: 2\r\n") && request.ends_with("\r\n\r\n{}"), "{request}");
}

#[test]
fn a_retry_after_is_a_day_at_most() {
    let (url, _) =
        server(b"HTTP/1.1 503 x\r\nRetry-After: 18446744073709551615\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(post(&url, WITHIN).unwrap().retry_after, Some(Duration::from_secs(86_400)));
}

#[test]
fn a_retry_after_that_is_a_date_is_none() {
    let (url, _) =
        server(b"HTTP/1.1 503 x\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(post(&url, WITHIN).unwrap().retry_after, None);
}

#[test]
fn a_redirection_is_not_followed() {
    let (url, _) =
        server(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(post(&url, WITHIN).unwrap().status, 302);
}

#[test]
fn no_answer_in_time_ends() {
    let (url, _) = server(b"");
    let within = Duration::from_secs(1);
    assert_eq!(post(&url, within), Err(TransportError::Silent(within)));
}

#[test]
fn what_is_no_answer_ends() {
    for answer in [&b"SSH-2.0-x\r\n"[..], b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"] {
        let (url, _) = server(answer);
        assert!(matches!(post(&url, WITHIN), Err(TransportError::Protocol(_))));
    }
}

#[test]
fn an_answer_that_is_too_long_ends() {
    let body = vec![b'x'; Reply::MAX_BODY + 1];
    let answer = [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes(), body];
    let (url, _) = server(answer.concat().leak());
    assert_eq!(post(&url, WITHIN), Err(TransportError::TooLong));
}

#[test]
fn nobody_there_says_so() {
    // Nothing listens there, and the system gives the port to no program that asks for a free one.
    match post("http://127.0.0.1:9/", WITHIN) {
        Err(TransportError::Connect(why)) => assert!(why.contains("refused"), "{why}"),
        other => panic!("{other:?}"),
    }
    // The name that is this machine's everywhere needs no server of names.
    assert!(matches!(post("http://localhost:9/", WITHIN), Err(TransportError::Connect(_))));
}

#[test]
fn other_urls_are_refused() {
    for url in ["ftp://127.0.0.1/", "http:///x", "127.0.0.1", ""] {
        assert_eq!(post(url, WITHIN), Err(TransportError::Url), "{url}");
    }
}

/// A server with a certificate by `authority`, and its URL.
fn tls(authority: &Authority, name: ServerName<'_>) -> String {
    let identity = authority.issue(name);
    presenting(identity.certificate, identity.key, rustls::ALL_VERSIONS)
}

/// A server that speaks one of `versions`, with a certificate, and with a key that may be another's.
fn presenting(certificate: Vec<u8>, key: Vec<u8>, versions: &[&'static SupportedProtocolVersion]) -> String {
    let provider = aws_lc_rs::default_provider();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let key = provider.key_provider.load_private_key(key).unwrap();
    let certified = CertifiedKey::new(vec![CertificateDer::from(certificate)], key);
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    serving(Some(Arc::new(config)), b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").0
}

const HERE: ServerName<'_> = ServerName::Address(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

#[test]
fn a_certificate_of_the_document_vouches_for_a_broker() {
    let authority = Authority::new();
    let reply = http(Some(&authority.pem())).post(&tls(&authority, HERE), b"{}", WITHIN);
    assert_eq!(reply.unwrap().body, b"ok");
}

#[test]
fn an_unknown_authority_or_another_name_is_refused() {
    let authority = Authority::new();
    let known = authority.pem();
    for (name, certificates) in
        [(HERE, None), (HERE, Some(Authority::new().pem())), (ServerName::Dns("k.example.org"), Some(known))]
    {
        let reply = http(certificates.as_deref()).post(&tls(&authority, name), b"{}", WITHIN);
        assert!(matches!(&reply, Err(TransportError::Tls(why)) if why.contains("certificate")), "{reply:?}");
    }
}

/// Everybody can have the certificate: its server shows it to all who ask.
#[test]
fn a_certificate_without_its_key_is_refused() {
    let authority = Authority::new();
    let (broker, other) = (authority.issue(HERE), authority.issue(HERE));
    for version in rustls::ALL_VERSIONS {
        let post = |key: &[u8]| {
            let url = presenting(broker.certificate.clone(), key.to_vec(), &[version]);
            http(Some(&authority.pem())).post(&url, b"{}", WITHIN)
        };
        assert_eq!(post(&broker.key).unwrap().body, b"ok", "{version:?}");
        let refused = TransportError::Tls("invalid peer certificate: BadSignature".to_owned());
        assert_eq!(post(&other.key), Err(refused), "{version:?}");
    }
}

#[test]
fn certificates_that_tls_cannot_use_make_no_transport() {
    for text in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"] {
        let http = Http::new(&Root::machine(), Some(text), Arc::new(Kept::default()));
        assert!(matches!(http.err(), Some(RootsError::Certificates)), "{text:?}");
    }
}

fn with_files(files: &[(&str, &str)]) -> (tempfile::TempDir, Http) {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let http = Http::new(&Root::at(directory.path()), None, Arc::new(Kept::default())).unwrap();
    (directory, http)
}

#[test]
fn without_a_name_server_the_console_can_say_so() {
    for files in [&[][..], &[("etc/resolv.conf", "# the network is not up\n")]] {
        let (_directory, http) = with_files(files);
        let error = http.post("http://k.example.org/", b"{}", WITHIN).unwrap_err();
        assert_eq!(error, TransportError::Name(ResolveError::NoServer));
        assert_eq!(error.to_string(), "no name server is known: is the network up?");
    }
}

/// A server of names on the loopback that knows `known.example.org.`, and what it was asked.
fn name_server(address: &str) -> Option<()> {
    let socket = UdpSocket::bind((address, 53)).ok()?;
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let query = &query[..length];
            // The question follows twelve bytes: name, type and class.
            let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            let known = query[12..end].starts_with(b"\x05known\x07example\x03org\0\0\x01");
            let mut answer = query[..end].to_vec();
            let code = if query[12..end].starts_with(b"\x05known") { 0x80 } else { 0x83 };
            answer[2..12].copy_from_slice(&[0x81, code, 0, 1, 0, u8::from(known), 0, 0, 0, 0]);
            if known {
                answer.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01");
            }
            socket.send_to(&answer, from).unwrap();
        }
    });
    Some(())
}

/// In an initrd there is no libnss: the files name the servers, and the program asks them itself.
#[test]
fn names_are_asked_of_the_servers_that_an_initrd_knows() {
    const SERVER: &str = "127.77.13.1";
    // Without the right to open port 53 there is no server to ask.
    let Some(()) = name_server(SERVER) else {
        return crate::skip("a server of names, for want of the right to port 53");
    };
    let files = [
        ("etc/resolv.conf", format!("nameserver {SERVER}\n")),
        ("run/systemd/resolve/resolv.conf", format!("nameserver {SERVER}\n")),
        ("run/net-eth0.conf", format!("DEVICE='eth0'\nIPV4DNS0='{SERVER}'\n")),
    ];
    for (path, text) in files {
        let (_directory, http) = with_files(&[(path, &text)]);
        let (url, _) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let url = url.replace("127.0.0.1", "known.example.org");
        assert_eq!(http.post(&url, b"{}", WITHIN).unwrap().body, b"ok", "{path}");
        let unknown = http.post("http://unknown.example.org/", b"{}", WITHIN).unwrap_err();
        match unknown {
            TransportError::Name(ResolveError::NotFound { name, .. }) => {
                assert_eq!(name, "unknown.example.org")
            }
            other => panic!("{other:?}"),
        }
    }
}
